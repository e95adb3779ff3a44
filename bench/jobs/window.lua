-- Sums by key over a window of 60 s that slides by 1 s.
--
--   rille run bench/jobs/window.lua HOW RECORDS KEYS
--
-- HOW: recomputed (window, then reduceByKey), panes (reduceByKeyAndWindow of a reducer that is not known: batches reduced
-- once, their results again for every window), inverse (with an inverse function), known (of a known reducer). For each
-- line on standard input runs some batches of RECORDS records and prints "SECONDS SUM": the median time of a batch, and
-- the sum of all values in the last window.
local rille = require "rille"
local clock = require "bench.clock"

local how, RECORDS <const>, KEYS <const> = arg[1], math.tointeger(arg[2]), math.tointeger(arg[3])
local WINDOW <const>, SLIDE <const>, BATCHES <const> = 60, 1, 7

local ssc = rille.StreamingContext({ appName = "bench-window", master = "local[2]", clock = "manual" }, 1)
local sc = ssc:context()

local function add(a, b) return a + b end
local forms = {
  recomputed = function(s) return s:window(WINDOW, SLIDE):reduceByKey(add) end,
  panes = function(s)
    return s:reduceByKeyAndWindow(function(a, b)
      if a then return a + b end
    end, WINDOW, SLIDE)
  end,
  inverse = function(s)
    return s:reduceByKeyAndWindow(add, function(a, b) return a - b end, WINDOW, SLIDE, nil,
      function(_, n) return n ~= 0 end)
  end,
  known = function(s) return s:reduceByKeyAndWindow(add, WINDOW, SLIDE) end,
}

-- Every batch has the same records, kept in memory: reading them costs next to nothing.
local records = sc:range(0, RECORDS, 1, 2):map(function(i) return i * 2654435761 % KEYS, 1 end):persist()
records:count()

local sum
forms[how](ssc:queueStream({}, true, records)):foreachRDD(function(rdd)
  sum = rdd:map(function(_, n) return n end):fold(0, add)
end)
ssc:start()

local function run_batch()
  local start = clock()
  ssc:clock():advance(SLIDE)
  return clock() - start
end

for _ = 1, WINDOW do run_batch() end

for _ in io.lines() do
  local seconds = {}
  for i = 1, BATCHES do seconds[i] = run_batch() end
  table.sort(seconds)
  print(("%.6f %d"):format(seconds[(#seconds + 1) // 2], sum))
  io.stdout:flush()
end
ssc:stop(true, false)
