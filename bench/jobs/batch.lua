-- What a batch costs that has nothing to do: a word count over an empty queue, every 10 ms.
--
--   rille run bench/jobs/batch.lua BATCHES
--
-- Prints the microseconds from timer to completion of each of BATCHES batches, a line each.
local rille = require "rille"

local WARM_UP <const> = 20
local wanted = WARM_UP + math.tointeger(arg[1])
local micros = {}

local ssc = rille.StreamingContext({ appName = "bench-batch", master = "local[2]" }, 0.01)
ssc:queueStream({})
  :flatMap(function(line) return line:gmatch("%S+") end)
  :map(function(word) return word, 1 end)
  :reduceByKey(function(a, b) return a + b end)
  :foreachRDD(function(counts) counts:count() end)
ssc:addStreamingListener {
  onBatchCompleted = function(event) micros[#micros + 1] = event.totalMicros end,
}
ssc:start()
while #micros < wanted do ssc:awaitTerminationOrTimeout(0.05) end
ssc:stop(true, false)

for i = WARM_UP + 1, wanted do print(micros[i]) end
