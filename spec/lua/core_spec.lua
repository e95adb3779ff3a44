-- rille.core as the library sees it: handles, jobs, errors, callbacks, receivers; and how a program that uses it ends.
local core = require "rille.core"

local function op(kind, f, name)
  local functions = f and { f } or {}
  local fn = core.fn { kind = kind, functions = functions, name = name or kind, site = "job.lua:1" }
  return core.op { kind = "narrow", name = name or kind, site = "job.lua:1", fn = fn }, fn
end

-- Applies one function to an RDD, captured.
local function apply(rdd, kind, f)
  local made, fn = op(kind, f)
  core.capture { fn }
  return core.apply(made, { rdd }, 0)
end

local function message_of(f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  return message
end

describe("a function's fingerprint", function()
  local function of(code, ...) return core.fingerprint(assert(load(code))(...)) end

  it("is that of its code and of the plain values around it, wherever it is written", function()
    local code = "local n = ... return function(a) return function() return a + n, 'x' end end"
    assert.matches("^%x+$", of(code, 1))
    assert.equal(of(code, 1), of("-- moved\n\n" .. code, 1))
    assert.equal(of(code, 1), of(code:gsub("%f[%w]a%f[%W]", "renamed"), 1))
    for old, new in pairs { x = "y", ["a %+"] = "a -", ["%(a%)"] = "(a, b)" } do
      local other = code:gsub(old, new)
      assert.not_equal(code, other)
      assert.not_equal(of(code, 1), of(other, 1))
    end
    local seen = {}
    for _, value in ipairs { 1, 2, "1", "", true, false, {} } do
      assert.is_nil(seen[of(code, value)])
      seen[of(code, value)] = true
    end
    assert.not_equal(of(code, { "to a" }), of(code, { "to b" }))
    assert.equal(of(code, { a = 1, b = 2, c = {} }), of(code, { c = print, b = 2, a = 1 })) -- plain fields
    assert.equal(of(code, setmetatable({ 1 }, {})), of(code, setmetatable({ 2 }, {}))) -- whatever it is
    assert.not_equal(of(code, function() return 1 end), of(code, function() return 2 end))
    local one = "local x, y = ... return function() return x end"
    local other = one:gsub("x end", "y end")
    assert.not_equal(of(one, {}, {}), of(other, {}, {})) -- names
    local itself
    function itself() return itself end
    assert.matches("^%x+$", core.fingerprint(itself))
    assert.equal(("0"):rep(16), core.fingerprint(print))
  end)
end)

describe("rille.core", function()
  local context

  before_each(function()
    core.setLogLevel "off"
    context = core.context { master = "local[2]", clock = "manual" }
  end)
  after_each(function() context:stop() end)

  local function collect(rdd) return context:run(rdd, "collect", { what = "collect" }) end

  describe("values", function()
    it("knows tuples and shows records as print does", function()
      assert.is_true(core.isTuple(core.tuple(1, 2)))
      assert.is_false(core.isTuple { 1, 2 })
      assert.equal("(a,1)", core.format("a", 1))
      assert.equal("1e+15", core.format(1e15))
      assert.equal("null", core.format(core.null))
    end)

    it("refuses what cannot be in a record", function()
      assert.matches("function", message_of(core.format, print))
    end)
  end)

  describe("contexts", function()
    it("take settings, the command line's last", function()
      core.overrides["rille.app.name"] = "Override"
      local other = core.context { appName = "Script", ["rille.default.parallelism"] = 3 }
      core.overrides["rille.app.name"] = nil
      assert.equal("Override", other:conf "rille.app.name")
      assert.equal(3, other:parallelism())
      assert.is_true(other:parallelismIsSet())
      other:stop()
    end)

    it("read a properties file below everything else", function()
      local path = os.tmpname()
      local file <close> = assert(io.open(path, "w"))
      file:write "rille.app.name File\nrille.default.parallelism=5\n"
      file:close()
      local other = core.context({ appName = "Script" }, path)
      os.remove(path)
      assert.equal("Script", other:conf "rille.app.name")
      assert.equal(5, other:parallelism())
      other:stop()
    end)

    it("refuse settings nobody knows, and values of a wrong type", function()
      assert.matches("unknown setting", message_of(core.context, { ["rille.nonsense"] = 1 }))
      assert.matches("must be a string", message_of(core.context, { appName = {} }))
    end)

    it("refuse work after stop, as often as it is called", function()
      local rdd = context:parallelize({ 1 }, 1)
      context:stop()
      context:stop()
      assert.is_true(context:isStopped())
      assert.matches("stopped", message_of(collect, rdd))
    end)
  end)

  describe("jobs", function()
    it("cut lists at floor(i * len / n)", function()
      local rdd = context:parallelize({ 1, 2, 3, 4, 5 }, 3)
      assert.same({ { 1 }, { 2, 3 }, { 4, 5 } }, context:run(rdd, "partitions", { what = "glom" }))
      assert.same({ { 4, 5 } }, context:run(rdd, "partitions", { partitions = { 2 }, what = "some" }))
      assert.equal(5, context:run(rdd, "count", { what = "count" }))
      assert.is_nil(context:run(rdd, "run", { what = "run" }))
    end)

    it("name the record that cannot travel", function()
      assert.matches("record 2", message_of(context.parallelize, context, { 1, print }, 1))
    end)

    it("give tuples for records of several values", function()
      local records = collect(context:parallelize({ core.tuple("a", 1), "b" }, 1))
      assert.is_true(core.isTuple(records[1]))
      assert.equal(2, records[1].n)
      assert.equal("b", records[2])
    end)

    it("run captured functions, and cut text blocks in place", function()
      local lines = context:blocks { "one\ntwo\n", "three" }
      assert.same({ { "one", "two" }, { "three" } }, context:run(lines, "partitions", { what = "lines" }))
      local prefix = ">"
      assert.same({ ">one", ">two", ">three" }, collect(apply(lines, "map", function(s) return prefix .. s end)))
    end)

    it("share what functions captured together share", function()
      local seen = {}
      local first, fn1 = op("map", function(x) seen[x] = true return x end)
      local second, fn2 = op("filter", function(x) return seen[x] end)
      core.capture { fn1, fn2, fn1 }
      local rdd = core.apply(second, { core.apply(first, { context:parallelize({ 1, 2 }, 1) }, 0) }, 0)
      assert.same({ 1, 2 }, collect(rdd))
    end)

    it("refuse to capture what cannot travel, naming the way", function()
      local file <close> = assert(io.tmpfile())
      local _, fn = op("map", function() return file end)
      local message = message_of(core.capture, { fn })
      assert.matches("the function given to map", message, 1, true)
      assert.matches("'file'", message, 1, true)
    end)

    it("fail with the user's message and traceback", function()
      local rdd = apply(context:parallelize({ 1 }, 1), "map", function(x) error("no " .. x) end)
      local message, trace = message_of(collect, rdd):match "^(.-)\n(.*)$"
      assert.matches("core_spec.lua:%d+: no 1", message)
      assert.matches("core_spec.lua:%d+: in", trace)
      assert.not_matches("%[C%]", trace)
    end)

    it("save text so that only whole files are seen", function()
      local dir = os.tmpname()
      os.remove(dir)
      context:save(context:parallelize({ "a", "b" }, 1), { dir = dir, format = "text", what = "save" })
      local file <close> = assert(io.open(dir .. "/part-00000"))
      assert.equal("a\nb\n", file:read "a")
      assert.matches("exist", message_of(context.save, context, context:empty(1), { dir = dir, format = "text" }))
      os.execute("rm -r " .. dir)
    end)
  end)

  describe("handles", function()
    it("refuse others in their place", function()
      local rdd = context:empty(0)
      assert.matches("rille.core.Context expected", message_of(context.run, rdd, rdd, "count", {}))
      assert.matches("entry 2 of the parents", message_of(core.apply, (op "glom"), { rdd, 1 }, 0))
    end)
  end)

  describe("streaming", function()
    local ssc

    before_each(function() ssc = core.streaming(context, 1000) end)
    after_each(function()
      if ssc:state() == "ACTIVE" then ssc:stop(false, false) end
      ssc = nil
    end)

    local function numbers() return ssc:input("Numbers", function(time) return context:parallelize({ time }, 1) end) end

    it("gives one handle of one context", function()
      assert.is_nil(core.active())
      numbers():output("out", nil, nil, function() end)
      ssc:start()
      assert.equal(ssc, core.active())
      assert.equal(context, ssc:context())
      collectgarbage()
      assert.equal("ACTIVE", core.active():state())
    end)

    it("runs outputs as coroutines whose jobs do not stand in each other's way", function()
      local times, nested = {}, {}
      numbers():output("out", "job.lua:9", nil, function(rdd, time)
        times[#times + 1] = { time, collect(rdd)[1] }
        -- in a coroutine of its own, and where nothing can yield, the job is waited for
        local inner = coroutine.wrap(function() coroutine.yield(context:run(rdd, "count", {})) end)
        nested[#nested + 1] = inner()
        table.sort({ 2, 1 }, function(a, b) nested[#nested + 1] = context:run(rdd, "count", {}) return a < b end)
      end)
      ssc:start()
      ssc:advance(2000)
      assert.same({ { 1000, 1000 }, { 2000, 2000 } }, times)
      assert.is_true(#nested >= 4)
      for _, n in ipairs(nested) do assert.equal(1, n) end
    end)

    it("interleaves outputs when jobs may run at the same time", function()
      context:stop()
      context = core.context { master = "local[2]", clock = "manual", ["rille.streaming.concurrentJobs"] = 2 }
      ssc = core.streaming(context, 1000)
      local order, input, both = {}, numbers(), os.tmpname()
      assert(os.remove(both))
      local function until_both(x) -- no job ends before both outputs have begun
        local limit = os.time() + 60
        local file
        repeat file = io.open(both) until file or os.time() > limit
        if file then file:close() end
        return x
      end
      for i = 1, 2 do
        input:output("out" .. i, nil, nil, function(rdd)
          order[#order + 1] = "begin"
          if #order == 2 then assert(io.open(both, "w")):close() end
          collect(apply(rdd, "map", until_both))
          order[#order + 1] = "end"
        end)
      end
      ssc:start()
      ssc:advance(1000)
      assert.same({ "begin", "begin", "end", "end" }, order)
      assert(os.remove(both))
    end)

    it("reports an output's error with the batch and the user's frames", function()
      numbers():output("foreachRDD", "job.lua:9", nil, function() error "broken" end)
      ssc:start()
      ssc:advance(1000)
      local message = message_of(ssc.await, ssc, 0)
      assert.matches("foreachRDD at job.lua:9", message, 1, true)
      assert.matches("core_spec.lua:%d+: broken\n.*core_spec.lua:%d+: in", message)
      assert.is_false(ssc:await(0))
    end)

    it("does not let an output yield", function()
      numbers():output("foreachRDD", nil, nil, function() coroutine.yield() end)
      ssc:start()
      ssc:advance(1000)
      assert.matches("must not yield", message_of(ssc.await, ssc, 0))
    end)

    it("runs transforms on the driver, with actions in them", function()
      local seen
      local stream = core.dtransform({ name = "transform", site = "job.lua:3" }, { numbers() }, function(rdds, time)
        return context:parallelize({ time + context:run(rdds[1], "count", {}) }, 1)
      end)
      stream:output("out", nil, nil, function(rdd) seen = collect(rdd) end)
      assert.equal("transform at job.lua:3", stream:label())
      ssc:start()
      ssc:advance(1000)
      assert.same({ 1001 }, seen)
      assert.same({ 1001 }, collect(stream:get(1000)))
    end)

    it("fails the batch when a transform gives no RDD", function()
      local bad = core.dtransform({ name = "transform" }, { numbers() }, function() return 1 end)
      bad:output("out", nil, nil, function() end)
      ssc:start()
      ssc:advance(1000)
      assert.matches("must return an RDD; it returned a number", message_of(ssc.await, ssc, 0))
    end)

    it("has no RDD where an input gives nil", function()
      local ran = false
      ssc:input("None", function() end):output("out", nil, nil, function() ran = true end)
      ssc:start()
      ssc:advance(1000)
      assert.is_false(ran)
    end)

    it("hands events to listeners, and goes on when one raises", function()
      local events = {}
      ssc:addListener(function() error "bad listener" end)
      ssc:addListener(function(event) events[#events + 1] = event end)
      numbers():output("out", "job.lua:5", nil, function(rdd) collect(rdd) end)
      ssc:start()
      ssc:advance(1000)
      local kinds = {}
      for i, event in ipairs(events) do kinds[i] = event.kind end
      assert.same({ "streamingStarted", "batchSubmitted", "batchStarted", "outputOperationStarted",
        "outputOperationCompleted", "batchCompleted" }, kinds)
      local last = events[#events]
      assert.equal(1000, last.batchTime)
      assert.equal("integer", math.type(last.totalDelay))
      assert.equal(0, last.streamIdToInputInfo[0].inputStreamId)
      assert.equal("out at job.lua:5", last.outputOperationInfos[0].name)
      assert.is_nil(events[2].processingDelay)
    end)

    it("refuses additions and a second start after a stop", function()
      local input = numbers()
      input:output("out", nil, nil, function() end)
      ssc:start()
      assert.matches("after the context was started", message_of(ssc.input, ssc, "Late", function() end))
      assert.matches("after the context was started", message_of(input.output, input, "late", nil, nil, function() end))
      ssc:stop(false, false)
      assert.equal("STOPPED", ssc:state())
      assert.is_true(ssc:await(0))
      assert.matches("stopped", message_of(ssc.start, ssc))
    end)
  end)

  describe("receivers in Lua", function()
    local ssc, events

    before_each(function()
      context:stop()
      context = core.context { master = "local[2]", ["rille.streaming.receiverRestartDelay"] = "10ms" }
      ssc, events = core.streaming(context, 20), {}
      ssc:addListener(function(event)
        if event.kind:match "^receiver" then events[#events + 1] = event end
      end)
    end)
    after_each(function() ssc:stop(false, false) end)

    -- Starts a receiver and gives its first records, n of them.
    local function receive(definition, n)
      local got = {}
      ssc:receiver(definition, "TestReceiver", "job.lua:2"):output("out", nil, nil, function(rdd)
        for _, record in ipairs(collect(rdd)) do got[#got + 1] = record end
      end)
      ssc:start()
      local deadline = core.monotonic() + 60
      while #got < n and core.monotonic() < deadline do ssc:sleep(5) end
      return got
    end

    it("store one record or a block, in order", function()
      local greeting = "hello"
      local got = receive({
        onStart = function(self)
          self:store(greeting)
          self:store("key", self:streamId())
          self:store { "x", "y" }
          self:store(("a b"):gmatch "%a")
        end,
      }, 6)
      table.sort(got, function(a, b) return core.format(a) < core.format(b) end)
      local shown = {}
      for i, record in ipairs(got) do shown[i] = core.format(record) end
      assert.same({ "(key,0)", "a", "b", "hello", "x", "y" }, shown)
      assert.equal("receiverStarted", events[1].kind)
      assert.equal("TestReceiver-0", events[1].name)
    end)

    it("start again after an error, which listeners see", function()
      local got = receive({
        run = 0,
        onStart = function(self)
          self.run = self.run + 1
          if self.run == 1 then error "first" end
          self:store(self.run)
        end,
      }, 1)
      assert.same({ 2 }, got)
      local failed
      for _, event in ipairs(events) do failed = failed or event.kind == "receiverError" and event end
      assert.matches("onStart: .*core_spec.lua:%d+: first; trying again", failed.lastErrorMessage)
      assert.matches("core_spec.lua:%d+: in", failed.lastError)
    end)

    it("restart when asked to, with onStop in between", function()
      local got = receive({
        stops = 0,
        onStart = function(self)
          self:store(self.stops)
          if self.stops == 0 then
            self:restart("again", 0)
            assert(self:isStopped())
          end
        end,
        onStop = function(self) self.stops = self.stops + 1 end,
      }, 2)
      assert.same({ 0, 1 }, got)
    end)

    it("come fresh after they stop themselves", function()
      local got = receive({
        n = 0,
        onStart = function(self)
          self.n = self.n + 1
          self:store(self.n)
          self:stop "done"
        end,
      }, 2)
      assert.same({ 1, 1 }, { got[1], got[2] })
    end)

    it("end with the stop while onStart still runs", function()
      receive({ onStart = function(self) while not self:isStopped() do self:store "tick" end end }, 1)
      local before = core.monotonic()
      ssc:stop(false, false)
      assert.is_true(core.monotonic() - before < 5)
      assert.equal("STOPPED", ssc:state())
    end)

    it("are captured at the start, refusing what cannot travel", function()
      local file <close> = assert(io.tmpfile())
      ssc:receiver({ onStart = function() file:read() end }, "TestReceiver", "job.lua:2")
        :output("out", nil, nil, function() end)
      assert.matches("the receiver given to receiverStream", message_of(ssc.start, ssc), 1, true)
    end)
  end)
end)

describe("a program", function()
  -- Runs a job with `rille run`; gives its exit status, what it wrote to the standard output, and to the standard error.
  local function rille(script, arguments)
    local path, out, err = os.tmpname(), os.tmpname(), os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    file:write(script)
    file:close()
    local command = ("rille run %s >%s 2>%s"):format((arguments or "JOB"):gsub("JOB", path), out, err)
    local _, _, status = os.execute(command)
    local function contents(name)
      local f <close> = assert(io.open(name))
      local text = f:read("a"):gsub(path, "JOB")
      os.remove(name)
      return text
    end
    local text, errors = contents(out), contents(err)
    os.remove(path)
    return status, text, errors
  end

  local start = [[
    local core = require "rille.core"
    local context = core.context { master = "local[2]" }
    local ssc = core.streaming(context, 10)
    local input = ssc:input("Numbers", function(time) return context:parallelize({ time }, 2) end)
    local function serve(body, ms)
      input:output("out", nil, nil, body)
      ssc:start()
      ssc:sleep(ms or 100)
    end
    local long <const> = 60000 -- until a batch has ended it
  ]]
  local count = "function(rdd) context:run(rdd, 'count', {}) end"

  it("gets its arguments as in stock Lua", function()
    local status, out = rille([[print(arg[0], arg[1], arg[2], #arg, ...) print(arg[-1])]],
      "--master local[1] JOB a --conf rille.app.name=X b -- --conf c")
    assert.equal(0, status)
    assert.equal("JOB\ta\tb\t4\ta\tb\t--conf\tc\nlocal[1]\n", out)
  end)

  it("takes settings from the command line", function()
    local status, out = rille([[
      local context = require "rille.core".context { master = "local[2]", appName = "Script" }
      print(context:workers(), context:conf "rille.app.name")]], "--master local[1] JOB --conf=appName=Line")
    assert.equal(0, status)
    assert.equal("1\tLine\n", out)
  end)

  it("finds its neighbours and the library", function()
    assert.equal(0, (rille [[assert(package.path:find("/%?.lua")); assert(require "rille".tuple)]]))
  end)

  it("says what was wrong in its usage", function()
    for _, arguments in ipairs { "", "--nonsense JOB", "--master nowhere JOB", "--conf x JOB", "JOB --properties" } do
      local status, _, err = rille("", arguments)
      assert.equal(2, status, arguments)
      assert.matches("^rille: .*\nTry 'rille run %-%-help'", err)
    end
  end)

  it("fails with the user's message and frames", function()
    local status, _, err = rille "local function f() error('boom') end\nf()\n"
    assert.equal(1, status)
    assert.matches("^rille: JOB:1: boom\n", err)
    assert.matches("JOB:2: in main chunk", err)
    assert.not_matches("%[C%]", err)
    status, _, err = rille "x ="
    assert.equal(1, status)
    assert.matches("^rille: JOB:1: unexpected symbol", err)
    status, _, err = rille("", "no/such/job.lua")
    assert.equal(1, status)
    assert.matches("cannot open no/such/job.lua", err, 1, true)
  end)

  local endings = {
    ["without stop"] = { 0, start .. "serve(" .. count .. ")" },
    ["with an error in the main chunk"] = { 1, start .. "serve(" .. count .. ") error 'main'" },
    ["through os.exit(true, true)"] = { 0, start .. "serve(" .. count .. ") os.exit(true, true)" },
    ["through os.exit(3)"] = { 3, start .. "serve(" .. count .. ") os.exit(3)" },
    ["through os.exit(4, true) in an output"] = { 4, start .. "serve(function() os.exit(4, true) end, long)" },
    ["through os.exit(5) in an output"] = { 5, start .. "serve(function() os.exit(5) end, long)" },
    ["through os.exit(6, true) in a transform"] = { 6, start .. [[
      input = core.dtransform({ name = "transform" }, { input }, function() os.exit(6, true) end)
      serve(function() end, long)]] },
    ["while outputs wait for their jobs"] = { 0, start .. [[
      local spin, fn = function(x) local t = os.clock() + 0.3 while os.clock() < t do end return x end
      fn = core.fn { kind = "map", functions = { spin }, name = "map" }
      core.capture { fn }
      local op = core.op { kind = "narrow", name = "map", fn = fn }
      serve(function(rdd) context:run(core.apply(op, { rdd }, 0), "count", {}) end)]] },
    ["without having started"] = { 0, start },
    ["with a receiver that runs"] = { 0, start .. [[
      local numbers = ssc:receiver({ onStart = function(self)
        while not self:isStopped() do self:store(1) end
      end }, "Numbers")
      numbers:output("count", nil, nil, ]] .. count .. [[)
      serve(function() end)]] },
    ["with objects that are finalised late"] = { 0, [[
      local late = setmetatable({}, { __gc = function(t) assert(not pcall(t.ssc.start, t.ssc)) end })
    ]] .. start .. "late.ssc = ssc serve(" .. count .. ")" },
    ["after a failed batch"] = { 1, start .. "serve(function() error 'bad' end) ssc:await(-1)" },
  }
  for how, ending in pairs(endings) do
    it("ends " .. how, function()
      local status, _, err = rille(ending[2])
      assert.equal(ending[1], status, err)
      assert.not_matches("Sanitizer", err)
    end)
  end

  it("stops gracefully on a signal while it waits", function()
    local status, out = rille(start .. [[
      local sent
      input:output("out", nil, nil, function(rdd)
        context:run(rdd, "count", {})
        if not sent then os.execute "kill -TERM $PPID" end
        sent = true
      end)
      ssc:start()
      ssc:await(-1)
      print(ssc:state())]])
    assert.equal(0, status)
    assert.equal("STOPPED\n", out)
  end)
end)
