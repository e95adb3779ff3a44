--- Keyed state and bad input: functions that fail or give what cannot be kept, state that does not fit, disks that take
--- no more. Each gives one clear error; nothing is silently wrong afterwards.
local child = require "spec.lua.child"
local rille = require "rille"
local support = require "spec.lua.support"
local testing = require "rille.testing"

local map_of, pairs_of = support.map_of, support.pairs_of

local function deep(levels)
  local t = {}
  for _ = 1, levels do t = { x = t } end
  return t
end

local function cyclic()
  local t = { a = {} }
  t.a.b = t
  return t
end

local function sum(values, state)
  state = state or 0
  for _, v in ipairs(values) do state = state + v end
  return state
end

describe("state that cannot be kept", function()
  local made = {
    ["a function cannot be in a record %(%.f%)"] = function() return { f = function() end } end,
    ["a userdata cannot be in a record"] = function() return io.stdout end,
    ["a coroutine cannot be in a record"] = function() return coroutine.create(function() end) end,
    ["a table with a metatable cannot be in a record"] = function() return setmetatable({}, {}) end,
    ["a table that contains itself cannot be in a record %(%.a%.b%)"] = cyclic,
    ["a table nested more than 100 deep cannot be in a record %(%.x%.x[.x]+%.%.%.%)$"] = function()
      return deep(1000)
    end,
  }

  -- Names the operator's line, its operation and the key, in one line; nobody wants to read it twice.
  local function check(name, operation, message)
    local failure = support.failure(function()
      testing.run { inputs = { { pairs_of("good", 1, "bad", 2) } }, operation = function(_, s) return operation(s) end }
    end)
    local first = failure:match "^[^\n]*"
    assert.matches("state_faults_spec.lua:%d+: " .. name .. ": the state of key bad: " .. message, first)
    assert.is_true(#first < 400, first)
  end

  for message, make in pairs(made) do
    it("fails updateStateByKey, with its name, its line and the key: " .. message, function()
      check("updateStateByKey", function(s)
        return s:updateStateByKey(function(values) return values[1] == 2 and make() or 1 end)
      end, message)
    end)

    it("fails mapWithState, with its name, its line and the key: " .. message, function()
      check("mapWithState", function(s)
        return s:mapWithState(rille.StateSpec(function(_, _, value, state)
          state:update(value == 2 and make() or 1)
        end))
      end, message)
    end)
  end
end)

describe("state and memory", function()
  local function context(conf)
    conf.master, conf.clock = "local[1]", "manual"
    return rille.StreamingContext(conf, 1)
  end

  it("may be much more than a worker's Lua state holds, for updateStateByKey", function()
    local KEYS, BYTES = 250, 100000
    local ssc = context { ["rille.memory.limit"] = "64m" } -- 16m for a Lua state
    local keys = ssc:context():range(KEYS):map(function(i) return i, 1 end)
    local state = ssc:queueStream { keys, keys }:updateStateByKey(function(values, state)
      if not state then return ("x"):rep(BYTES) end
      return #values > 0 and state or nil
    end):uid "texts"
    local seen = {}
    state:map(function(_, text) return #text end):foreachRDD(function(rdd) seen[#seen + 1] = rdd:sum() end)
    ssc:start()
    ssc:clock():advance(2)
    ssc:awaitTerminationOrTimeout(0)
    ssc:stop()
    assert.same({ KEYS * BYTES, KEYS * BYTES }, seen)
  end)

  for _, operation in ipairs { "updateStateByKey", "mapWithState" } do
    it("fails a batch whose changes are more than the budget, with the key and the setting: " .. operation, function()
      local ssc = context { ["rille.memory.limit"] = "64m" }
      local s = ssc:queueStream { ssc:context():range(60):map(function(i) return i, 1 end) }
      local function text() return ("x"):rep(1000000) end
      if operation == "mapWithState" then
        s = s:mapWithState(rille.StateSpec(function(_, _, value, state)
          state:update(value)
        end):initialState(ssc:context():range(60):map(function(i) return i, text() end)))
      else
        s = s:updateStateByKey(text)
      end
      s:foreachRDD(function() end)
      ssc:start()
      ssc:clock():advance(1)
      local message = support.failure(function() ssc:awaitTermination() end)
      ssc:stop()
      if operation == "updateStateByKey" then
        assert.matches("state_faults_spec.lua:%d+: updateStateByKey: the state of key %d+: the changes of one " ..
          "batch take more than the %d+ bytes there are for them; .*rille.memory.limit", message)
      else
        assert.matches("out of memory: a worker's Lua state may hold %d+ bytes %(rille.task.maxMemory%)", message)
      end
    end)
  end
end)

describe("the folder of the state", function()
  local dir

  before_each(function() dir = support.directory() end)
  after_each(function() support.remove(dir) end)

  local function failure_at_start(place)
    local ssc = rille.StreamingContext({ master = "local[1]", clock = "manual", ["rille.local.dir"] = place }, 1)
    ssc:queueStream {}:updateStateByKey(sum):print()
    local message = support.failure(function() ssc:start() end)
    assert.equal("STOPPED", ssc:getState())
    return message
  end

  it("that cannot be made fails the start, with stream, setting and path", function()
    support.write(dir .. "/file", "")
    for place, why in pairs { [dir .. "/file"] = "File exists", ["/proc/nowhere"] = "No such file" } do
      local message = failure_at_start(place)
      assert.matches("the state of updateStateByKey at .*state_faults_spec.lua:%d+ has no place %(rille.local.dir%): ",
        message)
      assert.is_truthy(message:find("cannot make directory " .. place .. ": " .. why, 1, true), message)
    end
  end)

  local job = [[
    local rille = require "rille"
    local ssc = rille.StreamingContext({ master = "local[1]", clock = "manual", ["rille.memory.limit"] = "64m",
      ["rille.local.dir"] = "%s", ["rille.streaming.onBatchFailure"] = "%s" }, 1)
    local keys = ssc:context():range(100):map(function(i) return i, 1 end)
    local batches, seen = {}, 0
    for i = 1, 20 do batches[i] = keys end
    ssc:queueStream(batches):updateStateByKey(function(values, state)
      return { n = (state and state.n or 0) + #values, text = ("x"):rep(30000) }
    end):uid("texts"):foreachRDD(function(rdd, time)
      seen = seen + 1
      local n = rdd:map(function(_, state) return state.n end):distinct():collect()
      assert(#n == 1 and n[1] == seen, "batch " .. time)
    end)
    ssc:start()
    for _ = 1, 20 do ssc:clock():advance(1) end
    if ssc:getState() == "ACTIVE" then print(seen, ssc:state("texts"):count()) end
    ssc:awaitTerminationOrTimeout(0)
  ]]
  local PLACE <const> = "updateStateByKey at job.lua:%d+: " ..
    "cannot write the state in .*/rille%-state%-%w+: .*no space left"

  it("on a disk that takes no more ends the job, once memory is used up, with stream and place", function()
    local result = child.run(job:format(dir, "stop"), { before = "ulimit -f 1000" })
    assert.same({ 1, "" }, { result.status, result.out })
    assert.matches("rille: batch %d+ ms: " .. PLACE, result.err)
  end)

  it("on such a disk costs whole batches, where they are to be skipped", function()
    local result = child.run(job:format(dir, "skip"), { before = "ulimit -f 1000" })
    assert.equal(0, result.status)
    local seen = tonumber(result.out:match "^(%d+)\t100\n$")
    assert.is_true(seen and seen > 0 and seen < 20, result.out .. result.err)
    local _, skipped = result.err:gsub("WARN  batch %d+ ms is left out", "")
    assert.equal(20, seen + skipped)
  end)
end)

describe("a batch whose state cannot be made", function()
  local function job(policy, batches, make)
    local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual", ["rille.task.maxFailures"] = 1,
      ["rille.streaming.onBatchFailure"] = policy }, 1)
    local input, seen = {}, {}
    for i, records in ipairs(batches) do input[i] = ssc:context():parallelize(records, 2) end
    for name, stream in pairs(make(ssc:queueStream(input), ssc)) do
      seen[name] = {}
      stream:foreachRDD(function(rdd, time) seen[name][time // 1000] = map_of(rdd:collect()) end)
    end
    ssc:start()
    ssc:clock():advance(#batches)
    return seen, ssc
  end

  local function careful(values, state)
    if values[1] == -1 then error "such a value" end
    return sum(values, state)
  end

  local function add(a, b) return a + b end
  local function take_off(a, b) return a - b end

  local BATCHES = { pairs_of("a", 1, "b", 1), pairs_of("a", 2), pairs_of("a", 3, "x", -1), pairs_of("a", 4),
    pairs_of("b", 5), {}, {} }

  local function streams(s)
    local failing = s:updateStateByKey(careful)
    return {
      failing = failing,
      sums = s:updateStateByKey(sum),
      inverse = s:reduceByKeyAndWindow(add, take_off, 3, 1, 2, function(_, n) return n ~= 0 end),
      known = s:reduceByKeyAndWindow(add, 3, 1),
      plain = s:window(3, 1):reduceByKey(function(a, b) return a + b end),
      behind = failing:map(function(_, n) return "all", n end):reduceByKey(add)
        :updateStateByKey(function(values, state) return (state or 0) + values[1] end),
    }
  end

  it("is in no state and in no window afterwards, under skip", function()
    local seen, ssc = job("skip", BATCHES, streams)
    assert.is_false(ssc:awaitTerminationOrTimeout(0))
    assert.equal("ACTIVE", ssc:getState())
    ssc:stop()
    local sums = { { a = 1, b = 1 }, { a = 3, b = 1 }, nil, { a = 7, b = 1 }, { a = 7, b = 6 }, { a = 7, b = 6 },
      { a = 7, b = 6 } }
    local windows = { { a = 1, b = 1 }, { a = 3, b = 1 }, nil, { a = 6 }, { a = 4, b = 5 }, { a = 4, b = 5 },
      { b = 5 } }
    assert.same(sums, seen.failing)
    assert.same(sums, seen.sums)
    assert.same(windows, seen.plain)
    assert.same(windows, seen.inverse)
    assert.same(windows, seen.known)
    assert.same({ { all = 2 }, { all = 6 }, nil, { all = 14 }, { all = 27 }, { all = 40 }, { all = 53 } }, seen.behind)
  end)

  it("may be the first one: the initial state is not used up", function()
    local seen, ssc = job("skip", { pairs_of("x", -1), pairs_of("a", 1) }, function(s, ssc)
      local initial = ssc:context():parallelize(pairs_of("a", 10), 1)
      return { failing = s:updateStateByKey(careful), sums = s:updateStateByKey(sum, { initial = initial }) }
    end)
    ssc:stop()
    assert.same({ failing = { [2] = { a = 1 } }, sums = { [2] = { a = 11 } } }, seen)
  end)

  it("may also be one that cannot be generated", function()
    local function make(s)
      local late = s:transform(function(rdd, time)
        if time == 2000 then error "not this one" end
        return rdd
      end)
      return { sums = s:updateStateByKey(sum), known = s:reduceByKeyAndWindow(add, 3, 1), late = late }
    end
    local batches = { pairs_of("a", 1), pairs_of("a", 2), pairs_of("a", 4) }
    local seen, ssc = job("skip", batches, make)
    assert.equal("ACTIVE", ssc:getState())
    ssc:stop()
    assert.same({ { a = 1 }, nil, { a = 5 } }, seen.sums)
    assert.same({ { a = 1 }, nil, { a = 5 } }, seen.known)
    seen, ssc = job("stop", batches, make)
    assert.matches("batch 2000 ms: .*not this one", support.failure(function() ssc:awaitTermination() end))
    assert.equal("STOPPED", ssc:getState())
    assert.same({ { a = 1 } }, seen.sums)
  end)

  it("ends the job under stop: exit status 1, one line of what happened, no later batch", function()
    local result = child.run [[
      local rille = require "rille"
      local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual" }, 1)
      local function pairs_of(key, n) return ssc:context():parallelize({ rille.tuple(key, n) }, 1) end
      local s = ssc:queueStream { pairs_of("a", 1), pairs_of("b", -1), pairs_of("a", 1) }
        :updateStateByKey(function(values, state)
          if values[1] == -1 then error "such a value" end
          return (state or 0) + #values
        end)
      s:updateStateByKey(function(values) return values[1] end)
        :foreachRDD(function(rdd, time) print(time, rdd:count()) end)
      ssc:start()
      ssc:clock():advance(3)
      ssc:awaitTermination()
    ]]
    assert.same({ 1, "1000\t1\n" }, { result.status, result.out })
    local _, lines = result.err:gsub("ERROR ", "")
    assert.equal(1, lines, result.err)
    assert.matches("rille: batch 2000 ms: job.lua:6: such a value %(in the function given to updateStateByKey, " ..
      "declared at job.lua:5, for key b%)\n", result.err)
  end)
end)
