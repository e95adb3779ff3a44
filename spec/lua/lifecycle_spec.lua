local rille = require "rille"
local support = require "spec.lua.support"

local failure = support.failure

local function new(batch, conf)
  conf = conf or {}
  conf.master = conf.master or "local[1]"
  conf.clock = conf.clock or "manual"
  return rille.StreamingContext(conf, batch or 1)
end

local function with_output(ssc, body)
  local stream = ssc:queueStream {}
  stream:foreachRDD(body or function() end)
  return stream
end

describe("a streaming context", function()
  local ssc

  after_each(function()
    if ssc and ssc:getState() ~= "STOPPED" then ssc:stop() end
    ssc = nil
  end)

  it("is made with settings, or over a context", function()
    ssc = new()
    local sc = ssc:context()
    assert.equal("INITIALIZED", ssc:getState())
    local again = rille.StreamingContext(sc, 2)
    assert.equal(sc, again:context())
    again:stop(false)
    assert.is_false(sc:isStopped())
    ssc:stop()
    assert.is_true(sc:isStopped())
  end)

  it("checks what it is made of", function()
    local here = "^spec/lua/lifecycle_spec.lua:%d+: "
    assert.matches(here .. "bad argument #1 to 'StreamingContext'",
      failure(function() local _ = rille.StreamingContext(1) end))
    for _, duration in ipairs { 0, -1, 0.0001, 0 / 0, math.huge, "1", "s", "0s", "10 parsecs", "0.1ms" } do
      assert.matches(here .. "bad argument #2 to 'StreamingContext' %(duration",
        failure(function() local _ = rille.StreamingContext({}, duration) end))
    end
    assert.matches(here .. "bad argument #2", failure(function() local _ = rille.StreamingContext({}) end))
    assert.matches("rille.streaming.clokc", failure(function()
      local _ = rille.StreamingContext({ ["rille.streaming.clokc"] = "manual" }, 1)
    end))
    assert.matches("local%[x%]", failure(function() local _ = rille.Context { master = "local[x]" } end))
    assert.matches("properties", failure(function() local _ = rille.Context { properties = 1 } end))
  end)

  it("takes durations as texts, wherever it takes them", function()
    ssc = new "100ms"
    assert.equal("StreamingContext(INITIALIZED, batches of 0.1 s)", tostring(ssc))
    local stream = with_output(ssc)
    assert.equal(0.1, stream:slideDuration())
    assert.equal(0.2, stream:window("1 s", "200ms"):slideDuration())
    assert.equal(120.0, stream:countByWindow("2m", "2min"):slideDuration())
    ssc:remember "1h"
    assert.equal("table", type(rille.StateSpec(function() end):timeout "1d"))
    assert.equal(12000, rille.time.floor(12345, "1s"))
    rille.sleep "1ms"
    ssc:start()
    ssc:clock():advance "100ms"
    assert.is_false(ssc:awaitTerminationOrTimeout "0s")
    ssc:stop()
    ssc = new()
    stream = with_output(ssc)
    assert.equal(stream, stream:checkpoint "10s")
    assert.matches("bad argument #1 to 'window' %(duration %(seconds above 0, or a text such as '500ms' or '2m', in " ..
      "whole milliseconds%) expected, got string%)", failure(function() stream:window "1 fortnight" end))
    assert.matches("bad argument #2 to '.-' %(a number of seconds, or a text", failure(rille.time.floor, 1, "x"))
  end)

  it("takes fractions of seconds", function()
    ssc = new(0.29)
    local times = {}
    with_output(ssc, function(_, time) times[#times + 1] = time end)
    ssc:start()
    ssc:clock():advance(0.58)
    assert.same({ 290, 580 }, times)
  end)

  it("reads settings from a file", function()
    local dir = support.directory()
    support.write(dir .. "/job.properties", "# settings\nrille.default.parallelism = 7\n")
    local sc = rille.Context { properties = dir .. "/job.properties", master = "local[1]" }
    assert.equal(7, sc:defaultParallelism())
    sc:stop()
    support.remove(dir)
  end)

  it("goes from initialized over active to stopped", function()
    ssc = new()
    with_output(ssc)
    assert.is_nil(rille.StreamingContext.getActive())
    ssc:start()
    assert.equal("ACTIVE", ssc:getState())
    assert.equal(ssc, rille.StreamingContext.getActive())
    ssc:stop()
    assert.equal("STOPPED", ssc:getState())
    assert.is_nil(rille.StreamingContext.getActive())
  end)

  it("needs an output to start", function()
    ssc = new()
    ssc:queueStream {}
    assert.matches("output", failure(function() ssc:start() end))
    assert.equal("STOPPED", ssc:getState())
  end)

  it("takes nothing new after start, and after stop", function()
    ssc = new()
    local stream = with_output(ssc)
    ssc:start()
    for _, f in ipairs {
      function() stream:map(tostring) end,
      function() stream:print() end,
      function() stream:transform(function(rdd) return rdd end) end,
      function() stream:uid("late") end,
      function() ssc:queueStream {} end,
      function() ssc:socketTextStream("localhost", 9) end,
      function() ssc:union { stream } end,
    } do
      assert.matches("^spec/lua/lifecycle_spec.lua:%d+: illegal state: .*after the context was started", failure(f))
    end
    assert.matches("unsupported operation", failure(function() stream:persist() end))
    ssc:stop()
    assert.matches("illegal state: .*after the context was stopped", failure(function() stream:map(tostring) end))
  end)

  it("only warns when started or stopped twice, and does not start again", function()
    ssc = new()
    with_output(ssc)
    ssc:start()
    ssc:start()
    assert.equal("ACTIVE", ssc:getState())
    ssc:stop()
    ssc:stop()
    assert.matches("stopped", failure(function() ssc:start() end))
  end)

  it("can be stopped before it was started", function()
    ssc = new()
    ssc:stop()
    assert.equal("STOPPED", ssc:getState())
    assert.is_true(ssc:context():isStopped())
  end)

  it("is the only active one of the process", function()
    ssc = new()
    with_output(ssc)
    ssc:start()
    local other = new()
    with_output(other)
    assert.matches("active", failure(function() other:start() end))
    assert.equal("ACTIVE", ssc:getState())
    ssc:stop()
    other:stop()
  end)

  it("leaves the context to others when asked to", function()
    ssc = new()
    with_output(ssc)
    ssc:start()
    ssc:stop(false)
    local sc = ssc:context()
    local counts = {}
    local second = rille.StreamingContext(sc, 1)
    second:queueStream({ { 1, 2, 3 } }):foreachRDD(function(rdd) counts[#counts + 1] = rdd:count() end)
    second:start()
    second:clock():advance(1)
    second:stop()
    assert.same({ 3 }, counts)
    assert.is_true(sc:isStopped())
  end)

  it("stops the context as the setting says", function()
    ssc = new(1, { ["rille.streaming.stopContextByDefault"] = false })
    with_output(ssc)
    ssc:start()
    ssc:stop()
    assert.is_false(ssc:context():isStopped())
    ssc:context():stop()
  end)

  it("stops when a function cannot be captured", function()
    ssc = new()
    local file = io.tmpfile()
    with_output(ssc):map(function() return file end):foreachRDD(function() end)
    assert.matches("the function given to map captures 'file'", failure(function() ssc:start() end))
    assert.equal("STOPPED", ssc:getState())
  end)

  it("waits for the end, or for a while", function()
    ssc = new()
    with_output(ssc)
    ssc:start()
    assert.is_false(ssc:awaitTerminationOrTimeout(0.01))
    ssc:stop()
    assert.is_true(ssc:awaitTerminationOrTimeout(0.01))
    ssc:awaitTermination()
  end)

  it("can be stopped from an output", function()
    ssc = new()
    local batches = 0
    with_output(ssc, function()
      batches = batches + 1
      ssc:stop()
    end)
    ssc:start()
    ssc:clock():advance(1)
    assert.is_true(ssc:awaitTerminationOrTimeout(10))
    assert.equal(1, batches)
  end)

  it("has the pending tick and one more when it is stopped gracefully", function()
    local gone = rille.StreamingContext({ master = "local[1]" }, 0.05)
    local times, items = {}, {}
    gone:queueStream({ { 1 }, { 2 }, { 3 }, { 4 } }):foreachRDD(function(rdd, time)
      times[#times + 1] = time
      table.move(rdd:collect(), 1, 1, #items + 1, items)
    end)
    gone:start()
    while #times == 0 do gone:awaitTerminationOrTimeout(0.01) end
    local before = #times
    gone:stop(true, true)
    assert.is_true(#times >= before + 2)
    for i = 2, #times do assert.equal(times[1] + (i - 1) * 50, times[i]) end
    assert.same({ 1, 2, 3 }, table.move(items, 1, 3, 1, {}))
  end)

  it("has no tick more when it is stopped at once, or gracefully on the manual clock", function()
    for _, clock in ipairs { "system", "manual" } do
      -- The next tick is decades away. (Of minutes one might just begin.)
      local gone = rille.StreamingContext({ master = "local[1]", clock = clock }, 2 * os.time())
      local n = 0
      gone:queueStream({ { 1 } }):foreachRDD(function() n = n + 1 end)
      gone:start()
      gone:stop(true, clock == "manual")
      assert.equal(0, n)
    end
  end)

  it("reports a failure once and goes on", function()
    ssc = new()
    local batches = 0
    with_output(ssc, function()
      batches = batches + 1
      if batches == 1 then error("no luck") end
    end)
    ssc:start()
    ssc:clock():advance(1)
    assert.matches("lifecycle_spec.lua:%d+: no luck", failure(function() ssc:awaitTerminationOrTimeout(0) end))
    ssc:clock():advance(1)
    assert.is_false(ssc:awaitTerminationOrTimeout(0))
    assert.equal(2, batches)
  end)

  it("remembers once", function()
    ssc = new()
    ssc:remember(5)
    assert.matches("remember", failure(function() ssc:remember(6) end))
    assert.matches("bad argument #1 to 'remember'", failure(function() ssc:remember(0) end))
  end)

  it("takes a checkpoint directory", function()
    ssc = new()
    local dir = support.directory()
    ssc:checkpoint(dir .. "/checkpoint") -- which is made by the start
    assert.is_false(support.exists(dir .. "/checkpoint"))
    support.remove(dir)
  end)

  it("serves batches while the script sleeps", function()
    ssc = new(0.02, { clock = "system" })
    local batches = 0
    with_output(ssc, function() batches = batches + 1 end)
    ssc:start()
    local before = os.time()
    while batches < 3 and os.time() - before < 60 do rille.sleep(0.02) end
    assert.is_true(batches >= 3)
  end)
end)

describe("getOrCreate", function()
  it("makes a context when there is no checkpoint", function()
    local made = new()
    local got = rille.StreamingContext.getOrCreate("nowhere", function() return made end)
    assert.equal(made, got)
    made:stop()
  end)

  it("wants a context from the function", function()
    assert.matches("lifecycle_spec.lua:%d+: the function given to getOrCreate returned nothing",
      failure(function() local _ = rille.StreamingContext.getOrCreate("nowhere", function() end) end))
    assert.matches("there is no checkpoint in 'nowhere', and no function that makes a context",
      failure(function() local _ = rille.StreamingContext.getOrCreate("nowhere") end))
  end)

  it("prefers the active one where asked to", function()
    local active = new()
    with_output(active)
    active:start()
    local function never() error("not to be called") end
    assert.equal(active, rille.StreamingContext.getActiveOrCreate(never))
    assert.equal(active, rille.StreamingContext.getActiveOrCreate("nowhere", never))
    active:stop()
    local made = new()
    assert.equal(made, rille.StreamingContext.getActiveOrCreate(function() return made end))
    made:stop()
  end)
end)

describe("the clock", function()
  it("is moved by hand when it is the manual one", function()
    local ssc = new()
    with_output(ssc)
    ssc:start()
    assert.equal(0, ssc:clock():now())
    ssc:clock():advance(2.5)
    assert.equal(2500, ssc:clock():now())
    assert.matches("bad argument #1 to 'advance'", failure(function() ssc:clock():advance(-1) end))
    ssc:stop()
  end)

  it("refuses to move the system clock", function()
    local ssc = new(1, { clock = "system" })
    assert.matches("illegal state: the system clock", failure(function() ssc:clock():advance(1) end))
    assert.is_true(ssc:clock():now() > 1600000000000)
    ssc:stop()
  end)
end)

describe("a listener", function()
  it("is told of batches and outputs", function()
    local ssc = new()
    local events = {}
    local function note(name) return function(event) events[#events + 1] = { name, event } end end
    ssc:addStreamingListener {
      onStreamingStarted = note "started", onBatchSubmitted = note "submitted", onBatchStarted = note "begun",
      onBatchCompleted = note "completed", onOutputOperationStarted = note "output",
      onOutputOperationCompleted = note "output done",
    }
    with_output(ssc)
    ssc:start()
    ssc:clock():advance(1)
    ssc:awaitTerminationOrTimeout(0)
    local names = {}
    for i, event in ipairs(events) do names[i] = event[1] end
    assert.same({ "started", "submitted", "begun", "output", "output done", "completed" }, names)
    local batch = events[#events][2]
    assert.equal(1000, batch.batchTime)
    assert.is_number(batch.totalDelay)
    ssc:stop()
  end)

  it("must not stop the context", function()
    local ssc = new()
    local message
    ssc:addStreamingListener { onBatchCompleted = function() message = failure(function() ssc:stop() end) end }
    with_output(ssc)
    ssc:start()
    ssc:clock():advance(1)
    ssc:awaitTerminationOrTimeout(0)
    assert.matches("illegal state: stop was called by a streaming listener", message)
    ssc:stop()
  end)

  it("is checked", function()
    local ssc = new()
    assert.matches("none of onStreamingStarted", failure(function() ssc:addStreamingListener {} end))
    assert.matches("onBatchCompleted: function expected",
      failure(function() ssc:addStreamingListener { onBatchCompleted = 1 } end))
    ssc:stop()
  end)
end)

describe("inputs", function()
  local ssc

  before_each(function() ssc = new() end)
  after_each(function() ssc:stop() end)

  it("cannot acknowledge what is on no disk", function()
    ssc:socketTextStream("localhost", 1, { ack = true }):print()
    assert.matches("^socket stream %[0%] at spec/lua/lifecycle_spec.lua:%d+: ack: " ..
      "lines are acknowledged when they are in a log on disk, and this job has none; give it a checkpoint directory$",
      failure(function() ssc:start() end))
  end)

  it("are checked at the job's line", function()
    local here = "^spec/lua/lifecycle_spec.lua:%d+: "
    assert.matches(here .. "bad argument #2 to 'socketTextStream' %(port %(1 to 65535%) expected, got 70000%)",
      failure(function() ssc:socketTextStream("localhost", 70000) end))
    assert.matches(here .. "bad argument #1 to 'socketTextStream'", failure(function() ssc:socketTextStream("", 1) end))
    assert.matches(here .. "bad argument #3 to 'socketTextStream' %(option 'ack': boolean expected, got number%)",
      failure(function() ssc:socketTextStream("localhost", 1, { ack = 1 }) end))
    assert.matches("unknown option 'akc'", failure(function() ssc:socketTextStream("localhost", 1, { akc = true }) end))
    assert.matches("option 'filter': function expected", failure(function() ssc:fileStream("x", { filter = 1 }) end))
    assert.matches(here .. "bad argument #2 to 'binaryRecordsStream'",
      failure(function() ssc:binaryRecordsStream("x", 0) end))
    assert.matches("onStart: function expected", failure(function() ssc:receiverStream {} end))
    assert.matches("bad argument #1 to 'queueStream'", failure(function() ssc:queueStream("x") end))
    assert.matches("bad argument #3 to 'socketStream'", failure(function() ssc:socketStream("localhost", 1) end))
  end)
end)

describe("rille.once", function()
  it("makes a thing once in the driver", function()
    local made = 0
    local function make()
      made = made + 1
      return { made }
    end
    local name = "spec " .. tostring(make)
    assert.equal(rille.once(name, make), rille.once(name, make))
    assert.equal(1, made)
    assert.matches("returned nil", failure(function() rille.once(name .. "2", function() end) end))
  end)

  it("makes a thing once a worker", function()
    local sc = rille.Context { master = "local[1]" }
    local rdd = sc:parallelize({ 1, 2, 3 }, 3):mapPartitions(function()
      local counter = rille.once("counter", function() return { n = 0 } end)
      counter.n = counter.n + 1
      return { counter.n }
    end)
    assert.same({ 1, 2, 3 }, rdd:collect())
    sc:stop()
  end)
end)
