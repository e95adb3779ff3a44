--- Operations that give RDDs, beyond those of rdd_spec.lua.
local core = require "rille.core"
local rille = require "rille"
local support = require "spec.lua.support"
local testing = require "rille.testing"

local sorted, texts, pairs_of = support.sorted, support.texts, support.pairs_of

local function add(a, b) return a + b end

describe("an RDD", function()
  local sc, here

  setup(function()
    sc = rille.Context { master = "local[2]" }
    here = "^spec/lua/rdd_ops_spec.lua:%d+: "
  end)
  teardown(function() sc:stop() end)

  local function numbers(...) return sc:parallelize({ ... }, 2) end

  describe("from the context", function()
    it("is a range", function()
      assert.same({ 0, 1, 2, 3 }, sc:range(4):collect())
      assert.same({ { 2, 3 }, { 4, 5, 6 } }, sc:range(2, 7, 1, 2):glom():collect())
      assert.same({ 10, 7, 4, 1 }, sc:range(10, 0, -3):collect())
      assert.same({}, sc:range(5, 5):collect())
      assert.same({}, sc:range(0, 5, -1):collect())
      assert.same({ 0, 3 }, sc:range(0, 6, 3, 5):collect())
      assert.equal(5, sc:range(0, 6, 3, 5):getNumPartitions())
      assert.matches(here .. ".*step other than 0", support.failure(function() local _ = sc:range(0, 5, 0) end))
    end)

    it("covers a long range without holding it", function()
      assert.equal((1 << 62) - (1 << 50), sc:range(0, 1 << 62, 1 << 50, 3):max())
      assert.same({ -(1 << 62) }, sc:range(-(1 << 62), 1 << 62, 1 << 55, 2):take(1))
    end)

    it("is made by makeRDD, too", function() assert.same({ 1, 2 }, sc:makeRDD({ 1, 2 }, 2):collect()) end)

    it("is empty", function()
      assert.same({}, sc:emptyRDD():map(function(x) return x end):collect())
      assert.equal(0, sc:emptyRDD():getNumPartitions())
    end)

    it("has whole files", function()
      local dir = support.directory()
      support.write(dir .. "/b", "two\nlines\n")
      support.write(dir .. "/a", "\0binary\xff")
      support.write(dir .. "/_SUCCESS", "")
      for _, name in ipairs { "wholeTextFiles", "binaryFiles" } do
        local rdd = sc[name](sc, dir)
        assert.same({ dir .. "/a", dir .. "/b" }, rdd:keys():collect())
        assert.same({ "\0binary\xff", "two\nlines\n" }, rdd:values():collect())
      end
      assert.equal(5, sc:wholeTextFiles(dir, 5):getNumPartitions())
      assert.matches(here .. ".*nowhere",
        support.failure(function() local _ = sc:wholeTextFiles(dir .. "/nowhere") end))
      support.remove(dir)
    end)
  end)

  describe("record by record", function()
    it("is keyed by a function", function()
      assert.same({ "(1,a)", "(2,bb)" }, texts(numbers("a", "bb"):keyBy(function(s) return #s end):collect()))
      assert.same({ "(2,(a,2))" },
        texts(sc:parallelize(pairs_of("a", 2), 1):keyBy(function(_, n) return n end):collect()))
    end)

    it("has keys and values", function()
      local rdd = sc:parallelize({ rille.tuple("a", 1), rille.tuple("b", 2, 3) }, 2)
      assert.same({ "a", "b" }, rdd:keys():collect())
      assert.same({ "1", "(2,3)" }, texts(rdd:values():collect()))
      assert.matches(here .. "keys needs %(key, value%) records",
        support.failure(function() local _ = numbers(1):keys():collect() end))
      assert.matches(here .. "values needs %(key, value%) records",
        support.failure(function() local _ = numbers(1):values():collect() end))
    end)
  end)

  describe("as a set", function()
    it("subtracts, duplicates of the left kept", function()
      assert.same({ "1", "1", "a" }, sorted(numbers(1, 2, 1, "a", 3):subtract(numbers(2, 3, 4)):collect()))
      assert.same({ "(a,1)" },
        texts(sc:parallelize(pairs_of("a", 1, "b", 2), 2):subtract(sc:parallelize(pairs_of("b", 2), 1)):collect()))
      assert.same({}, numbers(1):subtract(numbers(1.0)):collect())
      assert.equal(7, numbers(1):subtract(numbers(2), 7):getNumPartitions())
      assert.same({ "1", "2" }, sorted(numbers(1, 2):subtract(sc:emptyRDD()):collect()))
    end)

    it("intersects, without duplicates", function()
      assert.same({ "2", "b" }, sorted(numbers(1, 2, 2, "b"):intersection(numbers("b", 2, 2, 3)):collect()))
      assert.same({ "({x=1},2)" }, texts(sc:parallelize({ rille.tuple({ x = 1 }, 2), rille.tuple({ x = 2 }, 2) }, 2)
        :intersection(sc:parallelize({ rille.tuple({ x = 1 }, 2) }, 1)):collect()))
    end)

    it("groups by a function", function()
      assert.same({ "(0,{2,4})", "(1,{1,3})" },
        sorted(numbers(1, 2, 3, 4):groupBy(function(x) return x % 2 end):collect()))
    end)
  end)

  describe("side by side", function()
    it("has all pairs", function()
      local rdd = numbers(1, 2):cartesian(sc:parallelize({ "x", "y", "z" }, 3))
      assert.equal(6, rdd:getNumPartitions())
      assert.same({ "(1,x)", "(1,y)", "(1,z)", "(2,x)", "(2,y)", "(2,z)" }, texts(rdd:collect()))
      assert.same({ "((a,1),1)", "((a,1),2)" },
        texts(sc:parallelize(pairs_of("a", 1), 1):cartesian(numbers(1, 2)):collect()))
    end)

    it("is zipped", function()
      assert.same({ "(1,(1,1))", "(2,(2,4))" },
        texts(numbers(1, 2):zip(numbers(1, 2):map(function(x) return x, x * x end)):collect()))
    end)

    it("is zipped only with as many partitions and records", function()
      assert.matches(here .. "zip: the RDDs have 2 and 3 partitions",
        support.failure(function() local _ = numbers(1, 2):zip(sc:parallelize({ 1, 2 }, 3)) end))
      -- Both partitions are wrong; which task says so first is up to the workers.
      assert.matches(here .. "zip: partition [01] of one RDD has 1 records and that of another more",
        support.failure(function() local _ = numbers(1, 2):zip(numbers(1, 2, 3, 4)):collect() end))
    end)

    it("has partitions zipped by a function", function()
      local function lockstep(a, b)
        return function()
          local x, y = a(), b()
          if x or y then return x or "-", y or "-" end
        end
      end
      assert.same({ "(1,a)", "(2,b)", "(3,-)" }, texts(sc:parallelize({ 1, 2, 3 }, 1)
        :zipPartitions(sc:parallelize({ "a", "b" }, 1), lockstep):collect()))
    end)

    it("has partitions zipped that are read one after another, or not at all", function()
      local function sums(a, b, c)
        local n, all = 0, {}
        for k, v in c do all[#all + 1] = k .. v end
        for x in a do n = n + x end
        return { n, table.concat(all), b and "unread" }
      end
      assert.same({ 6, "x1y2", "unread" }, sc:parallelize({ 1, 2, 3 }, 1)
        :zipPartitions(sc:parallelize({ 9 }, 1), sc:parallelize(pairs_of("x", 1, "y", 2), 1), sums):collect())
      assert.matches("bad argument #2 to 'zipPartitions' %(function expected",
        support.failure(function() local _ = numbers(1):zipPartitions(numbers(1), 5) end))
    end)

    it("is zipped with itself", function()
      local rdd = numbers(1, 2, 3):persist()
      assert.same({ "(1,1)", "(2,2)", "(3,3)" }, texts(rdd:zip(rdd):collect()))
      assert.same({ 1, 2, 3 }, rdd:collect())
    end)

    it("is numbered", function()
      local rdd = sc:parallelize({ "a", "b", "c", "d", "e" }, 3)
      assert.same({ "(a,0)", "(b,1)", "(c,2)", "(d,3)", "(e,4)" }, texts(rdd:zipWithIndex():collect()))
      assert.same({ "(a,0)", "(b,1)", "(c,4)", "(d,2)", "(e,5)" }, texts(rdd:zipWithUniqueId():collect()))
      assert.same({ "((a,1),0)" }, texts(sc:parallelize(pairs_of("a", 1), 1):zipWithIndex():collect()))
      assert.same({}, sc:emptyRDD():zipWithIndex():collect())
    end)
  end)

  describe("in order", function()
    -- nil < null < false < true < numbers < strings < tuples < tables
    local mixed = {
      rille.null, false, true, -math.huge, -2, 1, 1.0, 1.5, math.huge, "", "a", "aa", "b",
      rille.tuple(1), rille.tuple(1, 2), rille.tuple("a"), {}, { 1 }, { 1, 2 },
    }

    local function shuffled()
      local list = table.move(mixed, 1, #mixed, 1, {})
      for i = #list, 2, -1 do
        local j = (i * 7) % i + 1
        list[i], list[j] = list[j], list[i]
      end
      return list
    end

    it("sorts mixed keys in the documented order", function()
      local expected, wrapped = {}, {}
      for i, value in ipairs(mixed) do expected[i] = core.format(value) end
      for i, value in ipairs(shuffled()) do wrapped[i] = { value } end
      local function inside(t) return t[1] end
      for n = 1, 4 do
        local up, down = {}, {}
        for i, t in ipairs(sc:parallelize(wrapped, 3):sortBy(inside, true, n):collect()) do
          up[i] = core.format(t[1])
        end
        for i, t in ipairs(sc:parallelize(wrapped, 3):sortBy(inside, false, n):collect()) do
          down[#mixed + 1 - i] = core.format(t[1])
        end
        assert.same(expected, up)
        assert.same(expected, down)
      end
    end)

    it("takes the first and last of mixed ones in the same order", function()
      local rdd = sc:parallelize(shuffled(), 4)
      assert.same({ rille.null, false, true, -math.huge }, rdd:takeOrdered(4))
      assert.same({ { 1, 2 }, { 1 }, {} }, rdd:top(3))
      assert.equal(rille.null, rdd:min())
      assert.same({ 1, 2 }, rdd:max())
    end)

    it("sorts by a comparison function, and keeps equal ones in order", function()
      local rdd = sc:parallelize(pairs_of("b", 1, "a", 1, "c", 0, "d", 1, "e", 0), 3)
      local result = rdd:sortWith(function(x, y) return x[2] > y[2] end)
      assert.equal(1, result:getNumPartitions())
      assert.same({ "(b,1)", "(a,1)", "(d,1)", "(c,0)", "(e,0)" }, texts(result:collect()))
      assert.same({ 4, 3, 2, 1 }, numbers(3, 1, 4, 2):sortWith(function(x, y) return x > y end):collect())
      assert.same({}, sc:emptyRDD():sortWith(function() return true end):collect())
    end)

    it("survives a comparison function without sense", function()
      assert.equal(100, #sc:range(100):sortWith(function() return true end):collect())
    end)

    it("sorts within partitions by key", function()
      local rdd = sc:parallelize(pairs_of(3, "a", 1, "b", 2, "c", 1, "d", 3, "e"), 2)
      local up, down = rdd:repartitionAndSortWithinPartitions(2), rdd:repartitionAndSortWithinPartitions(2, false)
      assert.same({ kind = "hash", numPartitions = 2 }, up:partitioner())
      for _, side in ipairs { { up, 1 }, { down, -1 } } do
        local seen = 0
        for _, part in ipairs(side[1]:glom():collect()) do
          for i, record in ipairs(part) do
            seen = seen + 1
            assert.is_true(i == 1 or side[2] * (record[1] - part[i - 1][1]) >= 0)
          end
        end
        assert.equal(5, seen)
      end
      assert.same({ "b", "d" }, up:lookup(1))
    end)
  end)

  describe("by key", function()
    local rdd

    before_each(function() rdd = sc:parallelize(pairs_of("a", 1, "b", 2, "a", 3, "c", 4), 2) end)

    it("is partitioned, once", function()
      local parted = rdd:partitionBy(3)
      assert.same({ kind = "hash", numPartitions = 3 }, parted:partitioner())
      assert.is_nil(rdd:partitioner())
      assert.equal("shuffle", parted:dependencies()[1].kind)
      assert.equal("narrow", parted:partitionBy(3):dependencies()[1].kind)
      assert.same({ "(a,1)", "(a,3)", "(b,2)", "(c,4)" }, sorted(parted:collect()))
      assert.is_nil(parted:map(function(k, v) return k, v end):partitioner())
      assert.equal(3, parted:filter(function() return true end):partitioner().numPartitions)
      assert.equal(3, parted:sample(false, 0.5, 1):partitioner().numPartitions)
    end)

    it("folds, each key from a zero value of its own", function()
      local function append(acc, v)
        for _, x in ipairs(type(v) == "table" and v or { v }) do acc[#acc + 1] = x end
        return acc
      end
      assert.same({ a = { 1, 3 }, b = { 2 }, c = { 4 } }, rdd:foldByKey({}, append):collectAsMap())
      assert.same({ a = 24, b = 12, c = 14 }, rdd:coalesce(2):foldByKey(10, add):collectAsMap())
      assert.equal(5, rdd:foldByKey(0, add, 5):getNumPartitions())
    end)

    it("aggregates into another type", function()
      local result = rdd:aggregateByKey({ n = 0, sum = 0 },
        function(acc, v) acc.n, acc.sum = acc.n + 1, acc.sum + v return acc end,
        function(a, b) return { n = a.n + b.n, sum = a.sum + b.sum } end)
      assert.same({ a = { n = 2, sum = 4 }, b = { n = 1, sum = 2 }, c = { n = 1, sum = 4 } }, result:collectAsMap())
    end)

    it("subtracts by key", function()
      assert.same({ "(a,1)", "(a,3)" },
        sorted(rdd:subtractByKey(sc:parallelize(pairs_of("b", 0, "c", 0, "z", 0), 2)):collect()))
      local long = sc:parallelize({ rille.tuple("a", 1, 2) }, 1)
      assert.same({ "(a,(1,2))" }, texts(long:subtractByKey(sc:emptyRDD()):collect()))
    end)

    it("groups with others", function()
      assert.equal(4, rdd:groupWith(rdd, rdd):first().n)
      assert.matches("bad argument #1 to 'groupWith' %(RDD expected",
        support.failure(function() local _ = rdd:groupWith() end))
    end)
  end)

  it("is part of batches", function()
    local zipped = testing.run { inputs = { { { "a", "b" }, {}, { "c" } } }, operation = function(_, stream)
      return stream:transform(function(rdd) return rdd:zipWithIndex():zip(rdd:pipe("cat")) end)
    end }
    assert.same({ "((a,0),a)", "((b,1),b)" }, texts(zipped[1]))
    assert.same({ {}, { "((c,0),c)" } }, { zipped[2], texts(zipped[3]) })
  end)

  describe("itself", function()
    it("tells what it depends on", function()
      local rdd = numbers(1):map(function(x) return x, 1 end):reduceByKey(add)
      local above = rdd:dependencies()
      assert.equal(1, #above)
      assert.equal("shuffle", above[1].kind)
      assert.same({ "(1,1)" }, texts(above[1].rdd:collect()))
      assert.same({}, numbers(1):dependencies())
      assert.equal(2, #numbers(1):cartesian(numbers(2)):dependencies())
    end)

    it("has a storage level", function()
      local rdd = numbers(1)
      assert.equal("NONE", rdd:getStorageLevel())
      assert.equal("MEMORY_ONLY", rdd:persist():getStorageLevel())
      assert.equal("NONE", rdd:unpersist():getStorageLevel())
      assert.equal("MEMORY_ONLY", rdd:cache():getStorageLevel())
      assert.matches(here .. ".*is persisted at MEMORY_ONLY already; unpersist it",
        support.failure(function() rdd:persist("DISK_ONLY") end))
      assert.equal("MEMORY_AND_DISK_SER_2", rdd:unpersist():persist("MEMORY_AND_DISK_SER_2"):getStorageLevel())
      assert.equal("NONE", rdd:persist("NONE"):getStorageLevel())
      assert.matches(here .. "bad argument #1 to 'persist' %(storage level",
        support.failure(function() rdd:persist("MEMORY") end))
    end)
  end)
end)
