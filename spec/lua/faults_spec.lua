-- Bad input and faults: each gives one clear error that names the job's line, and what can go on goes on.
local child = require "spec.lua.child"
local rille = require "rille"
local support = require "spec.lua.support"

local failure = support.failure
local HERE = "faults_spec.lua:%d+: "

local function settings(more)
  local conf = { master = "local[2]", clock = "manual", ["rille.log.level"] = "off", ["rille.task.maxFailures"] = 2 }
  for key, value in pairs(more or {}) do conf[key] = value end
  return conf
end

local function count_of(text, pattern)
  return select(2, text:gsub(pattern, ""))
end

describe("wrong arguments", function()
  local ssc

  before_each(function() ssc = rille.StreamingContext(settings(), 1) end)
  after_each(function() ssc:stop() end)

  local function refused(pattern, f) assert.matches("^spec/lua/" .. HERE .. ".*" .. pattern, failure(f)) end

  it("are refused by contexts", function()
    refused("bad argument #1 to 'Context'", function() local _ = rille.Context "local[2]" end)
    refused("bad argument #2 to 'StreamingContext'", function() local _ = rille.StreamingContext({}, "1") end)
    refused("bad argument #1 to 'remember'", function() ssc:remember(-1) end)
    refused("bad argument #1 to 'awaitTerminationOrTimeout'", function() ssc:awaitTerminationOrTimeout "1" end)
    refused("bad argument #1 to 'advance'", function() ssc:clock():advance(-1) end)
    refused("bad argument #1 to 'parallelize'", function() ssc:context():parallelize "abc" end)
    refused("write it with a colon", function() ssc.socketTextStream("localhost", 9999) end)
  end)

  it("are refused by sources", function()
    refused("bad argument #1 to 'socketTextStream' %(non%-empty string", function() ssc:socketTextStream(9999) end)
    for _, port in ipairs { 0, 65536, 1.5, -1 } do
      refused("bad argument #2 to 'socketTextStream' %(port", function() ssc:socketTextStream("localhost", port) end)
    end
    refused("bad argument #2 to 'socketTextStream'", function() ssc:socketTextStream("localhost", "9999") end)
    refused("unknown option 'acks'", function() ssc:socketTextStream("localhost", 9999, { acks = true }) end)
    refused("bad argument #3 to 'socketStream' %(function", function() ssc:socketStream("localhost", 9999) end)
    refused("bad argument #1 to 'textFileStream'", function() ssc:textFileStream "" end)
    refused("option 'filter': function", function() ssc:fileStream("/tmp", { filter = "*.csv" }) end)
    refused("bad argument #2 to 'binaryRecordsStream'", function() ssc:binaryRecordsStream("/tmp", 0) end)
    refused("bad argument #1 to 'queueStream' %(array", function() ssc:queueStream "rdds" end)
    refused("onStart: function expected, got nil", function() ssc:receiverStream {} end)
    refused("bad argument #1 to 'union'", function() ssc:union {} end)
  end)

  it("are refused by operations", function()
    local stream = ssc:queueStream {}
    refused("bad argument #1 to 'map' %(function expected, got string%)", function() stream:map "x" end)
    refused("bad argument #1 to 'print'", function() stream:print "all" end)
    refused("bad argument #2 to 'reduceByKey'", function() stream:reduceByKey(math.max, 0) end)
    refused("bad argument #1 to 'join' %(DStream expected", function() stream:join({}) end)
    refused("bad argument #1 to 'uid'", function() stream:uid "" end)
    refused("bad argument #1 to 'saveAsTextFiles'", function() stream:saveAsTextFiles(1) end)
    refused("bad argument #1 to 'addStreamingListener'", function() ssc:addStreamingListener {} end)
    refused("bad argument #1 to 'foreachRDD'", function() stream:foreachRDD() end)
  end)
end)

