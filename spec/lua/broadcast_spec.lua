-- Broadcasts: one value, shipped once a worker, read in closures.
local rille = require "rille"
local support = require "spec.lua.support"

local failure = support.failure

describe("a broadcast", function()
  local sc

  before_each(function()
    sc = rille.Context { master = "local[2]", ["rille.log.level"] = "off", ["rille.task.maxFailures"] = 1 }
  end)
  after_each(function() sc:stop() end)

  local function numbers(n, partitions)
    local list = {}
    for i = 1, n or 4 do list[i] = i end
    return sc:parallelize(list, partitions or 4)
  end

  it("is read by closures and by the script", function()
    local names = sc:broadcast { "one", "two", "three", "four" }
    assert.equal("two", names:value()[2])
    assert.same({ "one", "two", "three", "four" }, numbers():map(function(i) return names:value()[i] end):collect())
    assert.matches("^Broadcast%(%d+%)$", tostring(names))
    assert.equal("integer", math.type(names:id()))
  end)

  it("may be any value that travels: functions, shared and cyclic tables, tuples, null, false", function()
    local node = { name = "a" }
    node.self = node
    local b = sc:broadcast { node = node, double = function(x) return 2 * x end, pair = rille.tuple(1, nil),
      null = rille.null }
    local no = sc:broadcast(false)
    local ok = numbers(1):map(function()
      local v = b:value()
      return v.node.self == v.node and v.double(21) == 42 and v.pair == rille.tuple(1, nil) and v.null == rille.null
        and no:value() == false
    end):first()
    assert.is_true(ok)
  end)

  it("may hold another broadcast", function()
    local inner = sc:broadcast "deep"
    local outer = sc:broadcast { inner = inner }
    assert.equal("deep", numbers(1):map(function() return outer:value().inner:value() end):first())
  end)

  it("is the value at the time it was made", function()
    local t = { 1 }
    local b = sc:broadcast(t)
    t[1] = 2
    assert.equal(1, numbers(1):map(function() return b:value()[1] end):first())
  end)

  it("is decoded once a worker, whichever closures read it", function()
    local single = rille.Context { master = "local" }
    local b = single:broadcast { hits = 0 }
    local function count()
      local v = b:value()
      v.hits = v.hits + 1
      return v.hits
    end
    local rdd = single:parallelize({ 1, 2, 3 }, 3)
    assert.same({ 1, 2, 3 }, rdd:map(function() return count() end):collect())
    assert.same({ 4, 5, 6 }, rdd:map(function() return count() end):collect())
    b:unpersist()
    assert.same({ 1, 2, 3 }, rdd:map(function() return count() end):collect())
    single:stop()
  end)

  it("can be read again after unpersist, and not after destroy", function()
    local b = sc:broadcast "x"
    local rdd = numbers(2):map(function() return b:value() end)
    assert.same({ "x", "x" }, rdd:collect())
    b:unpersist()
    b:unpersist()
    assert.same({ "x", "x" }, rdd:collect())
    assert.equal("x", b:value())
    b:destroy()
    b:destroy()
    assert.matches("broadcast %d+ was destroyed", failure(rdd.collect, rdd))
    assert.matches("broadcast_spec.lua:%d+: broadcast %d+ was destroyed", failure(function() return b:value() end))
  end)

  it("lives on in closures when the script lets go of it", function()
    local function make()
      local b = sc:broadcast "kept"
      return numbers(2):map(function() return b:value() end)
    end
    local rdd = make()
    rdd:count()
    collectgarbage()
    collectgarbage()
    assert.same({ "kept", "kept" }, rdd:collect())
  end)

  it("refuses what cannot travel, naming it", function()
    assert.matches("broadcast_spec.lua:%d+: the value given to broadcast .*'co' %(thread",
      failure(function() sc:broadcast { co = coroutine.create(print) } end))
    assert.matches("broadcast_spec.lua:%d+: bad argument #1 to 'broadcast'", failure(function() sc:broadcast() end))
  end)

  it("is unpersisted and destroyed by the script only", function()
    local b = sc:broadcast(1)
    assert.matches("for the script itself", failure(function()
      numbers(1):foreach(function() b:destroy() end)
    end))
    assert.equal(1, b:value())
  end)

  it("can be replaced for every batch, without growing", function()
    local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual",
      ["rille.task.maxMemory"] = "24m", ["rille.log.level"] = "off" }, 1)
    local queue, sums, peak, batches = {}, 0, {}, 1500
    for i = 1, batches do queue[i] = { i, i + 1 } end
    ssc:queueStream(queue):foreachRDD(function(rdd)
      local big = { tag = rdd:first() }
      for i = 1, 2000 do big[i] = i end
      local b = ssc:context():broadcast(big)
      for _, found in ipairs(rdd:map(function(x) return b:value()[x % 2000 + 1] - b:value().tag end):collect()) do
        sums = sums + found
      end
    end)
    ssc:start()
    local function resident()
      local status = io.open "/proc/self/status"
      local kb = tonumber(status:read("a"):match "VmRSS:%s*(%d+)")
      status:close()
      return kb
    end
    for i = 1, batches do
      ssc:clock():advance(1)
      if i % (batches // 3) == 0 then peak[#peak + 1] = resident() end
    end
    ssc:stop()
    assert.equal(batches * 3, sums + 0)
    -- Sanitizers keep what was freed.
    if (os.getenv "RILLE_SANITIZE" or "") == "" then
      assert.is_true(peak[3] < peak[1] + 16 * 1024, table.concat(peak, " "))
    end
  end)
end)
