--- RDD operations against a naive model, over random data: records of all types, in partitions of uneven size, with keys
--- that are all the same, all different, or skewed. A failure names its seed; RILLE_TEST_SEED=n runs that one again.
local core = require "rille.core"
local rille = require "rille"
local support = require "spec.lua.support"

local ROUNDS <const> = 8

-- values as text, different for different ones: 1 is not 1.0 ---------------------------------------------------------

local function show(value)
  if type(value) ~= "table" then
    return (type(value) == "number" or type(value) == "string") and ("%q"):format(value) or tostring(value)
  end
  local parts = {}
  if getmetatable(value) == "rille.tuple" then
    for i = 1, value.n do parts[i] = show(value[i]) end
    return "(" .. table.concat(parts, ",") .. ")"
  end
  for key, field in pairs(value) do parts[#parts + 1] = show(key) .. "=" .. show(field) end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end

-- random data ---------------------------------------------------------------------------------------------------------

local random = math.random

local function pick(list) return list[random(#list)] end

local makers = {
  function() return random(-5, 5) end,
  function() return random(0) end,
  function() return pick { 0.0, -0.0, 1.0, 1.5, -2.25, 1e300, math.huge, -math.huge, 3.0 } end,
  function() return pick { "", "a", "b", "ab", "1", "a b" } end,
  function()
    local bytes = {}
    for i = 1, random(0, 6) do bytes[i] = string.char(random(0, 255)) end
    return table.concat(bytes)
  end,
  function() return random(2) == 1 end,
  function() return rille.null end,
  function() return { random(3), x = pick { "y", 1.0, true } } end,
  function() return {} end,
  function() return rille.tuple(random(2), pick { "t", 2.0 }) end,
}

local function any_value() return pick(makers)() end

-- Makers of keys, or of whole records, by the shape of the data.
local shapes = {
  ["mixed values"] = function() return any_value end,
  ["one value"] = function()
    local value = any_value()
    return function() return value end
  end,
  ["all distinct"] = function()
    local n = 0
    return function()
      n = n + 1
      return n % 2 == 0 and n or "s" .. n
    end
  end,
  skew = function() return function() return random(10) > 1 and "hot" or random(50) end end,
  integers = function() return function() return random(-20, 20) end end,
}

-- Partitions: arrays of records, often empty.
local function partitions(record)
  local parts = {}
  for p = 1, random(5) do
    parts[p] = {}
    for i = 1, random(3) == 1 and 0 or random(12) do parts[p][i] = record() end
  end
  return parts
end

-- A tuple by itself is a record of several values; as one value it needs another around it.
local function values_of(shape)
  local make = shapes[shape]()
  return partitions(function()
    local value = make()
    return getmetatable(value) == "rille.tuple" and { value } or value
  end)
end

local function pairs_of(shape)
  local make = shapes[shape]()
  return partitions(function() return rille.tuple(make(), any_value()) end)
end

-- the model: lists ----------------------------------------------------------------------------------------------------

local function flat(parts)
  local list = {}
  for _, part in ipairs(parts) do table.move(part, 1, #part, #list + 1, list) end
  return list
end

local function map(list, f)
  local out = {}
  for i, x in ipairs(list) do out[i] = f(x, i) end
  return out
end

local function flat_map(list, f)
  local out = {}
  for _, x in ipairs(list) do
    for _, y in ipairs(f(x)) do out[#out + 1] = y end
  end
  return out
end

-- What a key becomes: floats with an integer value are that integer, also within.
local function normal(key)
  if math.type(key) == "float" then return math.tointeger(key) or key end
  if type(key) ~= "table" then return key end
  local copy = {}
  for k, v in pairs(key) do copy[normal(k)] = normal(v) end
  if getmetatable(key) == "rille.tuple" then return rille.tuple(table.unpack(copy, 1, key.n)) end
  return copy
end

--- { key, values } of each key of (key, value) records, in the order of first sight, and by its text.
local function grouped(list)
  local groups, known = {}, {}
  for _, record in ipairs(list) do
    local key = normal(record[1])
    local text = show(key)
    if not known[text] then
      known[text] = { key, {} }
      groups[#groups + 1] = known[text]
    end
    table.insert(known[text][2], record[2])
  end
  return groups, known
end

local function as_pairs(list) return map(list, function(x) return rille.tuple(x, x) end) end

--- { key, lefts, rights } for every key of either side.
local function cogrouped(left, right)
  local lefts, known_left = grouped(left)
  local rights, known_right = grouped(right)
  local out = map(lefts, function(g)
    local other = known_right[show(g[1])]
    return { g[1], g[2], other and other[2] or {} }
  end)
  for _, g in ipairs(rights) do
    if not known_left[show(g[1])] then out[#out + 1] = { g[1], {}, g[2] } end
  end
  return out
end

local function joined(left, right, keep_left, keep_right)
  return flat_map(cogrouped(left, right), function(g)
    local out = {}
    for i = 1, math.max(#g[2], keep_right and 1 or 0) do
      for j = 1, math.max(#g[3], keep_left and 1 or 0) do
        out[#out + 1] = rille.tuple(g[1], g[2][i], g[3][j])
      end
    end
    return out
  end)
end

-- Stable, the slow way.
local function in_order(list, key, down)
  local out = {}
  for _, x in ipairs(list) do
    local at = #out + 1
    while at > 1 and core.compare(key(x), key(out[at - 1])) * (down and -1 or 1) < 0 do at = at - 1 end
    table.insert(out, at, x)
  end
  return out
end

local function itself(x) return x end
local function first_of(t) return t[1] end
local function front(list, n) return table.move(list, 1, math.min(n, #list), 1, {}) end
local function folded(list) return table.concat(map(list, show), ";") end
local function kind_of(x) return type(x) end
local function boxed(x) return { x } end
local function last(list) return list[#list] end

-- For workers: what folded does with a list, record by record.
local function text_of(value) return show(value) end
local function joined_texts(a, b) return a .. ";" .. b end

local function by_text(map_of)
  local out = {}
  for key, value in pairs(map_of) do out[#out + 1] = show(key) .. " " .. show(value) end
  return out
end

local function group_texts(list, f)
  return map(grouped(list), function(g) return show(g[1]) .. " " .. show(f(g[2])) end)
end

-- properties ----------------------------------------------------------------------------------------------------------
-- name -> { order, actual(rdd, other), expected(list, other list, parts) }: lists of values, to be the same in order
-- ("list") or in any order ("bag").

local on_values = {
  collect = { "list", function(r) return r:collect() end, itself },
  map = { "list", function(r) return r:map(boxed):collect() end, function(l) return map(l, boxed) end },
  ["flatMap twice"] = { "list", function(r) return r:flatMap(function(x) return { x, x } end):collect() end,
    function(l) return flat_map(l, function(x) return { x, x } end) end },
  filter = { "list", function(r) return r:filter(function(x) return type(x) == "number" end):collect() end,
    function(l) return flat_map(l, function(x) return type(x) == "number" and { x } or {} end) end },
  count = { "list", function(r) return { r:count(), r:countApprox() } end, function(l) return { #l, #l } end },
  glom = { "list", function(r) return r:glom():collect() end, function(_, _, parts) return parts end },
  coalesce = { "list", function(r) return r:coalesce(2):collect() end, itself },
  repartition = { "bag", function(r) return r:repartition(3):collect() end, itself },
  union = { "list", function(r, o) return r:union(o):collect() end, function(l, o) return flat { l, o } end },
  distinct = { "bag", function(r) return r:distinct():collect() end,
    function(l) return map(grouped(as_pairs(l)), first_of) end },
  countByValue = { "bag", function(r) return by_text(r:countByValue()) end,
    function(l) return group_texts(as_pairs(l), function(vs) return #vs end) end },
  subtract = { "bag", function(r, o) return r:subtract(o):collect() end, function(l, o)
    return flat_map(cogrouped(as_pairs(l), as_pairs(o)), function(g) return #g[3] == 0 and g[2] or {} end)
  end },
  intersection = { "bag", function(r, o) return r:intersection(o):collect() end, function(l, o)
    return flat_map(cogrouped(as_pairs(l), as_pairs(o)), function(g)
      return #g[2] > 0 and #g[3] > 0 and { g[2][1] } or {}
    end)
  end },
  cartesian = { "bag", function(r, o) return r:cartesian(o):collect() end, function(l, o)
    return flat_map(l, function(x) return map(o, function(y) return rille.tuple(x, y) end) end)
  end },
  zip = { "list", function(r) return r:zip(r:map(boxed)):collect() end,
    function(l) return map(l, function(x) return rille.tuple(x, { x }) end) end },
  zipPartitions = { "list", function(r) return r:zipPartitions(r:filter(function(x) return type(x) == "string" end),
    function(a, b)
      local n = 0
      for _ in b do n = n + 1 end
      for _ in a do n = n + 100 end
      return { n }
    end):collect() end, function(_, _, parts) return map(parts, function(part)
      local n = #part * 100
      for _, x in ipairs(part) do n = n + (type(x) == "string" and 1 or 0) end
      return n
    end) end },
  zipWithIndex = { "list", function(r) return r:zipWithIndex():collect() end,
    function(l) return map(l, function(x, i) return rille.tuple(x, i - 1) end) end },
  zipWithUniqueId = { "list", function(r) return r:zipWithUniqueId():collect() end, function(_, _, parts)
    return flat(map(parts, function(part, p)
      return map(part, function(x, i) return rille.tuple(x, p - 1 + (i - 1) * #parts) end)
    end))
  end },
  sortBy = { "list", function(r) return r:sortBy(itself, true, 3):collect() end,
    function(l) return in_order(l, itself) end },
  ["sortBy, descending"] = { "list", function(r) return r:sortBy(itself, false):collect() end,
    function(l) return in_order(l, itself, true) end },
  ["sortBy few keys, stable"] = { "list", function(r) return r:sortBy(kind_of):collect() end,
    function(l) return in_order(l, kind_of) end },
  sortWith = { "list", function(r) return r:sortWith(function(a, b) return type(a) < type(b) end):collect() end,
    function(l) return in_order(l, kind_of) end },
  takeOrdered = { "list", function(r) return r:takeOrdered(7) end,
    function(l) return front(in_order(l, itself), 7) end },
  ["takeOrdered by"] = { "list", function(r) return r:takeOrdered(7, kind_of) end,
    function(l) return front(in_order(l, kind_of), 7) end },
  top = { "list", function(r) return r:top(7) end, function(l) return front(in_order(l, itself, true), 7) end },
  ["min and max"] = { "list", function(r) return r:isEmpty() and {} or { r:min(), r:max() } end, function(l)
    return #l == 0 and {} or { in_order(l, itself)[1], in_order(l, itself, true)[1] }
  end },
  take = { "list", function(r) return r:take(5) end, function(l) return front(l, 5) end },
  toLocalIterator = { "list", function(r)
    local out = {}
    for x in r:toLocalIterator() do out[#out + 1] = x end
    return out
  end, itself },
  keyBy = { "list", function(r) return r:keyBy(kind_of):collect() end,
    function(l) return map(l, function(x) return rille.tuple(type(x), x) end) end },
  groupBy = { "bag", function(r) return r:groupBy(kind_of):collect() end, function(l)
    return map(grouped(map(l, function(x) return rille.tuple(type(x), x) end)),
      function(g) return rille.tuple(g[1], g[2]) end)
  end },
  reduce = { "list", function(r) return r:isEmpty() and {} or { r:map(text_of):reduce(joined_texts) } end,
    function(l) return #l == 0 and {} or { folded(l) } end },
  fold = { "list", function(r) return { r:map(text_of):fold("", function(a, b) return a .. b end) } end,
    function(l) return { table.concat(map(l, show)) } end },
  ["aggregate and treeAggregate"] = { "list", function(r)
    local function more(n, x) return n + #show(x) end
    local function add(a, b) return a + b end
    return { r:aggregate(0, more, add), r:treeAggregate(0, more, add) }
  end, function(l)
    local n = #table.concat(map(l, show))
    return { n, n }
  end },
  persist = { "list", function(r)
    local kept = r:map(boxed):persist()
    return flat { kept:collect(), kept:collect() }
  end, function(l) return flat { map(l, boxed), map(l, boxed) } end },
  randomSplit = { "bag", function(r)
    return flat(map(r:randomSplit({ 1, 2, 3 }), function(part) return part:collect() end))
  end, itself },
  ["takeSample of all"] = { "bag", function(r) return r:takeSample(false, 1000, 5) end, itself },
  saveAsObjectFile = { "list", function(r, _, sc)
    local dir = support.directory()
    r:saveAsObjectFile(dir .. "/o")
    local back = sc:objectFile(dir .. "/o"):collect()
    support.remove(dir)
    return back
  end, itself },
}

local on_pairs = {
  keys = { "list", function(r) return r:map(function(k, v) return { k }, v end):keys():collect() end,
    function(l) return map(l, function(t) return { t[1] } end) end },
  values = { "list", function(r) return r:mapValues(boxed):values():collect() end,
    function(l) return map(l, function(t) return { t[2] } end) end },
  flatMapValues = { "list", function(r) return r:flatMapValues(function(v) return { v, v } end):collect() end,
    function(l) return flat_map(l, function(t) return { t, t } end) end },
  groupByKey = { "bag", function(r) return r:groupByKey():collect() end,
    function(l) return map(grouped(l), function(g) return rille.tuple(g[1], g[2]) end) end },
  reduceByKey = { "bag", function(r) return r:mapValues(text_of):reduceByKey(joined_texts, 3):collect() end,
    function(l) return map(grouped(l), function(g) return rille.tuple(g[1], folded(g[2])) end) end },
  foldByKey = { "bag", function(r)
    return r:mapValues(text_of):foldByKey("", function(a, b) return a .. b end):collect()
  end,
    function(l) return map(grouped(l), function(g) return rille.tuple(g[1], table.concat(map(g[2], show))) end) end },
  aggregateByKey = { "bag", function(r) return r:aggregateByKey({},
    function(acc, v) acc[#acc + 1] = v return acc end,
    function(a, b) return table.move(b, 1, #b, #a + 1, a) end):collect() end,
    function(l) return map(grouped(l), function(g) return rille.tuple(g[1], g[2]) end) end },
  combineByKey = { "bag", function(r) return r:combineByKey(boxed,
    function(acc, v) acc[#acc + 1] = v return acc end,
    function(a, b) return table.move(b, 1, #b, #a + 1, a) end, 2, false):collect() end,
    function(l) return map(grouped(l), function(g) return rille.tuple(g[1], g[2]) end) end },
  countByKey = { "bag", function(r) return by_text(r:countByKey()) end,
    function(l) return group_texts(l, function(vs) return #vs end) end },
  collectAsMap = { "bag", function(r)
    local out = {}
    for key, value in pairs(r:collectAsMap()) do out[#out + 1] = show(normal(key)) .. " " .. show(value) end
    return out
  end, function(l) return group_texts(l, last) end },
  reduceByKeyLocally = { "bag", function(r) return by_text(r:mapValues(text_of):reduceByKeyLocally(joined_texts)) end,
    function(l) return group_texts(l, folded) end },
  lookup = { "list", function(r)
    local first = r:take(1)[1] or { "none" }
    local key = first[1]
    return { r:lookup(key), r:partitionBy(3):lookup(key) }
  end, function(l)
    local _, known = grouped(l)
    local first = l[1] or { "none" }
    local found = known[show(normal(first[1]))]
    local records = map(found and found[2] or {}, itself)
    return { records, records }
  end },
  partitionBy = { "bag", function(r) return r:partitionBy(4):collect() end,
    function(l) return map(l, function(t) return rille.tuple(normal(t[1]), t[2]) end) end },
  sortByKey = { "list", function(r) return r:sortByKey(true, 3):collect() end,
    function(l) return in_order(l, first_of) end },
  ["sortByKey, descending"] = { "list", function(r) return r:sortByKey(false):collect() end,
    function(l) return in_order(l, first_of, true) end },
  repartitionAndSortWithinPartitions = { "list",
    function(r) return r:repartitionAndSortWithinPartitions(1):collect() end,
    function(l) return in_order(map(l, function(t) return rille.tuple(normal(t[1]), t[2]) end), first_of) end },
  cogroup = { "bag", function(r, o) return r:cogroup(o):collect() end,
    function(l, o) return map(cogrouped(l, o), function(g) return rille.tuple(g[1], g[2], g[3]) end) end },
  join = { "bag", function(r, o) return r:join(o):collect() end, function(l, o) return joined(l, o) end },
  leftOuterJoin = { "bag", function(r, o) return r:leftOuterJoin(o):collect() end,
    function(l, o) return joined(l, o, true) end },
  rightOuterJoin = { "bag", function(r, o) return r:rightOuterJoin(o):collect() end,
    function(l, o) return joined(l, o, false, true) end },
  fullOuterJoin = { "bag", function(r, o) return r:fullOuterJoin(o):collect() end,
    function(l, o) return joined(l, o, true, true) end },
  ["join of partitioned ones"] = { "bag", function(r, o) return r:partitionBy(3):join(o:partitionBy(3)):collect() end,
    function(l, o) return joined(l, o) end },
  subtractByKey = { "bag", function(r, o) return r:subtractByKey(o):collect() end, function(l, o)
    return flat_map(cogrouped(l, o), function(g)
      return #g[3] == 0 and map(g[2], function(v) return rille.tuple(g[1], v) end) or {}
    end)
  end },
}

-- running them --------------------------------------------------------------------------------------------------------

describe("RDD operations and a naive model", function()
  local sc, seeds

  setup(function()
    sc = rille.Context { master = "local[2]" }
    local given = math.tointeger(tonumber(os.getenv "RILLE_TEST_SEED"))
    local base = os.time() * 1000
    seeds = {}
    for i = 1, given and 1 or ROUNDS do seeds[i] = given or base + i end
  end)
  teardown(function() sc:stop() end)

  local function rdd_of(parts)
    local rdds = map(parts, function(part) return sc:parallelize(part, 1) end)
    return #rdds == 1 and rdds[1] or sc:union(rdds)
  end

  local function as_texts(list, order)
    local out = map(list, show)
    if order == "bag" then table.sort(out) end
    return out
  end

  local function try(property, make, shape, seed)
    math.randomseed(seed)
    local parts, others = make(shape), make(shape)
    local order, actual, expected = table.unpack(property)
    local want = as_texts(expected(flat(parts), flat(others), parts), order)
    local ok, got = pcall(actual, rdd_of(parts), rdd_of(others), sc)
    if not ok then error(("RILLE_TEST_SEED=%d, %s: %s"):format(seed, shape, got), 0) end
    assert.same(want, as_texts(got, order), ("RILLE_TEST_SEED=%d, %s"):format(seed, shape))
  end

  for _, group in ipairs { { on_values, values_of }, { on_pairs, pairs_of } } do
    local properties, make = table.unpack(group)
    for name, property in pairs(properties) do
      it("agree: " .. name, function()
        for _, seed in ipairs(seeds) do
          for shape in pairs(shapes) do try(property, make, shape, seed) end
        end
      end)
    end
  end
end)
