-- Counts the words of a live text stream.
--
--   rille run scripts/network_wordcount.lua [HOST [PORT [SECONDS]]]
--
-- In another terminal give it text: `nc -lk 9999`. A batch is 1 second unless SECONDS says otherwise.
local rille = require "rille"

local host = arg[1] or "localhost"
local port = tonumber(arg[2] or 9999)
local batch = tonumber(arg[3] or 1)

local ssc = rille.StreamingContext({ appName = "NetworkWordCount" }, batch)

ssc:socketTextStream(host, port)
  :flatMap(function(line) return line:gmatch("%S+") end)
  :map(function(word) return word, 1 end)
  :reduceByKey(function(a, b) return a + b end)
  :print()

ssc:start()
ssc:awaitTermination()