describe("settings", function()
  it("that are unknown are an error, with the nearest known one", function()
    assert.matches("^spec/lua/" .. HERE .. ".*'rille.default.paralelism'; did you mean 'rille.default.parallelism'",
      failure(function() local _ = rille.Context { ["rille.default.paralelism"] = 2 } end))
    assert.matches("'colour'", failure(function() local _ = rille.Context { colour = "red" } end))
  end)

  it("that do not fit are an error", function()
    for key, value in pairs { ["rille.task.maxFailures"] = "often", ["rille.task.maxMemory"] = "-1",
      ["rille.streaming.blockInterval"] = "5 parsecs", master = "mesos://x", clock = "sundial",
      ["rille.log.level"] = "loud", ["rille.streaming.unpersist"] = "maybe" } do
      local message = failure(function() local _ = rille.Context { [key] = value } end)
      assert.matches("^spec/lua/" .. HERE, message)
      assert.matches(value, message, 1, true)
    end
  end)

  it("of Spark's are understood, or warned about", function()
    local result = child.run [[
      local rille = require "rille"
      local sc = rille.Context { ["spark.default.parallelism"] = 3, ["spark.executor.memory"] = "1g" }
      print(sc:defaultParallelism())
    ]]
    assert.equal("3\n", result.out)
    assert.equal(1, count_of(result.err, "\n"))
    assert.matches("spark.executor.memory", result.err, 1, true)
    assert.equal(0, result.status)
  end)
end)

describe("a script", function()
  it("with a syntax error ends with its line", function()
    local result = child.run "local x = 1\nlocal y = = 2\n"
    assert.equal(1, result.status)
    assert.matches("job.lua:2: unexpected symbol near '='", result.err, 1, true)
    assert.equal("", result.out)
  end)

  it("that is missing or no text is refused", function()
    assert.equal(1, child.run("", { command = "rille run no", args = {} }).status)
    local result = child.run("\27Lua")
    assert.equal(1, result.status)
    assert.matches("binary chunk", result.err, 1, true)
  end)
end)

