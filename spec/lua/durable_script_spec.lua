--- The script in the checkpoint: getOrCreate, functions as bytes, accumulators from one run to the next, and the rules
--- of stream:checkpoint. What a killed process leaves is in spec/e2e/recover.sh.
local core = require "rille.core"
local rille = require "rille"
local support = require "spec.lua.support"
local testing = require "rille.testing"

local failure = support.failure
local getOrCreate = rille.StreamingContext.getOrCreate

local dir, ssc

local function new(conf)
  local settings = { master = "local[1]", clock = "manual" }
  for key, value in pairs(conf or {}) do settings[key] = value end
  ssc = rille.StreamingContext(settings, 1)
  return ssc
end

local function encode(f, role) return (core.encodeFunction(core.captureFunction(f, role))) end

-- An input that gives 1, 2, 3, ... in its batches, again if need be.
local function numbers(context)
  local function compute(time) return context:context().handle:parallelize({ time // 1000 }, 1) end
  return context:input("numbers", nil, function(where) return context.handle:input("Numbers", compute, where, true) end)
end

local function log_of(f, ...)
  core.setLogLevel "warn"
  core.keepLog(true)
  local ok, why = pcall(f, ...)
  local log = core.keepLog(false)
  core.setLogLevel "off"
  if not ok then error(why, 0) end
  return log
end

local function step(context, batches)
  for _ = 1, batches or 1 do
    context:clock():advance(1)
    context:awaitTerminationOrTimeout(0)
  end
end

local function nothing() end

describe("durable scripts", function()
  before_each(function() dir = support.directory() end)
  after_each(function()
    if ssc and ssc:getState() ~= "STOPPED" then
      ssc.handle:abandon()
      ssc.sc.handle:stop()
    end
    ssc = nil
    core.shown_by_spec = nil
    support.remove(dir)
  end)

  -- functions as bytes ------------------------------------------------------------------------------------------------

  it("are refused when setup starts the context before it has its directory", function()
    assert.matches("the function has started its context, so it has no checkpoint", failure(function()
      getOrCreate(dir, function()
        numbers(new()):foreachRDD(nothing)
        ssc:start()
        return ssc
      end)
    end))
  end)

  it("write functions as text and read them again", function()
    local n = 3
    local function twice(x) return 2 * x end
    local bytes = encode(function(x) return twice(x) + n end, "a function")
    assert.is_nil(bytes:find("\27Lua", 1, true))
    assert.equal(23, core.decodeFunction(bytes)(10))
    assert.matches("a function captures 'file' %(userdata", failure(function()
      local file = io.tmpfile()
      encode(function() return file end, "a function")
    end))
    assert.matches("checksum", failure(core.decodeFunction, bytes .. "\0"))
    assert.matches("cut short", failure(core.decodeFunction, ""))
  end)

  it("find accumulators by name or number", function()
    new()
    local named, other = ssc:context():longAccumulator("named"), ssc:context():longAccumulator()
    local bytes = encode(function() return named, other end, "a function")
    local a, b = core.decodeFunction(bytes)()
    assert.equal(named, a)
    assert.equal(other, b)
    a:add(4)
    assert.equal(4, named:value())
    assert.equal(1, ssc:context():parallelize({ 1 }):map(function(x) named:add(1) return x end):count())
    assert.equal(5, named:value())
  end)

  it("compile texts as files", function()
    assert.equal(2, core.loadText("#!/usr/bin/rille\nreturn debug.getinfo(1, 'l').currentline", "@x.lua")())
    assert.equal("#!/usr/bin/rille\nreturn debug.getinfo(1, 'l').currentline", core.knownText "@x.lua")
    local chunk, why = core.loadText("\27Lua", "@y.lua")
    assert.is_nil(chunk)
    assert.matches("binary", why)
    assert.is_nil(core.knownText "@y.lua")
  end)

  it("carry values", function()
    local value = { 1, "x", { a = rille.null, [2.5] = false }, rille.tuple(1, nil, 3) }
    assert.same(value, core.decodeValue(core.encodeValue(value)))
    assert.matches("function", failure(core.encodeValue, { print }))
    assert.matches("", failure(core.decodeValue, "\99"))
  end)

  -- getOrCreate -------------------------------------------------------------------------------------------------------

  local shown

  -- A job that sums up its numbers, `times` each.
  local function summing(times)
    return function()
      local context = new()
      numbers(context):map(function(x) return "sum", x * times end)
        :updateStateByKey(function(values, sum)
          for _, x in ipairs(values) do sum = (sum or 0) + x end
          return sum
        end):uid("sum")
        :foreachRDD(function(rdd)
          for _, record in ipairs(rdd:collect()) do core.shown_by_spec = record[2] end
        end)
      return context
    end
  end

  local function run(make, batches, create_on_error)
    local context = getOrCreate(dir, make, create_on_error)
    context:start()
    step(context, batches)
    shown = core.shown_by_spec -- not a copy, wherever it is set
    context:stop(true)
  end

  it("go on with the state, and the functions of today", function()
    run(summing(1), 3)
    assert.equal(1 + 2 + 3, shown)
    run(summing(10), 2)
    assert.equal(6 + 40 + 50, shown)
  end)

  it("fall back on the recorded function", function()
    run(summing(1), 2)
    local log = log_of(run, function() error("no such table") end, 1)
    assert.equal(1 + 2 + 3, shown)
    assert.matches("durable_script_spec.lua:%d+: no such table; the function recorded in '.-' is used", log)
    assert.matches("returned nothing.-; the function recorded in", log_of(run, nothing, 1))
    assert.matches("no function was given; the function recorded in", log_of(run, nil, 1))
    assert.equal(1 + 2 + 3 + 4 + 5, shown)
  end)

  it("raise what the function raises where there is no checkpoint", function()
    assert.matches("durable_script_spec.lua:%d+: no such table",
      failure(getOrCreate, dir, function() error("no such table") end))
    assert.matches("the function given to getOrCreate returned nothing",
      failure(function() local _ = getOrCreate(dir, nothing) end))
    assert.matches("durable_script_spec.lua:%d+: getOrCreate: there is no checkpoint in",
      failure(function() local _ = getOrCreate(dir) end))
    assert.matches("bad argument #2 to 'getOrCreate'", failure(function() local _ = getOrCreate(dir, 1) end))
    assert.matches("bad argument #4 to 'getOrCreate'",
      failure(function() local _ = getOrCreate(dir, nothing, {}, 1) end))
  end)

  it("have one directory", function()
    local elsewhere = new()
    elsewhere:checkpoint(dir .. "/a")
    assert.matches("getOrCreate: the context it was given has its checkpoint in '.-/a', not in '.-/b'",
      failure(function() local _ = getOrCreate(dir .. "/b", function() return elsewhere end) end))
    assert.equal(elsewhere, getOrCreate(dir .. "//a/", function() return elsewhere end))
    for _, name in ipairs { "/./a", "/../" .. dir:match("[^/]+$") .. "/a/" } do -- not there yet
      assert.equal(elsewhere, getOrCreate(dir .. name, function() return elsewhere end))
    end
    assert.equal(elsewhere, rille.StreamingContext.getActiveOrCreate(dir .. "/a", function() return elsewhere end))
  end)

  it("say when the function cannot be recorded, and go on", function()
    local file = io.tmpfile()
    local log = log_of(run, function()
      file:write("made")
      return summing(1)()
    end, 1)
    assert.equal(1, shown)
    assert.matches("the job cannot be recovered without its script: .-given to getOrCreate captures 'file'", log)
    assert.matches("no such table; and the checkpoint in '.-' cannot stand in: it has none recorded",
      failure(getOrCreate, dir, function() error("no such table") end))
  end)

  it("let driver functions have their context", function()
    new():checkpoint(dir)
    local context, stream = ssc, numbers(ssc)
    stream:foreachRDD(function() context:stop(stream ~= nil, false) end)
    ssc:start()
    step(ssc)
    assert.equal("STOPPED", ssc:getState())
  end)

  it("refuse driver functions that cannot be recorded", function()
    local file = io.tmpfile()
    new():checkpoint(dir)
    numbers(ssc):transform(function(rdd)
      file:write("x")
      return rdd
    end):foreachRDD(nothing)
    assert.matches("durable_script_spec.lua:%d+: the function given to transform captures 'file' %(userdata",
      failure(ssc.start, ssc))
    assert.equal("STOPPED", ssc:getState())
    new():checkpoint(dir)
    numbers(ssc):map(load(string.dump(function(x) return x end, true))):foreachRDD(nothing)
    assert.matches("the function given to map has no source text", failure(ssc.start, ssc))
  end)

  it("put a checkpoint that cannot be read aside when they may", function()
    run(summing(1), 2)
    support.write(dir .. "/state/data.mdb", ("no database "):rep(1000))
    assert.matches("getOrCreate: the checkpoint in '.-' cannot be read: ",
      failure(function() local _ = getOrCreate(dir, summing(1)) end))
    local log = log_of(run, summing(1), 1, true)
    assert.equal(1, shown)
    local aside = log:match "the job begins anew, and the checkpoint is in (%S+) now"
    assert.is_true(support.exists(aside .. "/state/data.mdb"))
    support.remove(aside)
  end)

  it("take their directory from the settings", function()
    new { ["rille.streaming.checkpoint.directory"] = dir .. "/set" }
    numbers(ssc):foreachRDD(nothing)
    ssc:start()
    assert.is_true(core.checkpointExists(dir .. "/set"))
    ssc:stop(true)
    new { ["rille.streaming.checkpoint.directory"] = dir .. "/unused", ["rille.reliable"] = false }
    numbers(ssc):foreachRDD(nothing)
    ssc:start()
    assert.is_false(core.checkpointExists(dir .. "/unused"))
  end)

  -- A job whose function gives `password` to Kafka.
  local function guarded(password, more)
    return function()
      failure(rille.kafka.producer, { ["sasl.password"] = password, extra = more and more.uri or nil })
      return summing(1)()
    end
  end

  -- Pieces, as the text of this file is recorded, too. Long strings lie in another place.
  local secrets = { short = table.concat({ "moon", "light", "er" }, "-"), long = ("moon-light"):rep(5000) }
  for length, password in pairs(secrets) do
    it("leave out secrets that are " .. length, function()
      local log = log_of(run, guarded(password, { uri = "x://" .. password .. "@y", "kept" }), 1)
      assert.matches("durable_script_spec.lua:%d+: the function given to getOrCreate is recorded without " ..
        "the variable 'password' %(the value of sasl.password%), the field 'uri' %(the value of sasl.password%)", log)
      local file = assert(io.open(dir .. "/state/data.mdb", "rb"))
      assert.is_nil(file:read "a":find(password, 1, true))
      file:close()
      assert.matches("no such table; and the checkpoint in '.-' cannot stand in: the function recorded in it lacks " ..
        "the variable 'password' %(the value of sasl.password%), the field 'uri' .-os.getenv",
        failure(getOrCreate, dir, function() error("no such table") end))
      ssc = nil -- `new` has it, and it cannot be recorded
      run(summing(1), 1) -- what is recorded now is whole
      run(nil, 1)
      assert.equal(1 + 2 + 3, shown)
    end)
  end

  it("leave short secrets out only where a name says so, and numbers that are secret", function()
    local pin, password, list = 104729 * 7919, "ad" .. "min", { "user", "ad" .. "min", passwd = "ad" .. "min" }
    failure(rille.kafka.producer, { ["sasl.password"] = pin })
    failure(rille.kafka.producer, { ["sasl.password"] = password })
    local function f() return pin, password, list end
    local bytes, left = core.encodeFunction(core.captureFunction(f, "f"))
    local lines = {}
    for line in left:gmatch "[^\n]+" do lines[#lines + 1] = line:match "^[^(]+'" end
    table.sort(lines)
    assert.same({ "the field 'passwd'", "the variable 'password'", "the variable 'pin'" }, lines)
    local a, b, kept = core.decodeFunction(bytes)()
    assert.same({ nil, nil, { "user", "ad" .. "min" } }, { a, b, kept })
    assert.is_nil(core.secretIn(list[2])) -- as an argument of the script, too
  end)

  it("keep the places of modules, and tell of names that have a secret in them", function()
    local secret, path = "in_the_" .. "way", package.path
    failure(rille.kafka.producer, { ["sasl.password"] = secret })
    local way = dir .. "/" .. ("x"):rep(60) .. secret .. "/?.lua;" .. path
    package.path = way
    local bytes, left = core.encodeFunction(core.captureFunction(function() end, "f"))
    package.path = path
    assert.equal("", left)
    core.decodeFunction(bytes)
    local decoded = package.path
    package.path = path
    assert.equal(way, decoded)
    local name = ("y"):rep(60) .. secret
    rawset(_G, name, 1)
    left = select(2, core.encodeFunction(core.captureFunction(assert(load("return " .. name)), "f")))
    rawset(_G, name, nil)
    assert.equal("the string '?' (the value of sasl.password)", left)
  end)

  it("leave secrets out of arguments and settings, and tell of those in texts", function()
    local name = "secret-in-" .. "all-places"
    failure(rille.kafka.producer, { ["sasl.password"] = name })
    failure(rille.kafka.producer, { ["sasl.password"] = "all-in-the-text" })
    local arg = rawget(_G, "arg")
    rawset(_G, "arg", { [0] = "spec/lua/support.lua", "-u", "x:" .. name })
    core.overrides["rille.app.name"] = name
    local log = log_of(run, summing(1), 1)
    core.overrides["rille.app.name"] = nil
    rawset(_G, "arg", arg)
    assert.matches("the text of the function given to getOrCreate has the value of sasl.password in it", log)
    local durable = require "rille.durable"
    local job = durable.job(dir)
    assert.same({ [0] = "spec/lua/support.lua", "-u", false }, job.arguments)
    assert.matches("argument 2 of the script had a secret in it.-give the arguments again, behind the directory",
      failure(durable.recover, dir, {}))
    assert.same({ "rille.app.name" }, job.secrets)
    assert.is_nil(job.settings["rille.app.name"])
  end)

  it("record what the job is made of", function()
    support.write(dir .. "/a_spec_module.lua", "return { text = 'kept' }")
    local path = package.path
    package.path = dir .. "/?.lua;" .. path
    core.overrides["spark.ssl.keyPassword"], core.overrides["spark.ui.port"] = "hush", "3"
    require "a_spec_module"
    local ok, why = pcall(run, summing(1), 1)
    core.overrides["spark.ssl.keyPassword"], core.overrides["spark.ui.port"] = nil, nil
    package.path, package.loaded.a_spec_module = path, nil
    assert.is_true(ok, why)
    local job = require("rille.durable").job(dir)
    assert.same({ source = "@" .. dir .. "/a_spec_module.lua", text = "return { text = 'kept' }" },
      job.modules.a_spec_module)
    assert.is_nil(job.modules["rille.durable"])
    assert.same({ "spark.ssl.keyPassword" }, job.secrets)
    assert.equal("3", job.settings["spark.ui.port"])
    assert.is_nil(job.settings["spark.ssl.keyPassword"])
  end)

  -- accumulators ------------------------------------------------------------------------------------------------------

  it("keep accumulators", function()
    local function counting()
      local context = new()
      local sc = context:context()
      local long, list = sc:longAccumulator(), sc:collectionAccumulator("list")
      local most = sc:accumulator(0, math.max, math.max)
      local late
      numbers(context):map(function(x)
        long:add(x)
        list:add(x)
        most:add(x)
        return x
      end):foreachRDD(function(rdd)
        late = late or sc:doubleAccumulator("late")
        late:add(rdd:count() / 2)
        core.shown_by_spec = { long:value(), list:value(), most:value(), late:value(), long:count() }
      end)
      return context
    end
    run(counting, 2)
    assert.same({ 3, { 1, 2 }, 2, 1.0, 2 }, shown)
    run(counting, 1)
    assert.same({ 6, { 1, 2, 3 }, 3, 1.5, 3 }, shown)
    run(counting, 1)
    assert.same({ 10, { 1, 2, 3, 4 }, 4, 2.0, 4 }, shown)
  end)

  it("are counted on in tests", function()
    local function sums(inputs)
      return testing.run {
        inputs = { inputs }, checkpoint = dir,
        operation = function(_, stream)
          return stream:map(function(x) return "sum", x end):updateStateByKey(function(values, sum)
            for _, x in ipairs(values) do sum = (sum or 0) + x end
            return sum
          end):uid("sum"):map(function(_, sum) return sum end)
        end,
      }
    end
    assert.same({ { 1 }, { 3 } }, sums { { 1 }, { 2 } })
    assert.same({ { 6 }, { 10 } }, sums { { 1 }, { 2 }, { 3 }, { 4 } })
  end)

  -- stream:checkpoint -------------------------------------------------------------------------------------------------

  local function start_with(interval, directory, window)
    new()
    if directory then ssc:checkpoint(directory) end
    local stream = numbers(ssc)
    if window then stream = stream:window(2 * window, window) end
    assert.equal(stream, stream:checkpoint(interval))
    stream:foreachRDD(nothing)
    local ok, why = pcall(ssc.start, ssc)
    ssc.handle:abandon()
    ssc.sc.handle:stop()
    return ok or why
  end

  it("check the intervals of streams", function()
    assert.is_true(start_with(10, dir))
    assert.is_true(start_with(4, dir, 2))
    local of_numbers = "durable_script_spec.lua:%d+: the checkpoint interval of numbers at .-"
    assert.matches("has a checkpoint interval, but its context no checkpoint directory", start_with(10))
    assert.matches(of_numbers .. "0.5 s, is shorter than its slide of 1 s", start_with(0.5, dir))
    assert.matches(of_numbers .. "1.5 s, is no multiple of its slide of 1 s", start_with(1.5, dir))
    assert.matches("the checkpoint interval of window at .-3 s, is no multiple of its slide of 2 s",
      start_with(3, dir, 2))
    assert.matches("bad argument #1 to 'checkpoint'", failure(start_with, 0, dir))
  end)

  it("leave streams alone that no output needs", function()
    new()
    numbers(ssc):checkpoint(0.5)
    numbers(ssc):foreachRDD(nothing)
    ssc:start()
    assert.equal("ACTIVE", ssc:getState())
    assert.matches("unsupported operation: a stream can not be checkpointed after its context was started",
      failure(ssc.nodes[1].checkpoint, ssc.nodes[1], 1))
  end)
end)
