--- Batches that fail and are left out (onBatchFailure = skip), with stops in between: windows, inverse windows and state
--- are what those of a job that was never stopped are, and inverse windows what plain ones are. A failure names its seed;
--- RILLE_TEST_SEED=n runs that one again.
local core = require "rille.core"
local rille = require "rille"
local support = require "spec.lua.support"

core.setLogLevel "off"

local BATCHES <const>, RUNS <const> = 14, os.getenv "RILLE_LONG" == "1" and 20 or 1

local function add(a, b) return a + b end
local function take_off(a, b) return a - b end

-- Fails for the records that say so.
local function careful(k, v)
  if k == "poison" then error "cannot take this" end
  return k, v
end

local function total(values, n)
  n = n or 0
  for _, v in ipairs(values) do n = n + v end
  return n
end

-- Fails as often as not, also many times in a row.
local function random_input()
  local input, failing = {}, false
  for b = 1, BATCHES do
    local batch = {}
    for i = 1, math.random(0, 4) do batch[i] = rille.tuple("k" .. math.random(3), math.random(9)) end
    if math.random(2) == 1 then failing = not failing end
    if failing then batch[#batch + 1] = rille.tuple("poison", 0) end
    input[b] = batch
  end
  return input
end

-- Runs `n` batches more, of a job that begins or goes on in `place`; what each stream had goes into seen[name][time].
local function run(input, place, n, seen)
  local conf = { appName = "discarded", master = "local[2]", clock = "manual", ["rille.task.maxFailures"] = 1,
    ["rille.streaming.onBatchFailure"] = "skip", ["rille.streaming.manualClock.jump"] = "0s" }
  local ssc = rille.StreamingContext(conf, 1)
  ssc:checkpoint(place)
  local handle = ssc:context().handle
  local function compute(time) return handle:parallelize(input[time // 1000] or {}, 2) end
  local pairs_in = ssc:input("test", nil, function(site) return ssc.handle:input("Test", compute, site, true) end)
    :map(careful)
  local streams = {
    plain = pairs_in:window(3, 1):reduceByKey(function(a, b) return a + b end),
    inverse = pairs_in:reduceByKeyAndWindow(add, take_off, 3, 1, 2, function(_, v) return v ~= 0 end):uid "inverse",
    plain_slid = pairs_in:window(4, 2):reduceByKey(function(a, b) return a + b end),
    inverse_slid = pairs_in:reduceByKeyAndWindow(add, take_off, 4, 2, 2, function(_, v) return v ~= 0 end):uid "slid",
    sums = pairs_in:updateStateByKey(total):uid "sums",
  }
  for name, stream in pairs(streams) do
    seen[name] = seen[name] or {}
    stream:foreachRDD(function(rdd, time)
      seen[name][time // 1000] = table.concat(support.sorted(rdd:collect()), " ")
    end)
  end
  ssc:start()
  for _ = 1, n do
    ssc:clock():advance(1)
    pcall(ssc.awaitTerminationOrTimeout, ssc, 0) -- says that the batch failed
  end
  ssc.handle:abandon()
  ssc.sc.handle:stop()
end

describe("batches that are left out", function()
  local seed = tonumber(os.getenv "RILLE_TEST_SEED") or os.time()

  for i = 0, RUNS - 1 do
    it(("are in nothing, wherever the job is stopped (seed %d)"):format(seed + i), function()
      math.randomseed(seed + i)
      local input, directory, whole = random_input(), support.directory(), {}
      run(input, directory .. "/whole", BATCHES, whole)
      assert.same(whole.plain, whole.inverse)
      assert.same(whole.plain_slid, whole.inverse_slid)
      for cut = 1, BATCHES - 1 do
        local seen = {}
        run(input, directory .. "/" .. cut, cut, seen)
        run(input, directory .. "/" .. cut, BATCHES - cut, seen)
        assert.same(whole, seen, "stopped after batch " .. cut)
      end
      support.remove(directory)
    end)
  end
end)
