-- A job that works off so many lines a second, however fast they come.
--
--   rille run bench/jobs/overload.lua PORT RATE BACKPRESSURE BATCHES
--
-- A line takes 1 / RATE seconds by the clock, so the machine's other work hardly counts. Prints, for each of BATCHES
-- batches from the first with records on, "RECORDS DELAY PROCESSING": the delay from its tick to the start of its work,
-- and how long that took, in microseconds.
local rille = require "rille"
local clock = require "bench.clock"

local INTERVAL <const> = 0.25

local port, rate, wanted = math.tointeger(arg[1]), tonumber(arg[2]), math.tointeger(arg[4])
local lines = {}

local ssc = rille.StreamingContext({ appName = "bench-overload", master = "local[1]",
  ["rille.streaming.backpressure.enabled"] = arg[3] }, INTERVAL)
ssc:socketTextStream("127.0.0.1", port)
  :foreachRDD(function(rdd)
    rdd:foreachPartition(function(it)
      local begun, n = clock(), 0
      for _ in it do
        n = n + 1
        while clock() < begun + n / rate do end
      end
    end)
  end)
ssc:addStreamingListener {
  onBatchCompleted = function(event)
    if #lines == 0 and event.numRecords == 0 then return end
    lines[#lines + 1] = ("%d %d %d"):format(event.numRecords, event.totalMicros - event.processingMicros,
      event.processingMicros)
  end,
}
ssc:start()
while #lines < wanted do ssc:awaitTerminationOrTimeout(INTERVAL) end
ssc:stop(true, false)
for i = 1, wanted do print(lines[i]) end
