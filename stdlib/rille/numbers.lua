--- Actions of RDDs of numbers.
local check = require "rille.check"
local methods_of = require "rille.method"
local RDD = require "rille.rdd"
local steps = require "rille.steps"

local method = methods_of(RDD)

-- In workers ----------------------------------------------------------------------------------------------------------

local function refuse(name, value, more)
  local got = more ~= nil and "a record of several values" or ("the %s %s"):format(type(value), tostring(value))
  error(("%s needs records of one number each, but got %s"):format(name, got), 0)
end

-- For mapPartitions: the sum of a partition.
local function partition_sum(name)
  return function(records)
    local sum, math_type = 0, math.type
    for x, more in records do
      if more ~= nil or not math_type(x) then refuse(name, x, more) end
      sum = sum + x
    end
    return { sum }
  end
end

-- For mapPartitions: { count, mean, sum of squared distances from it, sum, min, max }, by Welford's updates.
local function partition_stats(name)
  return function(records)
    local count, mean, squares, sum, min, max = 0, 0.0, 0.0, 0, math.huge, -math.huge
    local math_type = math.type
    for x, more in records do
      if more ~= nil or not math_type(x) then refuse(name, x, more) end
      count = count + 1
      local distance = x - mean
      mean = mean + distance / count
      squares = squares + distance * (x - mean)
      sum = sum + x
      if x < min then min = x end
      if x > max then max = x end
    end
    return { { count, mean, squares, sum, min, max } }
  end
end

-- For mapPartitions: how many numbers lie between each two bounds.
local function partition_histogram(bounds)
  return function(records)
    local counts, n = {}, #bounds - 1
    for i = 1, n do counts[i] = 0 end
    for x, more in records do
      if more ~= nil or not math.type(x) then refuse("histogram", x, more) end
      if x >= bounds[1] and x <= bounds[n + 1] then
        local low, high = 1, n -- the last i with bounds[i] <= x; the last stretch has its upper end
        while low < high do
          local middle = (low + high + 1) // 2
          if bounds[middle] <= x then low = middle else high = middle - 1 end
        end
        counts[low] = counts[low] + 1
      end
    end
    return { counts }
  end
end

-- On the driver -------------------------------------------------------------------------------------------------------

local Stats = { __name = "Stats" }

function Stats:__tostring()
  return ("(count: %d, mean: %s, stdev: %s, max: %s, min: %s)")
    :format(self.count, self.mean, self.stdev, self.max, self.min)
end

local function merge(a, b)
  if a[1] == 0 then return b end
  if b[1] == 0 then return a end
  local count, distance = a[1] + b[1], b[2] - a[2]
  return {
    count, a[2] + distance * b[1] / count, a[3] + b[3] + distance * distance * a[1] * b[1] / count,
    a[4] + b[4], math.min(a[5], b[5]), math.max(a[6], b[6]),
  }
end

local NAN <const> = 0 / 0

local function stats_of(self, name)
  local all = { 0, NAN, 0.0, 0, math.huge, -math.huge }
  for _, part in ipairs(self:evaluate(name, { steps.narrow("mapPartitions", partition_stats(name)) })) do
    all = merge(all, part)
  end
  local count, mean, squares, sum, min, max = table.unpack(all)
  local variance = count > 0 and squares / count or NAN
  local sample = count > 1 and squares / (count - 1) or NAN
  return setmetatable({
    count = count, mean = count > 0 and mean or NAN, sum = sum, min = min, max = max, variance = variance,
    stdev = math.sqrt(variance), sampleVariance = sample, sampleStdev = math.sqrt(sample),
  }, Stats)
end

method("stats", {}, function(self) return stats_of(self, "stats") end)

for _, name in ipairs { "mean", "variance", "stdev", "sampleVariance", "sampleStdev" } do
  method(name, {}, function(self) return stats_of(self, name)[name] end)
end

local function sum(self)
  local total = 0
  for _, part in ipairs(self:evaluate("sum", { steps.narrow("mapPartitions", partition_sum "sum") })) do
    total = total + part
  end
  return total
end

method("sum", {}, function(self) return sum(self) end)

-- Estimates in Spark; here exact.
method("sumApprox", { "number?", "number?" }, function(self) return sum(self) end)
method("meanApprox", { "number?", "number?" }, function(self) return stats_of(self, "meanApprox").mean end)

-- n stretches of one width from the smallest number to the largest; one where there is nothing between them.
local function even_bounds(self, n)
  local stats = stats_of(self, "histogram")
  if stats.count == 0 then self:fail_empty "histogram" end
  local min, max = stats.min, stats.max
  if stats.mean ~= stats.mean or max - min == math.huge then
    check.fail("histogram: there are numbers that are NaN or infinite; give the bounds, or leave these out", self.site)
  end
  if min == max then return { min, max } end
  local bounds = {}
  for i = 0, n do bounds[i + 1] = min + (max - min) * i / n end
  bounds[1], bounds[n + 1] = min, max
  return bounds
end

local function check_bounds(bounds)
  local valid = type(bounds) == "table" and #bounds >= 2
  for i = 1, valid and #bounds or 0 do
    valid = valid and math.type(bounds[i]) ~= nil and bounds[i] == bounds[i] and (i == 1 or bounds[i] > bounds[i - 1])
  end
  if not valid then
    check.fail("bad argument #1 to 'histogram' (a whole number from 1, or an array of at least 2 numbers in rising " ..
      "order)")
  end
  return bounds
end

method("histogram", { "any" }, function(self, buckets)
  local n = math.tointeger(buckets)
  local bounds = n and n >= 1 and even_bounds(self, n) or check_bounds(buckets)
  local counts = {}
  for i = 1, #bounds - 1 do counts[i] = 0 end
  for _, part in ipairs(self:evaluate("histogram", { steps.narrow("mapPartitions", partition_histogram(bounds)) })) do
    for i, count in ipairs(part) do counts[i] = counts[i] + count end
  end
  return bounds, counts
end)
