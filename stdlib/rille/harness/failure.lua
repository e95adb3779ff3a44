--- An expectation that does not hold, as against an error.
local site = require "rille.site"

---@class rille.Failure
---@field where string?
---@field message string
local Failure = { __name = "Failure" }
Failure.__index = Failure
function Failure:__tostring() return self.where and self.where .. ": " .. self.message or self.message end

local failure = {}

---@param value any
---@return boolean
function failure.is(value) return getmetatable(value) == Failure end

--- Under busted it is a failed assertion.
---@param message string
function failure.raise(message)
  local raised = setmetatable({ where = site.here(), message = message }, Failure)
  local luassert = package.loaded.luassert
  if luassert then luassert(false, raised) end
  error(raised, 0)
end

return failure
