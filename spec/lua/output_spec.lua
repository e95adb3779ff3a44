local rille = require "rille"
local support = require "spec.lua.support"
local testing = require "rille.testing"

local pairs_of = support.pairs_of

describe("print", function()
  local dashes = ("-"):rep(43) .. "\n"

  local function printed(batches, n)
    return support.output_of(function()
      testing.run { inputs = { batches }, operation = function(_, s)
        s:print(n)
        return s
      end }
    end)
  end

  it("has Spark's layout", function()
    local first = dashes .. "Time: 1000 ms\n" .. dashes .. "a\n(b,1)\n\n"
    local second = dashes .. "Time: 2000 ms\n" .. dashes .. "\n"
    assert.equal(first .. second, printed { { "a", rille.tuple("b", 1) }, {} })
  end)

  it("shows ten records, and dots for more", function()
    local list = {}
    for i = 1, 11 do list[i] = i end
    assert.equal(dashes .. "Time: 1000 ms\n" .. dashes .. "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n...\n\n", printed { list })
    list[11] = nil
    assert.equal(dashes .. "Time: 1000 ms\n" .. dashes .. "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n\n", printed { list })
    assert.equal(dashes .. "Time: 1000 ms\n" .. dashes .. "1\n2\n...\n\n", printed({ list }, 2))
  end)

  it("prints values as people read them", function()
    local text = printed { { 1, 1.0, true, rille.null, rille.tuple("k", { 1, 2 }), rille.tuple("k", nil, "v") } }
    assert.matches("\n1\n1%.0\ntrue\nnull\n", text)
    assert.matches("%(k,nil,v%)", text)
  end)
end)

describe("foreachRDD", function()
  it("runs once a batch, also for empty ones, and not without an RDD", function()
    local seen = {}
    testing.run { inputs = { { { 1, 2 }, {}, false, { 3 } } }, operation = function(_, s)
      s:foreachRDD(function(rdd, time) seen[#seen + 1] = { time, rdd:count() } end)
      return s
    end }
    assert.same({ { 1000, 2 }, { 2000, 0 }, { 4000, 1 } }, seen)
  end)

  it("runs outputs in the order in which they were made", function()
    local order = {}
    testing.run { inputs = { { { 1 }, { 2 } } }, operation = function(_, s)
      for _, name in ipairs { "a", "b" } do
        s:foreachRDD(function(rdd) order[#order + 1] = name .. rdd:first() end)
      end
      return s
    end }
    assert.same({ "a1", "b1", "a2", "b2" }, order)
  end)

  it("may use closures of the driver and of workers together", function()
    local sum, factor = 0, 10
    testing.run { inputs = { { { 1, 2 }, { 3 } } }, operation = function(_, s)
      s:foreachRDD(function(rdd)
        for _, x in ipairs(rdd:map(function(x) return x * factor end):collect()) do sum = sum + x end
      end)
      return s
    end }
    assert.equal(60, sum)
  end)

  it("raises what fails, at the job's line", function()
    assert.matches("output_spec.lua:%d+: no luck", support.failure(testing.run, { inputs = { { { 1 } } },
      operation = function(_, s)
        s:foreachRDD(function() error("no luck") end)
        return s
      end }))
  end)
end)

describe("saving a stream", function()
  local dir

  before_each(function() dir = support.directory() end)
  after_each(function() support.remove(dir) end)

  it("makes a directory a batch", function()
    testing.run { inputs = { { pairs_of("a", 1, "b", 2), {} } }, operation = function(_, s)
      s:saveAsTextFiles(dir .. "/counts", "txt")
      s:saveAsTextFiles(dir .. "/plain")
      return s
    end }
    assert.equal("(a,1)\n", support.read(dir .. "/counts-1000.txt/part-00000"))
    assert.equal("(b,2)\n", support.read(dir .. "/counts-1000.txt/part-00001"))
    assert.is_true(support.exists(dir .. "/counts-1000.txt/_SUCCESS"))
    assert.equal("", support.read(dir .. "/counts-2000.txt/part-00000"))
    assert.is_true(support.exists(dir .. "/plain-2000/_SUCCESS"))
  end)

  it("lets no two outputs write to the same names", function()
    local message = support.failure(testing.run, { inputs = { { { 1 } } }, operation = function(_, s)
      s:saveAsTextFiles(dir .. "/out", "txt")
      s:saveAsTextFiles(dir .. "/out")
      s:map(tostring):saveAsObjectFiles(dir .. "/out", "txt")
      return s
    end })
    assert.matches("saveAsObjectFiles: saveAsTextFiles of .-_spec.lua:%d+ writes to .-/out%-%*%.txt, too", message)
  end)

  it("writes over what an earlier attempt of the batch left", function()
    for i = 1, 2 do
      testing.run { inputs = { { { "run " .. i } } }, partitions = 1, operation = function(_, s)
        s:saveAsTextFiles(dir .. "/out")
        s:foreachRDD(function(rdd, time) rdd:saveAsTextFile(dir .. "/each-" .. time) end)
        return s
      end }
    end
    assert.equal("run 2\n", support.read(dir .. "/out-1000/part-00000"))
    assert.equal("run 2\n", support.read(dir .. "/each-1000/part-00000"))
  end)

  it("saves objects that a context reads again", function()
    local batch = { 1, { a = { 2 } }, rille.tuple("k", "v") }
    testing.run { inputs = { { batch } }, operation = function(_, s)
      s:saveAsObjectFiles(dir .. "/objects")
      return s
    end }
    local sc = rille.Context { master = "local[1]" }
    assert.same(batch, sc:objectFile(dir .. "/objects-1000"):collect())
    sc:stop()
  end)

  it("says where it cannot write", function()
    support.write(dir .. "/file", "")
    local message = support.failure(testing.run, { inputs = { { { 1 } } }, operation = function(_, s)
      s:saveAsTextFiles(dir .. "/file/out")
      return s
    end })
    assert.matches("saveAsTextFiles at .*/file", message)
  end)
end)
