-- What bench/run kafka times: a topic through the direct stream, from its beginning to its end.
--
--   rille run bench/jobs/kafka.lua count|words BROKERS TOPIC PARTITIONS RECORDS BATCHES
--
-- Reads it once for each line on standard input, in so many batches of the same size, and prints "SECONDS COUNT": from
-- making the stream to the end of the last batch.
local rille = require "rille"
local clock = require "bench.clock"

local mode, brokers, topic = arg[1], arg[2], arg[3]
local partitions, records, batches = tonumber(arg[4]), tonumber(arg[5]), tonumber(arg[6])

local sc = rille.Context { appName = "bench-kafka", master = "local[2]", clock = "manual",
  ["rille.streaming.kafka.maxRatePerPartition"] = math.ceil(records / partitions / batches) }

local function run()
  local begun, count = clock(), 0
  local ssc = rille.StreamingContext(sc, 1)
  local stream = rille.kafka.createDirectStream(ssc, { brokers = brokers, topics = topic, records = "value",
    ["auto.offset.reset"] = "earliest" })
  if mode == "words" then
    stream = stream:flatMap(function(line) return line:gmatch("%S+") end)
      :map(function(word) return word, 1 end)
      :reduceByKey(function(a, b) return a + b end)
  end
  stream:foreachRDD(function(rdd)
    if mode == "count" then
      count = count + rdd:count()
    else
      for _, pair in ipairs(rdd:collect()) do count = count + pair[2] end
    end
  end)
  ssc:start()
  for _ = 1, batches + 1 do ssc:clock():advance(1) end -- the rate is rounded up, so the last one is empty
  local finished = clock()
  ssc:stop(false)
  print(("%.6f %d"):format(finished - begun, mode == "count" and count or count // 12))
  io.stdout:flush()
end

for _ in io.lines() do run() end
