--- RDDs: immutable, partitioned, lazily computed data sets: how they are made and run, and what one says of itself.
--- Operations are in ops.lua, actions in actions.lua, numbers.lua and samples.lua.
local class = require "rille.class"
local check = require "rille.check"
local core = require "rille.core"
local methods_of = require "rille.method"
local ops = require "rille.ops"
local site = require "rille.site"
local steps = require "rille.steps"

---@class rille.RDD
---@field package owner rille.Context
---@field package handle rille.core.Rdd
---@field package fns rille.core.Fn[]?     its own, until they are captured
---@field package parents rille.RDD[]?     likewise
---@field package recipe { name: string, plan: rille.Part[], handles: rille.core.Rdd[] }? until it is used
---@field package time integer?            of the batch it belongs to
---@field package draws { n: integer, site: string? } seeds drawn from it and its like, the RDD the batch began with
---@field package site string?             where it was made
local RDD = class "RDD"

--- An RDD over a handle.
---@param owner rille.Context
---@param handle rille.core.Rdd
---@param like { fns: rille.core.Fn[]?, parents: rille.RDD[]?, time: integer?, draws: table?, site: string? }?
---@return rille.RDD
function RDD.wrap(owner, handle, like)
  like = like or {}
  return setmetatable({ owner = owner, handle = handle, fns = like.fns, parents = like.parents, time = like.time,
    draws = like.draws or { n = 0, site = like.site }, site = like.site }, RDD)
end

---@param value any
---@return boolean
function RDD.is(value) return getmetatable(value) == RDD end

function RDD:__tostring()
  return ("RDD[%d] %s"):format(self.handle:id(), self.handle:name() or self.handle:label())
end

-- making new ones -----------------------------------------------------------------------------------------------------

--- Puts primitive operations behind one another over RDDs.
---@param owner rille.Context
---@param made rille.Made
---@param handles rille.core.Rdd[]
---@return rille.core.Rdd
function RDD.chain(owner, made, handles)
  for _, part in ipairs(made.ops) do
    if part.with then handles = { handles[1], owner.handle:parallelize(part.with, 1) } end
    local results = {}
    for i = 1, part.each and #handles or 1 do
      results[i] = core.apply(part.op, part.each and { handles[i] } or handles, owner.default_partitions)
    end
    handles = results
  end
  return handles[1]
end

--- The result of an operation.
---@param name string
---@param parents rille.RDD[]? this one alone without it
---@param plan rille.Part[]
---@return rille.RDD
function RDD:derive(name, parents, plan)
  parents = parents or { self }
  if self.owner.diverts then plan = steps.guarded(plan) or plan end
  local where = site.here(steps.given(plan)) or self.site
  local made = steps.make(plan, name, where)
  local handles, time, draws = {}, nil, parents[1].draws
  for i, parent in ipairs(parents) do
    handles[i] = parent.handle
    if parent.time and not time then time, draws = parent.time, parent.draws end
  end
  local handle = site.call(RDD.chain, self.owner, made, handles)
  for _, parent in ipairs(parents) do parent.recipe = nil end
  local result = RDD.wrap(self.owner, handle, { fns = made.fns, parents = parents, time = time, draws = draws,
    site = where })
  result.recipe = { name = name, plan = plan, handles = handles }
  return result
end

--- Where the parents and the context are to settle it, nothing is said.
function RDD:defaultPartitions() return nil end

ops.install(RDD, "rdd")

