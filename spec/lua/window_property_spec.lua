--- Windows against a naive model, over random input, batch durations, windows and slides: batches that are empty, that
--- are missing, windows over windows. A failure names its seed; RILLE_TEST_SEED=n runs that one again.
local core = require "rille.core"
local rille = require "rille"
local testing = require "rille.testing"

core.setLogLevel "off"

local ROUNDS <const> = 12

local random = math.random

-- random data ---------------------------------------------------------------------------------------------------------

local function pick(list) return list[random(#list)] end

-- Batches of (key, value) records, every value another; false where the input gives no RDD.
local function random_batches(n, key)
  local batches, value = {}, 0
  for i = 1, n do
    batches[i] = {}
    for k = 1, random(4) == 1 and 0 or random(8) do
      value = value + 1
      batches[i][k] = rille.tuple(key(), "v" .. value)
    end
    if random(6) == 1 then batches[i] = false end
  end
  return batches
end

local keys = {
  function() return pick { "a", "b", "c", 1, 2, true } end,
  function() return "same" end,
  function() return random(1000) end,
  function() return rille.tuple(random(2), "k") end,
}

-- the model: records by number of batch, for every `slide`-th of them -------------------------------------------------

local function model_of(batches) return { slide = 1, n = #batches, at = batches } end

local function model_window(stream, length, slide)
  local over = { slide = slide, n = stream.n, at = {} }
  for t = slide, stream.n, slide do
    local records = {}
    for u = t - length + stream.slide, t, stream.slide do
      local batch = u > 0 and stream.at[u] or {}
      table.move(batch, 1, #batch, #records + 1, records)
    end
    over.at[t] = records
  end
  return over
end

local function model_map(stream, f)
  local mapped = { slide = stream.slide, n = stream.n, at = {} }
  for t, records in pairs(stream.at) do mapped.at[t] = records and f(records, t) end
  return mapped
end

-- What there was, in order of time.
local function results(stream)
  local list = {}
  for t = stream.slide, stream.n, stream.slide do
    if stream.at[t] then list[#list + 1] = stream.at[t] end
  end
  return list
end

-- (key, array of values), keys in order of first sight.
local function grouped(records)
  local groups, known = {}, {}
  for _, record in ipairs(records) do
    local text = tostring(record[1]) .. type(record[1])
    if not known[text] then
      known[text] = rille.tuple(record[1], {})
      groups[#groups + 1] = known[text]
    end
    table.insert(known[text][2], record[2])
  end
  return groups
end

local function concatenated(records)
  local out = {}
  for i, group in ipairs(grouped(records)) do out[i] = rille.tuple(group[1], table.concat(group[2], " ")) end
  return out
end

local function joined(lefts, rights)
  local out = {}
  for _, left in ipairs(lefts) do
    for _, right in ipairs(rights) do
      if left[1] == right[1] then out[#out + 1] = rille.tuple(left[1], left[2], right[2]) end
    end
  end
  return out
end

-- properties: name -> { order, operation(stream, other, d), model(stream, other, d) } ----------------------------------
-- d: durations in batches: w, s, and those of a second window over the first, w2, s2; `seconds` makes them seconds.

local function join_texts(a, b) return a .. " " .. b end

local properties = {
  window = { "list", function(s, _, d) return s:window(d.seconds(d.w), d.seconds(d.s)) end,
    function(s, _, d) return model_window(s, d.w, d.s) end },
  ["window without a slide"] = { "list", function(s, _, d) return s:window(d.seconds(d.w)) end,
    function(s, _, d) return model_window(s, d.w, 1) end },
  ["window over a window"] = { "list",
    function(s, _, d) return s:window(d.seconds(d.w), d.seconds(d.s)):window(d.seconds(d.w2), d.seconds(d.s2)) end,
    function(s, _, d) return model_window(model_window(s, d.w, d.s), d.w2, d.s2) end },
  reduceByKeyAndWindow = { "bag",
    function(s, _, d) return s:reduceByKeyAndWindow(join_texts, d.seconds(d.w), d.seconds(d.s), d.n) end,
    function(s, _, d) return model_map(model_window(s, d.w, d.s), concatenated) end },
  ["reduceByKeyAndWindow over a window"] = { "bag", function(s, _, d)
    return s:window(d.seconds(d.w), d.seconds(d.s)):reduceByKeyAndWindow(join_texts, d.seconds(d.w2), d.seconds(d.s2))
  end, function(s, _, d)
    return model_map(model_window(model_window(s, d.w, d.s), d.w2, d.s2), concatenated)
  end },
  groupByKeyAndWindow = { "bag",
    function(s, _, d) return s:groupByKeyAndWindow(d.seconds(d.w), d.seconds(d.s), d.n) end,
    function(s, _, d) return model_map(model_window(s, d.w, d.s), grouped) end },
  reduceByWindow = { "list", function(s, _, d)
    return s:map(function(_, value) return value end):reduceByWindow(join_texts, d.seconds(d.w), d.seconds(d.s))
  end, function(s, _, d)
    return model_map(model_window(s, d.w, d.s), function(records)
      local texts = {}
      for i, record in ipairs(records) do texts[i] = record[2] end
      return #texts > 0 and { table.concat(texts, " ") } or {}
    end)
  end },
  ["join of windows"] = { "bag", function(s, other, d)
    return s:window(d.seconds(d.w), d.seconds(d.s)):join(other:window(d.seconds(d.w2 // d.s), d.seconds(d.s)))
  end, function(s, other, d)
    local right = model_window(other, d.w2 // d.s, d.s)
    return model_map(model_window(s, d.w, d.s), function(records, t) return joined(records, right.at[t]) end)
  end },
}

-- running them --------------------------------------------------------------------------------------------------------

local function show(value)
  if type(value) ~= "table" then return ("%s %s"):format(math.type(value) or type(value), value) end
  local parts = {}
  for i = 1, value.n or #value do parts[i] = show(value[i]) end
  return (value.n and "(%s)" or "{%s}"):format(table.concat(parts, ", "))
end

local function as_texts(batches, order)
  local out = {}
  for i, records in ipairs(batches) do
    out[i] = {}
    for k, record in ipairs(records) do out[i][k] = show(record) end
    if order == "bag" then table.sort(out[i]) end
  end
  return out
end

local function random_durations()
  local batch_ms = pick { 100, 250, 500, 1000, 1500, 60000 }
  local d = { batch = batch_ms / 1000, w = random(6), s = random(4), n = random(4), partitions = random(3) }
  d.w2, d.s2 = d.s * random(4), d.s * random(3)
  function d.seconds(batches) return batches * batch_ms / 1000 end
  return d
end

describe("windows and a naive model", function()
  local seeds = {}

  setup(function()
    local given = math.tointeger(tonumber(os.getenv "RILLE_TEST_SEED"))
    local base = os.time() * 1000
    for i = 1, given and 1 or ROUNDS do seeds[i] = given or base + i end
  end)

  local function try(property, seed)
    math.randomseed(seed)
    local order, operation, model = table.unpack(property)
    local d, key, n = random_durations(), pick(keys), random(14)
    local batches, others = random_batches(n, key), random_batches(n, key)
    local told = ("RILLE_TEST_SEED=%d: batches of %g s, w=%d, s=%d, w2=%d, s2=%d"):format(seed, d.batch, d.w, d.s, d.w2,
      d.s2)
    local want = results(model(model_of(batches), model_of(others), d))
    local ok, got = pcall(testing.run, { inputs = { batches, others }, batch = d.batch, partitions = d.partitions,
      operation = function(_, s, other) return operation(s, other, d) end })
    if not ok then error(("%s: %s"):format(told, got), 0) end
    assert.same(as_texts(want, order), as_texts(got, order), told)
  end

  for name, property in pairs(properties) do
    it("agree: " .. name, function()
      for _, seed in ipairs(seeds) do try(property, seed) end
    end)
  end
end)
