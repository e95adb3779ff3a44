local rille = require "rille"
local support = require "spec.lua.support"
local testing = require "rille.testing"

local sorted, texts, map_of, pairs_of = support.sorted, support.texts, support.map_of, support.pairs_of

-- Runs an operation over one input; with two lists of batches, over two.
local function run(operation, batches, other)
  return testing.run { inputs = { batches, other }, operation = function(_, ...) return operation(...) end }
end

local function each(f, batches)
  local out = {}
  for i, batch in ipairs(batches) do out[i] = f(batch) end
  return out
end

local function add(a, b) return a + b end

describe("a stream", function()
  it("maps, flatMaps and filters batch by batch", function()
    assert.same({ { 2, 4 }, {}, { 6 } }, run(function(s) return s:map(function(x) return x * 2 end) end,
      { { 1, 2 }, {}, { 3 } }))
    assert.same({ { "a", "b" }, { "c" } }, run(function(s)
      return s:flatMap(function(line) return line:gmatch("%S+") end)
    end, { { "a b", "" }, { "c" } }))
    assert.same({ { 2 }, { 4 } }, run(function(s) return s:filter(function(x) return x % 2 == 0 end) end,
      { { 1, 2 }, { 3, 4 } }))
  end)

  it("maps and globs partitions, empty ones too", function()
    assert.same({ { { 1 }, { 2, 3 } }, { {}, {} } }, run(function(s) return s:glom() end, { { 1, 2, 3 }, {} }))
    assert.same({ { 1, 5 }, { 0, 0 } }, run(function(s)
      return s:mapPartitions(function(records)
        local n = 0
        for x in records do n = n + x end
        return { n }
      end)
    end, { { 1, 2, 3 }, {} }))
  end)

  it("repartitions", function()
    local got = run(function(s) return s:repartition(3):glom() end, { { 1, 2, 3, 4 }, {} })
    assert.equal(3, #got[1])
    assert.same({ {}, {}, {} }, got[2])
    local all = {}
    for _, part in ipairs(got[1]) do table.move(part, 1, #part, #all + 1, all) end
    assert.same({ "1", "2", "3", "4" }, sorted(all))
  end)

  it("counts: exactly one number a batch, 0 for an empty one", function()
    assert.same({ { 3 }, { 0 }, { 1 } }, run(function(s) return s:count() end, { { "a", "b", "c" }, {}, { "d" } }))
    assert.same({ { 2 } }, run(function(s) return s:count() end, { pairs_of("a", 1, "b", 2) }))
  end)

  it("reduces to one record, to none when the batch is empty", function()
    assert.same({ { 6 }, {}, { 4 } }, run(function(s) return s:reduce(add) end, { { 1, 2, 3 }, {}, { 4 } }))
    local got = run(function(s)
      return s:reduce(function(a, b) return rille.tuple(a[1] .. b[1], a[2] + b[2]) end)
    end, { pairs_of("a", 1, "b", 2) })
    assert.same({ "(ab,3)" }, texts(got[1]))
  end)

  it("counts by value", function()
    local got = run(function(s) return s:countByValue() end, { { "a", "b", "a" }, {}, { 1, 1.0 } })
    assert.same({ { a = 2, b = 1 }, {}, { 2 } }, each(map_of, got))
    assert.same({ "((a,1),2)", "((a,2),1)" },
      sorted(run(function(s) return s:countByValue(3) end, { pairs_of("a", 1, "a", 2, "a", 1) })[1]))
  end)

  it("unites, left then right", function()
    assert.same({ { 1, 2, 3 }, { 4 } }, run(function(a, b) return a:union(b) end, { { 1 }, {} }, { { 2, 3 }, { 4 } }))
    assert.same({ { 1, 2, 1 } }, testing.run { inputs = { { { 1 } }, { { 2 } } },
      operation = function(ssc, a, b) return ssc:union { a, b, a } end })
  end)
end)

describe("a key-value stream", function()
  local batches

  before_each(function() batches = { pairs_of("a", 1, "b", 2, "a", 3), {}, pairs_of("b", 4) } end)

  it("maps values", function()
    assert.same({ { "(a,2)", "(b,4)", "(a,6)" }, {}, { "(b,8)" } },
      each(texts, run(function(s) return s:mapValues(function(v) return v * 2 end) end, batches)))
    assert.same({ { "(a,1)", "(a,0)" } }, each(texts, run(function(s)
      return s:flatMapValues(function(v) return { v, 0 } end)
    end, { pairs_of("a", 1) })))
  end)

  it("groups, reduces and combines", function()
    assert.same({ { a = { 1, 3 }, b = { 2 } }, {}, { b = { 4 } } },
      each(map_of, run(function(s) return s:groupByKey() end, batches)))
    assert.same({ { a = 4, b = 2 }, {}, { b = 4 } },
      each(map_of, run(function(s) return s:reduceByKey(add, 5) end, batches)))
    assert.same({ { a = "1,3", b = "2" }, {}, { b = "4" } }, each(map_of, run(function(s)
      return s:combineByKey(tostring, function(c, v) return c .. "," .. v end,
        function(a, b) return a .. "," .. b end, 2)
    end, batches)))
  end)

  it("has the context's number of partitions behind keyed operations", function()
    local got = testing.run { inputs = { batches }, conf = { ["rille.default.parallelism"] = 5 }, partitions = 3,
      operation = function(_, s)
        return s:reduceByKey(add):mapPartitions(function() return { 1 } end)
      end }
    assert.equal(5, #got[1])
  end)

  local right = { pairs_of("a", "x", "a", "y", "c", "z"), pairs_of("d", "w"), {} }

  it("cogroups", function()
    local got = run(function(a, b) return a:cogroup(b) end, batches, right)
    local first = {}
    for _, record in ipairs(got[1]) do first[record[1]] = { record[2], record[3] } end
    assert.same({ a = { { 1, 3 }, { "x", "y" } }, b = { { 2 }, {} }, c = { {}, { "z" } } }, first)
    assert.same({ { "d", {}, { "w" }, n = 3 } }, got[2])
  end)

  it("joins", function()
    assert.same({ { "(a,1,x)", "(a,1,y)", "(a,3,x)", "(a,3,y)" }, {}, {} },
      each(sorted, run(function(a, b) return a:join(b) end, batches, right)))
    assert.same({ { "(a,1,x)", "(a,1,y)", "(a,3,x)", "(a,3,y)", "(b,2,nil)" }, {}, { "(b,4,nil)" } },
      each(sorted, run(function(a, b) return a:leftOuterJoin(b, 3) end, batches, right)))
    assert.same({ { "(a,1,x)", "(a,1,y)", "(a,3,x)", "(a,3,y)", "(c,nil,z)" }, { "(d,nil,w)" }, {} },
      each(sorted, run(function(a, b) return a:rightOuterJoin(b) end, batches, right)))
    assert.same({ { "(a,1,x)", "(a,1,y)", "(a,3,x)", "(a,3,y)", "(b,2,nil)", "(c,nil,z)" }, { "(d,nil,w)" },
      { "(b,4,nil)" } }, each(sorted, run(function(a, b) return a:fullOuterJoin(b) end, batches, right)))
  end)
end)

describe("transform", function()
  it("gives the driver's function the RDD and the time", function()
    local times = {}
    assert.same({ { 1, 2, 3 }, { 5 } }, run(function(s)
      return s:transform(function(rdd, time)
        times[#times + 1] = time
        return rdd:sortBy(function(x) return x end)
      end)
    end, { { 3, 1, 2 }, { 5 } }))
    assert.same({ 1000, 2000 }, times)
  end)

  it("may run actions, and behave differently in every batch", function()
    local limit = 0
    assert.same({ { 1 }, { 4, 5 } }, run(function(s)
      return s:transform(function(rdd)
        limit = limit + 1
        return rdd:context():parallelize(rdd:take(limit), 1)
      end)
    end, { { 1, 2, 3 }, { 4, 5, 6 } }))
  end)

  it("takes two streams, or several", function()
    assert.same({ { "(a,1,x)" } }, each(texts, run(function(a, b)
      return a:transformWith(b, function(left, right, time)
        assert(math.type(time) == "integer")
        return left:join(right)
      end)
    end, { pairs_of("a", 1) }, { pairs_of("a", "x") })))
    assert.same({ { 1, 2, 3 } }, testing.run { inputs = { { { 1 } }, { { 2 } }, { { 3 } } },
      operation = function(ssc, a, b, c)
        return ssc:transform({ a, b, c }, function(rdds) return rdds[1]:union(rdds[2]):union(rdds[3]) end)
      end })
  end)

  it("fails the batch when no RDD comes back", function()
    local message = support.failure(run, function(s) return s:transform(function() end) end, { { 1 } })
    assert.matches("dstream_spec.lua:%d+: the function given to transform returned nothing", message)
  end)
end)

describe("a batch without an RDD", function()
  it("is left out by operations on one stream", function()
    assert.same({ { 2 }, { 6 } }, run(function(s) return s:map(function(x) return x * 2 end) end,
      { { 1 }, false, { 3 } }))
    assert.same({ { 1 } }, run(function(s) return s:reduce(add) end, { false, { 1 } }))
  end)

  it("is an error for operations that need one", function()
    for name, operation in pairs {
      union = function(a, b) return a:union(b) end,
      join = function(a, b) return a:join(b) end,
      transformWith = function(a, b) return a:transformWith(b, function(l) return l end) end,
      count = function(_, b) return b:count() end,
      repartition = function(_, b) return b:repartition(2) end,
      transform = function(_, b) return b:transform(function(rdd) return rdd end) end,
    } do
      assert.matches(name, support.failure(run, operation, { pairs_of("a", 1) }, { false }))
    end
  end)
end)

describe("definition", function()
  local ssc, lines

  before_each(function()
    ssc = rille.StreamingContext({ master = "local[1]", clock = "manual" }, 0.5)
    lines = ssc:queueStream {}
  end)
  after_each(function() ssc:stop() end)

  it("checks arguments at the job's line", function()
    local here = "^spec/lua/dstream_spec.lua:%d+: "
    assert.matches(here .. "bad argument #1 to 'map' %(function expected, got nil%)",
      support.failure(function() lines:map() end))
    assert.matches(here .. "bad argument #1 to 'join' %(DStream expected, got RDD%)",
      support.failure(function() lines:join(ssc:context():emptyRDD()) end))
    assert.matches(here .. "bad argument #1 to 'union' %(an array of at least one DStream expected%)",
      support.failure(function() ssc:union {} end))
    assert.matches(here .. "bad argument #2 to 'transform' %(function expected, got nil%)",
      support.failure(function() ssc:transform { lines } end))
    assert.matches(here .. "bad argument #1 to 'print' .*got %-1", support.failure(function() lines:print(-1) end))
    assert.matches(here .. "'uid' was called on a nil", support.failure(function() lines.uid() end))
    assert.matches(here .. "'map' was called on a string where a DStream is needed",
      support.failure(function() lines.map("x") end))
  end)

  it("refuses streams of different contexts", function()
    local other = rille.StreamingContext({ master = "local[1]" }, 0.5)
    local stream = other:queueStream {}
    assert.matches("different contexts", support.failure(function() lines:union(stream) end))
    assert.matches("different contexts", support.failure(function() ssc:union { lines, stream } end))
    assert.matches("another context", support.failure(function() ssc:union { stream } end))
    assert.matches("different contexts", support.failure(function()
      lines:transformWith(stream, function(rdd) return rdd end)
    end))
    other:stop()
  end)

  it("refuses functions that cannot travel where they are handed over", function()
    local foreign = string.gmatch("a", "a")
    assert.matches("dstream_spec.lua:%d+: .*map", support.failure(function() lines:map(foreign) end))
  end)

  it("knows its context and its slide", function()
    assert.equal(ssc, lines:context())
    assert.equal(0.5, lines:map(tostring):slideDuration())
    assert.matches("^DStream map at spec/lua/dstream_spec.lua:%d+$", tostring(lines:map(tostring)))
  end)
end)

describe("a running stream", function()
  it("gives its RDDs by time", function()
    local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual" }, 1)
    local queue = { { 1 }, { 2 }, { 3 } }
    local stream = ssc:queueStream(queue):map(function(x) return x * 10 end)
    assert.matches("illegal state: slice", support.failure(function() stream:slice(0, 1000) end))
    stream:foreachRDD(function() end)
    ssc:remember(10)
    ssc:start()
    for _ = 1, 3 do ssc:clock():advance(1) end
    local function collected(from, to)
      local list = {}
      for i, rdd in ipairs(stream:slice(from, to)) do list[i] = rdd:collect() end
      return list
    end
    assert.same({ { 10 }, { 20 } }, collected(1000, 2000))
    assert.same({ { 20 }, { 30 } }, collected(2500, 3999))
    assert.same({ { 10 }, { 20 }, { 30 } }, collected(-5000, 3000))
    ssc:stop()
  end)

  it("computes a persisted batch once for all outputs", function()
    local dir = support.directory()
    local got = testing.run { inputs = { { { 1, 2 } } }, operation = function(_, s)
      local mapped = s:map(function(x)
        local file = io.open(dir .. "/" .. x, "a")
        file:write("x")
        file:close()
        return x
      end):cache()
      mapped:foreachRDD(function(rdd) rdd:count() end)
      return mapped
    end }
    assert.same({ { 1, 2 } }, got)
    assert.equal("x", support.read(dir .. "/1"))
    support.remove(dir)
  end)
end)