--- Captures the functions of the whole lineage, as far as they are not yet.
function RDD:capture()
  local fns, open, seen = {}, { self }, { [self] = true }
  local next_open = 1
  while open[next_open] do
    local rdd = open[next_open]
    next_open = next_open + 1
    for _, fn in ipairs(rdd.fns or {}) do fns[#fns + 1] = fn end
    for _, parent in ipairs(rdd.parents or {}) do
      if not seen[parent] then open[#open + 1], seen[parent] = parent, true end
    end
  end
  if #fns > 0 then core.capture(fns) end
  -- The primitive lineage holds what is needed from now on.
  for _, rdd in ipairs(open) do rdd.fns, rdd.parents, rdd.recipe = nil, nil, nil end
end

-- running jobs --------------------------------------------------------------------------------------------------------

local function what(rdd, name)
  local where = site.here() or rdd.site
  return where and name .. " at " .. where or name
end

--- Runs a job (core.Context:run).
---@param name string of the action, for messages
---@param kind "collect"|"partitions"|"count"|"run"
---@param options { partitions: integer[]?, limit: integer? }?
---@return any
function RDD:run(name, kind, options)
  options = options or {}
  options.time, options.what = self.time, what(self, name)
  self:capture()
  local handle = self.owner.handle
  return site.call(handle.run, handle, self.handle, kind, options)
end

--- What a plan over this RDD gives.
---@param name string of the action, for messages
---@param plan rille.Part[]
---@param kind ("collect"|"partitions"|"run")?
---@return any[]
function RDD:evaluate(name, plan, kind)
  local result = self:derive(name, nil, plan):run(name, kind or "collect")
  return result
end

--- The first n records: one partition is looked at, then four times as many at each turn.
---@param rdd rille.RDD
---@param name string of the action, for messages
---@param n integer
---@return any[]
function RDD.head(rdd, name, n)
  local records, scanned, width, total = {}, 0, 1, rdd.handle:partitions()
  while #records < n and scanned < total do
    local partitions = {}
    for i = scanned, math.min(scanned + width, total) - 1 do partitions[#partitions + 1] = i end
    local missing = n - #records
    local found = rdd:run(name, "collect", { partitions = partitions, limit = missing })
    table.move(found, 1, math.min(#found, missing), #records + 1, records)
    scanned, width = scanned + width, width * 4
  end
  return records
end

--- The number of the first record of each partition, from 0, and that of all records: runs a job where there are several
--- partitions, or where the total is needed.
---@param name string of the operation, for messages
---@param total boolean? is it needed?
---@return integer[] starts
---@return integer? total
function RDD:starts(name, total)
  if self.handle:partitions() <= 1 and not total then return { 0 } end
  local starts, n = {}, 0
  for i, count in ipairs(self:evaluate(name, { steps.narrow "countRecords" })) do
    starts[i], n = n, n + count
  end
  return starts, n
end

--- Writes files; in a batch over what an earlier attempt of the batch left.
---@param rdd rille.RDD
---@param name string of the action, for messages
---@param dir string
---@param format "text"|"objects"
function RDD.save(rdd, name, dir, format)
  rdd:capture()
  local handle = rdd.owner.handle
  site.call(handle.save, handle, rdd.handle,
    { dir = dir, format = format, overwrite = rdd.time ~= nil, time = rdd.time, what = what(rdd, name) })
end

--- An error of an action that needs a record.
---@param name string of the action
function RDD:fail_empty(name)
  check.fail(name .. ": the RDD is empty; isEmpty() would tell", self.site)
end

-- the RDD itself ------------------------------------------------------------------------------------------------------

local method = methods_of(RDD)

method("persist", { "level?" }, function(self, level)
  site.call(self.handle.persist, self.handle, level)
  return self
end)

method("cache", {}, function(self)
  site.call(self.handle.persist, self.handle)
  return self
end)

method("unpersist", {}, function(self)
  self.handle:unpersist()
  return self
end)

method("getStorageLevel", {}, function(self) return self.handle:level() end)

method("setName", { "text" }, function(self, name)
  self.handle:setName(name)
  return self
end)

method("name", {}, function(self) return self.handle:name() end)

method("id", {}, function(self) return self.handle:id() end)

method("getNumPartitions", {}, function(self) return self.handle:partitions() end)

method("partitioner", {}, function(self)
  return self.handle:isHashed() and { kind = "hash", numPartitions = self.handle:partitions() } or nil
end)

method("dependencies", {}, function(self)
  local list = {}
  for i, parent in ipairs(self.handle:parents()) do
    local handle, exchanged = table.unpack(parent)
    local like = { time = self.time, draws = self.draws, site = self.site, fns = self.fns, parents = self.parents }
    list[i] = { kind = exchanged and "shuffle" or "narrow", rdd = RDD.wrap(self.owner, handle, like) }
  end
  return list
end)

-- It is made anew: nothing stands on it yet.
method("onError", { "handler" }, function(self, handler)
  local recipe = self.recipe
  if not recipe then check.fail "onError: it comes right behind the operation whose bad records it is for" end
  local plan = steps.guarded(recipe.plan, handler ~= "skip" and handler or nil)
  if not plan then
    check.fail(("onError: %s calls no function with single records, so it has no bad ones"):format(recipe.name))
  end
  local made = steps.make(plan, recipe.name, self.site)
  self.handle = site.call(RDD.chain, self.owner, made, recipe.handles)
  self.fns, recipe.plan = made.fns, plan
  return self
end)

method("context", {}, function(self) return self.owner end)

method("toDebugString", {}, function(self) return self.handle:debug() end)

return RDD
