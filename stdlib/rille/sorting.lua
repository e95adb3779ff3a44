--- Sorting in Lua, on the driver and in workers: stable, by any comparison function, however inconsistent it is.
local sorting = {}

-- Merges list[left, middle) and list[middle, right) into `to`.
local function merge(list, to, left, middle, right, less)
  local i, j = left, middle
  for k = left, right - 1 do
    if i < middle and (j >= right or not less(list[j], list[i])) then
      to[k], i = list[i], i + 1
    else
      to[k], j = list[j], j + 1
    end
  end
end

-- Where the runs of a list begin that are in order already, and where the last one ends.
local function runs_of(list, less)
  local bounds, n = { 1 }, #list
  for i = 2, n do
    if less(list[i], list[i - 1]) then bounds[#bounds + 1] = i end
  end
  bounds[#bounds + 1] = n + 1
  return bounds
end

--- Sorts a list, which may be left in any order. What is in order already is only merged.
---@generic T
---@param list T[]
---@param less fun(a: T, b: T): boolean
---@return T[]
local function sorted(list, less)
  local bounds, to = runs_of(list, less), {}
  while #bounds > 2 do
    local wider = { 1 }
    for i = 1, #bounds - 1, 2 do
      local middle = bounds[i + 1]
      local right = bounds[i + 2] or middle
      merge(list, to, bounds[i], middle, right, less)
      wider[#wider + 1] = right
    end
    bounds, list, to = wider, to, list
  end
  return list
end
sorting.sorted = sorted

--- The n smallest values of an iterator, smallest first; of equal ones the first. Holds no more than about 2 n.
---@param n integer from 1
---@param less fun(a: any, b: any): boolean
---@param values fun(): any
---@return any[]
local function smallest(n, less, values)
  local list, count, limit, worst = {}, 0, math.max(2 * n, n + 64), nil
  for value in values do
    if worst == nil or less(value, worst) then
      count = count + 1
      list[count] = value
      if count == limit then
        list, count = table.move(sorted(list, less), 1, n, 1, {}), n
        worst = list[n]
      end
    end
  end
  list = sorted(list, less)
  return table.move(list, 1, math.min(n, count), 1, {})
end
sorting.smallest = smallest

-- For workers ---------------------------------------------------------------------------------------------------------

--- For mapPartitions over records as one value each: sorts a partition.
---@param less fun(a: any, b: any): boolean
---@return fun(records: function): any[]
function sorting.partition_sorter(less)
  return function(records)
    local list = {}
    for record in records do list[#list + 1] = record end
    return sorted(list, less)
  end
end

--- For mapPartitions: a partition's n smallest values; `entry` makes a value of the fields of a record.
---@param n integer
---@param less fun(a: any, b: any): boolean
---@param entry fun(...: any): any nil for none
---@return fun(records: function): any[]
function sorting.partition_smallest(n, less, entry)
  return function(records)
    return smallest(n, less, function() return entry(records()) end)
  end
end

return sorting
