--- Reducers that are known: what a function given to reduceByKeyAndWindow does, where that can be told. Then a window
--- needs no inverse function to be kept up (core/store/panes.h).
local reducers = {}

local max_of, min_of = math.max, math.min -- the standard ones, whatever becomes of the globals

-- For the names: what reduces the records of one batch. They travel to workers: they must not have upvalues.
reducers.functions = {
  sum = function(a, b) return a + b end,
  count = function(a, b) return a + b end,
  min = function(a, b) return math.min(a, b) end,
  max = function(a, b) return math.max(a, b) end,
}

---@class rille.Reducer
---@field kind "sum"|"pick"   a + b, or the one of both that stays
---@field orEqual boolean?    pick: a stays if a < b ...
---@field swapped boolean?    ... if b < a ...
---@field negated boolean?    ... if not

local sum = { kind = "sum" }
local max = { kind = "pick", negated = true }                -- math.max(a, b): a, unless a < b
local min = { kind = "pick", swapped = true, negated = true } -- math.min(a, b): a, unless b < a

local function pick(orEqual, swapped, negated)
  return { kind = "pick", orEqual = orEqual, swapped = swapped, negated = negated }
end

-- Bodies of function(a, b), and what they are.
local bodies = {
  ["return a + b"] = sum,
  ["return b + a"] = sum,
  ["return math.max(a, b)"] = max,
  ["return math.min(a, b)"] = min,
  ["return math.max(b, a)"] = pick(false, true, false),
  ["return math.min(b, a)"] = pick(false, false, false),
}

-- a stays if the comparison holds; with the results the other way round, if it does not.
for text, how in pairs { ["a < b"] = { false, false }, ["a <= b"] = { true, false }, ["b < a"] = { false, true },
  ["b <= a"] = { true, true }, ["a > b"] = { false, true }, ["a >= b"] = { true, true },
  ["b > a"] = { false, false }, ["b >= a"] = { true, false } } do
  for _, form in ipairs { "return %s and %s or %s", "if %s then return %s end return %s",
    "if %s then return %s else return %s end" } do
    bodies[form:format(text, "a", "b")] = pick(how[1], how[2], false)
    bodies[form:format(text, "b", "a")] = pick(how[1], how[2], true)
  end
end

local MAX_DEPTH <const> = 4 -- variables of a function around it that come before its globals

-- The code of function(a, b) with this body, as it would be compiled from these lines; without what names its source.
-- `before`: how many variables from outside the function around it uses before a global: the code tells.
local function compiled(body, first, last, before)
  local text = ("%sreturn function(a, b) %s%s end"):format(("\n"):rep(first - 1), body, ("\n"):rep(last - first))
  if before > 0 then
    local names = {}
    for i = 1, before do names[i] = "u" .. i end
    local outer = table.concat(names, ", ")
    text = ("local %s; return (function() local _ = %s; %s end)()"):format(outer, outer, text)
  end
  return string.dump(assert(load(text, "=reducer", "t"))(), true)
end

local MAX_LINE <const> = 100000 -- the text is as many lines long

-- Does the function see the standard math under that name?
local function sees_math(f)
  local name, globals = debug.getupvalue(f, 1)
  if name == nil then return true end
  local found = name == "_ENV" and type(globals) == "table" and globals.math
  return type(found) == "table" and found.max == max_of and found.min == min_of
end

--- What the reducer does; nil when it is not known.
---@param f function|string
---@return rille.Reducer?
function reducers.known(f)
  if f == "sum" or f == "count" then return sum end
  if f == "max" or f == max_of then return max end
  if f == "min" or f == min_of then return min end
  if type(f) ~= "function" then return nil end
  local info = debug.getinfo(f, "Su")
  if info.what ~= "Lua" or info.nparams ~= 2 or info.isvararg or info.nups > 1 then return nil end
  if info.lastlinedefined > MAX_LINE or not sees_math(f) then return nil end
  local ok, code = pcall(string.dump, f, true)
  if not ok then return nil end
  for body, reducer in pairs(bodies) do
    for before = 0, info.nups > 0 and body:find "math" and MAX_DEPTH or 0 do
      if compiled(body, info.linedefined, info.lastlinedefined, before) == code then return reducer end
    end
  end
end

return reducers
