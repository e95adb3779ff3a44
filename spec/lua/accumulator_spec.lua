-- Accumulators: closures add, the script reads.
local rille = require "rille"
local support = require "spec.lua.support"

local failure = support.failure

describe("an accumulator", function()
  local sc

  before_each(function()
    sc = rille.Context { master = "local[2]", ["rille.log.level"] = "off", ["rille.task.maxFailures"] = 3 }
  end)
  after_each(function() sc:stop() end)

  local function numbers(n, partitions)
    local list = {}
    for i = 1, n do list[i] = i end
    return sc:parallelize(list, partitions or 4)
  end

  it("adds up whole numbers", function()
    local acc = sc:longAccumulator "bytes"
    assert.is_true(acc:isZero())
    assert.equal(0, acc:value())
    assert.is_true(acc:avg() ~= acc:avg())
    numbers(100):foreach(function(x) acc:add(x) end)
    assert.equal(5050, acc:value())
    assert.equal("integer", math.type(acc:value()))
    assert.equal(5050, acc:sum())
    assert.equal(100, acc:count())
    assert.equal(50.5, acc:avg())
    assert.equal("bytes", acc:name())
    assert.is_false(acc:isZero())
    acc:reset()
    assert.is_true(acc:isZero())
    assert.equal(0, acc:count())
    acc:add(7)
    assert.equal(7, acc:value())
  end)

  it("is reached by functions that are called for partitions without records, too", function()
    local acc = sc:longAccumulator()
    local empty = sc:parallelize({}, 3)
    empty:foreachPartition(function() acc:add(1) end)
    assert.equal(3, acc:value())
    local function mark(records) acc:add(10) return records end
    assert.same({}, empty:map(function(x) return x, 1 end):reduceByKey(math.max, 4):mapPartitions(mark):collect())
    assert.equal(43, acc:value())
    local indices = empty:filter(function() return true end):mapPartitionsWithIndex(function(i) return { i } end)
    assert.same({ 0, 1, 2 }, indices:collect())
    assert.same({ {}, {}, {} }, empty:glom():collect())
    assert.same({}, empty:groupBy(function(x) return x end):cartesian(empty):sortBy(function(x) return x end):collect())
  end)

  it("adds up floats, in the same order every time", function()
    local first
    for _ = 1, 5 do
      local acc = sc:doubleAccumulator()
      numbers(1000, 16):foreach(function(x) acc:add(1 / x) end)
      first = first or acc:value()
      assert.equal(first, acc:value())
      assert.equal("float", math.type(acc:value()))
    end
    local whole = sc:doubleAccumulator()
    numbers(3):foreach(function(x) whole:add(x) end)
    assert.equal("6.0", tostring(whole:value()))
  end)

  it("collects values, in the order of partitions", function()
    local acc = sc:collectionAccumulator "odd"
    numbers(9):foreach(function(x) if x % 2 == 1 then acc:add { x } end end)
    assert.same({ { 1 }, { 3 }, { 5 }, { 7 }, { 9 } }, acc:value())
    acc:value()[1] = nil
    assert.equal(5, #acc:value())
  end)

  it("folds with a function of the job's", function()
    local longest = sc:accumulator("", function(a, b) return #b > #a and b or a end)
    sc:parallelize({ "a", "ccc", "bb", "dddd", "e" }, 3):foreach(function(w) longest:add(w) end)
    assert.equal("dddd", longest:value())
    local n = 0
    local words = sc:accumulator({}, function(set, w)
      set[w] = (set[w] or 0) + 1
      return set
    end, function(a, b)
      n = n + 1 -- in the script: it may see what the script sees
      for w, count in pairs(b) do a[w] = (a[w] or 0) + count end
      return a
    end)
    sc:parallelize({ "x", "y", "x", "x" }, 2):foreach(function(w) words:add(w) end)
    assert.same({ x = 3, y = 1 }, words:value())
    assert.equal(2, n)
    words:reset()
    assert.same({}, words:value())
  end)

  it("begins with its first value", function()
    local acc = sc:accumulator(100, function(a, b) return a + b end)
    assert.equal(100, acc:value())
    numbers(4):foreach(function(x) acc:add(x) end)
    assert.equal(110, acc:value())
    acc:reset()
    assert.equal(100, acc:value())
  end)

  it("counts a task once, however often it is tried", function()
    local acc = sc:longAccumulator()
    local path = os.tmpname()
    numbers(40):foreach(function(x)
      acc:add(1)
      if x % 10 == 0 then
        local tried = io.open(path .. x)
        if not tried then
          io.open(path .. x, "w"):close()
          error "once more"
        end
        tried:close()
      end
    end)
    for x = 10, 40, 10 do os.remove(path .. x) end
    os.remove(path)
    assert.equal(40, acc:value())
  end)

  it("does not count attempts that fail", function()
    local acc = sc:longAccumulator()
    assert.matches("broken", failure(function()
      sc:parallelize({ 1, 2, 3 }, 1):foreach(function(x)
        acc:add(x)
        if x == 3 then error "broken" end
      end)
    end))
    assert.equal(0, acc:value())
  end)

  it("counts again when records are computed again, but not behind a shuffle that is there", function()
    local acc = sc:longAccumulator()
    local mapped = numbers(10):map(function(x)
      acc:add(1)
      return x % 2, x
    end)
    mapped:count()
    mapped:count()
    assert.equal(20, acc:value())
    acc:reset()
    local sums = mapped:reduceByKey(function(a, b) return a + b end)
    sums:count()
    sums:collect()
    assert.equal(10, acc:value())
    acc:reset()
    mapped:cache():count()
    mapped:count()
    assert.equal(10, acc:value())
  end)

  it("is shared by several closures and several workers", function()
    local acc = sc:longAccumulator()
    numbers(10)
      :filter(function(x) acc:add(1) return x > 5 end)
      :map(function(x) acc:add(10) return x end)
      :keyBy(function(x) return x end)
      :reduceByKey(function(a) return a end)
      :foreach(function() acc:add(100) end)
    assert.equal(10 + 50 + 500, acc:value())
  end)

  it("can be read by the script only", function()
    local acc = sc:longAccumulator()
    for _, method in ipairs { "value", "sum", "reset", "isZero" } do
      assert.matches("accumulator_spec.lua:%d+: '" .. method .. "' of an accumulator is for the script itself",
        failure(function() numbers(1):foreach(function() return acc[method](acc) end) end))
    end
  end)

  it("says what does not fit", function()
    local HERE = "accumulator_spec.lua:%d+: "
    local acc = sc:longAccumulator "n"
    assert.matches(HERE .. "a long accumulator adds whole numbers, got 1.5",
      failure(function() numbers(1):foreach(function() acc:add(1.5) end) end))
    assert.matches(HERE .. "a long accumulator adds whole numbers, got string", failure(function() acc:add "1" end))
    assert.matches(HERE .. ".*the value an accumulator begins with: a function",
      failure(function() sc:accumulator({ print }, math.max) end))
    assert.matches(HERE .. "bad argument #2 to 'accumulator'", failure(function() sc:accumulator(0) end))
    local lists = sc:collectionAccumulator "pipes"
    assert.matches("accumulator 'pipes': a function cannot be in a record",
      failure(function() numbers(1):foreach(function() lists:add(print) end) end))
    local silent = sc:accumulator(0, function() end)
    assert.matches("returned nil; return the new value", failure(function()
      sc:parallelize({ 1, 2 }, 1):foreach(function(x) silent:add(x) end)
    end))
    assert.matches("only long and double accumulators", failure(function() lists:avg() end))
  end)

  it("counts in streams, batch by batch", function()
    local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual", ["rille.log.level"] = "off" }, 1)
    local acc = ssc:context():longAccumulator()
    local seen = {}
    ssc:queueStream({ { 1, 2, 3 }, {}, { 4 } })
      :map(function(x) acc:add(1) return x end)
      :foreachRDD(function(rdd)
        rdd:count()
        seen[#seen + 1] = acc:value()
      end)
    ssc:start()
    ssc:clock():advance(4)
    ssc:stop()
    assert.same({ 3, 3, 4, 4 }, seen)
  end)

  it("goes with the script's object", function()
    local function add_to_a_new_one()
      local acc = sc:longAccumulator()
      return numbers(4):map(function(x)
        acc:add(1)
        return x
      end)
    end
    local rdd = add_to_a_new_one()
    rdd:count()
    collectgarbage()
    collectgarbage()
    assert.equal(4, rdd:count())
  end)
end)
