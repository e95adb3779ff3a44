-- many_batches.lua BATCHES TOLERANCE_KIB: that many batches on the manual clock through a keyed job; every result is compared, and memory after
-- a tenth of the batches with memory at the end (TOLERANCE_KIB 0: not).
local rille = require "rille"
local resident = require "memory"

local batches, tolerance = math.tointeger(arg[1]), math.tointeger(arg[2])
local KEYS = 5

local ssc = rille.StreamingContext({ appName = "ManyBatches", master = "local[2]", clock = "manual" }, 0.1)
local sc = ssc:context()
local queue = {}
local results = {} -- of the batch that was just run: key -> sum, and how often the output ran

-- Batch i: i % 7 numbers from i on. Sums of those with the same remainder.
local function expected(i)
  local sums = {}
  for k = i, i + i % 7 - 1 do sums[k % KEYS] = (sums[k % KEYS] or 0) + k end
  return sums
end

ssc:queueStream(queue)
  :map(function(number) return number % KEYS, number end)
  :reduceByKey(function(a, b) return a + b end)
  :foreachRDD(function(rdd, time)
    results.runs, results.time, results.sums = (results.runs or 0) + 1, time, {}
    for _, pair in ipairs(rdd:collect()) do
      assert(results.sums[pair[1]] == nil, "a key came twice")
      results.sums[pair[1]] = pair[2]
    end
  end)

local function compare(i)
  assert(results.runs == 1 and results.time == i * 100, ("batch %d ran %s times, last for time %s")
    :format(i, results.runs, results.time))
  local wanted = expected(i)
  for key = 0, KEYS - 1 do
    assert(results.sums[key] == wanted[key], ("batch %d: key %d is %s instead of %s")
      :format(i, key, results.sums[key], wanted[key]))
  end
  results.runs = 0
end

ssc:start()
local warm
for i = 1, batches do
  local numbers = {}
  for k = i, i + i % 7 - 1 do numbers[#numbers + 1] = k end
  queue[#queue + 1] = i % 2 == 0 and numbers or sc:parallelize(numbers, 3)
  ssc:clock():advance(0.1)
  compare(i)
  if i == batches // 10 then warm = resident() end
end
assert(not ssc:awaitTerminationOrTimeout(0))
local grown = resident() - warm
ssc:stop(true, true)

print(("%d batches, memory %d KiB after a tenth, %+d KiB at the end"):format(batches, warm, grown))
assert(tolerance == 0 or grown <= tolerance, ("memory grew by %d KiB; %d KiB are tolerated"):format(grown, tolerance))
