--- Keyed state at its edges: handles that outlive the job, batches that fail half-way, what is read while it moves.
local rille = require "rille"
local support = require "spec.lua.support"
local testing = require "rille.testing"

local map_of, pairs_of = support.map_of, support.pairs_of

local function total(values, state)
  state = state or 0
  for _, v in ipairs(values) do state = state + v end
  return state
end

local active

local function context(settings)
  settings = settings or {}
  settings.master, settings.clock = "local[2]", settings.clock or "manual"
  active = rille.StreamingContext(settings, 1)
  return active
end

after_each(function()
  if active and active:getState() == "ACTIVE" then active:stop() end
  active = nil
end)

local function queue(ssc, batches)
  local list = {}
  for i, batch in ipairs(batches) do list[i] = ssc:context():parallelize(batch, 2) end
  return ssc:queueStream(list)
end

-- What a stream gives, by time.
local function note(stream)
  local seen = {}
  stream:foreachRDD(function(rdd, time) seen[time] = map_of(rdd:collect()) end)
  return seen
end

describe("what was taken from a job's state", function()
  it("can be used after the stop: a state that is read, and an iteration under way", function()
    local ssc = context()
    queue(ssc, { pairs_of("a", 1, "b", 2) }):updateStateByKey(total):uid("sums"):foreachRDD(function() end)
    ssc:start()
    ssc:clock():advance(1)
    local state = ssc:state "sums"
    local iterator = state:iterate()
    local first = iterator()
    ssc:stop()
    collectgarbage() -- with the RDDs
    collectgarbage()
    assert.equal(2, state:count())
    assert.equal(1, state:get "a")
    assert.equal(first == "a" and "b" or "a", (iterator()))
    assert.is_nil(iterator())
    assert.matches("the state is gone, the context was stopped", support.failure(function() ssc:state "sums" end))
  end)

  it("keeps no version when a loop over it is left early", function()
    local ssc = context()
    queue(ssc, { pairs_of("a", 1, "b", 2) }):updateStateByKey(total):uid("sums"):foreachRDD(function() end)
    ssc:start()
    ssc:clock():advance(1)
    local iterator, nothing, start, closing = ssc:state("sums"):iterate()
    local ok = pcall(function()
      for _ in iterator, nothing, start, closing do error "enough" end
    end)
    assert.is_false(ok)
    assert.is_nil(iterator())
    ssc:stop()
  end)

  it("goes with its last RDD, also long after the context is gone", function()
    local kept = {}
    do
      local ssc = context()
      local state = queue(ssc, { pairs_of("a", 1), pairs_of("b", 2) })
        :mapWithState(rille.StateSpec(function(_, key, value, s)
          s:update(value)
          return key, value
        end))
      state:foreachRDD(function(rdd) kept[#kept + 1] = rdd end)
      state:stateSnapshots():foreachRDD(function(rdd) kept[#kept + 1] = rdd end)
      ssc:start()
      ssc:clock():advance(2)
      ssc:stop()
    end
    assert.equal(4, #kept)
    assert.matches("stopped", support.failure(function() kept[1]:collect() end))
    collectgarbage()
    kept = nil
    collectgarbage()
  end)
end)

describe("a batch that fails half-way", function()
  local function fails_at(time)
    return function(at, _, values, state)
      if at == time then error "no" end
      return (state or 0) + #values
    end
  end

  local SKIP <const> = { ["rille.streaming.onBatchFailure"] = "skip", ["rille.task.maxFailures"] = 1 }

  local function skipping()
    local settings = {}
    for k, v in pairs(SKIP) do settings[k] = v end
    return context(settings)
  end

  it("is in no state when it is skipped, also of operators that had made theirs", function()
    local ssc = skipping()
    local input = queue(ssc, { pairs_of("a", 1), pairs_of("a", 10, "new", 1), pairs_of("a", 100), {}, {} })
    local sums = note(input:updateStateByKey(total):uid "sums")
    local windows = note(input:reduceByKeyAndWindow("sum", 3))
    local inverse = note(input:reduceByKeyAndWindow(function(a, b) return a + b end,
      function(a, b) return a - b end, 3))
    -- it reads another's state, so it fails when that was made
    input:updateStateByKey(total):updateStateByKey(fails_at(2000), { withTime = true }):foreachRDD(function() end)
    ssc:start()
    ssc:clock():advance(2)
    local state = ssc:state "sums"
    assert.equal(1, state:get "a")
    assert.is_nil(state:get "new")
    assert.equal(1, state:count())
    ssc:clock():advance(3)
    ssc:stop()
    assert.same({ [1000] = { a = 1 }, [3000] = { a = 101 }, [4000] = { a = 101 }, [5000] = { a = 101 } }, sums)
    local wanted = { [1000] = { a = 1 }, [3000] = { a = 101 }, [4000] = { a = 100 }, [5000] = { a = 100 } }
    assert.same(wanted, windows)
    assert.same(wanted, inverse)
  end)

  it("stops a context with state when its generation fails, as the state would lack it", function()
    local ssc = context()
    local input = queue(ssc, { pairs_of("a", 1), pairs_of("a", 1), pairs_of("a", 1) })
    local sums = note(input:updateStateByKey(total))
    input:transform(function(rdd, time)
      if time == 2000 then error "no" end
      return rdd
    end):foreachRDD(function() end)
    ssc:start()
    ssc:clock():advance(3)
    assert.matches("no", support.failure(function() ssc:awaitTermination() end))
    assert.equal("STOPPED", ssc:getState())
    assert.same({ [1000] = { a = 1 } }, sums)
  end)

  it("is left out of windows and state when its generation fails and it is skipped", function()
    local ssc = skipping()
    local input = queue(ssc, { pairs_of("a", 1), pairs_of("a", 10), pairs_of("a", 100), {}, {} })
    local snapshots = input:updateStateByKey(total)
    local sums, windows = note(snapshots), note(input:reduceByKeyAndWindow("sum", 2))
    local over_snapshots = note(snapshots:reduceByKeyAndWindow(function(a, b) return a > b and a or b end, 2))
    local keys
    snapshots:transform(function(rdd, time) -- whose action makes the state
      if time == 2000 then
        keys = rdd:count()
        error "no"
      end
      return rdd
    end):foreachRDD(function() end)
    ssc:start()
    ssc:clock():advance(4)
    assert.is_false(ssc:awaitTerminationOrTimeout(0))
    ssc:stop()
    assert.equal(1, keys)
    assert.same({ [1000] = { a = 1 }, [3000] = { a = 101 }, [4000] = { a = 101 } }, sums)
    assert.same({ [1000] = { a = 1 }, [3000] = { a = 100 }, [4000] = { a = 100 } }, windows)
    assert.same({ [1000] = { a = 1 }, [3000] = { a = 101 }, [4000] = { a = 101 } }, over_snapshots)
  end)

  it("ends a graceful stop, which does not wait for batches that will not come", function()
    local ssc = context { clock = "system", ["rille.streaming.gracefulStopTimeout"] = "60s",
      ["rille.task.maxFailures"] = 1 }
    queue(ssc, { pairs_of("a", {}) }):updateStateByKey(total):foreachRDD(function() end)
    ssc:start()
    local before = os.time()
    ssc:stop(true, true)
    assert.is_true(os.time() - before < 30)
    assert.equal("STOPPED", ssc:getState())
  end)
end)

describe("a stop", function()
  it("does not wait for state that is being made, nor leaves a part of it", function()
    local ssc = context { clock = "system" }
    local folder = support.directory()
    local flag = folder .. "/begun"
    queue(ssc, { pairs_of("a", 1), pairs_of("a", "endless"), pairs_of("a", 1) })
      :updateStateByKey(function(values, state)
        if values[1] == "endless" then
          io.open(flag, "w"):close()
          for _ = 1, math.huge do string.rep("x", 100) end
        end
        return (state or 0) + #values
      end):uid("sums"):foreachRDD(function() end)
    ssc:start()
    local state = ssc:state "sums"
    local file
    repeat
      rille.sleep(0.05)
      file = io.open(flag)
    until file
    file:close()
    ssc:stop()
    assert.equal("STOPPED", ssc:getState())
    assert.equal(1, state:get "a")
    support.remove(folder)
  end)

  it("in an output comes before the state of the batches behind it", function()
    local ssc = context { ["rille.streaming.concurrentJobs"] = 3 }
    local seen = {}
    local sums = queue(ssc, { pairs_of("a", 1), pairs_of("a", 1), pairs_of("a", 1) }):updateStateByKey(total):uid "sums"
    sums:foreachRDD(function(rdd, time)
      seen[#seen + 1] = rdd:collect()[1][2]
      if time == 2000 then ssc:stop() end
    end)
    ssc:start()
    local state = ssc:state "sums"
    ssc:clock():advance(3)
    assert.equal("STOPPED", ssc:getState())
    assert.same({ 1, 2 }, seen)
    assert.equal(2, state:get "a")
  end)
end)

describe("keys of state", function()
  -- The same keys, written in two ways.
  local function first() return pairs_of(1, "x", -0.0, "x", { 1, { x = 2 } }, "x", "1", "x") end
  local function second() return pairs_of(1.0, "y", 0, "y", { 1.0, { x = 2 } }, "y", "1", "y") end

  local function joined(values, state) return (state or "") .. table.concat(values) end

  local function listed(results)
    local lists = {}
    for i, records in ipairs(results) do lists[i] = support.sorted(records) end
    return lists
  end

  local function run(operation, batches, count)
    return listed(testing.run { inputs = { batches }, batches = count or #batches,
      operation = function(ssc, s) return operation(s, ssc) end })
  end

  it("are the same as integers and floats, wherever they come from", function()
    local wanted = run(function(s) return s:updateStateByKey(joined) end, { first(), second() })
    assert.equal(4, #wanted[2])
    for _, text in ipairs(wanted[2]) do assert.matches(",xy%)$", text) end
    local given = run(function(s, ssc)
      return s:updateStateByKey(joined, { initial = ssc:context():parallelize(first(), 3), partitions = 5 })
    end, { second(), {} })
    assert.same(wanted[2], given[1])
    assert.same(wanted[2], given[2])
    local mapped = run(function(s, ssc)
      return s:mapWithState(rille.StateSpec(function(_, key, value, state)
        if state:isTimingOut() then return key, state:get() end
        state:update((state:get() or "") .. value)
      end):timeout(1):numPartitions(7):initialState(ssc:context():parallelize(first(), 2)))
    end, { second(), {}, {}, {} })
    assert.same({ {}, {}, wanted[2], {} }, mapped)
  end)

  it("are the same in windows", function()
    local function ones(records)
      local list = {}
      for i, record in ipairs(records) do list[i] = rille.tuple(record[1], 1) end
      return list
    end
    local batches = { ones(first()), ones(second()), ones(first()), {}, {} }
    local function add(a, b) return a + b end
    local plain = run(function(s)
      return s:groupByKeyAndWindow(2):mapValues(function(list) return #list end)
    end, batches)
    assert.equal(4, #plain[2])
    assert.same(plain, run(function(s) return s:reduceByKeyAndWindow("sum", 2) end, batches))
    assert.same(plain, run(function(s)
      return s:reduceByKeyAndWindow(add, function(a, b) return a - b end, 2, 1, 3, function(_, n) return n > 0 end)
    end, batches))
  end)
end)
