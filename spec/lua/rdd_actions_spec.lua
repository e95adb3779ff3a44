--- Actions of RDDs, beyond those of rdd_spec.lua.
local rille = require "rille"
local support = require "spec.lua.support"

local sorted, texts, pairs_of = support.sorted, support.texts, support.pairs_of

local function add(a, b) return a + b end

describe("an action", function()
  local sc, here

  setup(function()
    sc = rille.Context { master = "local[2]" }
    here = "^spec/lua/rdd_actions_spec.lua:%d+: "
  end)
  teardown(function() sc:stop() end)

  local function numbers(...) return sc:parallelize({ ... }, 3) end

  describe("folding", function()
    it("uses the zero value once a partition and once more", function()
      assert.equal(6, numbers(1, 2, 3):fold(0, add))
      assert.equal(46, numbers(1, 2, 3):fold(10, add))
      assert.equal(10, sc:emptyRDD():fold(10, add))
      assert.equal(40, sc:parallelize({}, 3):fold(10, add))
    end)

    it("gives each partition a zero value of its own", function()
      local zero = { list = {} }
      local result = numbers(1, 2, 3, 4):aggregate(zero,
        function(acc, x) table.insert(acc.list, x) return acc end,
        function(a, b) table.move(b.list, 1, #b.list, #a.list + 1, a.list) return a end)
      assert.same({ list = { 1, 2, 3, 4 } }, result)
      assert.same({ list = {} }, zero)
    end)

    it("aggregates the fields of records, into nil and tuples too", function()
      local rdd = sc:parallelize(pairs_of("a", 1, "b", 2, "c", 3), 2)
      assert.equal("(6,abc)", tostring(rdd:aggregate(rille.tuple(0, ""),
        function(acc, k, v) return rille.tuple(acc[1] + v, acc[2] .. k) end,
        function(a, b) return rille.tuple(a[1] + b[1], a[2] .. b[2]) end)))
      assert.is_nil(rdd:aggregate(nil, function() return nil end, function() return nil end))
      assert.equal("(a,1)", tostring(rdd:fold(nil, function(a, b) return a or b end)))
    end)

    it("is the same in the shape of a tree", function()
      for n = 1, 40, 13 do
        local rdd = sc:range(0, 1000, 1, n)
        for depth = 1, 4 do
          assert.equal(499500, rdd:treeReduce(add, depth))
          assert.equal(499500, rdd:treeAggregate(0, add, add, depth))
        end
      end
      assert.equal(9, sc:parallelize({ 4, 5 }, 30):treeReduce(add))
      assert.equal("(b,2)", tostring(sc:parallelize(pairs_of("a", 1, "b", 2), 20)
        :treeReduce(function(x, y) return x[2] > y[2] and x or y end)))
    end)

    it("needs a record where there is no zero value", function()
      for _, name in ipairs { "reduce", "treeReduce" } do
        assert.matches(here .. name .. ": the RDD is empty",
          support.failure(function() local rdd = sc:parallelize({}, 30) local _ = rdd[name](rdd, add) end))
      end
      for _, name in ipairs { "min", "max", "first" } do
        assert.matches(here .. name .. ": the RDD is empty",
          support.failure(function() local rdd = sc:parallelize({}, 3) local _ = rdd[name](rdd) end))
      end
    end)
  end)

  describe("in order", function()
    it("takes the smallest and largest", function()
      local rdd = numbers(5, 3, 9, 1, 7)
      assert.same({ 1, 3 }, rdd:takeOrdered(2))
      assert.same({ 9, 7 }, rdd:takeOrdered(2, function(x) return -x end))
      assert.same({ 1, 3, 5, 7, 9 }, rdd:takeOrdered(100))
      assert.same({}, rdd:takeOrdered(0))
      assert.equal(1, rdd:min())
      assert.equal(9, rdd:max())
      assert.equal(9, rdd:min(function(x) return -x end))
    end)

    it("takes few of many", function()
      local rdd = sc:range(0, 5000, 1, 3):map(function(x) return x * 7919 % 5000 end)
      assert.same({ 0, 1, 2, 3, 4 }, rdd:takeOrdered(5))
      assert.same({ 4999, 4998, 4997 }, rdd:top(3))
      assert.equal(300, #rdd:top(300))
    end)

    it("keeps records whole, and the first of equal ones", function()
      local rdd = sc:parallelize(pairs_of("a", 1, "b", 0, "c", 1, "d", 0), 2)
      local function second(_, n) return n end
      assert.same({ "(b,0)", "(d,0)", "(a,1)" }, texts(rdd:takeOrdered(3, second)))
      assert.same({ "(a,1)", "(c,1)", "(b,0)" }, texts(rdd:top(3, second)))
      assert.equal("(a,1)", tostring(rdd:max(second)))
    end)
  end)

  describe("by key", function()
    it("makes maps, the last of equal keys wins", function()
      local rdd = sc:parallelize(pairs_of("a", 1, "b", 2, "a", 3, 1, "i", 1.0, "f"), 2)
      assert.same({ a = 3, b = 2, [1] = "f" }, rdd:collectAsMap())
      assert.matches(here .. "collectAsMap needs %(key, value%) records",
        support.failure(function() local _ = numbers(1):collectAsMap() end))
    end)

    it("knows tables by their content", function()
      local rdd = sc:parallelize(pairs_of(rille.tuple(1, 2), "x", { 3 }, "y", rille.tuple(1.0, 2), "z"), 2)
      local seen = {}
      for key, value in pairs(rdd:collectAsMap()) do seen[value] = #key end
      assert.same({ y = 1, z = 2 }, seen)
      assert.same({ "x", "z" }, rdd:lookup(rille.tuple(1, 2)))
      assert.same({ "y" }, rdd:lookup({ 3 }))
    end)

    it("counts", function()
      local rdd = sc:parallelize(pairs_of("a", 1, "b", 2, "a", 3), 2)
      assert.same({ a = 2, b = 1 }, rdd:countByKey())
      assert.same({ a = 2, b = 1 }, rdd:countByKeyApprox(1000))
      assert.same({ a = 4, b = 2 }, rdd:reduceByKeyLocally(add))
      assert.same({}, sc:emptyRDD():countByKey())
    end)

    it("looks up, in one partition where that is known", function()
      local dir = support.directory()
      local rdd = sc:parallelize(pairs_of("a", 1, "b", 2, "a", 3, 7, 4), 3)
      assert.same({ 1, 3 }, rdd:lookup("a"))
      assert.same({ 4 }, rdd:lookup(7.0))
      assert.same({}, rdd:lookup("z"))
      local parted = rdd:partitionBy(5)
      assert.same({ 4 }, parted:lookup(7.0))
      local function touch(index, records)
        io.open(dir .. "/" .. index, "w"):close()
        return records
      end
      assert.same({ 1, 3 }, parted:mapPartitionsWithIndex(touch, true):lookup("a"))
      local n = 0
      for i = 0, 4 do n = n + (support.exists(dir .. "/" .. i) and 1 or 0) end
      assert.equal(1, n)
      support.remove(dir)
      for _, bad in ipairs { 0 / 0, print } do
        assert.matches(here, support.failure(function() local _ = rdd:lookup(bad) end))
      end
    end)
  end)

  describe("that estimates in Spark", function()
    it("is exact", function()
      local rdd = numbers(1, 2, 2, 3)
      assert.equal(4, rdd:countApprox(100, 0.5))
      assert.equal(3, rdd:countApproxDistinct(0.05))
      assert.same({ 1, 2, 1 }, rdd:countByValueApprox(10))
      assert.equal(8, rdd:sumApprox(10))
      assert.equal(2.0, rdd:meanApprox(10))
      assert.same({ a = 2, b = 1 },
        sc:parallelize(pairs_of("a", 1, "a", 2, "a", 1, "b", 1), 2):countApproxDistinctByKey(0.1))
    end)
  end)

  describe("on numbers", function()
    it("sums, integers as integers", function()
      assert.equal("integer", math.type(numbers(1, 2, 3):sum()))
      assert.equal(6.5, numbers(1, 2, 3.5):sum())
      assert.equal(0, sc:emptyRDD():sum())
    end)

    it("has means and deviations", function()
      local rdd = numbers(2, 4, 4, 4, 5, 5, 7, 9)
      assert.equal(5.0, rdd:mean())
      assert.is_near(4.0, rdd:variance(), 1e-12)
      assert.is_near(2.0, rdd:stdev(), 1e-12)
      assert.is_near(32 / 7, rdd:sampleVariance(), 1e-12)
      assert.is_near(math.sqrt(32 / 7), rdd:sampleStdev(), 1e-12)
    end)

    it("has them all at once", function()
      local stats = numbers(3, 1, 2):stats()
      assert.same({ 3, 2.0, 6, 1, 3 }, { stats.count, stats.mean, stats.sum, stats.min, stats.max })
      assert.matches("^%(count: 3, mean: 2.0, stdev: 0.81", tostring(stats))
      local empty = sc:parallelize({}, 3):stats()
      assert.same({ 0, 0, math.huge, -math.huge }, { empty.count, empty.sum, empty.min, empty.max })
      assert.is_true(empty.mean ~= empty.mean and empty.variance ~= empty.variance)
      local one = numbers(5):stats()
      assert.is_true(one.variance == 0 and one.sampleVariance ~= one.sampleVariance)
    end)

    it("does not lose small deviations of large numbers", function()
      assert.is_near(22.5, numbers(1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16):variance(), 1e-6)
    end)

    it("refuses what is no number", function()
      assert.matches("sum needs records of one number each, but got the string 5",
        support.failure(function() local _ = numbers(1, "5"):sum() end))
      assert.matches("mean needs records of one number each, but got a record of several values",
        support.failure(function() local _ = sc:parallelize(pairs_of(1, 2), 1):mean() end))
    end)

    it("has histograms, even ones and by bounds", function()
      local rdd = sc:range(0, 51, 1, 4)
      local bounds, counts = rdd:histogram(2)
      assert.same({ 0, 25.0, 50 }, bounds)
      assert.same({ 25, 26 }, counts)
      bounds, counts = rdd:histogram { 0, 5, 25, 50 }
      assert.same({ 0, 5, 25, 50 }, bounds)
      assert.same({ 5, 20, 26 }, counts)
      assert.same({ 1, 2 }, select(2, numbers(-5, 0 / 0, 1, 2.5, 3, 99):histogram { 1, 2, 3 }))
      bounds, counts = numbers(4, 4):histogram(10)
      assert.same({ 4, 4 }, bounds)
      assert.same({ 2 }, counts)
    end)

    it("has no histogram without numbers or in disorder", function()
      assert.matches(here .. "histogram: the RDD is empty",
        support.failure(function() local _ = sc:parallelize({}, 2):histogram(3) end))
      assert.matches(here .. "histogram: there are numbers that are NaN",
        support.failure(function() local _ = numbers(1, math.huge):histogram(3) end))
      for _, bad in ipairs { 0, 1.5, { 1 }, { 2, 1 }, { 1, 1 }, { 1, "2" }, { 1, 0 / 0 }, "x" } do
        assert.matches(here .. "bad argument #1 to 'histogram'",
          support.failure(function() local _ = numbers(1):histogram(bad) end))
      end
    end)
  end)

  describe("partition by partition", function()
    it("goes through all records", function()
      local seen = {}
      for x in sc:range(0, 10, 1, 4):toLocalIterator() do seen[#seen + 1] = x end
      assert.same({ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 }, seen)
      assert.is_nil(sc:emptyRDD():toLocalIterator()())
    end)

    it("computes a partition only when it comes", function()
      local dir = support.directory()
      local each = sc:range(0, 6, 1, 3):map(function(x)
        io.open(dir .. "/" .. x, "w"):close()
        return x
      end):toLocalIterator()
      assert.equal(0, each())
      assert.is_true(support.exists(dir .. "/1"))
      assert.is_false(support.exists(dir .. "/2"))
      support.remove(dir)
    end)
  end)

  it("counts values that are tables", function()
    local counts = sc:parallelize({ { 1 }, { 1 }, rille.tuple("a", 1) }, 2):countByValue()
    local n = {}
    for _, count in pairs(counts) do n[#n + 1] = count end
    assert.same({ "1", "2" }, sorted(n))
  end)
end)
