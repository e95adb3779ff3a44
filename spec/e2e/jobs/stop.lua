-- stop.lua HOW: waits for a signal. HOW is
--   received  a receiver stores 1000 records, far ahead of the next batch
--   slow      every batch takes 1 s
--   stuck     the first batch never ends (but by rille.task.maxSeconds)
-- Prints "ready" when the signal may come, and when awaitTermination has returned how many records were processed.
local rille = require "rille"

local how = arg[1]
local ssc = rille.StreamingContext({ appName = "Stop", master = "local[2]" }, how == "received" and 2 or 0.1)
local processed = 0

local function tell(text)
  print(text)
  io.stdout:flush()
end

local function busy(seconds)
  local from = os.time()
  while os.time() - from < seconds do end
end

if how == "received" then
  local done = os.tmpname()
  ssc:receiverStream { onStart = function(self)
    for i = 1, 1000 do self:store(i) end
    io.open(done, "w"):write("done"):close()
  end }:foreachRDD(function(rdd) processed = processed + rdd:count() end)
  ssc:start()
  repeat
    ssc:awaitTerminationOrTimeout(0.01)
    local file = assert(io.open(done))
    local text = file:read("a")
    file:close()
  until text == "done"
  os.remove(done)
  tell "ready"
else
  local queue = { { 1 } }
  ssc:queueStream(queue):map(function(x)
    busy(how == "slow" and 1 or 1000)
    return x
  end):foreachRDD(function(rdd, time)
    if rdd:isEmpty() then return end
    processed = processed + rdd:count()
  end)
  ssc:addStreamingListener { onBatchStarted = function() if processed == 0 then tell "ready" end end }
  ssc:start()
end

ssc:awaitTermination()
tell(("processed %d, %s"):format(processed, ssc:getState()))
