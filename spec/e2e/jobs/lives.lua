-- lives.lua N TOLERANCE_KIB: N streaming contexts one after another in one process; memory after a quarter of them with the end (0: not).
local rille = require "rille"
local resident = require "memory"

local lives, tolerance = math.tointeger(arg[1]), math.tointeger(arg[2])
local warm
for i = 1, lives do
  local ssc = rille.StreamingContext({ appName = "Lives", master = "local[2]" }, 0.01)
  local done = false
  ssc:queueStream({ { i } }):foreachRDD(function(rdd) done = done or rdd:collect()[1] == i end)
  ssc:start()
  while not done do ssc:awaitTerminationOrTimeout(0.005) end
  ssc:stop(true, i % 2 == 0)
  assert(ssc:awaitTerminationOrTimeout(0) and ssc:getState() == "STOPPED" and ssc:context():isStopped())
  assert(rille.StreamingContext.getActive() == nil)
  if i == lives // 4 then warm = resident() end
end
local grown = resident() - warm
print(("%d lives, memory %d KiB after a quarter, %+d KiB at the end"):format(lives, warm, grown))
assert(tolerance == 0 or grown <= tolerance, ("memory grew by %d KiB; %d KiB are tolerated"):format(grown, tolerance))
