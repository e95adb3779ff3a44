--- Streams that remember by key: updateStateByKey, mapWithState and its snapshots (sections 8 and 9 of the reference).
local check = require "rille.check"
local methods_of = require "rille.method"
local RDD = require "rille.rdd"
local StateSpec = require "rille.state_spec"
local steps = require "rille.steps"

local stateful = {}

local WITH_TIME <const>, TIMED <const> = 1, 2 -- bits of a step's param (kinds.lua)

local function check_initial(self, operation, position, rdd)
  if rdd == nil then return end
  if not RDD.is(rdd) then check.bad(position, operation, "RDD", rdd) end
  if rdd.owner ~= self.owner.sc then
    check.fail(("bad argument #%d to '%s' (the initial RDD is of another context)"):format(position, operation))
  end
end

local function derived(self, name, plan)
  local result = self:derive(name, { self }, plan, false) -- no tail call: see site.here
  result.has_state = true
  return result
end

local UPDATE_OPTIONS = { partitions = "partitions", initial = "any", withTime = "boolean" }

--- Gives DStream the methods.
---@param class table
function stateful.install(class)
  local method = methods_of(class)

  method("updateStateByKey", { "function", "table?" }, function(self, f, options)
    options = check.options(2, "updateStateByKey", UPDATE_OPTIONS, options)
    check_initial(self, "updateStateByKey", 2, options.initial)
    local step = steps.step("updateState", f)
    step.param = options.withTime and WITH_TIME or 0
    local update = steps.stateful(step, options.partitions or self:defaultPartitions(), { initial = options.initial })
    return (derived(self, "updateStateByKey", { update, steps.snapshots() }))
  end)

  method("mapWithState", { "any" }, function(self, spec)
    if not StateSpec.is(spec) then check.bad(1, "mapWithState", "rille.StateSpec", spec) end
    check_initial(self, "mapWithState", 1, spec.initial)
    local timeout = spec.timeout_ms
    local step = steps.step("mapWithState", spec.f)
    step.param = timeout and TIMED | timeout << 2 or 0
    local settings = { timed = timeout ~= nil, always = true, initial = spec.initial }
    local result = derived(self, "mapWithState", { steps.stateful(step, spec.partitions or self:defaultPartitions(),
      settings) })
    result.maps_state = true
    return result
  end)

  method("stateSnapshots", {}, function(self)
    if not self.maps_state then
      check.fail(("stateSnapshots: it is for the result of mapWithState; %s is none"):format(self.operation))
    end
    return (self:derive("stateSnapshots", { self }, { steps.snapshots() }, false))
  end)
end

return stateful
