-- The word count as plain Lua 5.4 does it best: one thread, one loop over whole blocks.
--
--   lua5.4 bench/baseline/wordcount.lua FILE
--
-- Loads FILE, then counts it once for each line on standard input, each time from an empty table, and prints
-- "SECONDS DISTINCT CHECKSUM". Only the counting is timed. Words are what "%S+" matches, as in the job it is compared
-- with. Of the loops tried (a branch, `or 0`, gsub, either collector, none) this one was the fastest.
local clock = require "bench.clock"
local text = dofile((arg[0]:gsub("baseline/[^/]*$", "text.lua")))

local zero = { __index = function() return 0 end }

local function count(blocks)
  local gmatch = string.gmatch
  local counts = setmetatable({}, zero)
  for i = 1, #blocks do
    for word in gmatch(blocks[i], "%S+") do
      counts[word] = counts[word] + 1
    end
  end
  return counts
end

local blocks = text.blocks(text.load(arg[1]))
for _ in io.lines() do
  collectgarbage()
  local start = clock()
  local counts = count(blocks)
  local seconds = clock() - start

  local distinct, sum = 0, 0
  for word, n in pairs(counts) do
    distinct, sum = distinct + 1, sum + text.checksum(word, n)
  end
  print(("%.6f %d %d"):format(seconds, distinct, sum))
  io.stdout:flush()
end
