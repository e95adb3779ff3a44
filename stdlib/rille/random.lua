--- Random choices. Those of one record depend on the seed, on the number of its partition and on its place there, and on
--- nothing else: a sample is the same whenever and on however many workers it is taken, as long as the partitions are.
---
--- The generator is splitmix64: a counter that goes up by an odd constant, mixed. The counter of a partition begins at
--- mix(seed + mix(partition)). A choice takes the upper 53 bits as a number in [0, 1).
local random = {}

local STEP <const> = 0x9e3779b97f4a7c15

local function mix(z)
  z = (z ~ z >> 30) * 0xbf58476d1ce4e5b9
  z = (z ~ z >> 27) * 0x94d049bb133111eb
  return z ~ z >> 31
end

---@param seed integer
---@param partition integer
---@return fun(): number in [0, 1)
local function generator(seed, partition)
  local state = mix(seed + mix(partition))
  return function()
    state = state + STEP
    return (mix(state) >> 11) * 0x1p-53
  end
end
random.generator = generator

-- A number from the Poisson distribution, by products of uniform ones: as many as it takes to get below e^-mean.
local function poisson(uniform, mean)
  local n = 0
  while mean > 0 do
    local part = math.min(mean, 30)
    local limit, product = math.exp(-part), uniform()
    while product > limit do
      n, product = n + 1, product * uniform()
    end
    mean = mean - part
  end
  return n
end

--- The seed of an operation: what the job gave; else in a batch one that is the same when the batch is run again, and
--- another at each time it is asked for; else any.
---@param given integer?
---@param rdd rille.RDD
---@return integer
function random.seed(given, rdd)
  if given then return given end
  if not rdd.time then return math.random(0) end
  local draws = rdd.draws
  draws.n = draws.n + 1
  local seed = mix(rdd.time + mix(draws.n))
  for i = 1, draws.site and #draws.site or 0 do seed = mix(seed + draws.site:byte(i)) end
  return seed
end

-- For workers: functions for mapPartitionsWithIndex -------------------------------------------------------------------

--- Records whose number lies in [from, to).
---@param seed integer
---@param from number
---@param to number
function random.between(seed, from, to)
  return function(partition, records)
    local uniform = generator(seed, partition)
    local function chosen(...)
      if (...) == nil then return nil end
      local number = uniform()
      if number >= from and number < to then return ... end
      return chosen(records())
    end
    return function() return chosen(records()) end
  end
end

--- Records by a fraction that depends on them.
---@param seed integer
---@param fraction fun(...: any): number
function random.keep(seed, fraction)
  return function(partition, records)
    local uniform = generator(seed, partition)
    local function chosen(...)
      if (...) == nil then return nil end
      if uniform() < fraction(...) then return ... end
      return chosen(records())
    end
    return function() return chosen(records()) end
  end
end

--- Each record, which comes as one value, any number of times, `fraction` times on average.
---@param seed integer
---@param fraction fun(...: any): number gets the record's fields
---@param fields fun(record: any): ...
function random.copies(seed, fraction, fields)
  return function(partition, records)
    local uniform = generator(seed, partition)
    local left, record = 0, nil
    return function()
      while left == 0 do
        record = records()
        if record == nil then return nil end
        left = poisson(uniform, fraction(fields(record)))
      end
      left = left - 1
      return record
    end
  end
end

--- (a number, the record), for records as one value each.
---@param seed integer
function random.numbered(seed)
  return function(partition, records)
    local uniform = generator(seed, partition)
    return function()
      local record = records()
      if record ~= nil then return uniform(), record end
    end
  end
end

return random
