--- Streams with state among others: over windows and unions, joined, behind each other, looked at while a batch is
--- generated; one output at a time and several.
local rille = require "rille"
local support = require "spec.lua.support"

local pairs_of, sorted = support.pairs_of, support.sorted

local function sum(values, state)
  state = state or 0
  for _, v in ipairs(values) do state = state + v end
  return state
end

local function add(a, b) return a + b end

local function running()
  return rille.StateSpec(function(_, key, value, state)
    state:update((state:get() or 0) + value)
    return key, state:get()
  end)
end

local LEFT = { pairs_of("a", 1), pairs_of("a", 2), pairs_of("b", 3), pairs_of("a", 4), {}, pairs_of("c", 1) }
local RIGHT = { pairs_of("b", 10), pairs_of("a", 20), {}, pairs_of("c", 40), {}, {} }

local cases = {
  ["updateStateByKey over a window takes in what is in it, each time"] = {
    function(left) return left:window(3, 1):updateStateByKey(sum) end,
    "(a,1)", "(a,4)", "(a,7) (b,3)", "(a,13) (b,6)", "(a,17) (b,9)", "(a,21) (b,9) (c,1)",
  },
  ["mapWithState over a window has batches as the window has"] = {
    function(left) return left:window(4, 2):mapWithState(running()):stateSnapshots() end,
    nil, "(a,3)", nil, "(a,10) (b,3)", nil, "(a,14) (b,6) (c,1)",
  },
  ["mapWithState takes what a window kept up by itself gives"] = {
    function(left) return left:reduceByKeyAndWindow("sum", 2, 1):mapWithState(running()) end,
    "(a,1)", "(a,4)", "(a,6) (b,3)", "(a,10) (b,6)", "(a,14)", "(c,1)",
  },
  ["updateStateByKey takes a union"] = {
    function(left, right) return left:union(right):updateStateByKey(sum) end,
    "(a,1) (b,10)", "(a,23) (b,10)", "(a,23) (b,13)", "(a,27) (b,13) (c,40)", "(a,27) (b,13) (c,40)",
    "(a,27) (b,13) (c,41)",
  },
  ["snapshots join other streams"] = {
    function(left, right) return right:leftOuterJoin(left:mapWithState(running()):stateSnapshots()) end,
    "(b,10,nil)", "(a,20,3)", "", "(c,40,nil)", "", "",
  },
  ["a window holds the snapshots of its batches"] = {
    function(left) return left:mapWithState(running()):stateSnapshots():window(2, 1) end,
    "(a,1)", "(a,1) (a,3)", "(a,3) (a,3) (b,3)", "(a,3) (a,7) (b,3) (b,3)", "(a,7) (a,7) (b,3) (b,3)",
    "(a,7) (a,7) (b,3) (b,3) (c,1)",
  },
  ["a window is kept up over a stream that is a state"] = {
    function(left)
      return left:updateStateByKey(sum):reduceByKeyAndWindow(add, function(a, b) return a - b end, 2, 1)
    end,
    "(a,1)", "(a,4)", "(a,6) (b,3)", "(a,10) (b,6)", "(a,14) (b,6)", "(a,14) (b,6) (c,1)",
  },
  ["state stands on state that stands on state"] = {
    function(left)
      return left:mapWithState(running()):mapWithState(running()):map(function(_, n) return "all", n end)
        :updateStateByKey(sum)
    end,
    "(all,1)", "(all,5)", "(all,8)", "(all,19)", "(all,19)", "(all,20)",
  },
  ["a transform may look at the state of its batch, and state may stand on that"] = {
    function(left)
      return left:updateStateByKey(sum):transform(function(rdd)
        local n = #rdd:collect() + rdd:count()
        return rdd:mapValues(function(v) return v * 100 + n end)
      end):updateStateByKey(sum)
    end,
    "(a,102)", "(a,404)", "(a,708) (b,304)", "(a,1412) (b,608)", "(a,2116) (b,912)", "(a,2822) (b,1218) (c,106)",
  },
  ["a transform may look at what mapWithState gives"] = {
    function(left)
      return left:mapWithState(running()):transform(function(rdd)
        return rdd:context():parallelize({ #rdd:collect() }, 1)
      end)
    end,
    "1", "1", "1", "1", "0", "1",
  },
}

-- All in one job: they must not get in each other's way.
local function run(concurrent)
  local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual",
    ["rille.streaming.concurrentJobs"] = concurrent }, 1)
  local function queue(batches)
    local rdds = {}
    for i, records in ipairs(batches) do rdds[i] = ssc:context():parallelize(records, 2) end
    return ssc:queueStream(rdds)
  end
  local left, right, seen, streams = queue(LEFT), queue(RIGHT), {}, {}
  for name, case in pairs(cases) do
    seen[name], streams[name] = {}, case[1](left, right)
    streams[name]:foreachRDD(function(rdd, time)
      seen[name][time // 1000] = table.concat(sorted(rdd:collect()), " ")
    end)
  end
  ssc:remember(20)
  ssc:start()
  ssc:clock():advance(#LEFT)
  ssc:awaitTerminationOrTimeout(0) -- raises what has failed
  return seen, streams, ssc
end

describe("streams with state", function()
  for _, concurrent in ipairs { 1, 4 } do
    describe("with " .. concurrent .. " outputs at a time", function()
      local seen, streams, ssc

      setup(function() seen, streams, ssc = run(concurrent) end)
      teardown(function() ssc:stop() end)

      for name, case in pairs(cases) do
        it(": " .. name, function()
          assert.same(table.move(case, 2, #LEFT + 1, 1, {}), seen[name])
        end)
      end

      it("give the batches that are remembered to slice, as they were", function()
        for name, case in pairs(cases) do
          local wanted, got = {}, {}
          for i = 2, #LEFT + 1 do wanted[#wanted + 1] = case[i] end
          for i, rdd in ipairs(streams[name]:slice(2000, 6000)) do got[i] = table.concat(sorted(rdd:collect()), " ") end
          if case[2] then table.remove(wanted, 1) end
          assert.same(wanted, got)
        end
      end)
    end)
  end

  it("take in all that was received before a graceful stop", function()
    local ssc = rille.StreamingContext({ master = "local[2]" }, 0.05)
    local last = 0
    ssc:receiverStream { onStart = function(self) for i = 1, 1000 do self:store(rille.tuple("k" .. i % 10, 1)) end end }
      :updateStateByKey(sum):foreachRDD(function(rdd) last = rdd:map(function(_, n) return n end):sum() end)
    local received = 0
    ssc:addStreamingListener { onBatchCompleted = function(event) received = received + event.numRecords end }
    ssc:start()
    while last == 0 do ssc:awaitTerminationOrTimeout(0.01) end
    ssc:stop(true, true)
    assert.is_true(last > 0)
    assert.equal(received, last)
  end)

  for _, level in ipairs { "MEMORY_ONLY", "DISK_ONLY", "MEMORY_AND_DISK_SER_2", "NONE" } do
    it("may be persisted: " .. level, function()
      local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual" }, 1)
      local calls, seen = ssc:context():longAccumulator(), {}
      local rdds = {}
      for i, records in ipairs(LEFT) do rdds[i] = ssc:context():parallelize(records, 2) end
      local states = ssc:queueStream(rdds):updateStateByKey(function(values, state)
        calls:add(1)
        return (state or 0) + #values
      end):persist(level)
      for i = 1, 2 do
        states:foreachRDD(function(rdd, time) seen[time * 10 + i] = rdd:getStorageLevel() .. rdd:count() end)
      end
      ssc:start()
      ssc:clock():advance(3)
      ssc:stop()
      assert.same({ level .. 1, level .. 1, level .. 2, level .. 2 },
        { seen[10001], seen[20002], seen[30001], seen[30002] })
      assert.equal(4, calls:value())
    end)
  end
end)
