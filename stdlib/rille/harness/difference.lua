--- Records expected and records that came: what is missing, what is too much.
local core = require "rille.core"

local difference = {}

local MAX_CELLS = 1000000 -- of the table that aligns two lists
local MAX_DEPTH = 100

-- records as text -----------------------------------------------------------------------------------------------------

local show

local function shown_number(n)
  if n ~= n then return "nan" end
  if math.type(n) == "float" and n == math.floor(n) and math.abs(n) < 1e15 then return ("%.1f"):format(n) end
  return tostring(n)
end

local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\\"] = "\\\\", ['"'] = '\\"', ["\0"] = "\\0" }

local function shown_string(s)
  return '"' .. s:gsub('[%c"\\]', function(c) return ESCAPES[c] or ("\\x%02X"):format(c:byte()) end) .. '"'
end

local function sorted_keys(t)
  local keys = {}
  for key in next, t do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then return a < b end
    if type(a) ~= type(b) then return type(a) < type(b) end
    return tostring(a) < tostring(b)
  end)
  return keys
end

local function shown_table(t, depth)
  if depth > MAX_DEPTH then return "{ ... }" end
  local parts, n = {}, #t
  for i = 1, n do parts[i] = show(t[i], depth + 1) end
  for _, key in ipairs(sorted_keys(t)) do
    local in_list = math.type(key) == "integer" and key >= 1 and key <= n
    local name = type(key) == "string" and key:find "^[%a_][%w_]*$" and key or "[" .. show(key, depth + 1) .. "]"
    if not in_list then parts[#parts + 1] = name .. " = " .. show(t[key], depth + 1) end
  end
  return #parts == 0 and "{}" or "{ " .. table.concat(parts, ", ") .. " }"
end

local function shown_tuple(t, depth)
  local parts = {}
  for i = 1, t.n do parts[i] = show(t[i], depth + 1) end
  return "(" .. table.concat(parts, ", ") .. ")"
end

function show(value, depth)
  if core.isTuple(value) then return shown_tuple(value, depth) end
  if type(value) == "table" then return shown_table(value, depth) end
  if type(value) == "string" then return shown_string(value) end
  if type(value) == "number" then return shown_number(value) end
  if rawequal(value, core.null) then return "rille.null" end
  return tostring(value)
end

--- A value as one would write it: strings in quotes, (a, b) for a tuple.
---@param value any
---@return string
function difference.show(value) return show(value, 0) end

-- equality ------------------------------------------------------------------------------------------------------------

local same

local function same_fields(a, b, depth)
  for key, value in next, a do
    if not same(value, rawget(b, key), depth + 1) then return false end
  end
  for key in next, b do
    if rawget(a, key) == nil then return false end
  end
  return true
end

-- A plain table stands for the tuple of its entries: { "a", 1 } for rille.tuple("a", 1).
local function same_as_tuple(wanted, tuple, depth)
  for key in next, wanted do
    if math.type(key) ~= "integer" or key < 1 or key > tuple.n then return false end
  end
  for i = 1, tuple.n do
    if not same(wanted[i], tuple[i], depth + 1) then return false end
  end
  return true
end

local function same_tuples(a, b, depth)
  if a.n ~= b.n then return false end
  for i = 1, a.n do
    if not same(a[i], b[i], depth + 1) then return false end
  end
  return true
end

function same(wanted, got, depth)
  if rawequal(wanted, got) or (wanted ~= wanted and got ~= got) then return true end
  if type(wanted) ~= "table" or type(got) ~= "table" or depth > MAX_DEPTH then return wanted == got end
  if core.isTuple(got) then
    return (core.isTuple(wanted) and same_tuples or same_as_tuple)(wanted, got, depth)
  end
  return not core.isTuple(wanted) and same_fields(wanted, got, depth)
end

--- Is the record that came the one that was wanted? Tables by content, numbers as Lua compares them.
---@param wanted any
---@param got any
---@return boolean
function difference.same(wanted, got) return same(wanted, got, 0) end

-- Equal records have equal marks; nearly always only they.
local function mark(value)
  if type(value) == "table" then return "table:" .. (type(value[1]) == "table" and "" or mark(value[1])) end
  if value ~= value then return "nan" end
  if math.type(value) == "float" then value = math.tointeger(value) or value end
  return type(value) .. ":" .. tostring(value)
end

-- lists ---------------------------------------------------------------------------------------------------------------

---@class rille.Change
---@field sign "-"|"+"  missing, unexpected
---@field record any
---@field at integer    position in the list it is in

-- Positions of what came, by mark.
local function by_mark(got)
  local places = {}
  for i, record in ipairs(got) do
    local key = mark(record)
    places[key] = places[key] or {}
    table.insert(places[key], i)
  end
  return places
end

local function take(places, got, record)
  for k, i in ipairs(places) do
    if difference.same(record, got[i]) then
      table.remove(places, k)
      return i
    end
  end
end

--- Compares without regard to order.
---@param wanted any[]
---@param got any[]
---@return rille.Change[] none: they are the same
function difference.bag(wanted, got)
  local places, taken, changes = by_mark(got), {}, {}
  for i, record in ipairs(wanted) do
    local found = take(places[mark(record)] or {}, got, record)
    if found then taken[found] = true else changes[#changes + 1] = { sign = "-", record = record, at = i } end
  end
  for i, record in ipairs(got) do
    if not taken[i] then changes[#changes + 1] = { sign = "+", record = record, at = i } end
  end
  return changes
end

-- lengths[i][k]: how many records wanted from i on and got from k on have in common, in order.
local function common_lengths(wanted, got, first, last_wanted, last_got)
  local lengths = { [last_wanted + 1] = setmetatable({}, { __index = function() return 0 end }) }
  for i = last_wanted, first, -1 do
    local row, below = { [last_got + 1] = 0 }, lengths[i + 1]
    for k = last_got, first, -1 do
      row[k] = difference.same(wanted[i], got[k]) and below[k + 1] + 1 or math.max(below[k], row[k + 1])
    end
    lengths[i] = row
  end
  return lengths
end

local function align(wanted, got, first, last_wanted, last_got)
  local lengths = common_lengths(wanted, got, first, last_wanted, last_got)
  local changes, i, k = {}, first, first
  while i <= last_wanted or k <= last_got do
    if i <= last_wanted and k <= last_got and difference.same(wanted[i], got[k]) then
      i, k = i + 1, k + 1
    elseif k > last_got or (i <= last_wanted and lengths[i + 1][k] >= lengths[i][k + 1]) then
      changes[#changes + 1] = { sign = "-", record = wanted[i], at = i }
      i = i + 1
    else
      changes[#changes + 1] = { sign = "+", record = got[k], at = k }
      k = k + 1
    end
  end
  return changes
end

--- Compares in order.
---@param wanted any[]
---@param got any[]
---@return rille.Change[] none: they are the same
function difference.list(wanted, got)
  local first, last_wanted, last_got = 1, #wanted, #got
  while first <= last_wanted and first <= last_got and difference.same(wanted[first], got[first]) do
    first = first + 1
  end
  while last_wanted >= first and last_got >= first and difference.same(wanted[last_wanted], got[last_got]) do
    last_wanted, last_got = last_wanted - 1, last_got - 1
  end
  if (last_wanted - first + 1) * (last_got - first + 1) <= MAX_CELLS then
    return align(wanted, got, first, last_wanted, last_got)
  end
  local changes = {}
  for i = first, last_wanted do changes[#changes + 1] = { sign = "-", record = wanted[i], at = i } end
  for k = first, last_got do changes[#changes + 1] = { sign = "+", record = got[k], at = k } end
  return changes
end

return difference
