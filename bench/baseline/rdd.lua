-- What bench/jobs/rdd.lua does, as plain Lua 5.4 does it: lists of pairs, table.sort, tables by key.
--
--   lua5.4 bench/baseline/rdd.lua WHAT RECORDS
--
-- Makes the pairs, then runs WHAT once for each line on standard input, and prints "SECONDS RESULT".
local clock = require "bench.clock"
local pairs_of = dofile((arg[0]:gsub("baseline/[^/]*$", "pairs.lua")))

local what, n = arg[1], math.tointeger(arg[2])
local records, keys = table.unpack(pairs_of.sizes(n)[what])

local function input(from)
  local list = {}
  for i = 1, records do list[i] = { pairs_of.key(from + i - 1, keys), from + i - 1 } end
  return list
end

local left = input(0)
local right = what == "join" and input(records)

local work = {}

work.sort = {
  function()
    local list = table.move(left, 1, #left, 1, {})
    table.sort(list, function(a, b) return a[1] < b[1] end)
    return list
  end,
  function(list) return #list, ("%d,%d,%d"):format(list[1][1], list[2][1], list[3][1]) end,
}

work.distinct = {
  function()
    local seen, list = {}, {}
    for i = 1, #left do
      local key = left[i][1]
      if not seen[key] then
        seen[key] = true
        list[#list + 1] = key
      end
    end
    return list
  end,
  function(list)
    local sum = 0
    for _, key in ipairs(list) do sum = sum + key end
    return #list, sum
  end,
}

work.join = {
  function()
    local by_key, list = {}, {}
    for i = 1, #left do
      local key = left[i][1]
      local values = by_key[key]
      if values then values[#values + 1] = left[i][2] else by_key[key] = { left[i][2] } end
    end
    for i = 1, #right do
      local key, value = right[i][1], right[i][2]
      local values = by_key[key]
      for j = 1, values and #values or 0 do list[#list + 1] = { key, values[j], value } end
    end
    return list
  end,
  function(list)
    local sum = 0
    for _, t in ipairs(list) do sum = sum + t[1] + t[2] + t[3] end
    return #list, sum
  end,
}

work.group = {
  function()
    local groups = {}
    for i = 1, #left do
      local key = left[i][1]
      local values = groups[key]
      if values then values[#values + 1] = left[i][2] else groups[key] = { left[i][2] } end
    end
    return groups
  end,
  function(groups)
    local count, sum = 0, 0
    for key, values in pairs(groups) do count, sum = count + 1, sum + key * #values + values[1] end
    return count, sum
  end,
}

local run, check = table.unpack(work[what])
for _ in io.lines() do
  collectgarbage()
  local start = clock()
  local result = run()
  local seconds = clock() - start
  print(("%.6f %s %s"):format(seconds, check(result)))
  io.stdout:flush()
end
