--- Streams that remember by key: updateStateByKey, mapWithState and its snapshots (sections 8 and 9 of the reference),
--- and reading what they remember.
local class = require "rille.class"
local check = require "rille.check"
local DStream = require "rille.dstream"
local core = require "rille.core"
local methods_of = require "rille.method"
local RDD = require "rille.rdd"
local site = require "rille.site"
local StateSpec = require "rille.state_spec"
local steps = require "rille.steps"

local WITH_TIME <const>, TIMED <const> = 1, 2 -- bits of a step's param (kinds.lua)

--- The primitive stream that brings an operator's state on from batch to batch, and the functions to be captured.
---@param node rille.DStream whose operator it is
---@param own string its uid
---@param step rille.Step with the job's functions
---@param partitions integer
---@param settings { timed: boolean?, always: boolean?, window: integer?, slide: integer?, initial: rille.RDD? }
---@param parent rille.core.DStream
---@return rille.core.DStream
---@return rille.core.Fn[]
local function stateful(node, own, step, partitions, settings, parent)
  local made = steps.make({ steps.by_key(step, partitions) }, node.operation, node.site, own)
  local initial = settings.initial
  if initial then initial:capture() end
  local handle = core.dstateful({ name = node.operation, site = node.site, uid = own, timed = settings.timed,
    always = settings.always, window = settings.window, slide = settings.slide },
    made.ops[1].op, initial and initial.handle, parent)
  return handle, made.fns
end

--- Likewise, as the stream of its whole state in every batch.
local function snapshots_of(node, own, handle)
  return core.dsnapshots({ name = node.operation, site = node.site, uid = own }, handle)
end

local method = methods_of(DStream)

local function check_initial(self, operation, position, rdd)
  if rdd == nil then return end
  if not RDD.is(rdd) then check.bad(position, operation, "RDD", rdd) end
  if rdd.owner ~= self.owner.sc then
    check.fail(("bad argument #%d to '%s' (the initial RDD is of another context)"):format(position, operation))
  end
end

method("updateStateByKey", { "function", "table?" }, function(self, f, options)
  options = check.options(2, "updateStateByKey",
    { partitions = "partitions", initial = "any", withTime = "boolean" }, options)
  check_initial(self, "updateStateByKey", 2, options.initial)
  self.owner:check_open()
  local step = steps.step("updateState", f)
  step.param = options.withTime and WITH_TIME or 0
  local where = site.here(f)
  local partitions = options.partitions or self:defaultPartitions()
  steps.make({ steps.by_key(step, partitions) }, "updateStateByKey", where) -- what cannot travel is refused here
  local function make(node, handles, own)
    local handle, fns = stateful(node, own, step, partitions, { initial = options.initial }, handles[1])
    return snapshots_of(node, own, handle), fns
  end
  return DStream.add(self.owner, { operation = "updateStateByKey", parents = { self }, site = where, make = make,
    has_state = true })
end)

method("mapWithState", { "any" }, function(self, spec)
  if not StateSpec.is(spec) then check.bad(1, "mapWithState", "rille.StateSpec", spec) end
  check_initial(self, "mapWithState", 1, spec.initial)
  self.owner:check_open()
  local timeout = spec.timeout_ms
  local step = steps.step("mapWithState", spec.f)
  step.param = timeout and TIMED | timeout << 2 or 0
  local where = site.here(spec.f)
  local partitions = spec.partitions or self:defaultPartitions()
  steps.make({ steps.by_key(step, partitions) }, "mapWithState", where)
  local function make(node, handles, own)
    return stateful(node, own, step, partitions,
      { timed = timeout ~= nil, always = true, initial = spec.initial }, handles[1])
  end
  return DStream.add(self.owner, { operation = "mapWithState", parents = { self }, site = where, make = make,
    has_state = true, maps_state = true })
end)

method("stateSnapshots", {}, function(self)
  if not self.maps_state then
    check.fail(("stateSnapshots: it is for the result of mapWithState; %s is none"):format(self.operation))
  end
  self.owner:check_open()
  local function make(node, handles, own) return snapshots_of(node, own, handles[1]), {} end
  return DStream.add(self.owner, { operation = "stateSnapshots", parents = { self }, site = site.here(), make = make })
end)

-- reading it ----------------------------------------------------------------------------------------------------------

---@class rille.State
---@field package handle rille.core.State
local State = class "State"

local state_method = methods_of(State)

state_method("get", { "any" }, function(self, key)
  local value = site.call(self.handle.get, self.handle, key)
  return value
end)

state_method("count", {}, function(self) return self.handle:count() end)

state_method("iterate", { "string?" }, function(self, prefix)
  local iterator = site.call(self.handle.iterate, self.handle, prefix)
  return iterator
end)

--- What the operator of this uid remembers.
---@param ssc rille.StreamingContext
---@param uid string
---@return rille.State
function State.of(ssc, uid)
  if not ssc.handle:zeroTime() then check.fail "illegal state: there is no state before the context was started" end
  local handle = ssc.handle:stateOf(uid)
  if not handle then check.fail(("state: no operator with state has the uid '%s'%s"):format(uid, ssc:with_state())) end
  return setmetatable({ handle = handle }, State)
end

return { State = State, stateful = stateful, snapshots_of = snapshots_of }
