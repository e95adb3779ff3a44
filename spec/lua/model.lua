--- What property specs of windows and state share: random batches, a naive model of streams, and how both are run and
--- compared. A failure names its seed; RILLE_TEST_SEED=n runs that one again.
local rille = require "rille"
local testing = require "rille.testing"

local model = {}

local ROUNDS <const> = 12

local random = math.random

-- random data ---------------------------------------------------------------------------------------------------------

function model.pick(list) return list[random(#list)] end

-- Batches of (key, value) records, every value another; false where the input gives no RDD.
function model.random_batches(n, key)
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

model.keys = {
  function() return model.pick { "a", "b", "c", 1, 2, true } end,
  function() return "same" end,
  function() return random(1000) end,
  function() return rille.tuple(random(2), "k") end,
}

-- the model: records by number of batch, for every `slide`-th of them -------------------------------------------------

function model.of(batches) return { slide = 1, n = #batches, at = batches } end

function model.window(stream, length, slide)
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

function model.map(stream, f)
  local mapped = { slide = stream.slide, n = stream.n, at = {} }
  for t, records in pairs(stream.at) do mapped.at[t] = records and f(records, t) end
  return mapped
end

-- What there was, in order of time.
function model.results(stream)
  local list = {}
  for t = stream.slide, stream.n, stream.slide do
    if stream.at[t] then list[#list + 1] = stream.at[t] end
  end
  return list
end

-- running them --------------------------------------------------------------------------------------------------------

local function show(value)
  if type(value) ~= "table" then return ("%s %s"):format(math.type(value) or type(value), value) end
  local parts = {}
  for i = 1, value.n or #value do parts[i] = show(value[i]) end
  return (value.n and "(%s)" or "{%s}"):format(table.concat(parts, ", "))
end

function model.as_texts(batches, order)
  local out = {}
  for i, records in ipairs(batches) do
    out[i] = {}
    for k, record in ipairs(records) do out[i][k] = show(record) end
    if order == "bag" then table.sort(out[i]) end
  end
  return out
end

function model.random_durations()
  local batch_ms = model.pick { 100, 250, 500, 1000, 1500, 60000 }
  local d = { batch = batch_ms / 1000, w = random(6), s = random(4), n = random(4), partitions = random(3) }
  d.w2, d.s2 = d.s * random(4), d.s * random(3)
  function d.seconds(batches) return batches * batch_ms / 1000 end
  return d
end

--- The seeds of the rounds to be run.
---@return integer[]
function model.seeds()
  local given, seeds = math.tointeger(tonumber(os.getenv "RILLE_TEST_SEED")), {}
  local base = os.time() * 1000
  for i = 1, given and 1 or ROUNDS do seeds[i] = given or base + i end
  return seeds
end

--- One round.
---@param property { [1]: "list"|"bag", [2]: fun(s, other, d): rille.DStream, [3]: fun(s: table, other: table, d: table): table }
---@param seed integer
function model.try(property, seed)
  math.randomseed(seed)
  local order, operation, of_model = table.unpack(property)
  local d, key, n = model.random_durations(), model.pick(model.keys), random(14)
  local batches, others = model.random_batches(n, key), model.random_batches(n, key)
  local told = ("RILLE_TEST_SEED=%d: batches of %g s, w=%d, s=%d, w2=%d, s2=%d"):format(seed, d.batch, d.w, d.s, d.w2,
    d.s2)
  local want = model.results(of_model(model.of(batches), model.of(others), d))
  local ok, got = pcall(testing.run, { inputs = { batches, others }, batch = d.batch, partitions = d.partitions,
    batches = n, operation = function(_, s, other) return operation(s, other, d) end })
  if not ok then error(("%s: %s"):format(told, got), 0) end
  return model.as_texts(want, order), model.as_texts(got, order), told
end

return model
