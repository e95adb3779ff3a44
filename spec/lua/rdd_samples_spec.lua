--- Samples: repeatable by their seed on any number of workers, and of the size that was asked for.
local rille = require "rille"
local support = require "spec.lua.support"
local testing = require "rille.testing"

local texts, pairs_of = support.texts, support.pairs_of

describe("a sample", function()
  local one, four, here

  setup(function()
    one, four = rille.Context { master = "local[1]" }, rille.Context { master = "local[4]" }
    here = "^spec/lua/rdd_samples_spec.lua:%d+: "
  end)
  teardown(function()
    one:stop()
    four:stop()
  end)

  local takes = {
    sample = function(rdd) return rdd:sample(false, 0.3, 42):collect() end,
    ["sample with replacement"] = function(rdd) return rdd:sample(true, 1.3, 42):collect() end,
    takeSample = function(rdd) return rdd:takeSample(false, 20, 42) end,
    ["takeSample with replacement"] = function(rdd) return rdd:takeSample(true, 20, 42) end,
    randomSplit = function(rdd) return rdd:randomSplit({ 1, 2 }, 42)[1]:collect() end,
    sampleByKey = function(rdd)
      return rdd:map(function(x) return x % 2, x end):sampleByKey(false, { [0] = 0.2, 0.6 }, 42):values():collect()
    end,
  }

  for name, take in pairs(takes) do
    it("is the same on one worker and on four: " .. name, function()
      local expected = take(one:range(0, 200, 1, 5))
      assert.is_true(#expected > 10 and #expected < 400)
      for _ = 1, 3 do assert.same(expected, take(four:range(0, 200, 1, 5))) end
    end)

    it("does not depend on what came before it in the job: " .. name, function()
      local expected = take(one:range(0, 200, 1, 5))
      one:range(10):map(function(x) return x + math.random(5) end):collect()
      assert.same(expected, take(one:range(0, 200, 1, 5):map(function(x) math.random() return x end)))
    end)
  end

  it("depends on the seed", function()
    local rdd = four:range(0, 200, 1, 4)
    assert.are_not.same(rdd:sample(false, 0.5, 1):collect(), rdd:sample(false, 0.5, 2):collect())
    assert.are_not.same(rdd:takeSample(false, 50, 1), rdd:takeSample(false, 50, 2))
    assert.are_not.same(rdd:takeSample(false, 50), rdd:takeSample(false, 50))
  end)

  it("stays what it is without a seed", function()
    local sample = four:range(0, 200, 1, 4):sample(false, 0.5)
    assert.same(sample:collect(), sample:collect())
  end)

  it("is the same when a batch is run again, and another in each batch", function()
    local function take()
      local batch = {}
      for i = 1, 100 do batch[i] = i end
      return testing.run { inputs = { { batch, batch } }, operation = function(_, stream)
        return stream:transform(function(rdd)
          local some, other = rdd:sample(false, 0.5), rdd:sample(false, 0.5)
          return some:union(other:map(function(x) return -x end))
        end)
      end }
    end
    local batches = take()
    assert.same(batches, take())
    assert.are_not.same(batches[1], batches[2])
    local first, second = {}, {}
    for _, x in ipairs(batches[1]) do table.insert(x > 0 and first or second, math.abs(x)) end
    assert.is_true(#first > 20 and #second > 20)
    assert.are_not.same(first, second)
  end)

  it("differs between partitions", function()
    local parts = four:parallelize({ 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8 }, 2)
      :sample(false, 0.5, 9):glom():collect()
    assert.are_not.same(parts[1], parts[2])
  end)

  it("has about the fraction", function()
    local rdd = four:range(0, 20000, 1, 4)
    for _, fraction in ipairs { 0.1, 0.5, 0.9 } do
      assert.is_near(fraction * 20000, rdd:sample(false, fraction, 7):count(), 400)
    end
    for _, fraction in ipairs { 0.1, 1, 3.5, 40 } do
      assert.is_near(fraction * 20000, rdd:sample(true, fraction, 7):count(), 0.06 * 20000 * math.max(fraction, 0.3))
    end
    assert.equal(0, rdd:sample(false, 0, 7):count())
    assert.equal(20000, rdd:sample(false, 1, 7):count())
    assert.equal(0, rdd:sample(true, 0, 7):count())
  end)

  it("keeps records whole and in order", function()
    local rdd = four:parallelize({ rille.tuple("a", 1, nil), rille.tuple("b", nil, 2) }, 1)
    assert.same({ "(a,1,nil)", "(b,nil,2)" }, texts(rdd:sample(false, 1, 1):collect()))
    local copies = texts(rdd:sample(true, 5, 1):collect())
    local ordered = table.move(copies, 1, #copies, 1, {})
    table.sort(ordered)
    assert.same(ordered, copies)
  end)

  it("is split into disjoint parts", function()
    local parts = four:range(0, 1000, 1, 4):randomSplit({ 3, 1, 0, 6 }, 11)
    local seen, n = {}, 0
    for i, part in ipairs(parts) do
      local records = part:collect()
      assert.is_near(({ 300, 100, 0, 600 })[i], #records, 60)
      for _, x in ipairs(records) do
        assert.is_nil(seen[x])
        seen[x], n = true, n + 1
      end
    end
    assert.equal(1000, n)
  end)

  it("takes exactly as many as there are to take", function()
    local rdd = four:range(0, 100, 1, 7)
    local seen = {}
    for _, x in ipairs(rdd:takeSample(false, 30, 5)) do
      assert.is_nil(seen[x])
      seen[x] = true
    end
    assert.equal(30, #rdd:takeSample(false, 30, 5))
    assert.equal(100, #rdd:takeSample(false, 1000, 5))
    assert.equal(1000, #rdd:takeSample(true, 1000, 5))
    assert.same({}, rdd:takeSample(true, 0, 5))
    assert.same({}, four:emptyRDD():takeSample(true, 5, 5))
    assert.same({}, four:emptyRDD():takeSample(false, 5, 5))
    assert.equal(2, four:parallelize(pairs_of("a", 1), 1):takeSample(true, 1, 5)[1].n)
  end)

  it("takes any record as often as any other", function()
    local hits = {}
    for seed = 1, 300 do
      for _, x in ipairs(four:range(0, 10, 1, 3):takeSample(false, 3, seed)) do hits[x] = (hits[x] or 0) + 1 end
    end
    for x = 0, 9 do assert.is_near(90, hits[x], 40) end
  end)

  it("has a fraction for each key", function()
    local rdd = four:range(0, 3000, 1, 4):map(function(x) return ({ "a", "b", "c" })[x % 3 + 1], x end)
    local counts = rdd:sampleByKey(false, { a = 0, b = 0.5, c = 1 }, 3):countByKey()
    assert.is_nil(counts.a)
    assert.is_near(500, counts.b, 80)
    assert.equal(1000, counts.c)
    counts = rdd:sampleByKey(true, function(key) return key == "a" and 2 or 0 end, 3):countByKey()
    assert.is_near(2000, counts.a, 200)
    assert.is_nil(counts.b)
    assert.matches("sampleByKey: there is no fraction for the key b",
      support.failure(function() local _ = rdd:sampleByKey(false, { a = 1 }, 3):collect() end))
  end)

  it("checks its arguments", function()
    local rdd = four:range(5)
    for text, call in pairs {
      ["bad argument #2 to 'sample' %(fraction from 0 to 1"] = function() local _ = rdd:sample(false, 1.1) end,
      ["bad argument #2 to 'sample' %(number from 0"] = function() local _ = rdd:sample(true, -1) end,
      ["bad argument #3 to 'sample' %(seed"] = function() local _ = rdd:sample(true, 1, 0.5) end,
      ["bad argument #1 to 'takeSample' %(boolean"] = function() local _ = rdd:takeSample(5) end,
      ["weights are numbers from 0; %[2%] is %-1"] = function() local _ = rdd:randomSplit { 1, -1 } end,
      ["one of them above 0"] = function() local _ = rdd:randomSplit { 0 } end,
      ["the fraction for the key a is 2"] = function() local _ = rdd:sampleByKey(false, { a = 2 }) end,
    } do
      assert.matches(here .. ".*" .. text, support.failure(call))
    end
  end)
end)
