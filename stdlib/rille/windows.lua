--- Windows (section 7 of the reference): what is made of the batches of the last `w` seconds, every `slide` seconds.
---
--- A reduction is made per batch, kept, and reduced once more over the window. The batches are partitioned alike, so
--- the second reduction exchanges nothing. For the job it is one operator: all parts have its label.
local check = require "rille.check"
local core = require "rille.core"
local methods_of = require "rille.method"
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
  return (self:derive(name, { self }, plan, false, slide)) -- in parentheses, no tail call: see site.here
end

-- What a reduction over a window was called with behind f. A function comes first in the incremental form: the inverse
-- of f; then what `takes` says, and in the incremental form what `more` says.
local function reduction(name, takes, more, f, ...)
  check.argument(1, name, "function", f)
  local inverse = ...
  if type(inverse) ~= "function" then return nil, check.arguments(name, takes, 2, ...) end
  takes = table.move(more, 1, #more, #takes + 1, table.move(takes, 1, #takes, 1, {}))
  return inverse, check.arguments(name, takes, 3, select(2, ...))
end

-- The incremental form keeps its last window as state.
local function incremental(name)
  check.fail(("%s: the form with an inverse function is not supported yet; without it the result is the same")
    :format(name))
end

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

  function class:reduceByKeyAndWindow(...)
    local name <const> = "reduceByKeyAndWindow"
    check.self(class, name, self)
    local inverse, length, slide, n = reduction(name, { "duration", "duration?", "partitions?" }, { "function?" }, ...)
    length, slide = durations(self, name, length, slide)
    if inverse then incremental(name) end
    local f = ...
    n = n or self:defaultPartitions()
    local plan = { steps.reduce_by_key(f, n), steps.window(length, slide), steps.reduce_by_key(f, n) }
    return (derived(self, name, plan, slide))
  end

  function class:reduceByWindow(...)
    local name <const> = "reduceByWindow"
    check.self(class, name, self)
    local inverse, length, slide = reduction(name, { "duration", "duration?" }, {}, ...)
    length, slide = durations(self, name, length, slide)
    if inverse then incremental(name) end
    local f = ...
    local plan = {
      steps.under_one_key(), steps.reduce_by_key(f, 1), steps.window(length, slide), steps.reduce_by_key(f, 1),
      steps.narrow "unpack",
    }
    return (derived(self, name, plan, slide))
  end
end

return windows
