-- rille.testing.load: a script under control, from busted.
local program = require "spec.lua.program"
local rille = require "rille"
local support = require "spec.lua.support"
local t = require "rille.testing"

local failure = support.failure

local HEAD = 'local rille = require "rille"\nlocal ssc = rille.StreamingContext({}, 1)\n'
local TAIL = "ssc:start()\nssc:awaitTermination()\n"

local directory, job

-- A job of this text; what is beside it may be given too.
local function load_text(text, options, files)
  files = files or {}
  files["job.lua"] = text
  directory = program.project(files)
  options = options or {}
  options.script = directory .. "/job.lua"
  job = t.load(options)
  return job
end

local function load_body(body, options, files) return load_text(HEAD .. body .. "\n" .. TAIL, options, files) end

local function pair(...) return rille.tuple(...) end

describe("a job under test", function()
  after_each(function()
    if job then job:close() end
    if directory then support.remove(directory) end
    job, directory = nil, nil
  end)

  it("is found beside the file that names it", function()
    job = t.load { script = "../../scripts/network_wordcount.lua" }
    job:batch { { "a b", "b" } }
    job:expect({ { "a", 1 }, { "b", 2 } }, { bag = true })
    assert.same({ "(a,1)", "(b,2)" }, support.sorted(job:records()))
  end)

  it("fails a spec with the difference", function()
    load_body 'ssc:queueStream({}):uid("numbers"):print()'
    job:batch { numbers = { 1, 2 } }
    local ok, why = pcall(job.expect, job, "print", { 1, 3 })
    assert.is_false(ok)
    assert.equal("failure", getmetatable(why).__type)
    assert.matches("job_spec.lua:%d+: print of 'numbers' .-\n  %- 3\n  %+ 2$", tostring(why))
  end)

  it("has no checkpoint of its own", function()
    load_text([[
      local rille = require "rille"
      local dir = arg[0]:gsub("job.lua$", "checkpoint")
      local ssc = rille.StreamingContext.getOrCreate(dir, function()
        local made = rille.StreamingContext({}, 1)
        made:queueStream({}):uid("numbers"):map(function(n) return "sum", n end)
          :updateStateByKey(function(new, old) return (old or 0) + new[1] end):uid("sums"):print()
        return made
      end)
      ssc:start()
      ssc:awaitTermination()
    ]])
    job:batches { numbers = { { 1 }, { 2 } } }
    job:expectState("sums", { sum = 3 })
    assert.is_false(require("rille.core").checkpointExists(directory .. "/checkpoint"))
  end)

  describe("inputs", function()
    local TWO = 'ssc:socketTextStream("a", 1):union(ssc:socketTextStream("b", 2):uid("second")):print()'

    it("are named by uid, operation, detail or number", function()
      load_body(TWO)
      for _, name in ipairs { "second", 2, "socketTextStream(a:1)", "a:1", 1 } do
        job:batch { [name] = { "x" } }
        job:expect { "x" }
      end
      assert.matches("the job has several inputs 'socketTextStream'; say which by uid or number:\n" ..
        "  1  'socketTextStream%(a:1%)' %(.-job.lua:3%)\n  2  'second'",
        failure(job.batch, job, { socketTextStream = {} }))
      assert.matches("the job has no input '3'", failure(job.batch, job, { [3] = {} }))
    end)

    it("take false for no RDD, and lists for several batches", function()
      load_body 'ssc:queueStream({}):print()'
      job:batches { queueStream = { { 1 }, false, {} } }
      job:expectBatches { { 1 }, false, {} }
      assert.is_nil(job:records("print", 2))
      assert.same({ 1 }, job:records("print", 1))
      assert.same({}, job:records())
    end)

    it("take what records can be", function()
      load_body 'ssc:receiverStream({ onStart = function() end }):print()'
      local records = { pair("a", 1), 1.5, true, { x = { 1 } }, rille.null, "s" }
      job:batch { records }
      job:expect(records)
      job:expect { { "a", 1 }, 1.5, true, { x = { 1 } }, rille.null, "s" }
    end)

    it("are checked", function()
      load_body(TWO .. ' ssc:queueStream({}):uid("unused"):map(function(x) return x end)')
      assert.matches("job_spec.lua:%d+: batch: record 2 for 'second' .- is a number; this input has strings",
        failure(function() job:batch { second = { "x", 5 } } end))
      assert.matches("'second' .- was given a string", failure(job.batch, job, { second = "x" }))
      assert.matches("no output depends on 'unused'", failure(job.batch, job, { unused = { 1 } }))
    end)
  end)

  describe("outputs", function()
    local THREE = [[
      local s = ssc:queueStream({}):uid("in")
      s:print(2)
      s:map(function(x) return x + 1 end):uid("more"):print()
      s:uid("in"):foreachRDD(function(rdd) seen = rdd:collect() end)
      s:saveAsTextFiles("/no/such/place/out") ]]

    it("are named by uid, operation, both, or number", function()
      load_body(THREE)
      job:batch { { 1, 2, 3 } }
      job:expect("more", { 2, 3, 4 }):expect("in/print", { 1, 2 }):expect("print#1", { 1, 2 }):expect(1, { 1, 2 })
      job:expect("saveAsTextFiles", { 1, 2, 3 }):expect("foreachRDD", { 1, 2, 3 })
      assert.same({ 1, 2, 3 }, rawget(_G, "seen"))
      assert.matches("the job has several outputs 'print'", failure(job.expect, job, "print", {}))
      assert.matches("the job has several outputs; say which", failure(job.expect, job, {}))
      assert.matches("the job has no output 'out'; there are:\n  1  print of 'in'", failure(job.expect, job, "out", {}))
    end)

    it("give print as many records as it shows", function()
      load_body(THREE)
      job:batch { { 1, 2, 3 } }
      assert.matches("hint: print shows 2 records", failure(job.expect, job, 1, { 1, 2, 3 }))
    end)

    it("compute what is looked at twice once", function()
      local file = os.tmpname()
      load_body([[
        local file = arg[1]
        ssc:queueStream({}):map(function(x)
          local log = io.open(file, "a") log:write(x) log:close()
          return x
        end):foreachRDD(function(rdd) rdd:count() rdd:collect() end)]], { args = { file } })
      job:batch { { 7 } }
      assert.equal("7", support.read(file))
      os.remove(file)
    end)
  end)

  it("is compared in order, or as a bag", function()
    load_body 'ssc:queueStream({}):print(100)'
    job:batch { { 1, 2, 2, 3 } }
    job:expect { 1, 2, 2, 3 }
    job:expect({ 3, 2, 1, 2 }, { bag = true })
    assert.matches("the same records in another order", failure(job.expect, job, { 2, 1, 2, 3 }))
    assert.matches("  %- 3\n  %+ 2$", failure(job.expect, job, { 3, 3, 1, 2 }, { bag = true }))
    assert.matches("  %- 9$", failure(job.expect, job, { 1, 2, 2, 3, 9 }))
    assert.matches("  %- 9\n  %+ 2$", failure(job.expect, job, { 1, 9, 2, 3 }))
    assert.matches("unknown option 'bags'", failure(job.expect, job, {}, { bags = true }))
    assert.matches("array of records expected", failure(job.expect, job, "print", 5))
  end)

  describe("replace", function()
    local JOB = [[
      local s = ssc:queueStream({}):uid("in")
      s:map(function(x) return x * 2 end):uid("double")
       :transform(function(rdd) error("not to be called") end):uid("table")
       :foreachRDD(function() error("not to be called") end)
      s:map(function(x) return "k", x end):uid("keyed")
       :combineByKey(function(a) return a end, function(a, b) return a + b end, function(a, b) return a + b end)
       :uid("sum"):print() ]]

    local function ready()
      load_body(JOB)
      local sum = 0
      job:replace("table", function(rdd) return rdd:filter(function(x) return x > 2 end) end)
      job:replace("foreachRDD", function(rdd, time)
        assert.equal(1000, time)
        sum = rdd:reduce(function(a, b) return a + b end)
      end)
      return function() return sum end
    end

    it("takes functions of operators and bodies of outputs by uid", function()
      local sum = ready()
      job:batch { { 1, 2, 3 } }
      assert.equal(10, sum())
      job:expect("table", { 4, 6 }):expect("sum", { { "k", 6 } })
    end)

    it("takes functions that go to the workers", function()
      local sum, factor = ready(), 10
      job:replace("double", function(x) return x * factor end)
      job:replace("sum", function(a) return { a } end, function(c, x) c[#c + 1] = x return c end,
        function(c, d) return table.move(d, 1, #d, #c + 1, c) end)
      job:batch { { 1, 2 } }
      assert.equal(30, sum())
      job:expect("sum", { { "k", { 1, 2 } } })
    end)

    it("wants as many functions as there are", function()
      ready()
      job:replace("sum", function(a) return a end)
      assert.matches("replace: 'sum' has 3 functions, 1 given", failure(job.batch, job))
      job:close()
      ready()
      job:replace("nothing", print)
      assert.matches("the job has no output 'nothing'", failure(job.batch, job))
    end)

    it("comes before the first step", function()
      load_body 'ssc:queueStream({}):print()'
      job:batch()
      assert.matches("replace comes before the job's first step", failure(job.replace, job, "x", print))
      assert.matches("global comes before", failure(job.global, job, "x", 1))
    end)
  end)

  describe("global", function()
    it("stands before what the script defines, in all its functions", function()
      load_body([[
        function source() error("not to be called") end
        local start = source()
        function rate() return 0.5 end
        ssc:queueStream({}):map(function(x) return start + x * rate() end):print()]])
      job:global("rate", function() return 2 end)
      job:global("source", function() return 100 end)
      job:batch { { 1, 2 } }
      job:expect { 102, 104 }
    end)

    it("ends with the job", function()
      load_body 'limit = limit or 1 other = 5 ssc:queueStream({}):print(limit)'
      job:global("limit", 2)
      job:batch { { 1, 2, 3 } }
      job:expect { 1, 2 }
      assert.equal(5, rawget(_G, "other"))
      job:close()
      assert.is_nil(rawget(_G, "limit"))
      assert.is_nil(rawget(_G, "other"))
    end)
  end)

  describe("the script", function()
    it("has its arguments and its neighbours", function()
      local path, arg_before = package.path, rawget(_G, "arg")
      load_body('local a, b = ... ' ..
        'ssc:queueStream({}):map(function(x) return x, require("near").name, a, b end):print()',
        { args = { "one", 2 } }, { ["near.lua"] = 'return { name = "near" }' })
      job:batch { { 1 } }
      job:expect { pair(1, "near", "one", "2") }
      assert.equal("2", rawget(_G, "arg")[2])
      job:close()
      assert.equal(path, package.path)
      assert.equal(arg_before, rawget(_G, "arg"))
    end)

    it("gets its modules anew each time", function()
      local files = { ["count.lua"] = "return { n = 0 }" }
      for _ = 1, 2 do
        load_body('local count = require "count" count.n = count.n + 1 local n = count.n ' ..
          "ssc:queueStream({}):map(function(x) return x + n end):print()", nil, files)
        job:batch { { 0 } }
        job:expect { 1 }
        job:close()
        assert.is_nil(package.loaded.count)
        support.remove(directory)
      end
    end)

    it("waits by the test's clock", function()
      load_text(HEAD .. [[
        local queue = {}
        log = {}
        ssc:queueStream(queue):print()
        ssc:start()
        for i = 1, 3 do
          queue[#queue + 1] = { i }
          rille.sleep(0.75)
          log[#log + 1] = ssc:clock():now()
        end
        while not ssc:awaitTerminationOrTimeout(1) do log[#log + 1] = ssc:clock():now() end
        log[#log + 1] = "end" ]])
      job:advance(0.5)
      assert.same({}, job:context() and rawget(_G, "log"))
      job:advance(3.5)
      assert.equal(4000, job:time())
      job:expectBatches { { 1 }, { 2 }, { 3 }, {} }
      assert.same({ 750, 1500, 2250, 3250 }, rawget(_G, "log"))
      job:stop()
      assert.equal("end", rawget(_G, "log")[5])
    end)

    it("may stop its context or leave the program", function()
      load_text(HEAD .. [[
        local stop = false
        ssc:queueStream({}):foreachRDD(function(rdd) stop = rdd:count() > 1 end)
        ssc:start()
        repeat rille.sleep(1) until stop
        ssc:stop()
        os.exit(3) ]])
      job:batch { { 1 } }
      job:batch { { 1, 2 } }
      job:expect { 1, 2 }
      assert.matches("the job has stopped its context at 2000 ms", failure(job.batch, job))
    end)

    it("is refused when it cannot be tested", function()
      load_text "syntax error"
      assert.matches("the job cannot be loaded: .-job.lua:1: ", failure(job.batch, job))
      assert.matches("job that was closed", failure(job.batch, job))
      load_text "local function f() error('no luck') end\nf()\n"
      assert.matches("job.lua:1: no luck\n.-job.lua:1: in .-\n.-job.lua:2: in main chunk", failure(job.batch, job))
      load_text(HEAD)
      assert.matches("the script ended without ssc:start%(%)", failure(job.batch, job))
      load_text(HEAD .. "ssc:awaitTermination()")
      assert.matches("the script waits without ssc:start%(%)", failure(job.batch, job))
      load_text(HEAD .. TAIL)
      assert.matches("output", failure(job.batch, job))
      assert.is_nil(rille.StreamingContext.getActive())
      assert.matches("'script' is missing", failure(t.load, {}))
      job = t.load { script = "no_such_job.lua" }
      assert.matches("spec/lua/no_such_job.lua", failure(job.batch, job))
    end)

    it("cannot wait in a coroutine of its own", function()
      load_text(HEAD .. "ssc:queueStream({}):print() ssc:start() " ..
        "coroutine.wrap(function() ssc:awaitTermination() end)()")
      assert.matches("under test a job can wait in its script only", failure(job.batch, job))
    end)

    it("raises what fails in a batch in the test", function()
      load_body 'ssc:queueStream({}):map(function(x) return x.y.z end):print()'
      assert.matches("job.lua:3: attempt to index", failure(job.batch, job, { { { y = 1 }, { } } }))
    end)
  end)

  it("has two workers unless settings say otherwise", function()
    load_body('ssc:queueStream({}):print()')
    assert.equal(2, job:context():context():defaultParallelism())
    job:close()
    support.remove(directory)
    load_body('ssc:queueStream({}):print()', { conf = { ["rille.master"] = "local[3]" } })
    assert.equal(3, job:context():context():defaultParallelism())
  end)

  it("is closed when its variable goes, or when the next one begins", function()
    do
      local first <close> = load_body 'ssc:queueStream({}):print()'
      first:batch()
    end
    assert.is_nil(rille.StreamingContext.getActive())
    job:close()
    support.remove(directory)
    local second, old = load_body 'ssc:queueStream({}):print()', directory
    second:batch()
    load_body 'ssc:queueStream({}):print()'
    job:batch { { 1 } }
    job:expect { 1 }
    assert.matches("job that was closed", failure(second.batch, second))
    support.remove(old)
  end)

  it("leaves rille.testing.run as it is", function()
    load_body 'ssc:queueStream({}):print()'
    job:batch()
    job:close()
    assert.same({ { 1 } }, t.run { inputs = { { { 1 } } }, operation = function(_, s) return s end })
  end)

  it("has cases only under rille test", function()
    assert.matches("t.case belongs into a file for `rille test`", failure(t.case, "x", print))
    assert.matches("t.job belongs into", failure(t.job, { script = "x" }))
  end)
end)

describe("rille.harness.difference", function()
  local difference = require "rille.harness.difference"

  it("shows values as they are written", function()
    assert.equal('("a\\n", 1.0, 2, true, rille.null, { 1, "x", k = {} })',
      difference.show(pair("a\n", 1.0, 2, true, rille.null, { 1, "x", k = {} })))
    assert.equal('{ [-1] = "\\x01", ["a b"] = inf }', difference.show { [-1] = "\1", ["a b"] = math.huge })
  end)

  it("compares by content", function()
    local nan = 0 / 0
    for _, same in ipairs { { 1, 1.0 }, { nan, -nan }, { { a = { 1 } }, { a = { 1 } } }, { pair(1, 2), pair(1, 2) },
                            { { 1, nil, 3 }, pair(1, nil, 3) }, { { "k", { 1, 2 } }, pair("k", pair(1, 2)) } } do
      assert.is_true(difference.same(same[1], same[2]), difference.show(same[1]))
      assert.same({}, difference.bag({ same[1] }, { same[2] }))
    end
    for _, other in ipairs { { 1, "1" }, { { 1 }, { 1, 2 } }, { { 1, 2 }, pair(1) }, { { 1, x = 2 }, pair(1) },
                             { pair(1), { 1 } }, { pair(1, nil), pair(1) }, { false, 0 } } do
      assert.is_false(difference.same(other[1], other[2]), difference.show(other[1]))
      assert.equal(2, #difference.bag({ other[1] }, { other[2] }))
    end
  end)

  it("aligns lists with as few changes as there can be", function()
    local function signs(wanted, got)
      local text = {}
      for i, change in ipairs(difference.list(wanted, got)) do text[i] = change.sign .. change.record end
      return table.concat(text)
    end
    assert.equal("", signs({ 1, 2, 3 }, { 1, 2, 3 }))
    assert.equal("-2+4", signs({ 1, 2, 3, 5 }, { 1, 3, 4, 5 }))
    assert.equal("+1+2", signs({}, { 1, 2 }))
    local seed = os.time()
    math.randomseed(seed)
    for _ = 1, 200 do
      local wanted, got = {}, {}
      for i = 1, math.random(0, 8) do wanted[i] = math.random(3) end
      for i = 1, math.random(0, 8) do got[i] = math.random(3) end
      local patched, at = {}, 1
      local gone = {}
      for _, change in ipairs(difference.list(wanted, got)) do
        if change.sign == "-" then gone[change.at] = true else patched[change.at] = change.record end
      end
      for i, record in ipairs(wanted) do
        if not gone[i] then
          while patched[at] ~= nil do at = at + 1 end
          patched[at] = record
        end
      end
      assert.same(got, patched, "seed " .. seed)
    end
  end)

  it("does not take long over large lists", function()
    local wanted, got = {}, {}
    for i = 1, 20000 do wanted[i], got[i] = pair("k" .. i, i), pair("k" .. (20001 - i), 20001 - i) end
    assert.same({}, difference.bag(wanted, got))
    assert.equal(40000, #difference.list(wanted, got))
  end)
end)
