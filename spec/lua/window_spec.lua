--- Windows, rule by rule (section 7 of the reference), in batches of 1 s on the manual clock.
local rille = require "rille"
local support = require "spec.lua.support"
local testing = require "rille.testing"

local map_of, pairs_of, sorted = support.map_of, support.pairs_of, support.sorted

local SIX <const> = { { 1 }, { 2 }, { 3 }, { 4 }, { 5 }, { 6 } }

local function run(operation, batches, other)
  return testing.run { inputs = { batches, other }, operation = function(_, ...) return operation(...) end }
end

local function each(f, batches)
  local out = {}
  for i, batch in ipairs(batches) do out[i] = f(batch) end
  return out
end

local function add(a, b) return a + b end
local function join(a, b) return a .. b end

local function windowed(length, slide, batches)
  return run(function(s) return s:window(length, slide) end, batches)
end

describe("a window", function()
  it("holds the batches of its length, that of its time included; the first ones are partial", function()
    assert.same({ { 1, 2 }, { 1, 2, 3, 4 }, { 3, 4, 5, 6 } }, windowed(4, 2, SIX))
    assert.same({ { 1 }, { 1, 2 }, { 1, 2, 3 }, { 2, 3, 4 }, { 3, 4, 5 }, { 4, 5, 6 } }, windowed(3, 1, SIX))
  end)

  it("slides with the stream where no slide is given", function()
    assert.same({ { 1 }, { 1, 2 }, { 2, 3 }, { 3, 4 }, { 4, 5 }, { 5, 6 } }, windowed(2, nil, SIX))
    assert.same(SIX, windowed(1, nil, SIX))
  end)

  it("tumbles when it slides by its length, and leaves gaps when it slides by more", function()
    assert.same({ { 1, 2 }, { 3, 4 }, { 5, 6 } }, windowed(2, 2, SIX))
    assert.same({ { 2, 3 }, { 5, 6 } }, windowed(2, 3, SIX))
  end)

  it("has batches at the times of its own slide only", function()
    local times = {}
    run(function(s)
      local over = s:window(4, 2)
      over:foreachRDD(function(_, time) times[#times + 1] = time end)
      return over
    end, SIX)
    assert.same({ 2000, 4000, 6000 }, times)
  end)

  it("takes fractions of seconds", function()
    local got = testing.run { inputs = { SIX }, batch = 0.25,
      operation = function(_, s) return s:window(0.75, 0.5) end }
    assert.same({ { 1, 2 }, { 2, 3, 4 }, { 4, 5, 6 } }, got)
  end)

  it("keeps the order of batches and of records within them", function()
    assert.same({ { "c", "a" }, { "c", "a", "b", "b", "a" } }, windowed(2, 1, { { "c", "a" }, { "b", "b", "a" } }))
  end)

  it("is empty, and yet there, when all its batches are", function()
    assert.same({ {}, {}, { 3 }, { 3 }, {} }, windowed(2, 1, { {}, {}, { 3 }, {}, {} }))
  end)

  it("leaves out batches without an RDD; without any it is an empty RDD", function()
    assert.same({ {}, {}, { 3 }, { 3 }, {} }, windowed(2, 1, { false, false, { 3 }, false, false }))
    assert.same({ { 0 }, { 0 }, { 1 } },
      run(function(s) return s:window(2, 1):count() end, { false, false, { 3 } }))
  end)

  it("cannot hold a batch that could not be made: each of its windows says why", function()
    assert.matches("batch 1000 ms: count at .-: Test stream .- has no RDD at 1000 ms",
      support.failure(run, function(s) return s:count():window(2) end, { false, { 1 } }))
    assert.matches("batch 2000 ms: count at .-: Test stream .- has no RDD at 1000 ms",
      support.failure(run, function(s) return s:count():window(2, 2) end, { false, { 1 } }))
  end)

  it("can be over a window, whose slide is then the grid", function()
    assert.same({ { 1, 1, 2 }, { 1, 1, 2, 2, 3, 3, 4 }, { 2, 3, 3, 4, 4, 5, 5, 6 } },
      run(function(s) return s:window(2, 1):window(4, 2) end, SIX))
    assert.same({ { 1, 2, 3, 4, 5, 6 } }, run(function(s) return s:window(2, 2):window(6, 6) end, SIX))
  end)

  it("is as long as its stream runs when its length is beyond that", function()
    assert.same({ { 1, 2, 3 }, { 1, 2, 3, 4, 5, 6 } }, windowed(1000000, 3, SIX))
  end)

  it("keeps the partitioner that its batches share", function()
    local function shape(s)
      return s:transform(function(rdd)
        local partitioner = rdd:partitioner()
        return rdd:context():parallelize({ rdd:getNumPartitions(), partitioner and partitioner.numPartitions or 0 }, 1)
      end)
    end
    local batches = { pairs_of("a", 1), pairs_of("b", 2) }
    assert.same({ { 3, 3 } }, run(function(s) return shape(s:reduceByKey(add, 3):window(2, 2)) end, batches))
    assert.same({ { 4, 0 } }, run(function(s) return shape(s:window(2, 2)) end, batches))
    assert.same({ { 3, 3 } },
      run(function(s) return shape(s:reduceByKeyAndWindow(add, 2, 2, 3)) end, batches))
  end)

  it("tells its slide, which is that of what follows it", function()
    local ssc = rille.StreamingContext({ master = "local[2]" }, 0.5)
    local stream = ssc:queueStream {}
    assert.equal(0.5, stream:slideDuration())
    assert.equal(0.5, stream:window(3):slideDuration())
    assert.equal(1.5, stream:window(3, 1.5):slideDuration())
    assert.equal(1.5, stream:window(3, 1.5):map(tostring):slideDuration())
    assert.equal(2, stream:reduceByWindow(add, 3, 2):slideDuration())
    assert.equal(1, stream:reduceByKeyAndWindow(add, 3, 1):window(1):slideDuration())
    ssc:stop()
  end)

  it("reads its input in every batch, though it has a batch in some only", function()
    local queue = { { 1 }, { 2 }, { 3 }, { 4 }, { 5 }, { 6 } }
    local got = testing.run { inputs = {}, batches = 6,
      operation = function(ssc) return ssc:queueStream(queue):window(2, 3) end }
    assert.same({ { 2, 3 }, { 5, 6 } }, got)
  end)
end)

describe("reduceByKeyAndWindow", function()
  local batches = { pairs_of("a", 1, "b", 2, "a", 3), {}, pairs_of("b", 4), pairs_of("c", 5), {}, {} }

  it("reduces the values of each key in the window; keys that left it are gone", function()
    assert.same({ { a = 4, b = 2 }, { a = 4, b = 2 }, { b = 4 }, { b = 4, c = 5 }, { c = 5 }, {} },
      each(map_of, run(function(s) return s:reduceByKeyAndWindow(add, 2) end, batches)))
    assert.same({ { a = 4, b = 2 }, { a = 4, b = 6, c = 5 }, { b = 4, c = 5 } },
      each(map_of, run(function(s) return s:reduceByKeyAndWindow(add, 4, 2, 3) end, batches)))
  end)

  it("reduces in the order of batches", function()
    assert.same({ { a = "pq" }, { a = "pqrs" }, { a = "rst" } }, each(map_of, testing.run { partitions = 1,
      inputs = { { pairs_of("a", "p", "a", "q"), pairs_of("a", "r", "a", "s"), pairs_of("a", "t") } },
      operation = function(_, s) return s:reduceByKeyAndWindow(join, 2) end }))
  end)

  it("leaves out batches without an RDD", function()
    assert.same({ {}, { a = 1 }, { a = 1 } },
      each(map_of, run(function(s) return s:reduceByKeyAndWindow(add, 2) end, { false, pairs_of("a", 1), false })))
  end)

  it("reduces each batch once, however many windows it is in", function()
    local dir = support.directory()
    run(function(s)
      return s:map(function(key, value)
        local file = io.open(dir .. "/" .. value, "a")
        file:write("x")
        file:close()
        return key, value
      end):reduceByKeyAndWindow(add, 4, 1)
    end, { pairs_of("a", 1), pairs_of("a", 2), {}, {}, {} })
    assert.equal("x", support.read(dir .. "/1"))
    assert.equal("x", support.read(dir .. "/2"))
    support.remove(dir)
  end)

  it("has the context's number of partitions", function()
    local got = testing.run { inputs = { { pairs_of("a", 1) } }, conf = { ["rille.default.parallelism"] = 5 },
      operation = function(_, s) return s:reduceByKeyAndWindow(add, 1):mapPartitions(function() return { 1 } end) end }
    assert.equal(5, #got[1])
  end)

  it("diverts bad records of both reductions; those of a batch come with the next window", function()
    local errors = {}
    local got = run(function(s)
      local sums = s:reduceByKeyAndWindow(function(a, b) return a + b end, 4, 2)
      sums:errors():foreachRDD(function(rdd, time) errors[#errors + 1] = { time, rdd:count() } end)
      return sums
    end, { pairs_of("a", 1, "a", "x", "b", 1), pairs_of("b", 1), {}, {} })
    assert.same({ b = 2 }, { b = map_of(got[1]).b })
    assert.equal(2000, errors[1][1])
    assert.is_true(errors[1][2] >= 1)
    assert.equal(4000, errors[2][1])
  end)
end)

describe("groupByKeyAndWindow", function()
  it("has the values of each key in the order of batches", function()
    assert.same({ { a = { 1, 2 } }, { a = { 1, 2, 3 }, b = { 4 } }, { a = { 3, 6 }, b = { 4, 5 } }, { a = { 6 },
      b = { 5 } }, {} }, each(map_of, testing.run { partitions = 1, operation = function(_, s)
        return s:groupByKeyAndWindow(2)
      end, inputs = { { pairs_of("a", 1, "a", 2), pairs_of("a", 3, "b", 4), pairs_of("b", 5, "a", 6), {}, {} } } }))
  end)

  it("slides, and takes a number of partitions", function()
    local got = run(function(s) return s:groupByKeyAndWindow(2, 3, 4):glom() end,
      { pairs_of("a", 1), pairs_of("a", 2), pairs_of("a", 3, "b", 4) })
    assert.equal(1, #got)
    assert.equal(4, #got[1])
    local lists = {}
    for _, part in ipairs(got[1]) do
      for _, record in ipairs(part) do lists[record[1]] = record[2] end
    end
    assert.same({ a = { 2, 3 }, b = { 4 } }, lists)
  end)

  it("puts longer records under their key as groupByKey does", function()
    local batches = { { rille.tuple("k", 1, 2) }, { rille.tuple("k", 3, 4) } }
    local got = run(function(s)
      return s:groupByKeyAndWindow(2, 2):map(function(k, list) return k, tostring(list[1]) .. tostring(list[2]) end)
    end, batches)
    assert.same({ k = "(1,2)(3,4)" }, map_of(got[1]))
  end)
end)

describe("reduceByWindow", function()
  it("gives one record a window", function()
    assert.same({ { 3 }, { 10 }, { 18 } }, run(function(s) return s:reduceByWindow(add, 4, 2) end, SIX))
    assert.same({ { 1 }, { 3 }, { 5 } }, run(function(s) return s:reduceByWindow(add, 2) end, { { 1 }, { 2 }, { 3 } }))
  end)

  it("gives nothing when the window is empty", function()
    assert.same({ {}, { 2 }, { 2 }, {} },
      run(function(s) return s:reduceByWindow(add, 2) end, { {}, { 2 }, false, {} }))
  end)

  it("takes records of several values as tuples", function()
    local got = run(function(s)
      return s:reduceByWindow(function(a, b) return rille.tuple(a[1] .. b[1], a[2] + b[2]) end, 2)
    end, { pairs_of("a", 1), pairs_of("b", 2) })
    assert.equal("(ab,3)", tostring(got[2][1]))
  end)
end)

describe("windows together", function()
  local left = { pairs_of("a", 1), pairs_of("b", 2), pairs_of("c", 3), {} }
  local right = { {}, pairs_of("a", "x"), {}, pairs_of("b", "y", "c", "z") }

  it("join when their slides are the same", function()
    assert.same({ { "(a,1,x)" }, { "(b,2,y)", "(c,3,z)" } }, each(sorted, run(function(a, b)
      return a:window(3, 2):join(b:window(1, 2))
    end, left, right)))
    assert.same({ {}, { "(a,1,x)" }, { "(a,1,x)" }, { "(b,2,y)", "(c,3,z)" } }, each(sorted, run(function(a, b)
      return a:window(3):join(b:window(2))
    end, left, right)))
  end)

  it("join with batches of the stream that has no window", function()
    assert.same({ {}, { "(a,x,1)" }, {}, { "(b,y,2)", "(c,z,3)" } },
      each(sorted, run(function(a, b) return b:join(a:window(3)) end, left, right)))
  end)

  it("join with an RDD through transform", function()
    local got = testing.run { inputs = { left }, operation = function(ssc, s)
      local names = ssc:context():parallelize(pairs_of("a", "ann", "c", "cleo"), 1)
      return s:window(2, 2):transform(function(rdd) return rdd:join(names) end)
    end }
    assert.same({ { "(a,1,ann)" }, { "(c,3,cleo)" } }, each(sorted, got))
  end)

  it("do not when their slides differ, which is said where they are combined", function()
    local ssc = rille.StreamingContext({ master = "local[2]" }, 1)
    local s = ssc:queueStream {}
    for _, combine in ipairs {
      function() local _ = s:window(4, 2):union(s) end,
      function() local _ = s:window(4, 2):join(s:window(4)) end,
      function() local _ = s:transformWith(s:window(4, 2), function(a) return a end) end,
      function() local _ = ssc:union { s, s:window(3, 3) } end,
    } do
      assert.matches("^spec/lua/window_spec.lua:%d+: %a+: the streams have different slides %(",
        support.failure(combine))
    end
    assert.matches("%(window at spec/lua/window_spec.lua:%d+ has 2 s, queueStream at .- has 1 s%)",
      support.failure(function() local _ = s:window(4, 2):union(s) end))
    ssc:stop()
  end)
end)

describe("the durations of windows", function()
  local ssc, stream

  before_each(function()
    ssc = rille.StreamingContext({ master = "local[2]" }, 1)
    stream = ssc:queueStream {}
  end)
  after_each(function() ssc:stop() end)

  local function refused(pattern, f)
    assert.matches("^spec/lua/window_spec.lua:%d+: " .. pattern .. "$", support.failure(f))
  end

  it("are multiples of the stream's slide", function()
    refused("window: the slide of 1.5 s is no multiple of the stream's slide of 1 s; 1 s or 2 s would fit",
      function() local _ = stream:window(2, 1.5) end)
    refused("reduceByWindow: the window of 10.1 s is no multiple of the stream's slide of 1 s; 10 s or 11 s would fit",
      function() local _ = stream:reduceByWindow(add, 10.1) end)
    refused("reduceByKeyAndWindow: the window of 0.5 s is no multiple of the stream's slide of 1 s; 1 s would fit",
      function() local _ = stream:reduceByKeyAndWindow(add, 0.5) end)
    refused("groupByKeyAndWindow: the slide of 3 s is no multiple of the stream's slide of 2 s; 2 s or 4 s would fit",
      function() local _ = stream:window(4, 2):groupByKeyAndWindow(4, 3) end)
  end)

  it("are durations", function()
    refused("bad argument #1 to 'window' %(duration .- expected, got nil%)", function() local _ = stream:window() end)
    refused("bad argument #1 to 'window' %(duration .- expected, got 0%)", function() local _ = stream:window(0) end)
    refused("bad argument #2 to 'window' %(duration .- expected, got %-1%)",
      function() local _ = stream:window(2, -1) end)
    refused("bad argument #2 to 'reduceByWindow' %(duration .- expected, got nil%)",
      function() local _ = stream:reduceByWindow(add) end)
    refused("bad argument #1 to 'reduceByKeyAndWindow' %(function expected, got 2%)",
      function() local _ = stream:reduceByKeyAndWindow(2, 1) end)
    refused("bad argument #4 to 'reduceByKeyAndWindow' %(number of partitions .- expected, got 0%)",
      function() local _ = stream:reduceByKeyAndWindow(add, 2, 1, 0) end)
    refused("bad argument #3 to 'groupByKeyAndWindow' %(number of partitions .- expected, got string%)",
      function() local _ = stream:groupByKeyAndWindow(2, 1, "2") end)
    refused("'window' was called on a number where a DStream is needed; .*",
      function() local _ = stream.window(1, 2) end)
  end)

  it("come behind an inverse function, in the form that has one", function()
    refused("bad argument #3 to 'reduceByKeyAndWindow' %(duration .- expected, got nil%)",
      function() local _ = stream:reduceByKeyAndWindow(add, add) end)
    refused("bad argument #6 to 'reduceByKeyAndWindow' %(function expected, got 1%)",
      function() local _ = stream:reduceByKeyAndWindow(add, add, 4, 2, 1, 1) end)
    refused("reduceByWindow: the window of 2.5 s is no multiple of the stream's slide of 1 s; 2 s or 3 s would fit",
      function() local _ = stream:reduceByWindow(add, add, 2.5) end)
  end)

  it("cannot be given after start", function()
    stream:foreachRDD(function() end)
    ssc:start()
    refused("illegal state: .- can not be added after the context was started",
      function() local _ = stream:window(2) end)
  end)
end)

describe("what a window shows of itself", function()
  it("is one operator at the job's line", function()
    local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual" }, 1)
    local line = debug.getinfo(1, "l").currentline + 2
    local function times(a, b) return a * b end
    local sums = ssc:queueStream({ pairs_of("a", 1) }):reduceByKeyAndWindow(times, 4, 2)
    local label = "reduceByKeyAndWindow at spec/lua/window_spec.lua:" .. line
    assert.equal("DStream " .. label, tostring(sums))
    assert.equal(2, select(2, sums:toDebugString():gsub("[^\n]+", "")))
    local lineage
    sums:foreachRDD(function(rdd) lineage = rdd:toDebugString() end)
    ssc:start()
    ssc:clock():advance(2)
    local labels = {}
    for each_label in lineage:gmatch "(%a+ at [^%s]+)" do labels[each_label] = (labels[each_label] or 0) + 1 end
    assert.equal(4, labels[label]) -- the reduction, the window, and its two batches
    assert.matches("[uid queueStream/reduceByKeyAndWindow]", lineage, 1, true)
    ssc:stop()
  end)

  it("has its function's line in a chain", function()
    local ssc = rille.StreamingContext({ master = "local[2]" }, 1)
    local line = debug.getinfo(1, "l").currentline + 3
    local sums = ssc:queueStream({})
      :map(function(x) return x, 1 end)
      :reduceByKeyAndWindow(function(a, b) return a + b end, 4, 2)
    assert.matches("reduceByKeyAndWindow at spec/lua/window_spec.lua:" .. line, sums:toDebugString(), 1, true)
    local longest = ssc:queueStream({})
      :window(4, 2)
      :reduceByWindow(function(a, b) return math.max(a, b) end, 4)
    assert.matches("reduceByWindow at spec/lua/window_spec.lua:" .. line + 4, longest:toDebugString(), 1, true)
    ssc:stop()
  end)
end)

describe("what is kept for windows", function()
  local ssc

  before_each(function() ssc = rille.StreamingContext({ master = "local[2]", clock = "manual" }, 1) end)
  after_each(function() ssc:stop() end)

  local function collected(stream, from, to)
    local list = {}
    for i, rdd in ipairs(stream:slice(from, to)) do list[i] = rdd:collect() end
    return list
  end

  it("can be asked for with slice: whole windows only", function()
    local over = ssc:queueStream({ { 1 }, { 2 }, { 3 }, { 4 }, { 5 }, { 6 }, { 7 }, { 8 } }):window(2, 2)
    over:foreachRDD(function() end)
    ssc:remember(4)
    ssc:start()
    for _ = 1, 8 do ssc:clock():advance(1) end
    assert.same({ { 5, 6 }, { 7, 8 } }, collected(over, 6000, 8000))
    assert.same({ { 5, 6 }, { 7, 8 } }, collected(over, 7500, 9999)) -- down to the grid of the window
    -- Its window of 4 s is gone, and is made again: batches are kept for the 2 s of the window besides. That of 2 s is
    -- not.
    assert.same({ { 3, 4 }, { 5, 6 }, { 7, 8 } }, collected(over, 0, 8000))
  end)

  it("gives nothing of what was forgotten, and takes nothing from later batches", function()
    local queue = { { 1 }, { 2 }, { 3 }, { 4 }, { 5 }, { 6 } }
    local stream = ssc:queueStream(queue)
    stream:foreachRDD(function() end)
    ssc:start()
    for _ = 1, 4 do ssc:clock():advance(1) end
    assert.same({ { 4 } }, collected(stream, 1000, 4000))
    assert.same({ { 5 }, { 6 } }, queue)
  end)

  it("is persisted in the parent, also when the window is asked to", function()
    local mapped = ssc:queueStream({ { 1 }, { 2 } }):map(function(x) return x end)
    local over = mapped:window(2):persist()
    over:foreachRDD(function() end)
    ssc:start()
    ssc:clock():advance(1)
    assert.equal("NONE", over:slice(1000, 1000)[1]:getStorageLevel())
    assert.is_not.equal("NONE", mapped:slice(1000, 1000)[1]:getStorageLevel())
  end)

  it("goes when no window can ask for it: memory is flat over thousands of batches", function()
    local stream = ssc:queueStream({}, true, ssc:context():parallelize(pairs_of("a", 1, "b", 2), 2))
    stream:reduceByKeyAndWindow(add, 6, 2):window(8, 4):foreachRDD(function(rdd) rdd:count() end)
    stream:window(5):reduceByWindow(function(a) return a end, 3, 3):foreachRDD(function(rdd) rdd:count() end)
    ssc:start()
    local function used_after(batches)
      ssc:clock():advance(batches)
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    used_after(120)
    local before = used_after(120)
    assert.is_true(used_after(3000) < before + 64)
  end)
end)
