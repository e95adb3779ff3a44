--- Keyed state, rule by rule (sections 8 and 9 of the reference).
local rille = require "rille"
local support = require "spec.lua.support"
local testing = require "rille.testing"

local map_of, pairs_of, sorted = support.map_of, support.pairs_of, support.sorted

local function run(operation, batches, options)
  options = options or {}
  options.inputs, options.operation = { batches }, function(ssc, s) return operation(s, ssc) end
  return testing.run(options)
end

-- What each batch gave, as a table by key.
local function maps(results)
  local list = {}
  for i, records in ipairs(results) do list[i] = map_of(records) end
  return list
end

local function total(values, state)
  state = state or 0
  for _, v in ipairs(values) do state = state + v end
  return state
end

describe("updateStateByKey", function()
  it("gives the whole state in every batch", function()
    assert.same({ { a = 3 }, { a = 3, b = 5 }, { a = 3, b = 5 } }, maps(run(function(s)
      return s:updateStateByKey(total)
    end, { pairs_of("a", 1, "a", 2), pairs_of("b", 5), {} })))
  end)

  it("calls the function for every key of data or state, with an array of new values", function()
    local got = maps(run(function(s)
      return s:updateStateByKey(function(values, state)
        return (state or "") .. "[" .. table.concat(values, ",") .. "]"
      end)
    end, { pairs_of("a", 1, "a", 2), pairs_of("b", 3), pairs_of("a", 4) }))
    assert.same({ { a = "[1,2]" }, { a = "[1,2][]", b = "[3]" }, { a = "[1,2][][4]", b = "[3][]" } }, got)
  end)

  it("removes a key for nil; it comes back without state", function()
    local got = maps(run(function(s)
      return s:updateStateByKey(function(values, state)
        if values[1] == "drop" then return nil end
        return (state or 0) + #values
      end)
    end, { pairs_of("a", 1, "b", 1), pairs_of("a", "drop"), pairs_of("a", 1) }))
    assert.same({ { a = 1, b = 1 }, { b = 1 }, { a = 1, b = 1 } }, got)
  end)

  it("gives time and key with withTime", function()
    local got = maps(run(function(s)
      return s:updateStateByKey(function(time, key, values, state)
        return ("%s%d:%d;%s"):format(key, time, #values, state or "")
      end, { withTime = true })
    end, { pairs_of("a", 1), pairs_of("b", 1) }))
    assert.same({ { a = "a1000:1;" }, { a = "a2000:0;a1000:1;", b = "b2000:1;" } }, got)
  end)

  it("has its initial keys from the first batch on, without data too; the first of a key counts", function()
    local got = maps(run(function(s, ssc)
      local initial = ssc:context():parallelize(pairs_of("a", 10, "b", 20, "b", 99), 2)
      return s:updateStateByKey(total, { initial = initial:mapValues(function(n) return n + 1 end), partitions = 3 })
    end, { pairs_of("a", 1, "c", 1), pairs_of("b", 1) }))
    assert.same({ { a = 12, b = 21, c = 1 }, { a = 12, b = 22, c = 1 } }, got)
  end)

  it("does not use the initial state up in a batch without an RDD", function()
    assert.same({ { a = 11 } }, maps(run(function(s, ssc)
      return s:updateStateByKey(total, { initial = ssc:context():parallelize(pairs_of("a", 10), 1) })
    end, { false, pairs_of("a", 1) }, { batches = 2 })))
  end)

  it("goes on with the state in a batch without an RDD", function()
    assert.same({ { a = 1 }, { a = 2 } }, maps(run(function(s)
      return s:updateStateByKey(function(_, state) return (state or 0) + 1 end)
    end, { pairs_of("a", 1), false }, { batches = 2 })))
  end)

  it("has as many partitions as it is told", function()
    local got = run(function(s)
      return s:updateStateByKey(total, { partitions = 5 }):glom():map(function(part) return #part end)
    end, { pairs_of("a", 1, "b", 1) })
    assert.equal(5, #got[1])
  end)

  it("takes state as values: what a function does to a table it was given is not seen unless returned", function()
    local got = run(function(s)
      return s:updateStateByKey(function(values, state)
        if not state then return { n = 1 } end
        state.n = state.n + 100
        if #values > 0 then return { n = 2 } end
        return nil
      end):map(function(k, state) return k, state.n end)
    end, { pairs_of("a", 1, "b", 1), pairs_of("a", 1) })
    assert.same({ { a = 1, b = 1 }, { a = 2 } }, maps(got))
  end)

  it("keeps keys and values of any kind", function()
    local keys = { 1, 1.5, true, "", "\0\255", { 1, { x = 2 } }, rille.tuple("t", 1), rille.null }
    local values = { { 1, 2, x = { y = "z" } }, 0.5, false, rille.null, ("long"):rep(5000), rille.tuple(1, nil, 3), -1,
      "s" }
    local batch = {}
    for i, key in ipairs(keys) do batch[i] = rille.tuple(key, values[i]) end
    local got = run(function(s)
      return s:updateStateByKey(function(new, state)
        if #new > 0 then return new[1] end
        return state
      end)
    end, { batch, {}, {} }, { batches = 3 })
    local wanted = sorted(batch)
    for i = 1, 3 do assert.same(wanted, sorted(got[i])) end
  end)

  it("keeps keys far longer than the store's own limit, and tells them apart", function()
    local long = ("k"):rep(3000)
    assert.same({ { [long .. "1"] = 1, [long .. "2"] = 2 }, { [long .. "1"] = 1, [long .. "2"] = 5 } },
      maps(run(function(s) return s:updateStateByKey(total) end,
        { pairs_of(long .. "1", 1, long .. "2", 2), pairs_of(long .. "2", 3) })))
  end)

  it("runs the function once a key and batch, however many outputs and operations stand on it", function()
    local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual" }, 1)
    local calls = ssc:context():longAccumulator "calls"
    local state = ssc:queueStream { ssc:context():parallelize(pairs_of("a", 1, "b", 1), 2) }
      :updateStateByKey(function(values, s)
        calls:add(1)
        return (s or 0) + #values
      end)
    local seen = {}
    state:foreachRDD(function(rdd) seen[#seen + 1] = rdd:count() + rdd:count() end)
    state:map(function(k, n) return k, n * 2 end):foreachRDD(function(rdd) seen[#seen + 1] = #rdd:collect() end)
    state:foreachRDD(function() end)
    ssc:start()
    ssc:clock():advance(3)
    ssc:stop()
    assert.equal(6, calls:value())
    assert.same({ 4, 2, 4, 2, 4, 2 }, seen)
  end)

  it("runs before any output, though no output reads it in that batch", function()
    local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual" }, 1)
    local state = ssc:queueStream { ssc:context():parallelize(pairs_of("a", 1), 1) }
      :updateStateByKey(function(values, s) return (s or 0) + #values + 1 end)
    local last
    state:foreachRDD(function(rdd, time) if time == 3000 then last = map_of(rdd:collect()) end end)
    ssc:start()
    ssc:clock():advance(3)
    ssc:stop()
    assert.same({ a = 4 }, last)
  end)

  it("tells stream, key and place when its function raises, and stops", function()
    local message = support.failure(function()
      run(function(s)
        return s:updateStateByKey(function(values) return values[1] + 1 end)
      end, { pairs_of("good", 1), pairs_of("bad", {}) })
    end)
    assert.matches("state_spec.lua:%d+: ", message)
    assert.matches("updateStateByKey", message)
    assert.matches("key bad", message)
  end)

  it("tells stream, key and place when the function gives what cannot be kept", function()
    local message = support.failure(function()
      run(function(s)
        return s:updateStateByKey(function() return { f = print } end)
      end, { pairs_of("a", 1) })
    end)
    assert.matches("state_spec.lua:%d+: updateStateByKey: the state of key a: .*function", message)
  end)

  it("leaves a batch out that fails, where it is told to, and goes on from the one before", function()
    local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual",
      ["rille.streaming.onBatchFailure"] = "skip", ["rille.task.maxFailures"] = 1 }, 1)
    local sc, seen = ssc:context(), {}
    local input = {}
    for i, v in ipairs { 1, "x", 3 } do input[i] = sc:parallelize(pairs_of("a", v, "b", 1), 2) end
    ssc:queueStream(input):updateStateByKey(total)
      :foreachRDD(function(rdd, time) seen[time] = map_of(rdd:collect()) end)
    ssc:start()
    ssc:clock():advance(3)
    assert.is_false(ssc:awaitTerminationOrTimeout(0)) -- nothing to raise: it was asked for
    assert.equal("ACTIVE", ssc:getState())
    ssc:stop()
    assert.same({ [1000] = { a = 1, b = 1 }, [3000] = { a = 4, b = 2 } }, seen)
  end)

  it("stops the context when a batch's state cannot be made", function()
    local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual" }, 1)
    ssc:queueStream { ssc:context():parallelize(pairs_of("a", {}), 1) }:updateStateByKey(total):print()
    ssc:start()
    ssc:clock():advance(5)
    assert.has_error(function() ssc:awaitTermination() end)
    assert.equal("STOPPED", ssc:getState())
  end)

  it("refuses what it cannot take", function()
    local ssc = rille.StreamingContext({ master = "local[1]", clock = "manual" }, 1)
    local s = ssc:queueStream {}
    assert.matches("bad argument #1 to 'updateStateByKey'", support.failure(function() s:updateStateByKey(1) end))
    assert.matches("unknown option 'part'", support.failure(function() s:updateStateByKey(total, { part = 1 }) end))
    assert.matches("RDD expected", support.failure(function() s:updateStateByKey(total, { initial = {} }) end))
    ssc:stop()
  end)
end)

local function counting(time, key, value, state)
  state:update((state:get() or 0) + value)
  return key, state:get(), time
end

describe("mapWithState", function()
  it("calls its function once a record, and gives what that returns", function()
    local got = run(function(s) return s:mapWithState(rille.StateSpec(counting)) end,
      { pairs_of("a", 1, "a", 2), pairs_of("a", 3) })
    assert.same({ { "(a,1,1000)", "(a,3,1000)" }, { "(a,6,2000)" } }, { sorted(got[1]), sorted(got[2]) })
  end)

  it("gives nothing where the function returns nothing or nil", function()
    local got = run(function(s)
      return s:mapWithState(rille.StateSpec(function(_, key, value)
        if value == 1 then return nil end
        if value > 1 then return key end
      end))
    end, { pairs_of("a", 1, "b", 2, "c", 0) })
    assert.same({ { "b" } }, got)
  end)

  it("keeps the order of a key's records", function()
    local batch = {}
    for i = 1, 100 do batch[i] = rille.tuple("k" .. i % 3, i) end
    local got = run(function(s)
      return s:mapWithState(rille.StateSpec(function(_, key, value, state)
        assert((state:get() or 0) < value)
        state:update(value)
        return key, value
      end))
    end, { batch }, { partitions = 1 })
    assert.equal(100, #got[1])
  end)

  it("knows what a key's state is", function()
    local got = run(function(s)
      return s:mapWithState(rille.StateSpec(function(_, _, what, state)
        local before = state:exists()
        if what == "set" then state:update(1) elseif what == "remove" then state:remove() end
        return what, before, state:exists(), state:get(), state:isTimingOut()
      end):numPartitions(1))
    end, { pairs_of("a", "look", "a", "set", "a", "look"),
      pairs_of("a", "look", "a", "remove", "a", "look", "a", "set"),
      pairs_of("a", "look") }, { partitions = 1 })
    assert.same({
      { "(look,false,false,nil,false)", "(set,false,true,1,false)", "(look,true,true,1,false)" },
      { "(look,true,true,1,false)", "(remove,true,false,nil,false)", "(look,false,false,nil,false)",
        "(set,false,true,1,false)" },
      { "(look,true,true,1,false)" },
    }, { support.texts(got[1]), support.texts(got[2]), support.texts(got[3]) })
  end)

  local function rule(message, f)
    it("raises: " .. message, function()
      assert.matches(message, support.failure(function()
        run(function(s) return s:mapWithState(rille.StateSpec(f)) end, { pairs_of("a", 1) })
      end))
    end)
  end

  rule("cannot be updated: it was removed", function(_, _, _, state)
    state:remove()
    state:update(1)
  end)
  rule("cannot be removed: it was removed", function(_, _, _, state)
    state:remove()
    state:remove()
  end)
  rule("cannot be updated to nil", function(_, _, _, state) state:update(nil) end)
  rule("with a colon", function(_, _, _, state) state.update(1) end)
  rule("the state of key a: .*function", function(_, _, _, state) state:update({ print }) end)

  it("may remove what is not there", function()
    assert.same({ { "a" } }, run(function(s)
      return s:mapWithState(rille.StateSpec(function(_, key, _, state)
        state:remove()
        return key
      end))
    end, { pairs_of("a", 1) }))
  end)

  it("shows the whole state in every batch in its snapshots", function()
    local got = maps(run(function(s)
      return s:mapWithState(rille.StateSpec(counting)):stateSnapshots()
    end, { pairs_of("a", 1), pairs_of("b", 2), {}, pairs_of("a", 5) }))
    assert.same({ { a = 1 }, { a = 1, b = 2 }, { a = 1, b = 2 }, { a = 6, b = 2 } }, got)
  end)

  it("has a state of every batch, also where the stream has no RDD", function()
    local got = maps(run(function(s, ssc)
      local spec = rille.StateSpec(counting):initialState(ssc:context():parallelize(pairs_of("x", 7), 1))
      return s:mapWithState(spec):stateSnapshots()
    end, { false, pairs_of("a", 1) }, { batches = 2 }))
    assert.same({ { x = 7 }, { x = 7, a = 1 } }, got)
  end)

  it("does not store a key whose function only looks", function()
    assert.same({ {} }, run(function(s)
      return s:mapWithState(rille.StateSpec(function(_, key, _, state)
        state:get()
        return key
      end)):stateSnapshots()
    end, { pairs_of("a", 1) }))
  end)

  it("reads a snapshot as of its batch, however late", function()
    local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual" }, 1)
    local sc, kept, input = ssc:context(), {}, {}
    for i = 1, 6 do input[i] = sc:parallelize(pairs_of("a", 1, "k" .. i, i), 2) end
    ssc:remember(100)
    ssc:queueStream(input):mapWithState(rille.StateSpec(counting)):stateSnapshots()
      :foreachRDD(function(rdd) kept[#kept + 1] = rdd end)
    ssc:start()
    ssc:clock():advance(6)
    for i, rdd in ipairs(kept) do
      local map = map_of(rdd:collect())
      assert.equal(i, map.a)
      for k = 1, 6 do assert.equal(k <= i and k or nil, map["k" .. k]) end
    end
    ssc:stop()
  end)

  describe("with a timeout", function()
    local function session(_, key, value, state)
      if state:isTimingOut() then return key, "over", state:get(), value == nil end
      state:update((state:get() or 0) + value)
      return key, state:get()
    end

    local function sessions(batches, timeout, options)
      local got = run(function(s)
        return s:mapWithState(rille.StateSpec(session):timeout(timeout or 2))
      end, batches, options)
      local texts = {}
      for i, records in ipairs(got) do texts[i] = sorted(records) end
      return texts
    end

    it("ends a key in the first batch in which its last touch is longer ago", function()
      assert.same({ { "(a,1)" }, {}, {}, { "(a,over,1,true)" }, {} },
        sessions { pairs_of("a", 1), {}, {}, {}, {} })
    end)

    it("is put off by data", function()
      assert.same({ { "(a,1)" }, {}, { "(a,2)" }, {}, {}, { "(a,over,2,true)" }, {} },
        sessions { pairs_of("a", 1), {}, pairs_of("a", 1), {}, {}, {}, {} })
    end)

    it("does not come for a key with data in the same batch", function()
      assert.same({ { "(a,1)" }, {}, {}, { "(a,2)" } }, sessions { pairs_of("a", 1), {}, {}, pairs_of("a", 1) })
    end)

    it("lets a key begin anew afterwards", function()
      assert.same({ { "(a,1)" }, {}, {}, { "(a,over,1,true)" }, { "(a,5)" } },
        sessions { pairs_of("a", 1), {}, {}, {}, pairs_of("a", 5) })
    end)

    it("is put off by a function that only looks, as there is a state", function()
      local got = run(function(s)
        return s:mapWithState(rille.StateSpec(function(_, key, value, state)
          if state:isTimingOut() then return key end
          if value == "set" then state:update(1) end
        end):timeout(1))
      end, { pairs_of("a", "set"), pairs_of("a", "look"), {}, {} })
      assert.same({ {}, {}, {}, { "a" } }, got)
    end)

    it("counts from the first batch for the initial state", function()
      local got = run(function(s, ssc)
        return s:mapWithState(rille.StateSpec(session):timeout(1)
          :initialState(ssc:context():parallelize(pairs_of("i", 3), 1)))
      end, { {}, {}, {}, {} })
      assert.same({ {}, {}, { "(i,over,3,true)" }, {} },
        { sorted(got[1]), sorted(got[2]), sorted(got[3]), sorted(got[4]) })
    end)

    it("takes the key out of the state", function()
      local got = maps(run(function(s)
        return s:mapWithState(rille.StateSpec(session):timeout(1)):stateSnapshots()
      end, { pairs_of("a", 1, "b", 1), pairs_of("b", 1), pairs_of("b", 1) }))
      assert.same({ { a = 1, b = 1 }, { a = 1, b = 2 }, { b = 3 } }, got)
    end)

    it("allows no change of a state that is timing out", function()
      for _, what in ipairs { "update", "remove" } do
        assert.matches("timing out", support.failure(function()
          run(function(s)
            return s:mapWithState(rille.StateSpec(function(_, _, _, state)
              if state:isTimingOut() then state[what](state, 1) else state:update(1) end
            end):timeout(1))
          end, { pairs_of("a", 1), {}, {}, {} })
        end))
      end
    end)
  end)

  it("begins with the state it is given", function()
    local got = run(function(s, ssc)
      local initial = ssc:context():parallelize(pairs_of("a", 100, "b", 200), 2)
      return s:mapWithState(rille.StateSpec(counting):initialState(initial):numPartitions(4))
    end, { pairs_of("a", 1), pairs_of("b", 1) })
    assert.same({ { "(a,101,1000)" }, { "(b,201,2000)" } }, { sorted(got[1]), sorted(got[2]) })
  end)

  it("does not run its function again for a task that is tried again", function()
    local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual" }, 1)
    local folder = support.directory()
    local flag = folder .. "/failed"
    local seen = {}
    ssc:queueStream { ssc:context():parallelize(pairs_of("a", 1, "b", 2, "c", 3), 1) }
      :mapWithState(rille.StateSpec(function(_, key, value, state)
        state:update((state:get() or 0) + value)
        local file = io.open(flag)
        if not file then
          assert(io.open(flag, "w")):close()
          error "this attempt fails"
        end
        file:close()
        return key, state:get()
      end):numPartitions(1))
      :foreachRDD(function(rdd) for _, r in ipairs(rdd:collect()) do seen[#seen + 1] = tostring(r) end end)
    ssc:start()
    ssc:clock():advance(2)
    ssc:stop()
    assert.same({ "(a,1)", "(b,2)", "(c,3)" }, seen)
    support.remove(folder)
  end)

  it("takes a StateSpec of a function only", function()
    assert.matches("function expected", support.failure(function() rille.StateSpec(1) end))
    local ssc = rille.StreamingContext({ master = "local[1]", clock = "manual" }, 1)
    local s = ssc:queueStream {}
    assert.matches("StateSpec expected", support.failure(function() s:mapWithState(print) end))
    assert.matches("stateSnapshots", support.failure(function() s:stateSnapshots() end))
    assert.matches("timeout", support.failure(function() rille.StateSpec(counting):timeout(0) end))
    ssc:stop()
  end)

  it("is told apart from what it was made of: each setting gives a new description", function()
    local spec = rille.StateSpec(counting)
    assert.is_nil(rawget(spec, "timeout_ms"))
    spec:timeout(5)
    assert.is_nil(rawget(spec, "timeout_ms"))
  end)
end)

describe("the state of an operator", function()
  local ssc

  before_each(function() ssc = rille.StreamingContext({ master = "local[2]", clock = "manual" }, 1) end)
  after_each(function() ssc:stop() end)

  it("can be read while the job runs", function()
    local sc = ssc:context()
    ssc:queueStream { sc:parallelize(pairs_of("apple", 1, "apricot", 2, "berry", 3, 7, 4), 2),
      sc:parallelize(pairs_of("apple", 10), 1) }
      :mapWithState(rille.StateSpec(counting)):uid("fruit"):foreachRDD(function() end)
    assert.matches("before the context was started", support.failure(function() ssc:state("fruit") end))
    ssc:start()
    local state = ssc:state("fruit")
    assert.equal(0, state:count())
    assert.is_nil(state:get("apple"))
    for _ in state:iterate() do error "nothing is there yet" end
    ssc:clock():advance(1)
    assert.equal(4, state:count())
    assert.equal(1, state:get("apple"))
    assert.equal(4, state:get(7))
    assert.equal(4, state:get(7.0))
    assert.is_nil(state:get("fig"))
    ssc:clock():advance(1)
    assert.equal(11, state:get("apple"))
    local found = {}
    for key, value in state:iterate("ap") do found[key] = value end
    assert.same({ apple = 11, apricot = 2 }, found)
    found = {}
    for key, value in state:iterate() do found[key] = value end
    assert.same({ apple = 11, apricot = 2, berry = 3, [7] = 4 }, found)
  end)

  it("is named in the error for a uid that has none", function()
    ssc:queueStream {}:updateStateByKey(total):uid("sums"):print()
    ssc:start()
    assert.matches("no operator with state has the uid 'sum'; there are: sums",
      support.failure(function() ssc:state("sum") end))
  end)

  it("can be read inside foreachRDD", function()
    local seen = {}
    ssc:queueStream { ssc:context():parallelize(pairs_of("a", 1), 1) }
      :updateStateByKey(total):uid("sums")
      :foreachRDD(function(_, time) seen[time] = ssc:state("sums"):get("a") end)
    ssc:start()
    ssc:clock():advance(2)
    assert.same({ [1000] = 1, [2000] = 1 }, seen)
  end)

  it("is found by keys of any kind, and by prefixes of any bytes", function()
    local long = ("L"):rep(600) -- kept under its hash
    local keys = { "a%b", "a\0c", "\255\254", "", 1, 2.5, true, rille.null, { 1, 2 }, rille.tuple("x", 1), long,
      long .. 2 }
    local records = {}
    for i, key in ipairs(keys) do records[i] = rille.tuple(key, i) end
    ssc:queueStream { ssc:context():parallelize(records, 2) }:updateStateByKey(total):uid("sums")
      :foreachRDD(function() end)
    ssc:start()
    ssc:clock():advance(1)
    local state = ssc:state "sums"
    for i, key in ipairs(keys) do assert.equal(i, state:get(key)) end
    for prefix, wanted in pairs { a = 2, ["a%"] = 1, ["a\0"] = 1, ["\255"] = 1, [""] = 6, L = 2, [long] = 2,
                                  [long .. 2] = 1, z = 0 } do
      local n = 0
      for key in state:iterate(prefix) do
        assert.equal(prefix, key:sub(1, #prefix))
        n = n + 1
      end
      assert.equal(wanted, n)
    end
    for message, key in pairs { ["a function cannot be"] = print, ["key is NaN"] = 0 / 0 } do
      assert.matches("state_spec.lua:%d+: " .. message, support.failure(function() state:get(key) end))
    end
    assert.matches("key is nil", support.failure(function() state:get(nil) end))
  end)

  it("may be left half-way: batches go on, and what is left is as of its batch", function()
    local numbers = ssc:context():range(3000):map(function(i) return i, 1 end)
    ssc:queueStream { numbers, numbers, numbers, numbers }:updateStateByKey(total):uid("sums")
      :foreachRDD(function() end)
    ssc:start()
    ssc:clock():advance(1)
    local left = {}
    for i = 1, 100 do
      left[i] = ssc:state("sums"):iterate()
      left[i]()
    end
    ssc:clock():advance(3)
    local n = 1
    for _, value in left[1] do
      assert.equal(1, value)
      n = n + 1
    end
    assert.equal(3000, n)
    assert.equal(4, ssc:state("sums"):get(7))
    ssc:stop()
    assert.is_number((left[2]()))
  end)

  it("shows what a window of a known reducer has, not what it is made of", function()
    local sc = ssc:context()
    ssc:queueStream { sc:parallelize(pairs_of("a", 1, "b", 2), 1), sc:parallelize(pairs_of("a", 5), 1) }
      :reduceByKeyAndWindow("max", 3, 1):uid("max"):foreachRDD(function() end)
    ssc:start()
    ssc:clock():advance(2)
    local state, found = ssc:state "max", {}
    for key, value in state:iterate() do found[key] = value end
    assert.same({ a = 5, b = 2 }, found)
    assert.same({ 5, 2 }, { state:get "a", state:get "b" })
    assert.is_nil(state:get "c")
  end)

  it("is asked for before the context is stopped", function()
    ssc:queueStream { ssc:context():parallelize(pairs_of("a", 1), 1) }:updateStateByKey(total):uid("sums")
      :foreachRDD(function() end)
    ssc:start()
    ssc:clock():advance(1)
    ssc:stop(false)
    assert.matches("state_spec.lua:%d+: illegal state: the state is gone, the context was stopped",
      support.failure(function() ssc:state "sums" end))
    ssc:context():stop()
  end)
end)
