-- The most frequent words of every batch: transform and sortBy.
--
--   rille run scripts/top_k.lua [K [HOST [PORT [SECONDS]]]]
--
-- In another terminal give it text: `nc -lk 9999`. K is 10 and a batch 1 second unless said otherwise.
local rille = require "rille"

local k = tonumber(arg[1] or 10)
local host = arg[2] or "localhost"
local port = tonumber(arg[3] or 9999)
local batch = tonumber(arg[4] or 1)

local ssc = rille.StreamingContext({ appName = "TopK" }, batch)

local counts = ssc:socketTextStream(host, port)
  :flatMap(function(line) return line:lower():gmatch("%a+") end)
  :map(function(word) return word, 1 end)
  :reduceByKey(function(a, b) return a + b end)

-- Words by name first, so that equally frequent ones come in order: sorting is stable.
counts:transform(function(rdd)
  return rdd:sortByKey():sortBy(function(_, n) return n end, false)
end):print(k)

ssc:start()
ssc:awaitTermination()
