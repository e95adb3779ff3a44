--- Random parts of RDDs that are not an operation with one result.
local check = require "rille.check"
local core = require "rille.core"
local methods_of = require "rille.method"
local random = require "rille.random"
local RDD = require "rille.rdd"
local sorting = require "rille.sorting"
local steps = require "rille.steps"

local method, narrow = methods_of(RDD), steps.narrow

local function total_of(weights)
  local total, bad = 0, "bad argument #1 to 'randomSplit' "
  for i, weight in ipairs(weights) do
    if not math.type(weight) or not (weight >= 0 and weight < math.huge) then
      check.fail(("%s(weights are numbers from 0; [%d] is %s)"):format(bad, i, tostring(weight)))
    end
    total = total + weight
  end
  if total <= 0 then check.fail(bad .. "(an array of weights, one of them above 0, expected)") end
  return total
end

method("randomSplit", { "list", "seed?" }, function(self, weights, seed)
  local total = total_of(weights)
  seed = random.seed(seed, self)
  local parts, from = {}, 0.0
  for i, weight in ipairs(weights) do
    local to = i == #weights and 1.0 or from + weight / total
    parts[i] = self:derive("randomSplit", nil,
      { steps.narrow("mapPartitionsWithIndex", random.between(seed, from, to)) })
    from = to
  end
  return parts
end)

local function number_and_record(number, record)
  if number then return { number, record } end
end
local function less(a, b) return a[1] < b[1] end

-- n different records: those with the smallest numbers, in the order of these.
local function without_replacement(self, n, seed)
  local found = self:evaluate("takeSample", {
    narrow "pack",
    narrow("mapPartitionsWithIndex", random.numbered(seed)),
    narrow("mapPartitions", sorting.partition_smallest(n, less, number_and_record)),
  })
  found = sorting.sorted(found, less)
  local records = {}
  for i = 1, math.min(n, #found) do records[i] = found[i][2] end
  return records
end

-- For mapPartitionsWithIndex: (number, record) of the records that are wanted, a set of their numbers.
local function pick(starts, wanted)
  return function(partition, records)
    local number = starts[partition + 1] - 1
    return function()
      for record in records do
        number = number + 1
        if wanted[number] then return number, record end
      end
    end
  end
end

local function with_replacement(self, n, seed)
  local starts, total = self:starts("takeSample", true)
  if total == 0 then return {} end
  local uniform, wanted, drawn = random.generator(seed, -1), {}, {}
  for i = 1, n do
    drawn[i] = math.floor(uniform() * total)
    wanted[drawn[i]] = true
  end
  local found, records = {}, {}
  for _, pair in ipairs(self:evaluate("takeSample", {
    narrow "pack", narrow("mapPartitionsWithIndex", pick(starts, wanted)),
  })) do
    found[pair[1]] = pair[2]
  end
  for i = 1, n do records[i] = found[drawn[i]] end
  return records
end

method("takeSample", { "boolean", "count", "seed?" }, function(self, replace, n, seed)
  if n == 0 then return {} end
  seed = random.seed(seed, self)
  return ((replace and with_replacement or without_replacement)(self, n, seed))
end)

-- The fraction of a key, for workers.
local function fraction_of(fractions)
  if type(fractions) == "function" then return fractions end
  return function(key)
    return fractions[key] or error("sampleByKey: there is no fraction for the key " .. tostring(key), 0)
  end
end

method("sampleByKey", { "boolean", "choice", "seed?" }, function(self, replace, fractions, seed)
  for key, fraction in pairs(type(fractions) == "table" and fractions or {}) do
    if not math.type(fraction) or not (fraction >= 0 and fraction <= (replace and 1e6 or 1)) then
      check.fail(("bad argument #2 to 'sampleByKey' (the fraction for the key %s is %s)")
        :format(tostring(key), tostring(fraction)))
    end
  end
  seed = random.seed(seed, self)
  local fraction = fraction_of(fractions)
  local plan = { steps.as_pairs() }
  if replace then
    plan[2] = steps.keyed_narrow "pack"
    plan[3] = steps.keyed_narrow("mapPartitionsWithIndex", random.copies(seed, fraction, core.fields))
  else
    plan[2] = steps.keyed_narrow("mapPartitionsWithIndex", random.keep(seed, fraction))
  end
  return (self:derive("sampleByKey", nil, plan))
end)
