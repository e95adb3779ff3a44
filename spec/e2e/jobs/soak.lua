-- soak.lua PORT SECONDS WORDS TOLERANCE_KIB: a word count over the socket in batches of 20 ms for SECONDS. WORDS is a file with the counts there must be in the
-- end ("count word" a line, and the sum of lines as "N lines"). Memory: a quarter of the time with the end (TOLERANCE_KIB 0: a
-- sanitizer's, which is not looked at; it slows the job down as it grows, so batches may then begin up to a batch late).
local rille = require "rille"
local resident = require "memory"

local BATCH = 20 -- ms
local port, seconds, tolerance = math.tointeger(arg[1]), tonumber(arg[2]), math.tointeger(arg[4])

local ssc = rille.StreamingContext({ appName = "Soak", master = "local[2]" }, BATCH / 1000)
local lines = ssc:socketTextStream("127.0.0.1", port)

local times, got = {}, { lines = 0 }
lines:count():foreachRDD(function(rdd, time)
  times[#times + 1] = time
  got.lines = got.lines + rdd:first()
end)
lines:flatMap(function(line) return line:gmatch("%S+") end)
  :map(function(word) return word, 1 end)
  :reduceByKey(function(a, b) return a + b end)
  :foreachRDD(function(rdd)
    for _, pair in ipairs(rdd:collect()) do got.words[pair[1]] = (got.words[pair[1]] or 0) + pair[2] end
  end)
got.words = {}

local lags = {} -- how long after its time a batch was begun, ms
ssc:addStreamingListener { onBatchStarted = function(event)
  lags[#lags + 1] = event.processingStartTime - event.batchTime
end }

local function check_counts()
  for line in io.lines(arg[3]) do
    local n, word = line:match("^%s*(%d+) (%S+)$")
    n = math.tointeger(n)
    local found = word == "lines" and got.lines or got.words[word]
    if word == "lines" then got.total = n end
    assert(found == n, ("%s: %s instead of %d"):format(word, found, n))
    got.words[word] = nil
  end
  assert(got.total and next(got.words) == nil, "words that nobody sent")
end

local function check_times()
  for i, time in ipairs(times) do
    assert(time % BATCH == 0, ("time %d is no multiple of %d"):format(time, BATCH))
    assert(i == 1 or time == times[i - 1] + BATCH, ("time %d follows %d"):format(time, times[i - 1] or 0))
  end
  local due = seconds * 1000 // BATCH
  assert(#times >= due - 2, ("%d batches instead of about %d"):format(#times, due))
end

-- What nine in ten exceed: a drift moves it as it moves all of them, and a machine that is busy for a while does not.
local function low(list, from, to)
  local part = table.move(list, from, to, 1, {})
  table.sort(part)
  return part[(#part + 9) // 10]
end

ssc:start()
local warm
assert(not ssc:awaitTerminationOrTimeout(seconds / 4))
warm = resident()
assert(not ssc:awaitTerminationOrTimeout(seconds * 3 / 4))
local grown = resident() - warm
ssc:stop(true, true)

check_times()
local third = #lags // 3
local first, last = low(lags, 1, third), low(lags, #lags - third + 1, #lags)
print(("%d batches, %d lines"):format(#times, got.lines))
print(("begun %d ms after their time at first, %d ms at last"):format(first, last))
print(("memory %d KiB at a quarter, %+d KiB at the end"):format(warm, grown))
check_counts()
assert(last <= first + (tolerance == 0 and BATCH or 3), "batches begin later and later")
assert(tolerance == 0 or grown <= tolerance, ("memory grew by %d KiB; %d KiB are tolerated"):format(grown, tolerance))
