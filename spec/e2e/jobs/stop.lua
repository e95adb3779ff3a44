-- stop.lua HOW [GATE [SECONDS]]: waits for a signal. HOW is
--   received  at a line from the fifo GATE, a receiver stores 1000 records, right behind a tick; says so on the fifo GATE.done.
--             SECONDS from one tick to the next
--   slow      every batch takes 1 s
--   stuck     the first batch never ends (but by rille.task.maxSeconds)
--   held      a function of the driver waits for the file GATE in the first batch, and says "late" in others
--   failing   likewise, and fails in each
--   asked     the script itself stops the job; meanwhile a function of the driver waits for the file GATE
--   output, transform   a function of the driver never ends, and catches every error
-- Prints "ready" when it waits, and how many records were processed when awaitTermination has returned.
local rille = require "rille"

local how, gate = arg[1], arg[2]
local ssc = rille.StreamingContext({ appName = "Stop", master = "local[2]" }, tonumber(arg[3]) or 0.1)
local processed, told, asked = 0, false, false

local function tell(text)
  print(text)
  io.stdout:flush()
end

-- Inside awaitTermination.
local function tell_ready()
  if not told then tell "ready" end
  told = true
end

local function busy(seconds)
  local from = os.time()
  while os.time() - from < seconds do end
end

local function for_ever()
  tell_ready()
  while true do pcall(function() while true do end end) end
end

if how == "output" then
  ssc:queueStream({}):foreachRDD(for_ever)
elseif how == "held" or how == "failing" then
  ssc:queueStream({}):foreachRDD(function()
    if told then tell "late" end
    tell_ready()
    while not os.rename(gate, gate) do rille.sleep(0.02) end
    if how == "failing" then error "odd output" end
  end)
elseif how == "asked" then
  ssc:queueStream({}):foreachRDD(function()
    if not asked then return end
    tell_ready()
    while not os.rename(gate, gate) do rille.sleep(0.02) end
  end)
elseif how == "transform" then
  ssc:queueStream({}):transform(for_ever):print()
elseif how == "received" then
  ssc:receiverStream { onStart = function(self)
    io.open(gate):read "l"
    for i = 1, 1000 do self:store(i) end
    io.open(gate .. ".done", "w"):write("done\n"):close()
  end }:foreachRDD(function(rdd)
    processed = processed + rdd:count()
    tell_ready()
  end)
else
  local queue = { { 1 } }
  ssc:queueStream(queue):map(function(x)
    busy(how == "slow" and 1 or 1000)
    return x
  end):foreachRDD(function(rdd) processed = processed + rdd:count() end)
  ssc:addStreamingListener { onBatchStarted = tell_ready }
end

ssc:start()
if how == "asked" then
  asked = true
  ssc:stop(true, true)
else
  ssc:awaitTermination()
end
tell(("processed %d, %s"):format(processed, ssc:getState()))
