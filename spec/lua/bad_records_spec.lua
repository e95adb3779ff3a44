-- Bad records: what onError and rille.task.maxBadRecords divert.
local rille = require "rille"
local support = require "spec.lua.support"

local core = require "rille.core"
local failure, sorted = support.failure, support.sorted

local function number(text)
  local n = tonumber(text)
  if not n then error("no number: " .. tostring(text)) end
  return n
end

local function settings(more)
  local conf = { master = "local[2]", clock = "manual", ["rille.log.level"] = "off", ["rille.task.maxFailures"] = 1 }
  for key, value in pairs(more or {}) do conf[key] = value end
  return conf
end

describe("onError of RDDs", function()
  local sc

  before_each(function() sc = rille.Context(settings()) end)
  after_each(function() sc:stop() end)

  local function texts(n) return sc:parallelize({ "1", "x", "3", "y", "5" }, n or 2) end
  local function pairs_with(bad)
    return sc:parallelize(support.pairs_of("a", 1, "b", 2, "a", bad, "c", 4, "b", 5), 2)
  end

  -- Each operation with "skip", and the same without the bad records: equal.
  local function same(made, good) assert.same(sorted(good:collect()), sorted(made:onError("skip"):collect())) end

  it("leaves records out of every operation over records", function()
    local good = sc:parallelize({ "1", "3", "5" }, 2)
    local function twice(s) return number(s), s end
    local function any(s) return table.unpack({ number(s), s, nil }, 1, 3) end
    local function list(s) return { number(s), s } end
    local function iterator(s)
      local i = 0
      return function()
        i = i + 1
        if i == 2 then number(s) end
        if i < 4 then return i, s end
      end
    end
    for _, f in ipairs { number, twice, any } do same(texts():map(f), good:map(f)) end
    for _, f in ipairs { list, iterator } do same(texts():flatMap(f), good:flatMap(f)) end
    same(texts():filter(function(s) return number(s) > 1 end), good:filter(function(s) return number(s) > 1 end))
    same(texts():sortBy(number), good:sortBy(number))
    same(texts():map(function(s) if number(s) > 1 then return s end end),
      good:filter(function(s) return number(s) > 1 end))
  end)

  it("leaves records out of every operation over pairs", function()
    local good = sc:parallelize(support.pairs_of("a", 1, "b", 2, "c", 4, "b", 5), 2)
    local function half(v) return v / 2 end
    local function repeated(v) return { v + 0, v } end
    local function add(a, b) return a + b end
    local function as_list(v) return { v + 0 } end
    local function append(list, v)
      list[#list + 1] = v + 0
      return list
    end
    local function concat(a, b) return table.move(b, 1, #b, #a + 1, a) end
    same(pairs_with("x"):mapValues(half), good:mapValues(half))
    same(pairs_with("x"):flatMapValues(repeated), good:flatMapValues(repeated))
    same(pairs_with {}:combineByKey(as_list, append, concat), good:combineByKey(as_list, append, concat))
    same(pairs_with {}:combineByKey(as_list, append, concat, 2, false),
      good:combineByKey(as_list, append, concat, 2, false))
    -- a fold sees the bad value where another one was before: the one that was there stays
    local sums = pairs_with({}):coalesce(1):reduceByKey(add):onError("skip")
    assert.same({ "(a,1)", "(b,7)", "(c,4)" }, sorted(sums:collect()))
  end)

  it("takes keys that cannot be one for bad", function()
    local function nan(s) return s == "x" and 0 / 0 or s, 1 end
    local keyed = texts():map(nan)
    assert.same({ "1", "3", "5", "y" }, sorted(keyed:groupByKey():onError("skip"):keys():collect()))
    assert.same({ "1", "3", "5", "y" }, sorted(keyed:reduceByKey(math.max):onError("skip"):keys():collect()))
    assert.same({ "1", "3", "5", "y" }, sorted(keyed:join(keyed):onError("skip"):keys():collect()))
    assert.equal(4, keyed:cogroup(keyed, keyed):onError("skip"):count())
    assert.equal(4, keyed:partitionBy(3):onError("skip"):count())
    assert.matches("NaN", failure(function() keyed:groupByKey():collect() end))
  end)

  it("keeps values of any kind and any length", function()
    local records = { rille.tuple("a", nil, 3), rille.tuple("bad", 1), "plain",
      rille.tuple("t", { 1, x = rille.null }) }
    local kept = sc:parallelize(records, 1):filter(function(k) if k == "bad" then error() end return true end)
    assert.same({ "(a,nil,3)", "plain", "(t,{1,x=null})" }, support.texts(kept:onError("skip"):collect()))
  end)

  it("fuses with what comes before and behind", function()
    local found = texts()
      :map(function(s) return s, #s, "more" end)
      :map(function(s) return number(s), s end):onError("skip")
      :filter(function(n) return n > 1 end)
      :map(function(n, s) return n + 1, s end)
    assert.same({ "(4,3)", "(6,5)" }, support.texts(found:collect()))
    assert.same({ "(4.0,3)" }, support.texts(found:filter(function(n) return 4 / (n - 6) and n < 6 end):onError("skip")
      :mapValues(function(v) return v end):map(function(k, v) return k + 0.0, v end):collect()))
  end)

  it("calls the handler in the worker, with the error and the record", function()
    local seen = sc:collectionAccumulator()
    local kept = sc:parallelize({ rille.tuple("k", "x"), rille.tuple("k", "1") }, 1)
      :map(function(k, v)
        if v == "x" then error { code = 7 } end
        return k, number(v)
      end)
      :onError(function(err, k, v) seen:add { err.code, k, v } end)
    assert.same({ "(k,1)" }, support.texts(kept:collect()))
    assert.same({ { 7, "k", "x" } }, seen:value())
  end)

  it("fails when the handler does", function()
    assert.matches("bad_records_spec.lua:%d+: handler: .*no number: x", failure(function()
      texts(1):map(number):onError(function(err) error("handler: " .. err) end):collect()
    end))
  end)

  it("never diverts limits", function()
    local function run(setting, value, f)
      local small = rille.Context(settings { [setting] = value })
      local calls = small:longAccumulator()
      local why = failure(function()
        small:parallelize({ 1 }, 1):map(f):onError(function() calls:add(1) end):collect()
      end)
      assert.equal(0, calls:value())
      small:stop()
      return why
    end
    assert.matches("out of memory", run("rille.task.maxMemory", "16m", function()
      local t = {}
      while true do t[#t + 1] = ("x"):rep(1000) .. #t end
    end))
    local over_time = os.getenv "RILLE_SANITIZE" == "thread" and "stuck for" or "took longer" -- it holds signals back
    assert.matches(over_time, run("rille.task.maxSeconds", "0.2", function() while true do end end))
  end)

  it("counts once although tasks are tried again", function()
    local again = rille.Context(settings { ["rille.task.maxFailures"] = 3 })
    local path = os.tmpname()
    os.remove(path)
    core.setLogLevel "warn"
    core.keepLog(true)
    again:parallelize({ "x", "1", "y" }, 1):map(number):onError("skip"):foreach(function()
      local file = io.open(path)
      if file then return file:close() end
      io.open(path, "w"):close()
      error "once more"
    end)
    local log = core.keepLog(false)
    core.setLogLevel "off"
    os.remove(path)
    assert.matches("2 bad records were left out; map at spec/lua/bad_records_spec.lua:%d+: .*no number: x: x | map at "
      .. ".*: y", log)
    again:stop()
  end)

  it("is for operations with functions over single records, right behind them", function()
    assert.matches("glom calls no function with single records", failure(function() texts():glom():onError("skip") end))
    assert.matches("mapPartitions calls no function", failure(function()
      texts():mapPartitions(function() return {} end):onError("skip")
    end))
    local mapped = texts():map(number)
    local _ = mapped:filter(function() return true end)
    assert.matches("right behind the operation", failure(function() mapped:onError("skip") end))
    assert.matches("bad argument #1 to 'onError' %(function or 'skip' expected",
      failure(function() texts():map(number):onError("ignore") end))
    assert.matches("the function given to onError captures 'co'", failure(function()
      local co = coroutine.create(print)
      texts():map(number):onError(function() return co end):collect()
    end))
  end)
end)

describe("rille.task.maxBadRecords", function()
  it("diverts so many in a task, of any operation", function()
    local sc = rille.Context(settings { ["rille.task.maxBadRecords"] = 2 })
    local rdd = sc:parallelize({ "1", "x", "y", "2" }, 1)
    assert.same({ 1, 2 }, rdd:map(number):collect())
    assert.equal(2, rdd:map(number):keyBy(function(x) return x end):groupByKey():count())
    local message = failure(function() sc:parallelize({ "x", "y", "z" }, 1):map(number):collect() end)
    assert.matches("bad_records_spec.lua:%d+: no number: z .*more than 2 bad records in one task", message)
    assert.matches("more than 2 bad", failure(function()
      sc:parallelize({ "x", "y", "z" }, 1):map(number):onError("skip"):collect()
    end))
    sc:stop()
  end)

  it("is 0 by default, and checked", function()
    local sc = rille.Context(settings())
    assert.matches("no number: x", failure(function() sc:parallelize({ "x" }, 1):map(number):collect() end))
    sc:stop()
    assert.matches("must be a whole number from 0", failure(function()
      local _ = rille.Context { ["rille.task.maxBadRecords"] = "-1" }
    end))
  end)
end)

describe("onError of streams", function()
  -- Runs batches; `build` gives the streams whose records are to be collected.
  local function run(batches, build, more)
    local ssc = rille.StreamingContext(settings(more), 1)
    local results, bad = {}, {}
    for i, stream in ipairs { build(ssc, ssc:queueStream(batches)) } do
      results[i] = {}
      stream:foreachRDD(function(rdd) table.insert(results[i], sorted(rdd:collect())) end)
    end
    ssc:addStreamingListener { onBatchCompleted = function(event) bad[#bad + 1] = event.badRecords end }
    ssc:start()
    ssc:clock():advance(#batches)
    ssc:stop()
    return results, bad
  end

  local function message(x) return "spec/lua/bad_records_spec.lua:10: no number: " .. x end

  it("counts in the event of the batch", function()
    local results, bad = run({ { "1", "x" }, { "2" }, { "y", "z" } }, function(_, input)
      return input:map(number):onError("skip")
    end)
    assert.same({ { "1" }, { "2" }, {} }, results[1])
    assert.same({ 1, 0, 2 }, bad)
  end)

  it("writes one line a batch", function()
    core.setLogLevel "warn"
    core.keepLog(true)
    run({ { "a", "b", "c", "d" }, { "1" } }, function(_, input) return input:map(number):onError("skip") end,
      { ["rille.log.level"] = "warn" })
    local log = core.keepLog(false)
    core.setLogLevel "off"
    local lines = select(2, log:gsub("bad record", ""))
    assert.equal(1, lines, log)
    assert.matches("batch 1000 ms: 4 bad records were left out; map at [^|]*|[^|]*|[^|]*\n", log)
  end)

  it("gives a stream of the bad ones, in the same batch", function()
    local results, bad = run({ { "1", "x" }, { "2" }, { "y" } }, function(_, input)
      local numbers = input:map(function(s) return s, number(s) end)
      return numbers, numbers:errors()
    end)
    assert.same({ { "(1,1)" }, { "(2,2)" }, {} }, results[1])
    assert.same({ { "(" .. message "x" .. ",x)" }, {}, { "(" .. message "y" .. ",y)" } }, results[2])
    assert.same({ 1, 0, 1 }, bad)
  end)

  it("gives those of both sides of a shuffle, and of keys", function()
    local results = run({ { rille.tuple("a", 1), rille.tuple("a", "x"), rille.tuple(0 / 0, 5), rille.tuple("b", 2) } },
      function(_, input)
        local sums = input:reduceByKey(function(a, b)
          if type(b) ~= "number" then error("no sum", 0) end
          return a + b
        end)
        local groups = input:groupByKey():onError("skip")
        return sums:onError("skip"), sums:errors(), groups, groups:errors()
      end, { master = "local" })
    local sums, errors, groups, of_groups = table.unpack(results)
    assert.equal(2, #sums[1])
    assert.same({ "(a key is NaN,(nan,5))", "(no sum,(a,x))" },
      { (errors[1][1]:gsub("%-nan", "nan")), errors[1][2] })
    assert.same({ "(a,{1,x})", "(b,{2})" }, groups[1])
    assert.equal(1, #of_groups[1])
  end)

  it("gives the bad keys of every side of a join", function()
    local results = run({ { rille.tuple(0 / 0, 1), rille.tuple("a", 2) } }, function(ssc, input)
      local other = ssc:queueStream { { rille.tuple("a", 3), rille.tuple(0 / 0, 4) } }
      local joined = input:join(other)
      return joined:onError("skip"), joined:errors()
    end)
    assert.same({ "(a,2,3)" }, results[1][1])
    assert.equal(2, #results[2][1])
  end)

  it("runs functions once for both streams", function()
    local ssc = rille.StreamingContext(settings(), 1)
    local calls = ssc:context():longAccumulator()
    local stream = ssc:queueStream({ { "1", "x", "2" } }):map(function(s)
      calls:add(1)
      return number(s)
    end)
    stream:foreachRDD(function(rdd) rdd:count() end)
    stream:errors():foreachRDD(function(rdd) rdd:count() end)
    ssc:start()
    ssc:clock():advance(1)
    ssc:stop()
    assert.equal(3, calls:value())
  end)

  it("applies to all operations with the setting", function()
    local results, bad = run({ { "1", "x" } }, function(_, input) return input:map(number) end,
      { ["rille.task.maxBadRecords"] = 5 })
    assert.same({ { "1" } }, results[1])
    assert.same({ 1 }, bad)
  end)

  it("is refused where there is nothing to divert, and after the start", function()
    local ssc = rille.StreamingContext(settings(), 1)
    local input = ssc:queueStream {}
    assert.matches("queueStream calls no function", failure(function() input:onError("skip") end))
    assert.matches("count calls no function", failure(function() input:count():errors() end))
    local mapped = input:map(number)
    mapped:foreachRDD(function() end)
    ssc:start()
    assert.matches("after the context was started", failure(function() mapped:onError("skip") end))
    ssc:stop()
  end)
end)
