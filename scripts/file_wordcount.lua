-- Counts the words of files that appear in a directory.
--
--   rille run scripts/file_wordcount.lua [DIRECTORY [OUT [SECONDS]]]
--
-- Write files elsewhere and move them in, so that none is read half written. With OUT every batch is also saved, as
-- OUT-<time>.txt/part-00000, ...; DIRECTORY is "incoming" and a batch 1 second unless said otherwise.
local rille = require "rille"

local directory = arg[1] or "incoming"
local out = arg[2]
local batch = tonumber(arg[3] or 1)

local ssc = rille.StreamingContext({ appName = "FileWordCount" }, batch)

local counts = ssc:textFileStream(directory)
  :flatMap(function(line) return line:gmatch("%S+") end)
  :map(function(word) return word, 1 end)
  :reduceByKey(function(a, b) return a + b end)

counts:print()
if out and out ~= "" then counts:saveAsTextFiles(out, "txt") end

ssc:start()
ssc:awaitTermination()
