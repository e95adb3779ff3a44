--- What an operator remembers, as the driver reads it while the job runs.
local class = require "rille.class"
local check = require "rille.check"
local methods_of = require "rille.method"
local site = require "rille.site"
local uids = require "rille.uid"

---@class rille.State
---@field package handle rille.core.State
---@field package panes boolean? a window of a known reducer: of what it keeps the first is the reduced value
local State = class "State"

local method = methods_of(State)

method("get", { "any" }, function(self, key)
  local value = site.call(self.handle.get, self.handle, key)
  if self.panes and value ~= nil then value = value[1] end
  return value
end)

method("count", {}, function(self)
  local n = site.call(self.handle.count, self.handle)
  return n
end)

method("iterate", { "string?" }, function(self, prefix)
  local iterator, state, first, closing = site.call(self.handle.iterate, self.handle, prefix)
  if not self.panes then return iterator, state, first, closing end
  local function reduced()
    local key, value = iterator()
    if key ~= nil then return key, value[1] end
  end
  return reduced, nil, nil, closing
end)

local function has_panes(nodes, name)
  for node, own in pairs(uids.all(nodes)) do
    if own == name then
      for _, part in ipairs(node.plan) do
        if part.kind == "snapshots" then return part.first end
      end
    end
  end
end

--- The state of the operator with this uid.
---@param ssc rille.StreamingContext
---@param uid string
---@return rille.State
function State.of(ssc, uid)
  if not ssc.handle:zeroTime() then check.fail "illegal state: there is no state before the context was started" end
  if ssc:getState() == "STOPPED" then check.fail "illegal state: the state is gone, the context was stopped" end
  local handle = ssc.handle:stateOf(uid)
  if not handle then check.fail(("state: no operator with state has the uid '%s'%s"):format(uid, ssc:with_state())) end
  return setmetatable({ handle = handle, panes = has_panes(ssc.nodes, uid) }, State)
end

return State
