-- Counts the words of the last minute, anew every few seconds, most frequent first.
--
--   rille run scripts/windowed_wordcount.lua [HOST [PORT [WINDOW [SLIDE [SECONDS]]]]]
--
-- In another terminal give it text: `nc -lk 9999`. The window is 60 seconds, counted every 10 seconds, unless WINDOW and
-- SLIDE say otherwise; both must be multiples of the batch, which is 1 second unless SECONDS says otherwise.
--
-- Words are counted once, in the batch they came in. A window adds up the counts of its batches, so a long window over
-- much text costs what there are different words in a batch, not what there are words.
local rille = require "rille"

local host = arg[1] or "localhost"
local port = tonumber(arg[2] or 9999)
local window = tonumber(arg[3] or 60)
local slide = tonumber(arg[4] or 10)
local batch = tonumber(arg[5] or 1)

local ssc = rille.StreamingContext({ appName = "WindowedWordCount" }, batch)

ssc:socketTextStream(host, port)
  :flatMap(function(line) return line:gmatch("%S+") end)
  :map(function(word) return word, 1 end)
  :reduceByKeyAndWindow(function(a, b) return a + b end, window, slide):uid("counts")
  :transform(function(counts) return counts:sortBy(function(_, n) return n end, false) end)
  :print()

ssc:start()
ssc:awaitTermination()
