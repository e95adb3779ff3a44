--- What an operator remembers, as the driver reads it while the job runs.
local class = require "rille.class"
local check = require "rille.check"
local methods_of = require "rille.method"
local site = require "rille.site"

---@class rille.State
---@field package handle rille.core.State
local State = class "State"

local method = methods_of(State)

method("get", { "any" }, function(self, key)
  local value = site.call(self.handle.get, self.handle, key)
  return value
end)

method("count", {}, function(self) return self.handle:count() end)

method("iterate", { "string?" }, function(self, prefix)
  local iterator, state, first, closing = site.call(self.handle.iterate, self.handle, prefix)
  return iterator, state, first, closing -- no tail call: see site.here
end)

--- The state of the operator with this uid.
---@param ssc rille.StreamingContext
---@param uid string
---@return rille.State
function State.of(ssc, uid)
  if not ssc.handle:zeroTime() then check.fail "illegal state: there is no state before the context was started" end
  local handle = ssc.handle:stateOf(uid)
  if not handle then check.fail(("state: no operator with state has the uid '%s'%s"):format(uid, ssc:with_state())) end
  return setmetatable({ handle = handle }, State)
end

return State
