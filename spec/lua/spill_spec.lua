--- Sorting, grouping, joining and reducing more than fits: the same records, in the same order, as with all the memory
--- there is. A failure names its seed; RILLE_TEST_SEED=n runs that one again.
local rille = require "rille"
local support = require "spec.lua.support"

local random = math.random

local function show(value)
  if type(value) ~= "table" then
    return (type(value) == "number" or type(value) == "string") and ("%q"):format(value) or tostring(value)
  end
  local parts = {}
  for i = 1, value.n or #value do parts[i] = show(value[i]) end
  local text = table.concat(parts, ",")
  return getmetatable(value) == "rille.tuple" and "(" .. text .. ")" or "{" .. text .. "}"
end

-- Keys of all kinds; `n` different ones of most.
local function key_maker(n)
  local makers = {
    function() return random(n) end,
    function() return "key " .. random(n) end,
    function() return random(n) + 0.5 end,
    function() return ("k"):rep(random(100)) .. random(n) end,
    function() return random(2) == 1 end,
    function() return rille.null end,
    function() return rille.tuple(random(10), "t" .. random(n)) end,
    function() return "hot" end,
  }
  local some = {}
  for i = 1, random(4) do some[i] = makers[random(#makers)] end
  return function() return some[random(#some)]() end
end

local function value() return random(3) == 1 and ("v%d "):format(random(1000)):rep(random(20)) or random(1000) end

local function pairs_of(n, keys)
  local make, list = key_maker(keys), {}
  for i = 1, n do list[i] = rille.tuple(make(), value()) end
  return list
end

local operations = {
  groupByKey = function(a) return a:groupByKey() end,
  ["groupByKey and what follows it"] = function(a)
    return a:groupByKey():map(function(k, values) return k, #values, values[1], values[#values] end)
  end,
  ["groupBy, records of several fields"] = function(a) return a:map(function(k, v) return k, v, 1 end):groupByKey() end,
  cogroup = function(a, b) return a:cogroup(b) end,
  ["cogroup of three"] = function(a, b) return a:cogroup(b, a) end,
  join = function(a, b) return a:join(b) end,
  fullOuterJoin = function(a, b) return a:fullOuterJoin(b) end,
  subtractByKey = function(a, b) return a:subtractByKey(b) end,
  intersection = function(a, b) return a:keys():intersection(b:keys()) end,
  distinct = function(a) return a:distinct() end,
  ["distinct keys"] = function(a) return a:keys():distinct() end,
  reduceByKey = function(a) return a:mapValues(tostring):reduceByKey(function(x, y) return #x > #y and x or y end) end,
  ["reduceByKey that depends on the order"] = function(a)
    return a:mapValues(tostring):reduceByKey(function(x, y) return (x .. y):sub(-40) end)
  end,
  ["reduceByKey and what follows it"] = function(a)
    return a:mapValues(function() return 1 end):reduceByKey(function(x, y) return x + y end)
      :mapValues(function(n) return n * 2 end)
  end,
  aggregateByKey = function(a)
    return a:aggregateByKey({}, function(list, v) list[#list + 1] = v return list end,
      function(x, y) return table.move(y, 1, #y, #x + 1, x) end)
  end,
  countByKey = function(a) return a:map(function(k) return k, 1 end):reduceByKey(function(x, y) return x + y end) end,
  sortByKey = function(a) return a:sortByKey() end,
  ["sortByKey, descending"] = function(a) return a:sortByKey(false, 5) end,
  sortBy = function(a) return a:sortBy(function(_, v) return tostring(v) end, true, 3) end,
  repartitionAndSortWithinPartitions = function(a) return a:repartitionAndSortWithinPartitions(3) end,
  cartesian = function(a, b) return a:sample(false, 0.02, 1):cartesian(b:sample(false, 0.02, 2)) end,
  repartition = function(a) return a:repartition(7) end,
}

describe("what does not fit into memory", function()
  local dir, seed

  before_each(function()
    dir = support.directory()
    seed = tonumber(os.getenv "RILLE_TEST_SEED") or os.time() ~ (os.clock() * 1e6 // 1)
    math.randomseed(seed)
  end)

  after_each(function() support.remove(dir) end)

  -- The partitions of the result, as texts, and how much was spilled.
  local function run(operation, a, b, conf)
    local settings = { master = "local[2]", ["rille.default.parallelism"] = 3, ["rille.local.dir"] = dir }
    for name, v in pairs(conf) do settings[name] = v end
    local sc = rille.Context(settings)
    local parts = operation(sc:parallelize(a, 4), sc:parallelize(b, 3)):map(function(...) return rille.tuple(...) end)
      :glom():collect()
    for i, part in ipairs(parts) do
      for j, record in ipairs(part) do part[j] = show(record) end
      parts[i] = table.concat(part, "\n")
    end
    collectgarbage() -- what map tasks left lives as long as the RDDs
    collectgarbage()
    local use = sc:memory()
    sc:stop()
    assert.equal(0, use.spilled, "left in spill files")
    return parts, use.spilledTotal
  end

  local names = {}
  for name in pairs(operations) do names[#names + 1] = name end
  table.sort(names)

  for _, name in ipairs(names) do
    it("is the same: " .. name, function()
      for _, keys in ipairs { 3, 200, 100000 } do
        local a, b = pairs_of(random(3000), keys), pairs_of(random(1500), keys)
        local said = ("seed %d, %d keys"):format(seed, keys)
        local expected, nothing = run(operations[name], a, b, {})
        assert.equal(0, nothing)
        local tiny = { ["rille.memory.fraction"] = 1e-9 }
        local got, spilled = run(operations[name], a, b, tiny)
        assert.same(expected, got, said)
        assert.is_true(spilled > 0 or table.concat(expected) == "", said) -- a product with nothing has nothing to spill
        assert.same(expected, (run(operations[name], a, b, tiny)), said .. ", again")
        tiny.master = "local[1]"
        assert.same(expected, (run(operations[name], a, b, tiny)), said .. ", one worker")
      end
    end)
  end

  it("may be the records of one key, which are not all held", function()
    local sc = rille.Context { master = "local[2]", ["rille.memory.limit"] = "64m", ["rille.local.dir"] = dir }
    local n = sc:range(2000000, nil, nil, 4):map(function(x) return "hot", x end):aggregateByKey(0,
      function(sum, x) return sum + x end, function(x, y) return x + y end):collect()
    sc:stop()
    assert.equal(1999999 * 1000000, n[1][2])
  end)

  local function fail_with_a_hot_key(operation)
    local sc = rille.Context { master = "local[2]", ["rille.memory.limit"] = "64m", ["rille.local.dir"] = dir,
      ["rille.task.maxFailures"] = 1 }
    local rdd = sc:range(300000, nil, nil, 4):map(function(x)
      return x % 10 > 0 and "hot" or x, ("x%d"):format(x):rep(10)
    end)
    local ok, message = pcall(function() return operation(rdd:groupByKey()):count() end)
    local after = sc:range(10):sum()
    sc:stop()
    assert.is_false(ok)
    assert.equal(45, after) -- the context goes on
    return tostring(message)
  end

  it("and is more of one key than a state may hold: said", function()
    assert.matches("groupByKey: the values of key hot take more than %d+ bytes %(rille.task.maxMemory%)",
      fail_with_a_hot_key(function(rdd) return rdd end))
  end)

  it("and is more of one key than a state may hold, for what follows: said", function()
    assert.matches("out of memory: .*rille.task.maxMemory.*groupByKey.*for key hot",
      fail_with_a_hot_key(function(rdd) return rdd:mapValues(function(values) return #values end) end))
  end)

  it("cannot be written: said", function()
    assert(io.open(dir .. "/none", "w")):close()
    local sc = rille.Context { master = "local[1]", ["rille.local.dir"] = dir .. "/none",
      ["rille.memory.fraction"] = 1e-9, ["rille.task.maxFailures"] = 1 }
    local rdd = sc:range(1000):map(function(x) return x % 7, x end)
    for _, operation in ipairs { "groupByKey", "sortByKey" } do
      local ok, message = pcall(function() return rdd[operation](rdd):count() end)
      assert.is_false(ok)
      assert.matches("/none", tostring(message), 1, true)
    end
    sc:stop()
  end)
end)
