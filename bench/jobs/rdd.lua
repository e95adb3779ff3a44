-- RDD operations over pairs in memory: sort, distinct, join, group.
--
--   rille run bench/jobs/rdd.lua WHAT RECORDS
--
-- Makes the pairs, then runs WHAT over them once for each line on standard input, and prints "SECONDS RESULT". Only the
-- operation is timed, up to the count of what it gives; RESULT is to be compared with the baseline's.
local clock = require "bench.clock"
local rille = require "rille"
local pairs_of = dofile((arg[0]:gsub("jobs/[^/]*$", "pairs.lua")))

local what, n = arg[1], math.tointeger(arg[2])
local records, keys = table.unpack(pairs_of.sizes(n)[what])
local key = pairs_of.key

local sc = rille.Context { appName = "bench-rdd", master = "local[2]" }

local function input(from)
  local rdd = sc:range(from, from + records, 1, 4):map(function(i) return key(i, keys), i end):persist()
  rdd:count()
  return rdd
end

local left = input(0)
local right = what == "join" and input(records)

local function add(a, b) return a + b end

local work = {
  sort = {
    function() return left:sortByKey() end,
    function(sorted) return table.concat(sorted:keys():take(3), ",") end,
  },
  distinct = {
    function() return left:keys():distinct() end,
    function(distinct) return distinct:sum() end,
  },
  join = {
    function() return left:join(right) end,
    function(joined) return joined:map(function(k, a, b) return k + a + b end):sum() end,
  },
  group = {
    function() return left:groupByKey() end,
    function(groups) return groups:map(function(k, values) return k * #values + values[1] end):reduce(add) end,
  },
}

local run, check = table.unpack(work[what])
for _ in io.lines() do
  collectgarbage()
  local start = clock()
  local result = run()
  local count = result:count()
  local seconds = clock() - start
  print(("%.6f %d %s"):format(seconds, count, check(result)))
  io.stdout:flush()
end
