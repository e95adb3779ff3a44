--- The parts that operations are made of: steps (functions over records) and how they are put behind one another.
---
--- A plan is an array of parts; a part becomes one primitive operation (core.op) over the one before it:
---   narrow    a step over each partition
---   shuffle   an exchange by key, round robin or order, with steps on both sides
---   union     all parents one after another
---   coalesce  neighbouring partitions joined
---   zip       the i-th records of all parents as one
---   cartesian every record of one parent with every one of the other
---   window    the batches of a stream's last window, one after another (streams only)
---   stateful  a shuffle by key whose receiving step reads and sets state (streams only)
---   snapshots the whole state of the stateful part before it
local core = require "rille.core"
local site = require "rille.site"

local steps = {}

---@class rille.Step
---@field kind string       of lua/luafn.c
---@field functions function[]
---@field param integer?
---@field guard { handler: function? }?  its bad records are diverted
---@field tagged boolean?                and kept with the others, to be told apart behind it

---@class rille.Part
---@field kind "narrow"|"shuffle"|"union"|"coalesce"|"zip"|"cartesian"|"window"|"stateful"|"snapshots"
---@field fn rille.Step?
---@field mapFn rille.Step?
---@field part "hash"|"roundRobin"|"range"|nil
---@field partitions integer?   nil: settled by the parents or the context
---@field descending boolean?
---@field keepsKeys boolean?
---@field uneven boolean?       zip: partitions may differ in length
---@field with any[]?           union: records of one more parent
---@field each boolean?         over each of the parents by itself
---@field tagged boolean?       its step is
---@field window { length: integer, slide: integer, named: table? }? window: ms; as made, with what it is called
---@field stateful { initial: rille.RDD?, timed: boolean?, always: boolean?, passing: boolean?, form: string?,
--- window: integer?, slide: integer? }? stateful: the state it begins with; whether its keys time out; whether there is
--- a version before the stream's first RDD; whether it holds nothing that its window does not; what it is, where it is
--- not the values of keys; over what enters and leaves a window, ms
---@field first boolean?        snapshots: states are tuples, of which the first field is meant
---@field panes rille.Reducer?  stateful, in place of fn: a window of a known reducer
---@field pipe { command: string[], env: string[]? }? narrow, in place of fn: a process
---@field native rille.core.Fn? narrow, in place of fn: one that there is

---@param kind string
---@param ... function
---@return rille.Step
function steps.step(kind, ...)
  return { kind = kind, functions = { ... } }
end

---@param kind string
---@param ... function
---@return rille.Part
function steps.narrow(kind, ...)
  return { kind = "narrow", fn = steps.step(kind, ...) }
end

--- A narrow part behind which keys are what they were.
---@param kind string
---@param ... function
---@return rille.Part
function steps.keyed_narrow(kind, ...)
  return { kind = "narrow", fn = steps.step(kind, ...), keepsKeys = true }
end

---@param receive rille.Step? on the receiving side
---@param partitions integer?
---@param send rille.Step? on the sending side
---@return rille.Part
function steps.by_key(receive, partitions, send)
  return { kind = "shuffle", part = "hash", fn = receive, mapFn = send, partitions = partitions }
end

--- (key, values of each side).
---@param sides integer number of parents
---@param partitions integer?
---@return rille.Part
function steps.cogroup(sides, partitions)
  return steps.by_key({ kind = "cogroup", functions = {}, param = sides }, partitions)
end

---@param partitions integer
---@return rille.Part
function steps.round_robin(partitions)
  return { kind = "shuffle", part = "roundRobin", partitions = partitions }
end

--- A part over each of the parents by itself.
---@param part rille.Part
---@return rille.Part
function steps.each(part)
  part.each = true
  return part
end

---@param ascending boolean
---@param partitions integer
---@return rille.Part
function steps.in_order(ascending, partitions)
  return { kind = "shuffle", part = "range", descending = not ascending, partitions = partitions }
end

---@param length integer ms
---@param slide integer ms
---@return rille.Part
function steps.window(length, slide)
  return { kind = "window", window = { length = length, slide = slide } }
