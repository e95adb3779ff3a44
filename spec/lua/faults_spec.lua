-- Faults of functions, tasks and outputs: each gives one clear error that names the job's line, and what can go on
-- goes on.
local child = require "spec.lua.child"
local faults = require "spec.lua.faults"
local rille = require "rille"
local support = require "spec.lua.support"

local settings = faults.settings
local failure = support.failure
local HERE = "faults_spec.lua:%d+: "

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
