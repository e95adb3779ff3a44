-- Counts lines in state, from a sender that is told what is on disk: PORT DIRECTORY. Shows how many different lines
-- there have been, and how many of them were not counted once, in its first batch and whenever there are more.
local rille = require "rille"

local port, directory = tonumber(arg[1]), arg[2]
local ssc = rille.StreamingContext({ appName = "acknowledged", master = "local[2]",
  ["rille.streaming.receiverRestartDelay"] = 0.1, ["rille.streaming.catchUp"] = "merge" }, 0.1)
ssc:checkpoint(directory)

local shown

ssc:socketTextStream("127.0.0.1", port, { ack = true })
  :uid("lines")
  :map(function(line) return line, 1 end)
  :updateStateByKey(function(ones, count) return #ones + (count or 0) end)
  :uid("counts")
  :foreachRDD(function()
    local different, not_once = ssc:state("counts"):count(), 0
    if different == shown then return end
    shown = different
    for _, count in ssc:state("counts"):iterate() do
      if count ~= 1 then not_once = not_once + 1 end
    end
    print(("%d lines, %d not once"):format(different, not_once))
    io.stdout:flush()
  end)

ssc:start()
ssc:awaitTermination()
