--- rille.StateSpec: what mapWithState does with its state (section 9.1 of the reference). An immutable description: each
--- of its methods gives a new one.
local class = require "rille.class"
local check = require "rille.check"
local methods_of = require "rille.method"
local RDD = require "rille.rdd"

---@class rille.StateSpec
---@field package f function
---@field package timeout_ms integer?
---@field package initial rille.RDD?
---@field package partitions integer?
local StateSpec = class "StateSpec"

setmetatable(StateSpec, { __call = function(_, f)
  check.argument(1, "StateSpec", "function", f)
  return setmetatable({ f = f }, StateSpec)
end })

---@param value any
---@return boolean
function StateSpec.is(value) return getmetatable(value) == StateSpec end

local method = methods_of(StateSpec)

local function with(self, field, value)
  local copy = setmetatable({}, StateSpec)
  for key, of_self in pairs(self) do copy[key] = of_self end
  copy[field] = value
  return copy
end

method("timeout", { "duration" }, function(self, ms) return with(self, "timeout_ms", ms) end)

method("numPartitions", { "partitions" }, function(self, n) return with(self, "partitions", n) end)

method("initialState", { "any" }, function(self, rdd)
  if not RDD.is(rdd) then check.bad(1, "initialState", "RDD", rdd) end
  return with(self, "initial", rdd)
end)

return StateSpec
