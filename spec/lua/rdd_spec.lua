local rille = require "rille"
local support = require "spec.lua.support"

local sorted, texts, map_of, pairs_of = support.sorted, support.texts, support.map_of, support.pairs_of

describe("an RDD", function()
  local sc

  setup(function() sc = rille.Context { master = "local[2]" } end)
  teardown(function() sc:stop() end)

  describe("made of a list", function()
    it("is cut at floor(i * length / n)", function()
      assert.same({ { 1 }, { 2, 3 }, { 4, 5 } }, sc:parallelize({ 1, 2, 3, 4, 5 }, 3):glom():collect())
    end)

    it("may have more partitions than records", function()
      assert.same({ {}, { 1 } }, sc:parallelize({ 1 }, 2):glom():collect())
    end)

    it("has the default number of partitions", function()
      assert.equal(sc:defaultParallelism(), sc:parallelize({}):getNumPartitions())
    end)

    it("keeps the types of values", function()
      local list = { 1, 1.0, "1", true, false, { 1, { a = "b" } }, rille.null }
      local got = sc:parallelize(list, 2):collect()
      assert.same(list, got)
      assert.equal("integer", math.type(got[1]))
      assert.equal("float", math.type(got[2]))
    end)

    it("refuses what cannot be a record, naming the job's line", function()
      assert.matches("^spec/lua/rdd_spec.lua:%d+: .*function",
        support.failure(function() local rdd = sc:parallelize({ print }) return rdd end))
      assert.matches("array expected, got a tuple",
        support.failure(function() local rdd = sc:parallelize(rille.tuple(1, 2)) return rdd end))
    end)
  end)

  describe("record by record", function()
    it("maps", function()
      assert.same({ 2, 4, 6 }, sc:parallelize({ 1, 2, 3 }, 2):map(function(x) return x * 2 end):collect())
    end)

    it("maps to records of several values, nil among them", function()
      local t = sc:parallelize({ 1 }, 1):map(function(x) return x, nil, "c" end):collect()[1]
      assert.equal(3, t.n)
      assert.equal(1, t[1])
      assert.is_nil(t[2])
      assert.equal("c", t[3])
    end)

    it("takes a tuple returned for the record itself", function()
      assert.same({ "(1,2)" }, texts(sc:parallelize({ 1 }, 1):map(function(x) return rille.tuple(x, 2) end):collect()))
    end)

    it("gives functions all fields", function()
      assert.same({ 6 }, sc:parallelize({ rille.tuple(1, 2, 3) }, 1)
        :map(function(a, b, c) return a + b + c end):collect())
    end)

    it("flatMaps arrays, iterators and tuples", function()
      assert.same({ "a", "b", "c" }, sc:parallelize({ "a b", "", "c" }, 2)
        :flatMap(function(line) return line:gmatch("%S+") end):collect())
      assert.same({ 1, 10, 2, 20 }, sc:parallelize({ 1, 2 }, 1):flatMap(function(x) return { x, x * 10 } end):collect())
      assert.same({ "(a,1)", "(b,2)" }, texts(sc:parallelize({ 0 }, 1)
        :flatMap(function() return pairs_of("a", 1, "b", 2) end):collect()))
    end)

    it("filters", function()
      assert.same({ 2, 4 }, sc:parallelize({ 1, 2, 3, 4 }, 2):filter(function(x) return x % 2 == 0 end):collect())
    end)

    it("maps values and leaves keys", function()
      local rdd = sc:parallelize(pairs_of("a", 1, "b", 2), 2)
      assert.same({ "(a,2)", "(b,3)" }, texts(rdd:mapValues(function(v) return v + 1 end):collect()))
      assert.same({ "(a,1)", "(a,1)", "(b,2)", "(b,2)" },
        texts(rdd:flatMapValues(function(v) return { v, v } end):collect()))
      assert.same({}, rdd:flatMapValues(function() return {} end):collect())
    end)
  end)

  describe("partition by partition", function()
    it("maps partitions, empty ones too", function()
      local function sum(records)
        local n = 0
        for x in records do n = n + x end
        return { n }
      end
      assert.same({ 0, 3, 3 }, sc:parallelize({ 1, 2, 3 }, 3):repartition(1):mapPartitions(function(records)
        local all = {}
        for x in records do all[#all + 1] = x end
        table.sort(all)
        return { 0, all[1] + all[2], all[3] }
      end):collect())
      assert.same({ 0, 1 }, sc:parallelize({ 1 }, 2):mapPartitions(sum):collect())
    end)

    it("takes an iterator from mapPartitions", function()
      assert.same({ "(1,x)", "(2,x)" }, texts(sc:parallelize({ 1, 2 }, 2):mapPartitions(function(records)
        return function()
          local x = records()
          if x then return x, "x" end
        end
      end):collect()))
    end)

    it("gives mapPartitionsWithIndex an index from 0", function()
      assert.same({ "(0,a)", "(1,b)" }, texts(sc:parallelize({ "a", "b" }, 2)
        :mapPartitionsWithIndex(function(index, records) return { rille.tuple(index, (records())) } end):collect()))
    end)

    it("repartitions and keeps every record", function()
      local rdd = sc:parallelize({ 1, 2, 3, 4, 5, 6 }, 2):repartition(4)
      assert.equal(4, rdd:getNumPartitions())
      assert.same({ "1", "2", "3", "4", "5", "6" }, sorted(rdd:collect()))
    end)

    it("coalesces neighbours, and grows only with a shuffle", function()
      local rdd = sc:parallelize({ 1, 2, 3, 4 }, 4)
      assert.same({ { 1, 2 }, { 3, 4 } }, rdd:coalesce(2):glom():collect())
      assert.equal(4, rdd:coalesce(9):getNumPartitions())
      assert.equal(9, rdd:coalesce(9, true):getNumPartitions())
    end)
  end)

  describe("as a whole", function()
    it("unites, duplicates kept, in order", function()
      local a, b = sc:parallelize({ 1, 2 }, 2), sc:parallelize({ 2, 3 }, 1)
      assert.same({ 1, 2, 2, 3 }, a:union(b):collect())
      assert.equal(3, a:union(b):getNumPartitions())
      assert.same({ 1, 2, 2, 3, 1, 2 }, sc:union({ a, b, a }):collect())
    end)

    it("has distinct records, of several values too", function()
      assert.same({ "1", "2", "a" }, sorted(sc:parallelize({ 1, 2, 1.0, "a", 2, "a" }, 3):distinct():collect()))
      assert.same({ "(a,1)", "(a,2)" },
        sorted(sc:parallelize(pairs_of("a", 1, "a", 2, "a", 1), 2):distinct(3):collect()))
    end)

    it("sorts by what a function gives", function()
      local rdd = sc:parallelize({ "ccc", "a", "bb", "dddd" }, 2)
      assert.same({ "a", "bb", "ccc", "dddd" }, rdd:sortBy(function(s) return #s end):collect())
      assert.same({ "dddd", "ccc", "bb", "a" }, rdd:sortBy(function(s) return #s end, false, 3):collect())
      assert.equal(2, rdd:sortBy(function(s) return s end):getNumPartitions())
    end)

    it("sorts records of several values and keeps equal ones in order", function()
      local rdd = sc:parallelize(pairs_of("a", 2, "b", 1, "c", 2, "d", 1), 2)
      assert.same({ "(b,1)", "(d,1)", "(a,2)", "(c,2)" }, texts(rdd:sortBy(function(_, n) return n end):collect()))
    end)

    it("sorts by key", function()
      local rdd = sc:parallelize(pairs_of("b", 1, "c", 2, "a", 3), 2)
      assert.same({ "(a,3)", "(b,1)", "(c,2)" }, texts(rdd:sortByKey():collect()))
      assert.same({ "(c,2)", "(b,1)", "(a,3)" }, texts(rdd:sortByKey(false, 1):collect()))
    end)
  end)

  describe("by key", function()
    local rdd

    before_each(function() rdd = sc:parallelize(pairs_of("a", 1, "b", 2, "a", 3, "c", 4, "a", 5), 2) end)

    it("groups values in order of arrival", function()
      assert.same({ a = { 1, 3, 5 }, b = { 2 }, c = { 4 } }, map_of(rdd:groupByKey():collect()))
      assert.equal(7, rdd:groupByKey(7):getNumPartitions())
    end)

    it("reduces", function()
      assert.same({ a = 9, b = 2, c = 4 }, map_of(rdd:reduceByKey(function(a, b) return a + b end):collect()))
    end)

    it("sees keys as tables do", function()
      assert.same({ [1] = 3 }, map_of(sc:parallelize(pairs_of(1, 1, 1.0, 2), 2)
        :reduceByKey(function(a, b) return a + b end):collect()))
      assert.same({ "((a,1),2)" }, texts(sc:parallelize(pairs_of(rille.tuple("a", 1), 1, rille.tuple("a", 1), 1), 2)
        :reduceByKey(function(a, b) return a + b end):collect()))
    end)

    it("combines, with and without the sending side", function()
      local function create(v) return { v } end
      local function merge_value(c, v) c[#c + 1] = v return c end
      local function merge(a, b) for _, v in ipairs(b) do a[#a + 1] = v end return a end
      local expected = { a = { 1, 3, 5 }, b = { 2 }, c = { 4 } }
      assert.same(expected, map_of(rdd:combineByKey(create, merge_value, merge):collect()))
      assert.same(expected, map_of(rdd:combineByKey(create, merge_value, merge, 3, false):collect()))
    end)

    it("makes one tuple of the values of longer records", function()
      local grouped = sc:parallelize({ rille.tuple("a", 1, 2), rille.tuple("a", 3, 4) }, 1):groupByKey():collect()[1]
      assert.same({ "(1,2)", "(3,4)" }, texts(grouped[2]))
    end)

    it("refuses nil and NaN for keys", function()
      assert.matches("^spec/lua/rdd_spec.lua:%d+: .*NaN", support.failure(function()
        local _ = sc:parallelize({ 1 }, 1):map(function() return 0 / 0, 1 end):groupByKey():collect()
      end))
      assert.matches("^spec/lua/rdd_spec.lua:%d+: .*nil", support.failure(function()
        local _ = sc:parallelize({ 1 }, 1):map(function() return nil, 1 end):groupByKey():collect()
      end))
    end)

    it("refuses records without a value", function()
      assert.matches("one value where %(key, value%) is needed",
        support.failure(function() sc:parallelize({ 1 }, 1):groupByKey():collect() end))
    end)

    it("cogroups two to four", function()
      local other = sc:parallelize(pairs_of("a", "x", "d", "y"), 2)
      local got = {}
      for _, r in ipairs(rdd:cogroup(other):collect()) do got[r[1]] = { r[2], r[3] } end
      assert.same({ a = { { 1, 3, 5 }, { "x" } }, b = { { 2 }, {} }, c = { { 4 }, {} }, d = { {}, { "y" } } }, got)
      local four = rdd:cogroup(other, other, other, 3)
      assert.equal(3, four:getNumPartitions())
      assert.equal(5, four:first().n)
    end)
  end)

  describe("joined", function()
    local left, right

    before_each(function()
      left = sc:parallelize(pairs_of("a", 1, "a", 2, "b", 3), 2)
      right = sc:parallelize(pairs_of("a", "x", "a", "y", "c", "z"), 3)
    end)

    local function rows(rdd) return sorted(rdd:collect()) end

    it("gives all combinations", function()
      assert.same({ "(a,1,x)", "(a,1,y)", "(a,2,x)", "(a,2,y)" }, rows(left:join(right)))
    end)

    it("keeps the left, the right, or both", function()
      assert.same({ "(a,1,x)", "(a,1,y)", "(a,2,x)", "(a,2,y)", "(b,3,nil)" }, rows(left:leftOuterJoin(right)))
      assert.same({ "(a,1,x)", "(a,1,y)", "(a,2,x)", "(a,2,y)", "(c,nil,z)" }, rows(left:rightOuterJoin(right, 1)))
      assert.same({ "(a,1,x)", "(a,1,y)", "(a,2,x)", "(a,2,y)", "(b,3,nil)", "(c,nil,z)" },
        rows(left:fullOuterJoin(right)))
    end)

    it("gives functions nil for an absent side", function()
      assert.same({ "b" }, left:leftOuterJoin(right)
        :filter(function(_, _, r) return r == nil end):map(function(key) return key end):collect())
    end)

    it("wants RDDs of one context", function()
      local other = rille.Context { master = "local[1]" }
      assert.matches("different contexts", support.failure(function() left:join(other:parallelize({}, 1)) end))
      other:stop()
      assert.matches("bad argument #1 to 'join' %(RDD expected, got table%)",
        support.failure(function() left:join({}) end))
    end)
  end)

  describe("with an action", function()
    it("counts", function()
      assert.equal(5, sc:parallelize({ 1, 2, 3, 4, 5 }, 3):count())
      assert.equal(0, sc:emptyRDD():count())
    end)

    it("gives the first ones in partition order", function()
      local rdd = sc:parallelize({ 1, 2, 3, 4, 5, 6, 7, 8 }, 8)
      assert.same({ 1, 2, 3 }, rdd:take(3))
      assert.same({}, rdd:take(0))
      assert.same({ 1, 2, 3, 4, 5, 6, 7, 8 }, rdd:take(100))
      assert.equal(1, rdd:first())
      assert.same({ 7 }, rdd:filter(function(x) return x == 7 end):take(2))
    end)

    it("gives the largest", function()
      local rdd = sc:parallelize({ 3, 9, 4, 7, 1 }, 3)
      assert.same({ 9, 7 }, rdd:top(2))
      assert.same({ 1, 3 }, rdd:top(2, function(x) return -x end))
      assert.same({ "(c,1)", "(b,2)" }, texts(sc:parallelize(pairs_of("a", 3, "c", 1, "b", 2), 2):top(2)))
      assert.same({}, sc:emptyRDD():top(3))
    end)

    it("reduces", function()
      assert.equal(15, sc:parallelize({ 1, 2, 3, 4, 5 }, 3):reduce(function(a, b) return a + b end))
      assert.equal(1, sc:parallelize({ 1 }, 3):reduce(function(a, b) return a + b end))
    end)

    it("counts by value", function()
      assert.same({ a = 2, b = 1 }, sc:parallelize({ "a", "b", "a" }, 2):countByValue())
    end)

    it("tells whether it is empty", function()
      assert.is_true(sc:emptyRDD():isEmpty())
      assert.is_true(sc:parallelize({}, 3):isEmpty())
      assert.is_false(sc:parallelize({ 1 }, 3):isEmpty())
    end)

    it("fails clearly where there is nothing", function()
      assert.matches("^spec/lua/rdd_spec.lua:%d+: first: the RDD is empty",
        support.failure(function() local _ = sc:parallelize({}, 2):first() end))
      assert.matches("^spec/lua/rdd_spec.lua:%d+: reduce: the RDD is empty",
        support.failure(function() local _ = sc:emptyRDD():reduce(math.max) end))
    end)

    it("runs for effect in the workers", function()
      local dir = support.directory()
      sc:parallelize({ "a", "b" }, 2):foreach(function(x) io.open(dir .. "/" .. x, "w"):close() end)
      sc:parallelize({ "c", "d" }, 2):foreachPartition(function(records)
        for x in records do io.open(dir .. "/" .. x, "w"):close() end
      end)
      for _, name in ipairs { "a", "b", "c", "d" } do assert.is_true(support.exists(dir .. "/" .. name)) end
      support.remove(dir)
    end)
  end)

  describe("with files", function()
    local dir

    before_each(function() dir = support.directory() end)
    after_each(function() support.remove(dir) end)

    it("saves text, one part a partition", function()
      sc:parallelize(pairs_of("a", 1, "b", 2), 2):saveAsTextFile(dir .. "/out")
      assert.equal("(a,1)\n", support.read(dir .. "/out/part-00000"))
      assert.equal("(b,2)\n", support.read(dir .. "/out/part-00001"))
      assert.is_true(support.exists(dir .. "/out/_SUCCESS"))
      assert.same({ "(a,1)", "(b,2)" }, sc:textFile(dir .. "/out"):collect())
    end)

    it("does not write over what is there", function()
      local rdd = sc:parallelize({ 1 }, 1)
      rdd:saveAsTextFile(dir .. "/out")
      assert.matches("out", support.failure(function() rdd:saveAsTextFile(dir .. "/out") end))
    end)

    it("saves objects and reads them again", function()
      local list = { 1, "two", 3.5, { 4, { a = true } }, rille.null }
      sc:parallelize(list, 2):saveAsObjectFile(dir .. "/objects")
      assert.same(list, sc:objectFile(dir .. "/objects"):collect())
    end)

    it("reads lines and records of fixed length", function()
      support.write(dir .. "/text", "one\r\ntwo\n\nlast")
      assert.same({ "one", "two", "", "last" }, sc:textFile(dir .. "/text"):collect())
      support.write(dir .. "/binary", "abcdef")
      assert.same({ "abc", "def" }, sc:binaryRecords(dir .. "/binary", 3):collect())
    end)

    it("says which file is missing", function()
      assert.matches("^spec/lua/rdd_spec.lua:%d+: .*nowhere",
        support.failure(function() local _ = sc:textFile(dir .. "/nowhere"):collect() end))
    end)
  end)

  describe("itself", function()
    it("has a name, an id and a lineage", function()
      local rdd = sc:parallelize({ 1 }, 1):map(function(x) return x, 1 end):reduceByKey(function(a) return a end)
      assert.equal("numbers", rdd:setName("numbers"):name())
      assert.equal("integer", math.type(rdd:id()))
      assert.equal(sc, rdd:context())
      assert.matches("numbers", tostring(rdd))
      assert.matches("reduceByKey at spec/lua/rdd_spec.lua:%d+", rdd:toDebugString())
      assert.matches("map at spec/lua/rdd_spec.lua:%d+", rdd:toDebugString())
    end)

    it("persists", function()
      local dir = support.directory()
      local rdd = sc:parallelize({ 1, 2 }, 2):map(function(x)
        local file = io.open(dir .. "/" .. x, "a")
        file:write("x")
        file:close()
        return x
      end):persist()
      assert.equal(2, rdd:count())
      assert.same({ 1, 2 }, rdd:collect())
      assert.equal("x", support.read(dir .. "/1"))
      rdd:unpersist()
      assert.equal(2, rdd:count())
      assert.equal("xx", support.read(dir .. "/2"))
      support.remove(dir)
    end)

    it("checks its arguments at the job's line", function()
      local rdd = sc:parallelize({ 1 }, 1)
      local here = "^spec/lua/rdd_spec.lua:%d+: "
      assert.matches(here .. "bad argument #1 to 'map' %(function expected, got nil%)",
        support.failure(function() local _ = rdd:map() end))
      assert.matches(here .. "bad argument #2 to 'reduceByKey' %(number of partitions .* expected, got 0%)",
        support.failure(function() local _ = rdd:reduceByKey(math.max, 0) end))
      assert.matches(here .. "bad argument #1 to 'repartition' .*got 1.5",
        support.failure(function() local _ = rdd:repartition(1.5) end))
      assert.matches(here .. "'map' was called on a function where a RDD is needed; write it with a colon",
        support.failure(function() local _ = rdd.map(print) end))
    end)

    it("refuses closures that cannot travel, naming the way", function()
      local file = io.tmpfile()
      local rdd = sc:parallelize({ 1 }, 1)
      assert.matches("rdd_spec.lua:%d+: the function given to map captures 'file'",
        support.failure(function() rdd:map(function() return file end):collect() end))
    end)

    it("raises what a function raises, with its line", function()
      local message = support.failure(function()
        sc:parallelize({ 1 }, 1):map(function() error("no luck") end):collect()
      end)
      assert.matches("rdd_spec.lua:%d+: no luck", message)
    end)
  end)
end)
