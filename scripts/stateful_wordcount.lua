-- Counts the words of a live text stream from its beginning: the counts are state, kept by word.
--
--   rille run scripts/stateful_wordcount.lua [HOST [PORT [SECONDS]]]
--
-- In another terminal give it text: `nc -lk 9999`. A batch is 1 second unless SECONDS says otherwise. Each batch shows
-- all counts so far, and on its own line how many different words there have been.
local rille = require "rille"

local host = arg[1] or "localhost"
local port = tonumber(arg[2] or 9999)
local batch = tonumber(arg[3] or 1)

local ssc = rille.StreamingContext({ appName = "StatefulNetworkWordCount" }, batch)

local counts = ssc:socketTextStream(host, port)
  :flatMap(function(line) return line:gmatch("%S+") end)
  :map(function(word) return word, 1 end)
  :updateStateByKey(function(values, count)
    count = count or 0
    for _, n in ipairs(values) do count = count + n end
    return count
  end)
  :uid("counts")

counts:transform(function(rdd) return rdd:sortByKey() end):print(20)

-- State can be read on the driver at any time, by the uid of its operator.
counts:foreachRDD(function() print("different words: " .. ssc:state("counts"):count()) end)

ssc:start()
ssc:awaitTermination()
