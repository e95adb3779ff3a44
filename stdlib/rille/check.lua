--- Arguments as jobs give them: checked and brought into the form the primitives take. Errors name the job's line.
local core = require "rille.core"
local site = require "rille.site"

local check = {}

local MAX_PARTITIONS = 100000
local MAX_SECONDS = 2 ^ 43 -- far beyond any date; its milliseconds are exact in a float

--- Raises an error at the job's line.
---@param message string
---@param where string? used where no frame of the job is on the stack
function check.fail(message, where)
  error(site.located(site.here() or where, message), 0)
end

---@param value any
---@return string what it is, for messages
function check.describe(value)
  if core.isTuple(value) then return "a tuple" end
  local meta = getmetatable(value)
  return type(meta) == "table" and type(meta.__name) == "string" and meta.__name or type(value)
end

---@param position integer
---@param operation string
---@param expected string
---@param value any
function check.bad(position, operation, expected, value)
  local got = type(value) == "number" and tostring(value) or value == "" and "an empty one"
    or type(value) == "string" and value:find("\0", 1, true) and "one with a NUL byte" or check.describe(value)
  check.fail(("bad argument #%d to '%s' (%s expected, got %s)"):format(position, operation, expected, got))
end

local function integer_from(lowest, highest)
  return function(value)
    local n = type(value) == "number" and math.tointeger(value)
    if n and n >= lowest and n <= highest then return true, n end
  end
end

local function of_type(name)
  return function(value) return type(value) == name, value end
end

local function number_from(lowest, highest)
  return function(value) return type(value) == "number" and value >= lowest and value <= highest, value end
end

