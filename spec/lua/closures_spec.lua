-- Functions travel to the workers by value, with all they can reach; seen through the public API.
local child = require "spec.lua.child"
local rille = require "rille"
local support = require "spec.lua.support"

describe("a closure in a worker", function()
  local sc

  setup(function() sc = rille.Context { master = "local[2]", ["rille.log.level"] = "off" } end)
  teardown(function() sc:stop() end)

  -- What f gives for one record in a worker.
  local function in_worker(f, value)
    return sc:parallelize({ value or 0 }, 1):map(f):collect()[1]
  end

  it("has its upvalues, of every type", function()
    local n, x, text, yes, list, tuple, null = 1, 0.5, "a\0b", true, { 1, { k = "v" } }, rille.tuple("k", 1), rille.null
    local nothing = nil
    local got = in_worker(function()
      assert(nothing == nil)
      return { n, x, text, yes, list, tuple, null, math.type(n) }
    end)
    assert.same({ n, x, text, yes, list, tuple, null, "integer" }, got)
  end)

  it("has copies: the driver's values stay as they are, and what it changes later is not seen", function()
    local list, n = { 1 }, 1
    local rdd = sc:parallelize({ 1, 2 }, 1):map(function()
      list[#list + 1] = n
      n = n + 1
      return #list
    end)
    assert.same({ 2, 3 }, rdd:collect())
    assert.same({ 1 }, list)
    assert.equal(1, n)
  end)

  it("is captured at the action, not before", function()
    local n = 1
    local helper
    local rdd = sc:parallelize({ 0 }, 1):map(function() return helper(n) end)
    n = 2
    helper = function(x) return x * 10 end
    assert.same({ 20 }, rdd:collect())
    n = 3
    assert.same({ 20 }, rdd:collect())
  end)

  it("shares variables with the functions it calls", function()
    local n = 0
    local function increase() n = n + 1 end
    local function get() return n end
    local got = sc:parallelize({ 1, 2, 3 }, 1):map(function()
      increase()
      return get(), n
    end):collect()
    assert.same({ "(1,1)", "(2,2)", "(3,3)" }, support.texts(got))
    assert.equal(0, n)
  end)

  it("shares tables with the other functions of the same action", function()
    local seen = {}
    local got = sc:parallelize({ 1, 2 }, 1):map(function(x)
      seen[x] = true
      return x
    end):map(function(x) return seen[x] == true end):collect()
    assert.same({ true, true }, got)
    assert.same({}, seen)
  end)

  it("may be recursive, also in a circle", function()
    local function factorial(n) return n <= 1 and 1 or n * factorial(n - 1) end
    local is_odd
    local function is_even(n) return n == 0 or is_odd(n - 1) end
    function is_odd(n) return n ~= 0 and is_even(n - 1) end
    assert.equal(120, in_worker(factorial, 5))
    assert.same({ true, false }, in_worker(function() return { is_even(10), is_odd(10) } end))
  end)

  it("has tables with cycles and with shared parts", function()
    local part = { name = "part" }
    local whole = { part, part, [part] = "key" }
    whole.self, part.owner = whole, whole
    assert.is_true(in_worker(function()
      return whole.self == whole and whole[1] == whole[2] and whole[1].owner == whole and whole[whole[1]] == "key"
    end))
  end)

  it("has objects with their metatables", function()
    local Point = {}
    Point.__index = Point
    Point.__add = function(a, b) return setmetatable({ x = a.x + b.x }, Point) end
    function Point:twice() return self + self end
    local origin = setmetatable({ x = 21 }, Point)
    assert.same({ 42, true }, in_worker(function()
      local sum = origin:twice()
      return { sum.x, getmetatable(sum) == Point }
    end))
  end)

  it("has standard functions by name, and those that were kept in variables", function()
    local floor, format, unpack = math.floor, string.format, table.unpack
    local lib = string
    assert.equal("3 a b HI", in_worker(function()
      return format("%d %s %s ", floor(3.7), unpack { "a", "b" }) .. lib.upper "hi"
    end))
  end)

  it("may be a standard function itself, or made by load", function()
    assert.same({ "3", "4.5" }, sc:parallelize({ 3, 4.5 }, 1):map(tostring):collect())
    assert.equal(7, in_worker(load "local x = ... return x + 1", 6))
  end)

  it("has modules by name, and may require them", function()
    local say = require "say" -- a pure Lua module that is there with busted
    assert.is_true(in_worker(function()
      say:set("greeting", "hello %s")
      return say("greeting", { "you" }) == "hello you" and require "say" == say
    end))
  end)

  it("has rille itself: tuple, null and once", function()
    assert.same({ rille.tuple(1, 2), rille.null }, in_worker(function() return { rille.tuple(1, 2), rille.null } end))
    local rdd = sc:parallelize({ 1, 2, 3 }, 1):map(function()
      local counter = rille.once("closures_spec counter", function() return { n = 0 } end)
      counter.n = counter.n + 1
      return counter.n
    end)
    assert.same({ 1, 2, 3 }, rdd:collect())
    assert.matches("rille.StreamingContext is not there in functions that run in workers",
      support.failure(in_worker, function() return rille.StreamingContext end))
  end)

  it("cannot change the standard library of others", function()
    assert.matches("the standard library's 'string' cannot be changed", support.failure(in_worker, function()
      string.upper = string.lower -- luacheck: ignore
      return 1
    end))
  end)

  it("runs in coroutines and makes some", function()
    assert.same({ 1, 2, 3 }, sc:parallelize({ 3 }, 1):flatMap(function(n)
      return coroutine.wrap(function() for i = 1, n do coroutine.yield(i) end end)
    end):collect())
  end)

  describe("is refused", function()
    local function refused(pattern, f)
      local message = support.failure(function()
        local _ = sc:parallelize({ 1 }, 1):map(f):collect()
      end)
      assert.matches("^spec/lua/closures_spec.lua:%d+: the function given to map " .. pattern .. "$", message)
    end

    it("with a file, naming the way", function()
      local conn <close> = io.tmpfile()
      local pool = { conn = conn, list = { { conn } } }
      refused("captures 'conn' %(userdata, via upvalue 'conn'%); open it inside foreachPartition, or see rille.once",
        function() return conn end)
      refused("captures 'conn' %(userdata, via upvalue 'pool.conn'%); open it inside foreachPartition, .*",
        function() return pool.conn end)
    end)

    it("with what only a helper reaches", function()
      local conn <close> = io.tmpfile()
      local function inner() return conn end
      local function outer() return inner() end
      refused("captures 'conn' %(userdata, via upvalue 'outer', its upvalue 'inner', its upvalue 'conn'%); .*",
        function() return (outer()) end)
    end)

    it("with a thread, or a wrapped one", function()
      local co, wrapped = coroutine.create(print), coroutine.wrap(print)
      refused("captures 'co' %(thread, via upvalue 'co'%); create it inside the function", function() return co end)
      refused("captures 'wrapped' %(coroutine.wrap function, via upvalue 'wrapped'%); create it inside the function",
        function() return wrapped end)
    end)

    it("with a stream or an RDD", function()
      local rdd = sc:parallelize({ 1 }, 1)
      refused("captures 'handle' %(userdata, via upvalue 'rdd.handle'%); contexts, RDDs and streams are the driver's.*",
        function() return rdd end)
    end)

    it("when it is no Lua function", function()
      local wrapped = coroutine.wrap(print)
      refused("is a coroutine.wrap function, which cannot travel to the workers; create it inside the function",
        wrapped)
    end)
  end)
end)

-- Globals belong to a whole script: jobs of their own.
describe("a script's globals", function()
  it("travel as far as closures name them, also those defined further down", function()
    local result = child.run [[
      local rille = require "rille"
      local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual" }, 1)
      factor = 10
      names = { "a", "b" }
      unused = io.stdout
      local got
      ssc:queueStream({ { 1, 2 } }):map(function(x) return scale(x), names[x] end)
        :foreachRDD(function(rdd) got = rdd:collect() end)
      function scale(x) return (x + offset) * factor end
      offset = 1
      ssc:start()
      offset, factor, scale = nil, nil, nil
      ssc:clock():advance(1)
      ssc:awaitTerminationOrTimeout(0)
      for _, record in ipairs(got) do print(record) end
    ]]
    assert.same({ status = 0, out = "(20,a)\n(30,b)\n", err = "" }, result)
  end)

  it("are one and the same for all of its functions in a worker", function()
    local result = child.run [[
      local rille = require "rille"
      local sc = rille.Context { master = "local[1]", ["rille.log.level"] = "off" }
      count = 0
      local rdd = sc:parallelize({ 1, 2, 3 }, 1):map(function(x)
        count = count + 1
        return x
      end):map(function() return count end)
      print(table.concat(rdd:collect(), " "))
      print(count)
      print(next(sc:parallelize({ 1 }, 1):map(function() return _G.count or _ENV.count or "nothing" end):collect()))
    ]]
    assert.equal("1 2 3\n0\n1\t0\n", result.out)
    assert.equal(0, result.status)
  end)

  it("travel when they are named by way of _G, too", function()
    local result = child.run [[
      local sc = require "rille".Context { master = "local[1]" }
      limit, sizes = 7, { a = 1 }
      function double(x) return x * 2 end
      print(sc:parallelize({ 1 }, 1):map(function(x)
        local globals = _G
        return globals.double(_G.limit) + globals.sizes.a + x
      end):first())
    ]]
    assert.same({ status = 0, out = "16\n", err = "" }, result)
  end)

  it("that are looked up by names worked out later draw a warning", function()
    local result = child.run [[
      local sc = require "rille".Context { master = "local[1]" }
      limit = 7
      print(sc:parallelize({ "limit" }, 1):map(function(name)
        return _G[name] or "nothing"
      end):first())
    ]]
    assert.equal("nothing\n", result.out)
    assert.matches("job.lua:3: the function given to map looks up globals by names that it works out", result.err, 1,
      true)
    assert.equal(1, select(2, result.err:gsub("\n", "")))
  end)

  it("that are missing are nil, with Lua's own message", function()
    local result = child.run [[
      local sc = require "rille".Context { master = "local[1]", ["rille.task.maxFailures"] = 1 }
      sc:parallelize({ 1 }, 1):map(function(x)
        return undefined(x)
      end):collect()
    ]]
    assert.equal(1, result.status)
    assert.matches("job.lua:3: attempt to call a nil value %(global 'undefined'%)", result.err)
  end)

  it("that were replaced are the script's in closures", function()
    local result = child.run [[
      local sc = require "rille".Context { master = "local[1]" }
      function print(x) io.write("mine ", x, "\n") end
      sc:parallelize({ "a" }, 1):foreach(function(x) print(x) end)
    ]]
    assert.same({ status = 0, out = "mine a\n", err = "" }, result)
  end)

  it("that cannot travel are refused with their name", function()
    local result = child.run [[
      local sc = require "rille".Context { master = "local[1]" }
      log = { file = io.tmpfile() }
      function write(x) log.file:write(x) end
      sc:parallelize({ "a" }, 1):foreach(function(x) write(x) end)
    ]]
    assert.equal(1, result.status)
    assert.matches("job.lua:4: the function given to foreach captures 'file' (userdata, via global 'write', "
      .. "its global 'log.file'); open it inside foreachPartition, or see rille.once", result.err, 1, true)
  end)

  it("reach functions of modules beside the job", function()
    local result = child.run([[
      local helper = require "helper"
      local sc = require "rille".Context { master = "local[2]" }
      print(table.concat(sc:parallelize({ 1, 2 }, 2):map(function(x) return helper.double(x) end):collect(), " "))
      os.remove "helper.lua"
      print(sc:parallelize({ 3 }, 1):map(function(x) return helper.double(x) end):first())
    ]], { before = [[cat >helper.lua <<END
      local function twice(x) return 2 * x end
      return { double = function(x) return twice(x) end }
END]] })
    assert.same({ status = 0, out = "2 4\n6\n", err = "" }, result)
  end)
end)

describe("a closure that assigns a variable from outside", function()
  it("draws one warning that says where and what", function()
    local result = child.run [[
      local sc = require "rille".Context { master = "local[2]" }
      local n, seen = 0, {}
      local rdd = sc:parallelize({ 1, 2 }, 2):map(function(x)
        n = n + x
        seen[x] = true
        return x
      end)
      rdd:count()
      rdd:count()
      print(n, #seen)
    ]]
    assert.equal("0\t0\n", result.out)
    assert.matches("^[^\n]*job.lua:3: the function given to map assigns 'n', a variable from outside: each worker has "
      .. "its own copy and the driver's stays as it is; use an accumulator, or return the value\n$", result.err)
  end)

  it("draws none for variables of its own, and for functions of the driver", function()
    local result = child.run [[
      local rille = require "rille"
      local ssc = rille.StreamingContext({ master = "local[1]", clock = "manual" }, 1)
      local sum = 0
      ssc:queueStream({ { 1, 2 } }):map(function(x)
        local y = x
        local function add() y = y + 1 end
        add()
        return y
      end):foreachRDD(function(rdd) sum = sum + rdd:reduce(function(a, b) return a + b end) end)
      ssc:start()
      ssc:clock():advance(1)
      print(sum)
    ]]
    assert.same({ status = 0, out = "5\n", err = "" }, result)
  end)
end)
