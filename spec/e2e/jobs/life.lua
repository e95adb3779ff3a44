-- life.lua HOW: one short life of a streaming context in stock Lua, ended in one of several ways.
local rille = require "rille"

local how = arg[1]
local ssc = rille.StreamingContext({ appName = "Life", master = "local[2]" }, 0.01)
local batches = 0

ssc:queueStream({}, true, { 1, 2, 3, 4 })
  :map(function(x) return x % 2, x end)
  :reduceByKey(function(a, b) return a + b end)
  :foreachRDD(function(rdd) batches = batches + #rdd:collect() / 2 end)
ssc:receiverStream { onStart = function(self)
  for i = 1, 100 do self:store("record", i) end
end }:foreachRDD(function() end)

ssc:start()
while batches < 1 do ssc:awaitTerminationOrTimeout(0.005) end

local ends = {
  stop = function() ssc:stop() end,
  graceful = function() ssc:stop(true, true) end,
  exit = function() end,
  error = function() error "on purpose" end,
  os_exit = function() os.exit(3) end,
  os_exit_close = function() os.exit(3, true) end,
}
ends[how]()
