-- many_states.lua BATCHES TOLERANCE_KIB: that many batches on the manual clock through every kind of state: by key, with
-- a timeout and snapshots, windows kept up with an inverse and of a known reducer, one state feeding another, streams that
-- are persisted and remembered. Results are compared, and memory after a tenth of the batches with memory at the end (TOLERANCE_KIB 0: not).
local rille = require "rille"
local resident = require "memory"

local batches, tolerance = math.tointeger(arg[1]), math.tointeger(arg[2])
local KEYS, WINDOW, SILENCE = 50, 5, 3

local ssc = rille.StreamingContext({ appName = "ManyStates", master = "local[2]", clock = "manual" }, 0.1)
local queue, seen = {}, {}

local function sum(values, state)
  state = state or 0
  for _, v in ipairs(values) do state = state + v end
  return state
end

local function add(a, b) return a + b end

local function look(name, stream)
  stream:foreachRDD(function(rdd) seen[name] = rdd:map(function(_, n) return n end):sum() end)
end

-- Batch i has the keys i % KEYS and (i + 1) % KEYS, with the value i each.
local pairs_ = ssc:queueStream(queue)
local sums = pairs_:updateStateByKey(sum):uid("sums"):persist "MEMORY_AND_DISK"
local sessions = pairs_:mapWithState(rille.StateSpec(function(_, key, value, state)
  if state:isTimingOut() then return key, 0 end
  state:update((state:get() or 0) + value)
  return key, 1
end):timeout(SILENCE / 10)):uid "sessions"
look("sums", sums)
look("mapped", sessions)
look("snapshots", sessions:stateSnapshots())
look("inverse", pairs_:reduceByKeyAndWindow(add, function(a, b) return a - b end, WINDOW / 10, 0.1, 2,
  function(_, n) return n ~= 0 end):uid "inverse")
look("known", pairs_:reduceByKeyAndWindow(add, WINDOW / 10, 0.1):uid "known")
look("chained", sessions:updateStateByKey(sum):uid "chained")
look("transformed", sums:transform(function(rdd)
  local n = rdd:count()
  return rdd:map(function(key) return key, n end)
end))
ssc:remember(0.4)
ssc:start()

local function compare(i)
  local live, all, window = 0, 0, 0
  for k = 1, i do all = all + 2 * k end
  for k = math.max(1, i - SILENCE + 1), i do live = live + 2 * k end
  for k = math.max(1, i - WINDOW + 1), i do window = window + 2 * k end
  local keys = math.min(KEYS, i + 1)
  local wanted = { sums = all, mapped = 2, inverse = window, known = window, chained = 2 * i,
    transformed = keys * keys }
  for name, value in pairs(wanted) do
    assert(seen[name] == value, ("batch %d: %s is %s instead of %s"):format(i, name, seen[name], value))
  end
  -- A key of batch k lives until k + SILENCE, with what the batch before had given it.
  assert(seen.snapshots >= live, ("batch %d: the sessions are %s, below %s"):format(i, seen.snapshots, live))
  assert(#sums:slice(math.max(1, i - 2) * 100, i * 100) == math.min(i, 3), "slice")
end

local warm
for i = 1, batches do
  queue[#queue + 1] = { rille.tuple(i % KEYS, i), rille.tuple((i + 1) % KEYS, i) }
  ssc:clock():advance(0.1)
  assert(not ssc:awaitTerminationOrTimeout(0))
  if i <= 3 * KEYS or i % 100 == 0 then compare(i) end
  if i == batches // 10 then warm = resident() end
end
assert(ssc:state("sums"):count() == math.min(KEYS, batches + 1))
assert(ssc:state("sessions"):count() <= 2 * SILENCE + 2)
local grown = resident() - warm
ssc:stop(true, true)

print(("%d batches with state, memory %d KiB after a tenth, %+d KiB at the end"):format(batches, warm, grown))
assert(tolerance == 0 or grown <= tolerance, ("memory grew by %d KiB; %d KiB are tolerated"):format(grown, tolerance))
