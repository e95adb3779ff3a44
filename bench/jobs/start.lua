-- How soon the first batch is done, and what an idle job occupies.
--
--   rille run bench/jobs/start.lua first   prints the monotonic clock at the end of the first batch (batches of 10 ms)
--   rille run bench/jobs/start.lua idle    prints the resident kilobytes after three empty batches of half a second
local rille = require "rille"
local clock = require "bench.clock"

local mode = arg[1]
local batches, first = 0, nil

local ssc = rille.StreamingContext({ appName = "bench-start", master = "local[2]" }, mode == "first" and 0.01 or 0.5)
ssc:queueStream({})
  :flatMap(function(line) return line:gmatch("%S+") end)
  :map(function(word) return word, 1 end)
  :reduceByKey(function(a, b) return a + b end)
  :foreachRDD(function(counts) counts:count() end)
ssc:addStreamingListener {
  onBatchCompleted = function()
    batches, first = batches + 1, first or clock()
  end,
}

local function resident()
  for line in io.lines("/proc/self/status") do
    local kilobytes = line:match("^VmRSS:%s+(%d+)")
    if kilobytes then return kilobytes end
  end
  error("no VmRSS in /proc/self/status")
end

ssc:start()
local wanted = mode == "first" and 1 or 3
while batches < wanted do ssc:awaitTerminationOrTimeout(0.05) end
print(mode == "first" and ("%.6f"):format(first) or resident())
ssc:stop(true, false)
