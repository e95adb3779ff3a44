-- The word count over blocks in memory, on two workers.
--
--   rille run bench/jobs/wordcount.lua FILE
--
-- Loads FILE, then counts it once for each line on standard input, and prints "SECONDS DISTINCT CHECKSUM". Timed is the
-- counting, from building the RDDs until every count is there; the checksum is taken from them afterwards.
local rille = require "rille"
local testing = require "rille.testing"
local clock = require "bench.clock"
local text = dofile((arg[0]:gsub("jobs/[^/]*$", "text.lua")))

local sc = rille.Context { appName = "bench-wordcount", master = "local[2]" }
local lines = testing.blocks(sc, text.blocks(text.load(arg[1])))

for _ in io.lines() do
  collectgarbage()
  local start = clock()
  local counts = lines
    :flatMap(function(line) return line:gmatch("%S+") end)
    :map(function(word) return word, 1 end)
    :reduceByKey(function(a, b) return a + b end)
  local distinct = counts:count()
  local seconds = clock() - start

  local sum = 0
  for _, pair in ipairs(counts:collect()) do sum = sum + text.checksum(pair[1], pair[2]) end
  print(("%.6f %d %d"):format(seconds, distinct, sum))
  io.stdout:flush()
end
sc:stop()
