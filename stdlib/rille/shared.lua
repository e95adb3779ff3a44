--- Broadcasts and accumulators: what closures share with the driver (lua/shared.h). The primitives make the objects;
--- here is what the driver knows of its accumulators, and the ready-made ones.
local check = require "rille.check"
local core = require "rille.core"
local methods_of = require "rille.method"
local site = require "rille.site"

local shared = {}

---@class rille.AccumulatorState
---@field owner rille.Context
---@field add function
---@field merge function
---@field value any
---@field touched boolean?  something was added since it began
---@field show (fun(value: any): any)? what :value() gives
---@field kind "long"|"double"|"collection"|nil
---@field site string?

---@type table<rille.Accumulator, rille.AccumulatorState>
local states = setmetatable({}, { __mode = "k" })
---@type table<integer, rille.Accumulator>
local by_id = setmetatable({}, { __mode = "v" })

-- updates from tasks --------------------------------------------------------------------------------------------------

local function title(accumulator)
  local name = accumulator:name()
  return name and ("accumulator '%s'"):format(name) or ("accumulator %d"):format(accumulator:id())
end

local function put(accumulator, state, result)
  if result == nil then
    error(site.located(state.site, ("the function given to %s returned nil; return the new value")
      :format(title(accumulator))), 0)
  end
  state.value, state.touched = result, true
end

---@type table<integer, { count: integer, samples: string[], logged: boolean? }> by batch time
local bad_batches = {}
local watching = false

local function log_bad(where, bad)
  core.log("warn", ("%s%d bad record%s left out; %s"):format(where, bad.count, bad.count == 1 and " was" or "s were",
    table.concat(bad.samples, " | ")))
end

