-- A stream out of a queue of RDDs that the job itself fills: how often each last digit is there.
--
--   rille run scripts/queue_stream.lua [BATCHES [SECONDS]]
--
-- BATCHES (5) RDDs of 1000 numbers are put into the queue, one a batch of SECONDS (1); then the job stops by itself.
local rille = require "rille"

local batches = tonumber(arg[1] or 5)
local batch = tonumber(arg[2] or 1)

local ssc = rille.StreamingContext({ appName = "QueueStream" }, batch)
local queue = {}

ssc:queueStream(queue)
  :map(function(number) return number % 10, 1 end)
  :reduceByKey(function(a, b) return a + b end)
  :print()

ssc:start()
for i = 1, batches do
  local numbers = {}
  for k = 1, 1000 do numbers[k] = i * 1000 + k end
  queue[#queue + 1] = ssc:context():parallelize(numbers)
  rille.sleep(batch)
end
-- The last one is taken at the next tick.
rille.sleep(batch)
ssc:stop(true, true)
