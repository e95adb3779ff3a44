-- Counts words from the beginning of time: kill it as often as you like.
--
--   rille run scripts/recoverable_wordcount.lua [HOST [PORT [DIRECTORY [SECONDS]]]]
--
-- The counts are in DIRECTORY (./recoverable_wordcount), with what was received and not counted yet. Start it again with
-- the same directory, and it goes on where it was: docs/fault-tolerance.md walks through it. The peer must speak the
-- acknowledging line protocol (scripts/ack_sender.lua), so that it knows what to send again: with `ack = false` any text
-- stream will do, and loses what was in flight when the job dies.
local rille = require "rille"

local host = arg[1] or "localhost"
local port = tonumber(arg[2] or 9999)
local directory = arg[3] or "recoverable_wordcount"
local batch = tonumber(arg[4] or 1)

local function setup()
  local ssc = rille.StreamingContext({ appName = "RecoverableNetworkWordCount" }, batch)
  local counts = ssc:socketTextStream(host, port, { ack = true })
    :flatMap(function(line) return line:gmatch("%S+") end)
    :map(function(word) return word, 1 end)
    :updateStateByKey(function(values, count)
      count = count or 0
      for _, n in ipairs(values) do count = count + n end
      return count
    end)
    :uid("counts")
  counts:foreachRDD(function(rdd, time)
    local words = 0
    for _, record in ipairs(rdd:values():collect()) do words = words + record end
    print(("%d ms: %d words, %d different"):format(time, words, rdd:count()))
    io.stdout:flush()
  end)
  return ssc
end

local ssc = rille.StreamingContext.getOrCreate(directory, setup)
ssc:start()
ssc:awaitTermination()
