local rille = require "rille"
local support = require "spec.lua.support"
local testing = require "rille.testing"

local failure = support.failure

local function identity(_, s) return s end

describe("rille.testing.run", function()
  it("gives the records of every batch", function()
    assert.same({ { 1, 2 }, {}, { 3 } }, testing.run { inputs = { { { 1, 2 }, {}, { 3 } } }, operation = identity })
  end)

  it("leaves out batches without an RDD", function()
    assert.same({ { 1 }, { 2 } }, testing.run { inputs = { { { 1 }, false, { 2 } } }, operation = identity })
  end)

  it("has empty batches behind the list", function()
    assert.same({ { 1 }, {}, {} }, testing.run { inputs = { { { 1 } } }, operation = identity, batches = 3 })
    assert.same({ { 1 } }, testing.run { inputs = { { { 1 }, { 2 } } }, operation = identity, batches = 1 })
    assert.same({}, testing.run { inputs = {}, operation = function(ssc) return ssc:queueStream {} end })
  end)

  it("starts at 0, so the first batch has the time of one batch", function()
    local times = {}
    testing.run { inputs = { { {}, {} } }, batch = 0.25, operation = function(_, s)
      s:foreachRDD(function(_, time) times[#times + 1] = time end)
      return s
    end }
    assert.same({ 250, 500 }, times)
  end)

  it("cuts lists at floor(i * length / n)", function()
    local function glom(_, s) return s:glom() end
    assert.same({ { { 1 }, { 2, 3 } } }, testing.run { inputs = { { { 1, 2, 3 } } }, operation = glom })
    assert.same({ { { 1 }, { 2 }, { 3, 4 } } },
      testing.run { inputs = { { { 1, 2, 3, 4 } } }, operation = glom, partitions = 3 })
  end)

  it("hands over several inputs", function()
    assert.same({ { 1, "a" }, { "b" } }, testing.run { inputs = { { { 1 } }, { { "a" }, { "b" } } },
      operation = function(_, a, b) return a:union(b) end })
  end)

  it("takes settings, but keeps its clock", function()
    testing.run { inputs = { { {} } }, conf = { ["rille.default.parallelism"] = 9, clock = "system" },
      operation = function(ssc, s)
        assert.equal(9, ssc:context():defaultParallelism())
        assert.equal(0, ssc:clock():now())
        return s
      end }
  end)

  it("raises what fails in a batch, and leaves no context behind", function()
    assert.matches("testing_spec.lua:%d+: no luck", failure(testing.run, { inputs = { { { 1 } } },
      operation = function(_, s) return s:map(function() error("no luck") end) end }))
    assert.is_nil(rille.StreamingContext.getActive())
    assert.same({ { 1 } }, testing.run { inputs = { { { 1 } } }, operation = identity })
  end)

  it("raises what fails in the operation", function()
    assert.matches("testing_spec.lua:%d+: broken", failure(testing.run, { inputs = {},
      operation = function() error("broken") end }))
  end)

  it("takes a checkpoint directory", function()
    local dir = support.directory()
    assert.same({ { 1 } }, testing.run { inputs = { { { 1 } } }, operation = identity, checkpoint = dir .. "/job" })
    support.remove(dir)
  end)

  it("checks its arguments", function()
    assert.matches("'inputs' is missing", failure(function() testing.run { operation = identity } end))
    assert.matches("'operation' is missing", failure(function() testing.run { inputs = {} } end))
    assert.matches("unknown option 'batchs'", failure(function()
      testing.run { inputs = {}, operation = identity, batchs = 1 }
    end))
    assert.matches("inputs%[1%]%[2%] is a number", failure(function()
      testing.run { inputs = { { {}, 5 } }, operation = identity }
    end))
    assert.matches("operation returned a nil", failure(function()
      testing.run { inputs = {}, operation = function() end }
    end))
    assert.matches("record 2", failure(testing.run, { inputs = { { { 1, print } } }, operation = identity }))
  end)
end)

describe("rille.testing.blocks", function()
  it("cuts texts into lines in place, one partition a text", function()
    local sc = rille.Context { master = "local[2]" }
    local rdd = testing.blocks(sc, { "one\ntwo\r\n", "three", "" })
    assert.same({ { "one", "two" }, { "three" }, {} }, rdd:glom():collect())
    assert.same({ 3, 3, 5 }, rdd:map(function(line) return #line end):collect())
    assert.matches("bad argument #1 to 'blocks'", failure(function() local _ = testing.blocks({}, {}) end))
    assert.matches("strings", failure(function() local _ = testing.blocks(sc, { 1 }) end))
    sc:stop()
  end)
end)
