-- Counts the words of files that appear in a directory, for ever, in an LMDB environment: exactly once, also when the
-- job is killed and started again.
--
--   rille run scripts/lmdb_wordcount.lua [DIRECTORY [ENVIRONMENT [CHECKPOINT [SECONDS]]]]
--   rille run scripts/lmdb_wordcount.lua --show [ENVIRONMENT]
--
-- DIRECTORY is "incoming", ENVIRONMENT "counts.mdb", CHECKPOINT "counts.checkpoint" ("" for none), a batch 1 second.
-- The checkpoint directory remembers which files were in which batch, the environment which batches are in it. Any
-- program that knows LMDB reads the counts: keys are words, values are numbers as text, in the database "words".
local rille = require "rille"

if arg[1] == "--show" then
  for word, n in rille.sink.lmdbRead(arg[2] or "counts.mdb", { db = "words" }) do print(word, n) end
  os.exit()
end

local directory = arg[1] or "incoming"
local environment = arg[2] or "counts.mdb"
local checkpoint = arg[3] or "counts.checkpoint"
local batch = tonumber(arg[4] or 1)

local ssc = rille.StreamingContext({ appName = "LmdbWordCount" }, batch)
if checkpoint ~= "" then ssc:checkpoint(checkpoint) end

local counts = ssc:textFileStream(directory)
  :flatMap(function(line) return line:gmatch("%S+") end)
  :map(function(word) return word, 1 end)
  :reduceByKey(function(a, b) return a + b end)
  :uid("words")

rille.sink.lmdb(counts, {
  path = environment,
  db = "words",
  merge = function(old, n) return (old or 0) + n end,
})

ssc:start()
ssc:awaitTermination()
