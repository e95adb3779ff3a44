--- RDDs: immutable, partitioned, lazily computed data sets. Operations are in ops.lua; here is the rest: actions, and
--- what an RDD says of itself.
local class = require "rille.class"
local check = require "rille.check"
local core = require "rille.core"
local ops = require "rille.ops"
local site = require "rille.site"
local steps = require "rille.steps"

---@class rille.RDD
---@field package owner rille.Context
---@field package handle rille.core.Rdd
---@field package fns rille.core.Fn[]?     its own, until they are captured
---@field package parents rille.RDD[]?     likewise
---@field package time integer?            of the batch it belongs to
---@field package site string?             where it was made
local RDD = class "RDD"

--- An RDD over a handle.
---@param owner rille.Context
---@param handle rille.core.Rdd
---@param like { fns: rille.core.Fn[]?, parents: rille.RDD[]?, time: integer?, site: string? }?
---@return rille.RDD
function RDD.wrap(owner, handle, like)
  like = like or {}
  return setmetatable({ owner = owner, handle = handle, fns = like.fns, parents = like.parents, time = like.time,
    site = like.site }, RDD)
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
---@param parents rille.RDD[]
---@param plan rille.Part[]
---@return rille.RDD
function RDD:derive(name, parents, plan)
  local where = site.here(steps.given(plan)) or self.site
  local made = steps.make(plan, name, where)
  local handles, time = {}, nil
  for i, parent in ipairs(parents) do
    handles[i], time = parent.handle, time or parent.time
  end
  local handle = site.call(RDD.chain, self.owner, made, handles)
  return RDD.wrap(self.owner, handle, { fns = made.fns, parents = parents, time = time, site = where })
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
  for _, rdd in ipairs(open) do rdd.fns, rdd.parents = nil, nil end
end

-- actions -------------------------------------------------------------------------------------------------------------

local function what(rdd, name)
  local where = site.here() or rdd.site
  return where and name .. " at " .. where or name
end

local function run(rdd, name, kind, options)
  options = options or {}
  options.time, options.what = rdd.time, what(rdd, name)
  rdd:capture()
  local handle = rdd.owner.handle
  return site.call(handle.run, handle, rdd.handle, kind, options)
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
    local found = run(rdd, name, "collect", { partitions = partitions, limit = missing })
    table.move(found, 1, math.min(#found, missing), #records + 1, records)
    scanned, width = scanned + width, width * 4
  end
  return records
end

local function action(name, takes, body)
  RDD[name] = function(self, ...)
    check.self(RDD, name, self)
    local result = body(self, check.arguments(name, takes, 1, ...)) -- no tail call: see site.here
    return result
  end
end

action("collect", {}, function(self) return run(self, "collect", "collect") end)

action("count", {}, function(self) return run(self, "count", "count") end)

action("take", { "count" }, function(self, n) return RDD.head(self, "take", n) end)

action("first", {}, function(self)
  local record = RDD.head(self, "first", 1)[1]
  if record == nil then check.fail("first: the RDD is empty; isEmpty() or take(1) would tell", self.site) end
  return record
end)

action("isEmpty", {}, function(self) return #RDD.head(self, "isEmpty", 1) == 0 end)

action("top", { "count", "function?" }, function(self, n, by)
  local n_partitions = math.max(1, self.handle:partitions())
  local plan = by and { steps.narrow("keyed", by) } or { steps.record_twice() }
  plan[#plan + 1] = steps.in_order(false, n_partitions)
  plan[#plan + 1] = steps.narrow "unpack"
  return RDD.head(self:derive("top", { self }, plan), "top", n)
end)

action("reduce", { "function" }, function(self, f)
  local partial = run(self:derive("reduce", { self }, { steps.narrow("reduce", f) }), "reduce", "collect")
  if #partial == 0 then check.fail("reduce: the RDD is empty; isEmpty() would tell", self.site) end
  local result = partial[1]
  for i = 2, #partial do result = f(result, partial[i]) end
  return result
end)

action("countByValue", {}, function(self)
  local record, one = steps.record_and_one()
  local counted = self:derive("countByValue", { self }, { record, one, steps.sum_by_key() })
  local counts = {}
  for _, pair in ipairs(run(counted, "countByValue", "collect")) do counts[pair[1]] = pair[2] end
  return counts
end)

action("foreach", { "function" }, function(self, f)
  run(self:derive("foreach", { self }, { steps.narrow("foreach", f) }), "foreach", "run")
end)

action("foreachPartition", { "function" }, function(self, f)
  run(self:derive("foreachPartition", { self }, { steps.narrow("foreachPartition", f) }), "foreachPartition", "run")
end)

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

action("saveAsTextFile", { "text" }, function(self, dir) RDD.save(self, "saveAsTextFile", dir, "text") end)

action("saveAsObjectFile", { "text" }, function(self, dir) RDD.save(self, "saveAsObjectFile", dir, "objects") end)

-- the RDD itself ------------------------------------------------------------------------------------------------------

action("persist", {}, function(self)
  self.handle:persist()
  return self
end)

RDD.cache = RDD.persist

action("unpersist", {}, function(self)
  self.handle:unpersist()
  return self
end)

action("setName", { "text" }, function(self, name)
  self.handle:setName(name)
  return self
end)

action("name", {}, function(self) return self.handle:name() end)

action("id", {}, function(self) return self.handle:id() end)

action("getNumPartitions", {}, function(self) return self.handle:partitions() end)

action("context", {}, function(self) return self.owner end)

action("toDebugString", {}, function(self) return self.handle:debug() end)

return RDD
