--- Folding into accumulators, in workers and on the driver. An accumulator travels in a table of its own, so that it may
--- be anything a record can hold, nil and tuples too.
local rille_tuple = require "rille.core".tuple

local folding = {}

--- A copy that nothing is shared with: a zero value may be changed by who gets it.
---@generic T
---@param value T
---@return T
local function fresh(value)
  if type(value) ~= "table" then return value end
  local copy, meta = {}, getmetatable(value)
  for k, v in next, value do copy[fresh(k)] = fresh(v) end
  if meta == "rille.tuple" then return rille_tuple(table.unpack(copy, 1, copy.n)) end
  return setmetatable(copy, meta)
end
folding.fresh = fresh

--- For mapPartitions: all records of a partition added to a zero value.
---@param zero any
---@param add fun(acc: any, ...: any): any
function folding.partition(zero, add)
  return function(records)
    local acc = fresh(zero)
    local function added(...)
      if (...) == nil then return false end
      acc = add(acc, ...)
      return true
    end
    while added(records()) do end
    return { { acc } }
  end
end

--- For mapPartitions, over records as one value each: nothing for an empty partition.
---@param f fun(a: any, b: any): any
function folding.partition_reduced(f)
  return function(records)
    local acc = records()
    if acc == nil then return {} end
    for record in records do acc = f(acc, record) end
    return { { acc } }
  end
end

--- For mapPartitionsWithIndex: (number of the partition, accumulator).
function folding.numbered(index, records)
  return function()
    local box = records()
    if box ~= nil then return index, box end
  end
end

--- For map: neighbours get one number.
---@param scale integer
function folding.grouped(scale)
  return function(number, box) return number // scale, box end
end

--- Merges accumulators in their tables.
---@param merge fun(a: any, b: any): any
function folding.boxed(merge)
  return function(a, b) return { merge(a[1], b[1]) } end
end

--- For combineByKey: the first value of a key added to a zero value.
---@param zero any
---@param add fun(acc: any, value: any): any
function folding.begin(zero, add)
  return function(value) return add(fresh(zero), value) end
end

return folding