-- (batch time or nil, count, samples...) of a task; `job` is for those of no batch, or of one that nobody watches.
local function note_bad(report, job)
  local time, bad = report[1], job
  if time and watching then
    bad = bad_batches[time] or { count = 0, samples = {} }
    bad_batches[time] = bad
  end
  bad.count = bad.count + report[2]
  for i = 3, math.min(report.n, 5 - #bad.samples) do bad.samples[#bad.samples + 1] = report[i] end
end

--- A streaming context starts: is end_batch called for its batches?
---@param is_watched boolean
function shared.watch(is_watched) watching, bad_batches = is_watched, {} end

--- Bad records of a batch so far.
---@param time integer
---@return integer
function shared.bad_records(time)
  local bad = bad_batches[time]
  return bad and bad.count or 0
end

--- A batch has ended: its line goes to the log. Its count can be asked for until the next one ends.
---@param time integer
function shared.end_batch(time)
  for earlier, bad in pairs(bad_batches) do
    if bad.logged then bad_batches[earlier] = nil end
  end
  local bad = bad_batches[time]
  if not bad then return end
  log_bad(("batch %d ms: "):format(time), bad)
  bad.logged = true
end

local function merge(id, partial, job)
  if id == 0 then return note_bad(partial, job) end
  local accumulator = by_id[id]
  local state = states[accumulator]
  if state then put(accumulator, state, state.merge(state.value, partial)) end
end

-- One that fails does not keep the others from being counted.
local function on_updates(entries)
  local failed, why, job = false, nil, { count = 0, samples = {} }
  for i = 1, #entries, 2 do
    local ok, message = pcall(merge, entries[i], entries[i + 1], job)
    if not ok and not failed then failed, why = true, message end
  end
  if job.count > 0 then log_bad("", job) end
  if failed then error(why, 0) end
end

core.onUpdates(on_updates)

-- accumulators --------------------------------------------------------------------------------------------------------

local Accumulator = core.Accumulator

local function state_of(name, self)
  local state = states[self]
  if not state then
    check.fail(("'%s' was called on a %s where an accumulator is needed; write it with a colon, as in acc:%s(...)")
      :format(name, check.describe(self), name))
  end
  return state
end

-- The state with all that tasks reported so far.
local function current(name, self)
  local state = state_of(name, self)
  state.owner.handle:deliverUpdates()
  return state
end

function Accumulator:add(value)
  local state = state_of("add", self)
  put(self, state, (state.add(state.value, value))) -- its errors name the line two levels up
end

function Accumulator:value()
  local state = current("value", self)
  if state.show then return state.show(state.value) end
  return state.value
end

function Accumulator:reset()
  local state = current("reset", self)
  state.value, state.touched = core.zero(self), nil
end

function Accumulator:isZero() return not current("isZero", self).touched end

for name, result in pairs {
  sum = function(counted) return counted[1] end,
  count = function(counted) return counted[2] end,
  avg = function(counted) return counted[1] / counted[2] end, -- NaN when there is nothing
} do
  Accumulator[name] = function(self)
    local state = current(name, self)
    if state.kind ~= "long" and state.kind ~= "double" then
      check.fail(("%s: only long and double accumulators have it"):format(name))
    end
    return result(state.value)
  end
end

---@class rille.KeptAccumulators of a context
---@field made integer            how many there were
---@field handles table<string|integer, rille.Accumulator> by name, else number; it keeps none alive
---@field started boolean?        a durable job of it was started
---@field values table<string|integer, table> saved by an earlier process, of those that are not made yet

---@return rille.KeptAccumulators
function shared.kept() return { made = 0, handles = setmetatable({}, { __mode = "v" }), values = {} } end

local function kind_of(state) return state.kind or "custom" end

-- Gives an accumulator the value that an earlier process left; one of another kind would take it for something else.
local function restore(handle, saved)
  if not saved then return end
  local state = states[handle]
  local was, is = saved.kind, kind_of(state)
  if was and was ~= is then
    core.log("warn", ("%s: %s was a %s accumulator in the job's checkpoint, and is a %s accumulator now: it begins " ..
      "anew"):format(state.site or "?", title(handle), was, is))
    return
  end
  state.value, state.touched = saved.value, saved.touched
end

-- All values, as bytes. What an earlier process left of accumulators that are not made yet is kept on.
local function save(kept)
  local all = {}
  for key, saved in pairs(kept.values) do all[key] = saved end
  for key, handle in pairs(kept.handles) do
    local state = states[handle]
    if state then all[key] = { value = state.value, touched = state.touched, kind = kind_of(state) } end
  end
  return core.encodeValue(all)
end

local function restore_all(kept, bytes)
  for key, saved in pairs(core.decodeValue(bytes)) do
    local handle = kept.handles[key]
    if handle then restore(handle, saved) else kept.values[key] = saved end
  end
end

--- Accumulators of a durable job are in its checkpoint: their values when a batch completes.
---@param ssc rille.StreamingContext
function shared.keep(ssc)
  local kept = ssc.sc.kept
  kept.started = true
  ssc.handle:keep(function(time, bytes)
    if time then return save(kept) end
    restore_all(kept, bytes)
  end)
end

-- An accumulator is known from one process to the next by its name, else by its number in its context: of those without
-- a name only what is made before the start, for the order of others is not the same every time.
local function key_of(handle, kept) return handle:name() or (not kept.started and kept.made) or nil end

local function make(owner, zero, add, how)
  local where = site.here()
  local kept = owner.kept
  kept.made = kept.made + 1
  local handle = site.call(core.accumulator,
    { zero = zero, add = add, fromZero = how.merge ~= nil, name = how.name, number = kept.made, site = where })
  local key = key_of(handle, kept)
  states[handle] = { owner = owner, add = add, merge = how.merge or add, value = core.zero(handle), site = where,
    show = how.show, kind = how.kind }
  by_id[handle:id()] = handle
  if key then
    kept.handles[key] = handle
    restore(handle, kept.values[key])
    kept.values[key] = nil
  end
  return handle
end

-- These travel to workers: they must not have upvalues. Errors name the line of the job that adds.

local function add_long(counted, x)
  if math.type(x) ~= "integer" then
    error(("a long accumulator adds whole numbers, got %s"):format(type(x) == "number" and x or type(x)), 3)
  end
  counted[1], counted[2] = counted[1] + x, counted[2] + 1
  return counted
end

local function add_double(counted, x)
  if type(x) ~= "number" then error("a double accumulator adds numbers, got " .. type(x), 3) end
  counted[1], counted[2] = counted[1] + x, counted[2] + 1
  return counted
end

local function append(list, x)
  if x == nil then error("a collection accumulator adds values, got nil", 3) end
  list[#list + 1] = x
  return list
end

local function merge_counted(a, b)
  a[1], a[2] = a[1] + b[1], a[2] + b[2]
  return a
end

local function merge_lists(a, b) return table.move(b, 1, #b, #a + 1, a) end

local function sum_of(counted) return counted[1] end
local function copy_of(list) return table.move(list, 1, #list, 1, {}) end

-- methods of contexts -------------------------------------------------------------------------------------------------

---@param Context table the class
function shared.install(Context)
  local method = methods_of(Context)

  method("broadcast", { "any" }, function(_, value)
    if value == nil then check.bad(1, "broadcast", "value", value) end
    return (site.call(core.broadcast, value, site.here()))
  end)

  method("accumulator", { "any", "function", "function?" }, function(self, zero, add, merge_partials)
    if zero == nil then check.bad(1, "accumulator", "value", zero) end
    return (make(self, zero, add, { merge = merge_partials }))
  end)

  method("longAccumulator", { "string?" }, function(self, name)
    return (make(self, { 0, 0 }, add_long, { merge = merge_counted, show = sum_of, kind = "long", name = name }))
  end)

  method("doubleAccumulator", { "string?" }, function(self, name)
    return (make(self, { 0.0, 0 }, add_double, { merge = merge_counted, show = sum_of, kind = "double", name = name }))
  end)

  method("collectionAccumulator", { "string?" }, function(self, name)
    return (make(self, {}, append, { merge = merge_lists, show = copy_of, kind = "collection", name = name }))
  end)
end

return shared