end

--- State by key; `receive` reads and sets it.
---@param receive rille.Step|rille.Reducer
---@param partitions integer
---@param stateful table see rille.Part
---@return rille.Part
function steps.stateful(receive, partitions, stateful)
  local part = { kind = "stateful", part = "hash", partitions = partitions, stateful = stateful }
  part[receive.functions and "fn" or "panes"] = receive
  return part
end

---@param first boolean?
---@return rille.Part
function steps.snapshots(first) return { kind = "snapshots", first = first } end

-- These travel to workers: they must not have upvalues.
local function nothing() return 0 end
local function whole_and_one(_, record) return record, 1 end
local function whole_twice(_, record) return record, record end
local function key(k) return k end
local function value(_, v) return v end
local function number_keyed(n) return 0, n end
local function add(a, b) return a + b end
local function first(a) return a end
local function one() return 1 end

--- Folds the values of each key, on both sides of the exchange.
---@param f function
---@param partitions integer?
---@return rille.Part
function steps.reduce_by_key(f, partitions)
  return steps.by_key(steps.step("merge", f), partitions, steps.step("combine", f))
end

--- record -> (0, record), for what needs all records in one place.
---@return rille.Part
function steps.under_one_key() return steps.narrow("keyed", nothing) end

--- record -> (record, 1)
---@return rille.Part ...
function steps.record_and_one() return steps.under_one_key(), steps.narrow("map", whole_and_one) end

--- record -> (record, record)
---@return rille.Part ...
function steps.record_twice() return steps.under_one_key(), steps.narrow("map", whole_twice) end

--- (key, value) -> (key, 1)
---@return rille.Part
function steps.key_and_one() return steps.keyed_narrow("mapValues", one) end

--- Records pass, as long as they are (key, value); of longer ones the value becomes one tuple.
---@return rille.Part
function steps.as_pairs() return steps.keyed_narrow("mapValues", first) end

---@return rille.Part
function steps.to_key() return steps.narrow("map", key) end

---@return rille.Part
function steps.to_value() return steps.narrow("map", value) end

---@param partitions integer?
---@return rille.Part
function steps.sum_by_key(partitions) return steps.reduce_by_key(add, partitions) end

---@param partitions integer?
---@return rille.Part
function steps.first_by_key(partitions) return steps.reduce_by_key(first, partitions) end

--- Counts per partition -> one count, 0 without records.
---@param partitions integer?
---@return rille.Part ...
function steps.total(partitions)
  local zero = { kind = "union", with = { 0 } }
  return zero, steps.narrow("map", number_keyed), steps.sum_by_key(partitions), steps.to_value()
end

