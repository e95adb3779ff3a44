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
  local result = self:derive(name, { self }, plan, false, slide) -- no tail call: see site.here
  return result
end

-- Reductions with an inverse function keep a state of their own from window to window. ---------------------------------

-- What a reduction over a window was called with: with an inverse function behind f it is incremental.
local function reduction(name, takes, f, ...)
  check.argument(1, name, "function", f)
  if type((...)) ~= "function" then return { f = f, check.arguments(name, takes, 2, ...) } end
  local incremental = { f = f, inverse = (...) }
  table.move({ check.arguments(name, takes, 3, select(2, ...)) }, 1, #takes, 1, incremental)
  incremental.filter = check.argument(3 + #takes, name, "function?", (select(2 + #takes, ...)))
  return incremental
end

local function incremental_form(name)
  check.fail(("%s: the form with an inverse function is not supported yet; without it the result is the same")
    :format(name))
end

-- -----------------------------------------------------------------------------------------------------------------------

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
    local given = reduction("reduceByKeyAndWindow", { "duration", "duration?", "partitions?" }, f, ...)
    local length, slide = durations(self, "reduceByKeyAndWindow", given[1], given[2])
    if given.inverse then incremental_form "reduceByKeyAndWindow" end
    local n = given[3] or self:defaultPartitions()
    local plan = { steps.reduce_by_key(f, n), steps.window(length, slide), steps.reduce_by_key(f, n) }
    return (derived(self, "reduceByKeyAndWindow", plan, slide))
  end

  function class:reduceByWindow(f, ...)
    check.self(class, "reduceByWindow", self)
    local given = reduction("reduceByWindow", { "duration", "duration?" }, f, ...)
    local length, slide = durations(self, "reduceByWindow", given[1], given[2])
    if given.inverse then incremental_form "reduceByWindow" end
    local plan = {
      steps.under_one_key(), steps.reduce_by_key(f, 1), steps.window(length, slide), steps.reduce_by_key(f, 1),
      steps.narrow "unpack",
    }
    return (derived(self, "reduceByWindow", plan, slide))
  end
end

return windows