-- A command as a list of its words: a text is cut at white space.
local function words_of(value)
  local words = {}
  if type(value) == "string" then
    for word in value:gmatch "%S+" do words[#words + 1] = word end
  elseif type(value) == "table" and getmetatable(value) == nil then
    for i, word in ipairs(value) do
      if type(word) ~= "string" then return false end
      words[i] = word
    end
  end
  return #words > 0 and not table.concat(words):find("\0", 1, true), words
end

local LEVELS <const> = {
  "NONE", "MEMORY_ONLY", "MEMORY_ONLY_2", "MEMORY_ONLY_SER", "MEMORY_ONLY_SER_2", "MEMORY_AND_DISK",
  "MEMORY_AND_DISK_2", "MEMORY_AND_DISK_SER", "MEMORY_AND_DISK_SER_2", "DISK_ONLY", "DISK_ONLY_2", "DISK_ONLY_3",
  "OFF_HEAP",
}

local levels = {}
for _, name in ipairs(LEVELS) do levels[name] = true end

local function is_list(value) return type(value) == "table" and getmetatable(value) == nil, value end

-- Records under keys that are no array's would be left out without a word.
local function is_records(value) return is_list(value) and (#value > 0 or next(value) == nil), value end

-- What an argument can be: what messages call it, and a function that gives true and the value to use, or nothing.
local kinds = {
  ["function"] = { "function", of_type "function" },
  boolean = { "boolean", of_type "boolean" },
  string = { "string", of_type "string" },
  text = { "non-empty string", function(value) -- the system would take what is before a NUL
    return type(value) == "string" and value ~= "" and not value:find("\0", 1, true), value
  end },
  plain = { "string without NUL bytes", function(value)
    return type(value) == "string" and not value:find("\0", 1, true), value
  end },
  table = { "table", of_type "table" },
  list = { "array", is_list },
  records = { "array", is_records },
  any = { "value", function(value) return true, value end },
  choice = { "table or function", function(value)
    return type(value) == "table" or type(value) == "function", value
  end },
  handler = { "function or 'skip'", function(value) return type(value) == "function" or value == "skip", value end },
  integer = { "whole number from -2^62 to 2^62", integer_from(-1 << 62, 1 << 62) },
  seed = { "seed (a whole number)", integer_from(math.mininteger, math.maxinteger) },
  fraction = { "fraction from 0 to 1", number_from(0, 1) },
  multiple = { "number from 0", number_from(0, 1e6) },
  number = { "number", number_from(-math.huge, math.huge) },
  command = { "command (words, or an array of them)", words_of },
  format = { "'text' or 'binary'", function(value) return value == "text" or value == "binary", value end },
  level = { "storage level (" .. table.concat(LEVELS, ", ") .. ")", function(value)
    return levels[value], value
  end },
  count = { "whole number from 0", integer_from(0, math.maxinteger) },
  positive = { "whole number from 1", integer_from(1, math.maxinteger) },
  partitions = { "number of partitions (a whole number from 1)", integer_from(1, MAX_PARTITIONS) },
  time = { "time (whole milliseconds since the epoch)", integer_from(math.mininteger, math.maxinteger) },
  port = { "port (1 to 65535)", integer_from(1, 65535) },
  seconds = { "number of seconds from 0, or a text such as '500ms' or '2m'", function(value)
    local s = core.seconds(value)
    if not (s and s >= 0 and s < MAX_SECONDS) then return end
    return true, math.floor(s * 1000 + 0.5)
  end },
  duration = { "duration (seconds above 0, or a text such as '500ms' or '2m', in whole milliseconds)", function(value)
    local s = core.seconds(value)
    if not (s and s > 0 and s < MAX_SECONDS) then return end
    local ms = math.floor(s * 1000 + 0.5)
    return ms > 0 and math.abs(s * 1000 - ms) < 1e-6 * ms, ms
  end },
}

--- One argument. `kind` is a name out of the table above; with "?" behind it nil is allowed.
---@param position integer
---@param operation string
---@param kind string
---@param value any
---@return any value as it is to be used: durations in milliseconds, numbers as integers
function check.argument(position, operation, kind, value)
  local name = kind:match("^%l+")
  if value == nil and name ~= kind then return nil end
  local rule = kinds[name]
  local fits, used = rule[2](value)
  if not fits then check.bad(position, operation, rule[1], value) end
  return used
end

--- Several arguments from position `first` on.
---@param operation string
---@param wanted string[] kinds
---@param first integer
---@return any ... the values to use, as many as are wanted
function check.arguments(operation, wanted, first, ...)
  local used = {}
  for i, kind in ipairs(wanted) do used[i] = check.argument(first + i - 1, operation, kind, (select(i, ...))) end
  return table.unpack(used, 1, #wanted)
end

--- A table of options by name.
---@param position integer
---@param operation string
---@param wanted table<string, string> kinds by name
---@param options any
---@return table used a table of its own; empty when there were no options
function check.options(position, operation, wanted, options)
  local used = {}
  for key, value in pairs(check.argument(position, operation, "table?", options) or {}) do
    local kind = wanted[key]
    if not kind then
      local known = {}
      for name in pairs(wanted) do known[#known + 1] = name end
      table.sort(known)
      check.fail(("bad argument #%d to '%s' (unknown option '%s'; there are: %s)")
        :format(position, operation, tostring(key), table.concat(known, ", ")))
    end
    local name = kind:match("^%l+")
    local fits, converted = kinds[name][2](value)
    if not fits then
      check.fail(("bad argument #%d to '%s' (option '%s': %s expected, got %s)")
        :format(position, operation, key, kinds[name][1], check.describe(value)))
    end
    used[key] = converted
  end
  return used
end

--- A storage level under which nothing is lost.
---@param position integer
---@param operation string
---@param level rille.StorageLevel?
---@return rille.StorageLevel?
function check.keeps(position, operation, level)
  if level ~= "NONE" then return level end
  check.fail(("bad argument #%d to '%s' (storage level NONE would lose what is received)"):format(position, operation))
end

--- The receiver of a method call.
---@param class table
---@param operation string
---@param value any
function check.self(class, operation, value)
  if getmetatable(value) ~= class then
    check.fail(("'%s' was called on a %s where a %s is needed; write it with a colon, as in x:%s(...)")
      :format(operation, check.describe(value), class.__name, operation))
  end
end

--- An array of RDDs or of DStreams, at least one, all of one context.
---@param position integer
---@param operation string
---@param class table
---@param list any
---@return table[] list
function check.members(position, operation, class, list)
  check.argument(position, operation, "list", list)
  if #list == 0 then
    check.fail(("bad argument #%d to '%s' (an array of at least one %s expected)")
      :format(position, operation, class.__name))
  end
  for i, member in ipairs(list) do
    if getmetatable(member) ~= class then
      check.fail(("bad argument #%d to '%s' (a %s expected in [%d], got %s)")
        :format(position, operation, class.__name, i, check.describe(member)))
    end
    if member.owner ~= list[1].owner then
      check.fail(("bad argument #%d to '%s' (the %ss are of different contexts)")
        :format(position, operation, class.__name))
    end
  end
  return list
end

return check