-- Batches of a queue stream through a job, on the manual clock. Gives the records and the errors by batch.
local function run_batches(batches, operation, conf)
  local ssc = rille.StreamingContext(settings(conf), 1)
  local results, errors = {}, {}
  local ok, why = pcall(function()
    local time
    operation(ssc:queueStream(batches), ssc):foreachRDD(function(rdd, now)
      time = now
      results[now // 1000] = support.texts(rdd:collect())
    end)
    ssc:start()
    for i = 1, #batches do
      ssc:clock():advance(1)
      local fine, message = pcall(ssc.awaitTerminationOrTimeout, ssc, 0)
      if not fine then errors[i] = message end
      assert(time == i * 1000 or errors[i])
    end
    assert(ssc:getState() == "ACTIVE")
  end)
  ssc:stop()
  if not ok then error(why, 0) end
  return results, errors
end

describe("a function that", function()
  -- The first batch fails as the pattern says, at a line of this file; the second one goes well.
  local function fails_once(pattern, batches, operation, conf)
    local results, errors = run_batches(batches, operation, conf)
    assert.is_string(errors[1])
    assert.matches(pattern, errors[1])
    assert.matches("faults_spec.lua:%d+", errors[1])
    assert.is_nil(results[1])
    assert.is_nil(errors[2])
    assert.same({ "2" }, results[2])
  end

  it("raises", function()
    fails_once("faults_spec.lua:%d+: no luck", { { 1 }, { 2 } }, function(stream)
      return stream:map(function(x) return x == 1 and error "no luck" or x end)
    end)
  end)

  it("raises something that is no text", function()
    fails_once("42", { { 1 }, { 2 } }, function(stream)
      local speaking = setmetatable({}, { __tostring = function() return "42" end })
      return stream:map(function(x) return x == 1 and error(speaking) or x end)
    end)
    fails_once("{code=1}", { { 1 }, { 2 } }, function(stream)
      return stream:map(function(x) return x == 1 and error { code = 1 } or x end)
    end)
  end)

  it("raises in the middle of an aggregation", function()
    local first, second = { rille.tuple("a", 1), rille.tuple("a", {}) }, { rille.tuple("a", 2) }
    fails_once("faults_spec.lua:%d+: attempt to", { first, second }, function(stream)
      return stream:reduceByKey(function(a, b) return a + b end):map(function(_, n) return n end)
    end)
  end)

  it("raises in transform, on the driver", function()
    fails_once("faults_spec.lua:%d+: no luck", { { 1 }, { 2 } }, function(stream)
      local n = 0
      return stream:transform(function(rdd)
        n = n + 1
        if n == 1 then error "no luck" end
        return rdd
      end)
    end)
  end)

  it("shows where it was called from", function()
    local function inner(x) return x.field.field end
    local _, errors = run_batches({ { {} } }, function(stream) return stream:map(function(x) return (inner(x)) end) end)
    local frame = "\n  spec/lua/faults_spec.lua:%d+: in "
    assert.matches(frame .. "upvalue 'inner'" .. frame .. "function <", errors[1])
  end)

  it("returns nothing", function()
    fails_once("the function given to map returned n", { { 1 }, { 2 } }, function(stream)
      return stream:map(function(x) if x == 2 then return x end end)
    end)
    fails_once("the function given to flatMap returned n", { { 1 }, { 2 } }, function(stream)
      return stream:flatMap(function(x) if x == 2 then return { x } end end)
    end)
    fails_once("the function given to mapPartitions returned n", { { 1 }, { 2 } }, function(stream)
      return stream:mapPartitions(function(records) if records() ~= 1 then return { 2 } end end)
    end, { ["rille.default.parallelism"] = 1 })
  end)

  it("returns nothing where a value is needed", function()
    local function none() end
    local function number(stream) return stream:map(function(_, n) return n end) end
    for name, operation in pairs {
      filter = function(stream) return stream:filter(none) end,
      mapValues = function(stream) return number(stream:map(function(x) return x, x end):mapValues(none)) end,
      reduce = function(stream) return stream:reduce(none) end,
      reduceByKey = function(stream) return number(stream:map(function(x) return 0, x end):reduceByKey(none)) end,
      combineByKey = function(stream)
        return number(stream:map(function(x) return 0, x end):combineByKey(none, none, none))
      end,
    } do
      local _, errors = run_batches({ { 1, 2, 3, 4 }, {} }, operation)
      assert.matches("faults_spec.lua:%d+: the function given to " .. name .. " returned nothing", errors[1])
      assert.is_nil(errors[2])
    end
  end)

  it("returns nil to a reduction on the driver", function()
    local sc = rille.Context(settings())
    assert.matches(HERE .. "the function given to reduce returned nil", failure(function()
      local _ = sc:parallelize({ 1, 2 }, 2):reduce(function() end)
    end))
    sc:stop()
  end)

  it("gives what is no record", function()
    fails_once("function", { { 1 }, { 2 } }, function(stream)
      return stream:map(function(x) return x == 2 and x or print end)
    end)
    fails_once("number", { { 1 }, { 2 } }, function(stream)
      return stream:flatMap(function(x) return x == 2 and { x } or 7 end)
    end)
    fails_once("reduceByKey needs %(key, value%) records", { { 1 }, { rille.tuple("a", 2) } }, function(stream)
      return stream:reduceByKey(function(a) return a end):map(function(_, n) return n end)
    end)
  end)

  it("gives nil or NaN for a key", function()
    fails_once("nil", { { 1 }, { 2 } }, function(stream)
      return stream:map(function(x) return x == 2 and x or nil, 1 end):map(function(k) return k end)
    end)
    fails_once("join: a key is NaN; leave such records out", { { 1 }, { 2 } }, function(stream)
      local pairs_of = stream:map(function(x) return x == 2 and x or 0 / 0, 1 end)
      return pairs_of:join(pairs_of):map(function(k) return k end)
    end)
    fails_once("NaN", { { 1 }, { 2 } }, function(stream)
      local counted = stream:map(function(x) return x == 2 and x or 0 / 0, 1 end):reduceByKey(math.max)
      return counted:map(function(k) return k end)
    end)
  end)

  describe("loops for ever", function()
    local conf = { ["rille.task.maxSeconds"] = 1 } -- the second batch has to be done in it, on a busy machine, too

    -- Under the thread sanitizer a signal waits for the next call of the C library: loops are left behind there.
    local over_time = os.getenv "RILLE_SANITIZE" == "thread" and "stuck for" or "rille.task.maxSeconds"

    it("plainly", function()
      fails_once(over_time, { { 1 }, { 2 } }, function(stream)
        return stream:map(function(x)
          while x == 1 do end
          return x
        end)
      end, conf)
    end)

    it("in a coroutine", function()
      fails_once(over_time, { { 1 }, { 2 } }, function(stream)
        return stream:map(function(x)
          local co = coroutine.wrap(function() while x == 1 do end end)
          while x == 1 do co() end
          return x
        end)
      end, conf)
    end)

    it("in pcall", function()
      fails_once(over_time, { { 1 }, { 2 } }, function(stream)
        return stream:map(function(x)
          while x == 1 do pcall(function() while true do end end) end
          return x
        end)
      end, conf)
    end)

    it("in pcall, in a coroutine, with a handler", function()
      fails_once(over_time, { { 1 }, { 2 } }, function(stream)
        return stream:map(function(x)
          local function again() while true do xpcall(again, function() while true do end end) end end
          while x == 1 do coroutine.resume(coroutine.create(again)) end
          return x
        end)
      end, conf)
    end)

    it("in a pattern that tries without end", function()
      fails_once("stuck for .* in a C function", { { 1 }, { 2 } }, function(stream)
        return stream:map(function(x)
          if x == 1 then return (("a"):rep(40):find(("a-"):rep(20) .. "b")) end
          return x
        end)
      end, conf)
    end)

    it("in a sort or an aggregation", function()
      fails_once(over_time, { { 1, 3 }, { 2 } }, function(stream)
        return stream:map(function(x) return 0, x end)
          :reduceByKey(function() while true do end end):map(function(_, n) return n end)
      end, conf)
    end)
  end)

  describe("allocates without end", function()
    local conf = { ["rille.task.maxMemory"] = "16m" }

    it("in a table", function()
      fails_once("maxMemory", { { 1 }, { 2 } }, function(stream)
        return stream:map(function(x)
          local list = {}
          while x == 1 do list[#list + 1] = { x } end
          return list[1] or x
        end)
      end, conf)
    end)

    it("in a string", function()
      fails_once("maxMemory", { { 1 }, { 2 } }, function(stream)
        return stream:map(function(x)
          local text = "text"
          while x == 1 do text = text .. text end
          return x
        end)
      end, conf)
    end)

    it("in pcall, again and again", function()
      fails_once("maxMemory", { { 1 }, { 2 } }, function(stream)
        return stream:map(function(x)
          local kept = {}
          while x == 1 do pcall(function() while true do kept[#kept + 1] = ("x"):rep(1000) .. #kept end end) end
          return x
        end)
      end, { ["rille.task.maxMemory"] = "16m", ["rille.task.maxSeconds"] = 20 })
    end)

    it("in an iterator that does not end", function()
      fails_once("max%u%l+", { { 1 }, { 2 } }, function(stream)
        return stream:flatMap(function(x)
          local n = 0
          return function()
            n = n + 1
            if x == 1 or n == 1 then return x end
          end
        end)
      end, { ["rille.task.maxSeconds"] = 1 })
    end)
  end)

  it("recurses without end", function()
    fails_once("stack overflow", { { 1 }, { 2 } }, function(stream)
      local function deep(x) return x == 1 and 1 + deep(x) or x end
      return stream:map(function(x) return (deep(x)) end)
    end)
  end)

  it("closes the process, reads stdin or changes the locale, is refused", function()
    for _, f in ipairs {
      function(x) return x == 2 and x or os.exit(1) end,
      function(x) return x == 2 and x or io.read() end,
      function(x) return x == 2 and x or os.setlocale "C" end,
    } do
      fails_once("closed", { { 1 }, { 2 } }, function(stream) return stream:map(f) end)
    end
  end)

  it("gives a table that contains itself, or is too deep", function()
    fails_once("a table that contains itself", { { 1 }, { 2 } }, function(stream)
      return stream:map(function(x)
        local t = {}
        t.t = t
        return x == 2 and x or t
      end)
    end)
  end)
end)

describe("one task of many that fails", function()
  it("is tried again, and the batch is right", function()
    local dir = support.directory()
    local results, errors = run_batches({ { 1, 2, 3, 4 } }, function(stream)
      return stream:map(function(x)
        local file = io.open(dir .. "/tried")
        if x == 3 and not file then
          io.open(dir .. "/tried", "w"):close()
          error "only once"
        end
        if file then file:close() end
        return x
      end)
    end)
    assert.same({ { "1", "2", "3", "4" } }, results)
    assert.same({}, errors)
    support.remove(dir)
  end)
end)

describe("an output that fails", function()
  it("leaves the others of its batch alone", function()
    local ssc = rille.StreamingContext(settings(), 1)
    local stream = ssc:queueStream { { 1 }, { 2 } }
    local seen = {}
    stream:foreachRDD(function(_, time) if time == 1000 then error "no luck" end end)
    stream:foreachRDD(function(rdd) seen[#seen + 1] = rdd:first() end)
    ssc:start()
    ssc:clock():advance(1)
    assert.matches(HERE .. "no luck", failure(ssc.awaitTerminationOrTimeout, ssc, 0))
    ssc:clock():advance(1)
    assert.is_false(ssc:awaitTerminationOrTimeout(0))
    assert.same({ 1, 2 }, seen)
    ssc:stop()
  end)

  it("ends a job that waits, with status 1 and the line, once", function()
    local result = child.run([[
      local rille = require "rille"
      local ssc = rille.StreamingContext({ master = "local[2]" }, 0.05)
      ssc:queueStream({ { 1 } }):map(function(x)
        return x.missing.field
      end):print()
      ssc:start()
      ssc:awaitTermination()
    ]])
    assert.equal(1, result.status)
    assert.matches("job.lua:4: attempt to index a number value", result.err, 1, true)
  end)
end)

describe("a source", function()
  local ssc, errors

  local function live(conf)
    ssc = rille.StreamingContext(settings(conf), 0.05)
    errors = {}
    ssc:addStreamingListener { onReceiverError = function(event) errors[#errors + 1] = event end }
  end

  local function until_true(condition)
    local before = os.time()
    while not condition() and os.time() - before < 120 do ssc:awaitTerminationOrTimeout(0.01) end
    assert.is_true(condition())
  end

  after_each(function() if ssc:getState() ~= "STOPPED" then ssc:stop() end end)

  it("that cannot be reached is reported, and the context goes on", function()
    live { clock = "system", ["rille.streaming.receiverRestartDelay"] = 0.02 }
    local nobody = child.nobody()
    local batches = 0
    ssc:socketTextStream("127.0.0.1", nobody.port):foreachRDD(function() batches = batches + 1 end)
    ssc:start()
    until_true(function() return #errors >= 2 and batches >= 2 end)
    local message = errors[1].lastErrorMessage .. errors[1].lastError
    assert.matches("127.0.0.1:" .. nobody.port, message, 1, true)
    assert.matches("refused", message, 1, true)
    nobody.close()
  end)

  it("that cannot be reached is logged with the job's line", function()
    local nobody = child.nobody()
    local result = child.run([[
      local rille = require "rille"
      local ssc = rille.StreamingContext({ master = "local[1]" }, 0.05)
      ssc:socketTextStream("127.0.0.1", tonumber(arg[1])):print()
      ssc:receiverStream { onStart = function(self)
        self:store(nil)
      end }:print()
      local seen = {}
      ssc:addStreamingListener { onReceiverError = function(event) seen[event.streamId] = true end }
      ssc:start()
      while not (seen[0] and seen[1]) do ssc:awaitTerminationOrTimeout(0.01) end
      ssc:stop()
    ]], { args = { tostring(nobody.port) } })
    nobody.close()
    assert.equal(0, result.status)
    assert.matches("socket stream %[0%] at job.lua:3: cannot connect to 127.0.0.1:%d+: connection refused", result.err)
    assert.matches("receiver stream %[1%] at job.lua:4: onStart: job.lua:5: the first value of a record is nil; "
      .. "trying again in 2 s\n", result.err)
  end)

  it("whose host has no address is reported, and the context goes on", function()
    live { clock = "system", ["rille.streaming.receiverRestartDelay"] = 0.02 }
    local batches = 0
    ssc:socketTextStream("no host", 9):foreachRDD(function() batches = batches + 1 end)
    ssc:start()
    until_true(function() return #errors >= 1 and batches >= 1 end)
    assert.matches("no host", errors[1].lastErrorMessage .. errors[1].lastError, 1, true)
  end)

  it("that sends binary gives it unchanged", function()
    live { clock = "system" }
    local all = {}
    for i = 0, 255 do all[#all + 1] = ("\\x%02x"):format(i) end
    local server = child.serve(table.concat(all) .. "\\n", "--hold")
    local got = {}
    ssc:socketTextStream("127.0.0.1", server.port):foreachRDD(function(rdd)
      for _, line in ipairs(rdd:collect()) do got[#got + 1] = line end
    end)
    ssc:start()
    until_true(function() return #got == 3 end)
    local bytes = {}
    for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
    local text = table.concat(bytes)
    assert.same({ text:sub(1, 10), text:sub(12, 13), text:sub(15) }, got)
    server.close()
  end)

  it("that sends one endless line has it cut, told once, and the next line is right", function()
    local server = child.serve("--times", "3000", "0123456789", "\\nnext\\n", "--hold")
    local result = child.run([[
      local rille = require "rille"
      local conf = { master = "local[2]", ["rille.streaming.receiver.maxRecordBytes"] = "10k" }
      local ssc = rille.StreamingContext(conf, 0.05)
      local sizes, last = {}, nil
      ssc:socketTextStream("127.0.0.1", tonumber(arg[1])):foreachRDD(function(rdd)
        for _, line in ipairs(rdd:collect()) do sizes[#sizes + 1], last = #line, line end
      end)
      ssc:start()
      while last ~= "next" do ssc:awaitTerminationOrTimeout(0.01) end
      ssc:stop()
      local longest, sum = math.max(table.unpack(sizes)), 0
      for _, size in ipairs(sizes) do sum = sum + size end
      print(longest, sum)
    ]], { args = { tostring(server.port) } })
    server.close()
    assert.equal(0, result.status)
    local longest, sum = result.out:match("(%d+)\t(%d+)")
    assert.equal(10240, math.tointeger(tonumber(longest)))
    assert.equal(30004, math.tointeger(tonumber(sum))) -- nothing is lost
    assert.matches("maxRecordBytes", result.err, 1, true)
    assert.equal(1, count_of(result.err, "maxRecordBytes"))
  end)

  it("whose receiver raises is reported with its line, and started again", function()
    live { clock = "system", ["rille.streaming.receiverRestartDelay"] = 0.02 }
    local got = {}
    ssc:receiverStream { runs = 0, onStart = function(self)
      self.runs = self.runs + 1
      self:store(self.runs)
      if self.runs == 1 then error "no luck" end
    end }:foreachRDD(function(rdd) for _, n in ipairs(rdd:collect()) do got[#got + 1] = n end end)
    ssc:start()
    until_true(function() return #got >= 2 and #errors >= 1 end)
    assert.matches(HERE .. "no luck", errors[1].lastErrorMessage .. " " .. errors[1].lastError)
  end)

  it("whose converter raises is reported, and connects again", function()
    live { clock = "system", ["rille.streaming.receiverRestartDelay"] = 0.02 }
    local server = child.serve("bad\\n", "--hold", "--next", "good\\n", "--hold")
    local got = {}
    ssc:socketStream("127.0.0.1", server.port, function(read)
      return function()
        local line = read "l"
        if line == "bad" then error "no luck" end
        return line
      end
    end):foreachRDD(function(rdd) for _, line in ipairs(rdd:collect()) do got[#got + 1] = line end end)
    ssc:start()
    until_true(function() return #got >= 1 and #errors >= 1 end)
    assert.same({ "good" }, got)
    assert.matches(HERE .. "no luck", errors[1].lastErrorMessage .. " " .. errors[1].lastError)
    server.close()
  end)
end)

describe("files", function()
  local dir, ssc

  before_each(function()
    dir = support.directory()
    ssc = nil
  end)

  after_each(function()
    if ssc and ssc:getState() ~= "STOPPED" then ssc:stop() end
    support.remove(dir)
  end)

  local function put(path, seconds, text)
    support.write(dir .. "/.new", text)
    assert(os.execute(("touch -d @%g '%s/.new'"):format(seconds, dir)))
    assert(os.rename(dir .. "/.new", path))
  end

  -- A text file stream over a path; before(batch) is called on the driver before a batch is collected.
  local function watch(path, before)
    ssc = rille.StreamingContext(settings(), 1)
    local batches = {}
    ssc:textFileStream(path):foreachRDD(function(rdd, time)
      if before then before(time // 1000) end
      batches[time // 1000] = rdd:collect()
    end)
    ssc:start()
    return batches
  end

  local function advance() ssc:clock():advance(1) end

  it("in a directory that comes late are found", function()
    local batches = watch(dir .. "/late")
    advance()
    assert(os.execute(("mkdir '%s/late'"):format(dir)))
    put(dir .. "/late/a", 1.5, "a")
    advance()
    assert.is_false(ssc:awaitTerminationOrTimeout(0))
    assert.same({ {}, { "a" } }, batches)
  end)

  it("in a directory that vanishes are missed, and found when it is back", function()
    assert(os.execute(("mkdir '%s/in'"):format(dir)))
    local batches = watch(dir .. "/in")
    put(dir .. "/in/a", 0.5, "a")
    advance()
    support.remove(dir .. "/in")
    advance()
    assert(os.execute(("mkdir '%s/in'"):format(dir)))
    put(dir .. "/in/b", 2.5, "b")
    advance()
    assert.is_false(ssc:awaitTerminationOrTimeout(0))
    assert.same({ { "a" }, {}, { "b" } }, batches)
  end)

  it("in a directory that cannot be read are warned about, with the reason, and the job goes on", function()
    local result = child.run([[
      local rille = require "rille"
      local ssc = rille.StreamingContext({ master = "local[1]", clock = "manual" }, 1)
      local n = 0
      ssc:textFileStream("loop/in"):foreachRDD(function(rdd) n = n + rdd:count() + 1 end)
      ssc:start()
      ssc:clock():advance(3)
      ssc:awaitTerminationOrTimeout(0)
      print(n)
    ]], { before = "ln -s loop loop" }) -- unreadable for root, too
    assert.equal("3\n", result.out)
    assert.equal(0, result.status)
    assert.matches("file stream [0] at job.lua:4: ", result.err, 1, true)
    assert.matches("loop/in", result.err, 1, true)
    assert.matches("symbolic links", result.err, 1, true)
  end)

  it("that vanish before they are read fail their batch, by name, and the next batch is fine", function()
    local batches = watch(dir, function(batch) if batch == 1 then os.remove(dir .. "/a") end end)
    put(dir .. "/a", 0.5, "a")
    advance()
    local message = failure(ssc.awaitTerminationOrTimeout, ssc, 0)
    assert.matches(dir .. "/a", message, 1, true)
    assert.matches("faults_spec.lua:%d+", message)
    put(dir .. "/b", 1.5, "b")
    advance()
    assert.is_false(ssc:awaitTerminationOrTimeout(0))
    assert.same({ [2] = { "b" } }, batches)
  end)

  it("that shrink before they are read fail their batch, by name", function()
    local batches = watch(dir, function(batch) if batch == 1 then support.write(dir .. "/a", "12") end end)
    put(dir .. "/a", 0.5, "1234567890\n")
    advance()
    local message = failure(ssc.awaitTerminationOrTimeout, ssc, 0)
    assert.matches(dir .. "/a", message, 1, true)
    assert.matches("faults_spec.lua:%d+", message)
    put(dir .. "/b", 1.5, "b")
    advance()
    assert.same({ [2] = { "b" } }, batches)
  end)

  it("that an RDD was made of and that shrank are an error, never half of them", function()
    local sc = rille.Context { master = "local[2]", ["rille.log.level"] = "off" }
    support.write(dir .. "/a", ("line\n"):rep(100000))
    local rdd = sc:textFile(dir .. "/a", 4)
    assert.equal(4, rdd:getNumPartitions())
    support.write(dir .. "/a", "line\n")
    local message = failure(function() local _ = rdd:count() end)
    assert.matches(dir .. "/a", message, 1, true)
    assert.matches("faults_spec.lua:%d+", message)
    sc:stop()
  end)

  describe("to be written", function()
    local job = [[
      local rille = require "rille"
      local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual" }, 1)
      local big = {}
      for i = 1, 2000 do big[i] = ("%064d"):format(i) end
      ssc:queueStream({ big, { "small" } }):saveAsTextFiles("out/text", "txt")
      ssc:start()
      for i = 1, 2 do
        ssc:clock():advance(1)
        print(pcall(ssc.awaitTerminationOrTimeout, ssc, 0))
      end
      local file = io.open("out/text-1000.txt/_SUCCESS")
      print("complete", file ~= nil)
      local small = assert(io.popen "cat out/text-2000.txt/part-*"):read "a"
      io.write(small)
    ]]

    local function fails_once(why, options)
      local result = child.run(job, options)
      assert.equal(0, result.status)
      local first, rest = result.out:match("^(.-)\n(true.*)$")
      assert.matches("^false\t", first)
      assert.matches("job.lua:5", first, 1, true)
      assert.matches("out/text-1000.txt", first, 1, true)
      assert.matches(why, first, 1, true)
      assert.matches("^true\tfalse\ncomplete\tfalse\nsmall\n$", rest)
    end

    it("beyond the limit of a file's size fail their batch, and the next batch is fine", function()
      fails_once("File too large", { before = "trap '' XFSZ; ulimit -f 8" })
    end)

    -- A disk with room for one of the two parts, seen by the job alone.
    it("onto a full disk fail their batch, and the next batch is fine", function()
      local small_disk = "unshare -m sh -c 'mkdir out && mount -t tmpfs -o size=100k tmpfs out && exec \"$@\"' sh "
      if child.run("", { command = small_disk .. "true" }).status ~= 0 then
        return pending "needs the right to mount"
      end
      fails_once("No space left on device", { command = small_disk .. "rille run" })
    end)

    it("where they cannot be made fail their batch, and the context goes on", function()
      local result = child.run(job, { before = "touch out" })
      local first = result.out:match("^[^\n]*")
      assert.matches("^false\t", first)
      assert.matches("job.lua:5", first, 1, true)
      assert.matches("out", first, 1, true)
    end)

    it("through print to a full standard output end the job with an error", function()
      local result = child.run([[
        local rille = require "rille"
        local ssc = rille.StreamingContext({ master = "local[1]" }, 0.05)
        ssc:queueStream({}):print()
        ssc:start()
        ssc:awaitTermination()
      ]], { command = "sh -c 'exec rille run job.lua >/dev/full'" })
      assert.equal(1, result.status)
      assert.matches("job.lua:3", result.err, 1, true)
      assert.matches("No space left", result.err, 1, true)
    end)

    it("in a script that does not look are told at the end", function()
      local result = child.run([[io.write("x") io.stdout:flush()]],
        { command = "sh -c 'exec rille run job.lua >/dev/full'" })
      assert.equal(1, result.status)
      assert.matches("^rille: [^\n]*standard output[^\n]*\n$", result.err)
      assert.not_matches("timed out", result.err, 1, true)
    end)
  end)
end)
