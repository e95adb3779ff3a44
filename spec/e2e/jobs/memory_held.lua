-- memory_held.lua SPILL: receivers that store without end are held back for memory, and are stopped there after 3 s.
local rille = require "rille"
local settings = { master = "local[1]", ["rille.memory.limit"] = "48m", ["rille.local.dir"] = arg[1] }
local ssc = rille.StreamingContext(settings, 0.5)
local streams = {}
for i = 1, 8 do
  streams[i] = ssc:receiverStream { onStart = function(self)
    local block = {}
    for n = 1, 100 do block[n] = ("x"):rep(10000) .. n end
    while not self:isStopped() do self:store(block) end
  end }
end
ssc:union(streams):map(function(v)
  for _ = 1, 30000 do end -- slower than they are
  return v
end):count():foreachRDD(function() end)
ssc:start()
ssc:awaitTerminationOrTimeout(3)
ssc:stop(true, false)
print "stopped"