--- The first function of a plan that the job gave.
---@param plan rille.Part[]
---@return function?
function steps.given(plan)
  for _, part in ipairs(plan) do
    for _, made in ipairs { part.mapFn or false, part.fn or false } do
      local f = made and made.functions[#made.functions]
      if f and site.of_job(f) then return f end
    end
  end
end

-- bad records ---------------------------------------------------------------------------------------------------------

-- The kinds whose functions see single records, or whose keys may be bad (rille.guard).
local GUARDABLE = {}
for kind in ("map filter flatMap keyed foreach mapValues flatMapValues reduce combine merge aggregate group cogroup "
  .. "goodKeys"):gmatch "%a+" do
  GUARDABLE[kind] = true
end

local function copy_of(t, changes)
  local copy = {}
  for name, field in pairs(t) do copy[name] = field end
  for name, field in pairs(changes) do copy[name] = field end
  return copy
end

--- The plan with its bad records diverted; nil when no step of it has any.
---@param plan rille.Part[]
---@param handler function?
---@return rille.Part[]?
function steps.guarded(plan, handler)
  local guarded, any = {}, false
  local function with_guard(made)
    if not made or not GUARDABLE[made.kind] then return made end
    any = true
    return copy_of(made, { guard = { handler = handler } })
  end
  for i, part in ipairs(plan) do
    local send = part.mapFn or part.part == "hash" and steps.step "goodKeys" or nil
    guarded[i] = copy_of(part, { fn = with_guard(part.fn), mapFn = with_guard(send) })
  end
  return any and guarded or nil
end

local function passed(keeps_keys, each)
  return { kind = "narrow", fn = steps.step "passed", keepsKeys = keeps_keys, each = each }
end

--- A guarded plan that keeps its bad records: behind each part that has some (`tagged`) comes one that lets the good
--- ones pass.
---@param plan rille.Part[]
---@return rille.Part[]
function steps.tagged(plan)
  local tagged = {}
  local function put(part) tagged[#tagged + 1] = part end
  for _, part in ipairs(plan) do
    local send, receive = part.mapFn, part.fn
    if send and send.guard then
      put { kind = "narrow", fn = copy_of(send, { tagged = true }), keepsKeys = true, tagged = true, each = true }
      put(passed(true, true))
      part = copy_of(part, {})
      part.mapFn = nil
    end
    if receive and receive.guard then
      put(copy_of(part, { fn = copy_of(receive, { tagged = true }), tagged = true }))
      put(passed(part.keepsKeys or part.part == "hash"))
    else
      put(part)
    end
  end
  return tagged
end

--- Where tagged parts ended up: (message, record) of each bad one.
---@return rille.Part
function steps.diverted() return { kind = "narrow", fn = steps.step "diverted" } end

---@class rille.Made
---@field ops { op: rille.core.Op?, with: any[]?, each: boolean?, tagged: boolean?, window: table?, stateful: table?,
--- snapshots: table? }[]
---@field fns rille.core.Fn[] of all of them; to be captured

-- What needs no function of the job's.
local function native_fn(part, named)
  local pipe, panes = part.pipe, part.panes
  if part.native then return part.native end
  if pipe then return core.pipe { command = pipe.command, env = pipe.env, site = named.site } end
  if not panes then return nil end
  return core.panes(copy_of(panes, { label = (named.site and named.site .. ": " or "") .. named.name }))
end

-- One part as a primitive operation; its functions are added to fns. `named` is { name =, site =, uid = }.
local function make_op(part, named, fns)
  local function made(step)
    if not step then return nil end
    local guard, functions = step.guard, step.functions
    if guard and guard.handler then
      functions = table.move(functions, 1, #functions, 1, {})
      functions[#functions + 1] = guard.handler
    end
    local fn = core.fn { kind = step.kind, functions = functions, param = step.param, name = named.name,
      site = named.site, uid = named.uid, guarded = guard ~= nil, handled = functions ~= step.functions,
      tagged = step.tagged }
    fns[#fns + 1] = fn
    return fn
  end
  local map_fn = made(part.mapFn)
  return core.op { kind = part.stateful and "shuffle" or part.kind, name = named.name, site = named.site,
    uid = named.uid, fn = native_fn(part, named) or made(part.fn), mapFn = map_fn, part = part.part,
    partitions = part.partitions, descending = part.descending, uneven = part.uneven, keepsKeys = part.keepsKeys }
end

--- Makes the primitive operations of a plan. Raises for a function that cannot travel.
---@param plan rille.Part[]
---@param name string of the operation, for messages
---@param where string? site
---@param uid string? of the last one; those before it get it with their number
---@return rille.Made
function steps.make(plan, name, where, uid)
  local ops, fns = {}, {}
  for i, part in ipairs(plan) do
    local named = { name = name, site = where, uid = uid and (i == #plan and uid or uid .. ":" .. i) }
    if part.window then
      ops[i] = { window = copy_of(part.window, { named = named }) }
    elseif part.kind == "snapshots" then
      named.uid, named.first = uid, part.first
      ops[i] = { snapshots = named }
    elseif part.stateful then
      named.uid = uid -- what is remembered is the operation's
      ops[i] = { op = make_op(part, named, fns), stateful = copy_of(part.stateful, named) }
    else
      ops[i] = { op = make_op(part, named, fns), with = part.with, each = part.each, tagged = part.tagged }
    end
  end
  return { ops = ops, fns = fns }
end

return steps
