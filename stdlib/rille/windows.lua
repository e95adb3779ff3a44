--- Windows (section 7 of the reference): what is made of the batches of the last `w` seconds, every `slide` seconds.
---
--- A reduction is made per batch and kept. With an inverse function, or where the reducer is a known one, the window's
--- value is state, brought on by what enters and what leaves; else the batches are reduced once more, which exchanges
--- nothing, as they are partitioned alike. For the job it is one operator: all parts have its label.
local check = require "rille.check"
local core = require "rille.core"
local methods_of = require "rille.method"
local reducers = require "rille.reducers"
local site = require "rille.site"
local steps = require "rille.steps"

local windows = {}

-- Both durations in milliseconds, as jobs give them: the slide is the stream's own unless there is one.
local function durations(self, name, length, slide)
  slide = slide or self.slide
  site.call(core.checkWindow, name, self.slide, length, slide)
  return length, slide
end

local function derived(self, name, plan, slide)
  local result = self:derive(name, { self }, plan, false, slide) -- no tail call: see site.here
  for _, part in ipairs(plan) do result.has_state = result.has_state or part.stateful ~= nil end
  return result
end

-- What a reduction over a window was called with.
---@class rille.WindowReduction
---@field f function
---@field inverse function?   then it is kept up by what enters and leaves the window
---@field filter function?    of pairs that are kept; behind an inverse function only
---@field reducer rille.Reducer? f, if it is known: kept up likewise

-- `filtered`: a filter may come last.
local function reduction(name, takes, filtered, f, ...)
  local reducer = reducers.known(f)
  if type(f) == "string" and not reducer then
    check.bad(1, name, "function, or 'sum', 'count', 'min' or 'max'", f)
  end
  if type(f) ~= "string" then check.argument(1, name, "function", f) end
  local given = { f = f, reducer = reducer, counts = f == "count" }
  if type((...)) ~= "function" then
    table.move({ check.arguments(name, takes, 2, ...) }, 1, #takes, 1, given)
  else
    given.inverse = (...)
    table.move({ check.arguments(name, takes, 3, select(2, ...)) }, 1, #takes, 1, given)
    given.filter = filtered and check.argument(3 + #takes, name, "function?", (select(2 + #takes, ...))) or nil
  end
  if type(f) == "string" then given.f = reducers.functions[f] end
  return given
end

-- What the state of a window of a known reducer is.
local function form_of(reducer, counts)
  if reducer.kind == "sum" then return counts and "count window" or "sum window" end
  return (reducer.swapped or false) ~= (reducer.negated or false) and "max window" or "min window"
end

-- The parts that give (key, reduced value) of the window, over one record a key and batch.
local function reduced(given, length, slide, n)
  local settings = { window = length, slide = slide }
  if given.inverse then
    settings.form = "inverse window"
    local step = steps.step("inverseWindow", given.f, given.inverse, given.filter)
    return steps.stateful(step, n, settings), steps.snapshots()
  elseif given.reducer then
    settings.passing = true -- its panes are the window's batches
    settings.form = form_of(given.reducer, given.counts)
    return steps.stateful(given.reducer, n, settings), steps.snapshots(true)
  end
  return steps.window(length, slide), steps.reduce_by_key(given.f, n)
end

-- A plan of parts, some of which are several.
local function plan_of(...)
  local plan = {}
  for _, parts in ipairs { ... } do table.move(parts, 1, #parts, #plan + 1, plan) end
  return plan
end

-- These travel to workers: they must not have upvalues.
local function add(a, b) return a + b end
local function take_off(a, b) return a - b end
local function is_not_zero(_, n) return n ~= 0 end

local COUNTING = { f = add, inverse = take_off }

--- Gives DStream the methods.
---@param class table
function windows.install(class)
  local method = methods_of(class)

  method("window", { "duration", "duration?" }, function(self, length, slide)
    length, slide = durations(self, "window", length, slide)
    return (derived(self, "window", { steps.window(length, slide) }, slide))
  end)

  -- Keys are brought together batch by batch, their values put into lists once, in the window.
  method("groupByKeyAndWindow", { "duration", "duration?", "partitions?" }, function(self, length, slide, n)
    length, slide = durations(self, "groupByKeyAndWindow", length, slide)
    n = n or self:defaultPartitions()
    local plan = { steps.by_key(nil, n), steps.window(length, slide), steps.by_key(steps.step "group", n) }
    return (derived(self, "groupByKeyAndWindow", plan, slide))
  end)

  function class:reduceByKeyAndWindow(f, ...)
    check.self(class, "reduceByKeyAndWindow", self)
    local given = reduction("reduceByKeyAndWindow", { "duration", "duration?", "partitions?" }, true, f, ...)
    local length, slide = durations(self, "reduceByKeyAndWindow", given[1], given[2])
    local n = given[3] or self:defaultPartitions()
    local plan = plan_of(given.counts and { steps.key_and_one() } or {}, { steps.reduce_by_key(given.f, n) },
      { reduced(given, length, slide, n) })
    return (derived(self, "reduceByKeyAndWindow", plan, slide))
  end

  function class:reduceByWindow(f, ...)
    check.self(class, "reduceByWindow", self)
    local given = reduction("reduceByWindow", { "duration", "duration?" }, false, f, ...)
    local length, slide = durations(self, "reduceByWindow", given[1], given[2])
    local plan = plan_of({ steps.under_one_key() }, given.counts and { steps.key_and_one() } or {},
      { steps.reduce_by_key(given.f, 1) }, { reduced(given, length, slide, 1) }, { steps.narrow "unpack" })
    return (derived(self, "reduceByWindow", plan, slide))
  end

  method("countByWindow", { "duration", "duration?" }, function(self, length, slide)
    length, slide = durations(self, "countByWindow", length, slide)
    local plan = plan_of({ steps.under_one_key(), steps.key_and_one(), steps.reduce_by_key(add, 1) },
      { reduced(COUNTING, length, slide, 1) }, { steps.to_value() })
    return (derived(self, "countByWindow", plan, slide))
  end)

  method("countByValueAndWindow", { "duration", "duration?", "partitions?" }, function(self, length, slide, n)
    length, slide = durations(self, "countByValueAndWindow", length, slide)
    n = n or self:defaultPartitions()
    local record, with_one = steps.record_and_one()
    local counting = { f = add, inverse = take_off, filter = is_not_zero }
    local plan = plan_of({ record, with_one, steps.reduce_by_key(add, n) }, { reduced(counting, length, slide, n) })
    return (derived(self, "countByValueAndWindow", plan, slide))
  end)
end

return windows
