--- The operations: one entry gives the method of RDDs, of DStreams, or of both.
---
--- An entry says what the call takes and what it is made of:
---   rdd, stream   which of the two have it; stream = "strict": a batch in which the parent has no RDD is an error
---   others        how many RDDs (DStreams) come first in the call, { least, most }
---   takes         kinds of the arguments behind them (check.lua)
---   plan(self, arguments...)  the parts (steps.lua); where there are others, their number with self comes before the
---                 arguments. self:defaultPartitions() is nil where the engine settles the number.
local check = require "rille.check"
local core = require "rille.core"
local folding = require "rille.folding"
local numbering = require "rille.numbering"
local random = require "rille.random"
local sorting = require "rille.sorting"
local steps = require "rille.steps"

local each, narrow, keyed_narrow, step = steps.each, steps.narrow, steps.keyed_narrow, steps.step

---@class rille.Operation
---@field rdd boolean?
---@field stream boolean|"strict"|nil
---@field others integer[]?
---@field takes string[]
---@field plan fun(self: table, ...: any): rille.Part[]

---@type table<string, rille.Operation>
local operations = {}

-- record by record ----------------------------------------------------------------------------------------------------

operations.map = { rdd = true, stream = true, takes = { "function" },
  plan = function(_, f) return { narrow("map", f) } end }

operations.flatMap = { rdd = true, stream = true, takes = { "function" },
  plan = function(_, f) return { narrow("flatMap", f) } end }

operations.filter = { rdd = true, stream = true, takes = { "function" },
  plan = function(_, f) return { keyed_narrow("filter", f) } end }

operations.mapValues = { rdd = true, stream = true, takes = { "function" },
  plan = function(_, f) return { keyed_narrow("mapValues", f) } end }

operations.flatMapValues = { rdd = true, stream = true, takes = { "function" },
  plan = function(_, f) return { keyed_narrow("flatMapValues", f) } end }

operations.keyBy = { rdd = true, takes = { "function" },
  plan = function(_, f) return { narrow("keyed", f) } end }

operations.keys = { rdd = true, takes = {},
  plan = function() return { steps.as_pairs(), steps.to_key() } end }

operations.values = { rdd = true, takes = {},
  plan = function() return { steps.as_pairs(), steps.to_value() } end }

operations.sample = { rdd = true, takes = { "boolean", "multiple", "seed?" },
  plan = function(self, replace, fraction, seed)
    seed = random.seed(seed, self)
    if not replace then
      check.argument(2, "sample", "fraction", fraction)
      return { keyed_narrow("mapPartitionsWithIndex", random.between(seed, 0, fraction)) }
    end
    local function same() return fraction end
    return { keyed_narrow "pack", keyed_narrow("mapPartitionsWithIndex", random.copies(seed, same, core.fields)) }
  end }

-- partition by partition ----------------------------------------------------------------------------------------------

operations.mapPartitions = { rdd = true, stream = true, takes = { "function", "boolean?" },
  plan = function(_, f, keeps) return { (keeps and keyed_narrow or narrow)("mapPartitions", f) } end }

operations.mapPartitionsWithIndex = { rdd = true, takes = { "function", "boolean?" },
  plan = function(_, f, keeps) return { (keeps and keyed_narrow or narrow)("mapPartitionsWithIndex", f) } end }

operations.glom = { rdd = true, stream = true, takes = {},
  plan = function() return { narrow "glom" } end }

-- The records as a process changes them. A text is a command with its arguments; there is no shell.
operations.pipe = { rdd = true, takes = { "command", "table?" },
  plan = function(_, command, options)
    local env = {}
    for name, value in pairs(check.options(2, "pipe", { env = "table" }, options).env or {}) do
      if type(name) ~= "string" or name == "" or name:find("[=%z]") or type(value) ~= "string" or value:find "%z" then
        check.fail "bad argument #2 to 'pipe' (option 'env': a table of strings by name expected)"
      end
      env[#env + 1] = name .. "=" .. value
    end
    return { { kind = "narrow", pipe = { command = command, env = env } } }
  end }

operations.repartition = { rdd = true, stream = "strict", takes = { "partitions" },
  plan = function(_, n) return { steps.round_robin(n) } end }

operations.coalesce = { rdd = true, takes = { "partitions", "boolean?" },
  plan = function(_, n, shuffle)
    return { shuffle and steps.round_robin(n) or { kind = "coalesce", partitions = n } }
  end }

-- all records ---------------------------------------------------------------------------------------------------------

operations.union = { rdd = true, stream = true, others = { 1, math.huge }, takes = {},
  plan = function() return { { kind = "union" } } end }

operations.distinct = { rdd = true, takes = { "partitions?" },
  plan = function(self, n)
    local record, one = steps.record_and_one()
    return { record, one, steps.first_by_key(n or self:getNumPartitions()), steps.to_key() }
  end }

-- Whole records as keys, with themselves as values.
local function by_record(sides, n)
  local zero, twice = steps.record_twice()
  return each(zero), each(twice), steps.cogroup(sides, n)
end

local function only_left(_, lefts, rights) return #rights == 0 and lefts or {} end
local function one_of_both(_, lefts, rights) return #lefts > 0 and #rights > 0 and { lefts[1] } or {} end

operations.subtract = { rdd = true, others = { 1, 1 }, takes = { "partitions?" },
  plan = function(self, sides, n)
    local zero, twice, together = by_record(sides, n or self:getNumPartitions())
    return { zero, twice, together, narrow("flatMap", only_left) }
  end }

operations.intersection = { rdd = true, others = { 1, 1 }, takes = { "partitions?" },
  plan = function(self, sides, n)
    local zero, twice, together = by_record(sides, n or self:defaultPartitions())
    return { zero, twice, together, narrow("flatMap", one_of_both) }
  end }

operations.cartesian = { rdd = true, others = { 1, 1 }, takes = {},
  plan = function() return { { kind = "cartesian" } } end }

operations.zip = { rdd = true, others = { 1, 1 }, takes = {},
  plan = function() return { { kind = "zip" } } end }

operations.zipPartitions = { rdd = true, others = { 1, 3 }, takes = { "function", "boolean?" },
  plan = function(_, sides, f, keeps)
    return {
      { kind = "zip", uneven = true },
      (keeps and keyed_narrow or narrow)("mapPartitions", numbering.apart(sides, f)),
    }
  end }

operations.zipWithIndex = { rdd = true, takes = {},
  plan = function(self)
    return { narrow "pack", narrow("mapPartitionsWithIndex", numbering.from((self:starts "zipWithIndex"))) }
  end }

operations.zipWithUniqueId = { rdd = true, takes = {},
  plan = function(self)
    return { narrow "pack", narrow("mapPartitionsWithIndex", numbering.every(self:getNumPartitions())) }
  end }

-- By a comparison function, into one partition; the partitions there are get sorted first.
operations.sortWith = { rdd = true, takes = { "function" },
  plan = function(_, less)
    local sort = sorting.partition_sorter(less)
    return {
      narrow "pack", narrow("mapPartitions", sort), narrow "pack", steps.round_robin(1), narrow("mapPartitions", sort),
    }
  end }

operations.sortBy = { rdd = true, takes = { "function", "boolean?", "partitions?" },
  plan = function(self, f, ascending, n)
    return { narrow("keyed", f), steps.in_order(ascending ~= false, n or self:getNumPartitions()), narrow "unpack" }
  end }

-- On RDDs `count`, `reduce` and `countByValue` are actions (rdd.lua).
operations.count = { stream = "strict", takes = {},
  plan = function(self) return { narrow "countRecords", steps.total(self:defaultPartitions()) } end }

operations.reduce = { stream = true, takes = { "function" },
  plan = function(_, f) return { steps.under_one_key(), steps.reduce_by_key(f, 1), narrow "unpack" } end }

operations.countByValue = { stream = true, takes = { "partitions?" },
  plan = function(self, n)
    local record, one = steps.record_and_one()
    return { record, one, steps.sum_by_key(n or self:defaultPartitions()) }
  end }

-- by key --------------------------------------------------------------------------------------------------------------

operations.sortByKey = { rdd = true, takes = { "boolean?", "partitions?" },
  plan = function(self, ascending, n) return { steps.in_order(ascending ~= false, n or self:getNumPartitions()) } end }

operations.partitionBy = { rdd = true, takes = { "partitions" },
  plan = function(_, n) return { steps.by_key(nil, n) } end }

operations.repartitionAndSortWithinPartitions = { rdd = true, takes = { "partitions", "boolean?" },
  plan = function(_, n, ascending)
    return {
      steps.as_pairs(), { kind = "shuffle", part = "hash", partitions = n },
      keyed_narrow "pack", keyed_narrow("mapPartitions", numbering.key_sorter(ascending ~= false)),
    }
  end }

operations.groupBy = { rdd = true, takes = { "function", "partitions?" },
  plan = function(self, f, n)
    return { narrow("keyed", f), steps.by_key(step "group", n or self:defaultPartitions()) }
  end }

operations.groupByKey = { rdd = true, stream = true, takes = { "partitions?" },
  plan = function(self, n) return { steps.by_key(step "group", n or self:defaultPartitions()) } end }

operations.reduceByKey = { rdd = true, stream = true, takes = { "function", "partitions?" },
  plan = function(self, f, n) return { steps.reduce_by_key(f, n or self:defaultPartitions()) } end }

operations.combineByKey = { rdd = true, stream = true,
  takes = { "function", "function", "function", "partitions?", "boolean?" },
  plan = function(self, create, merge_value, merge_combiners, n, map_side)
    n = n or self:defaultPartitions()
    if map_side == false then return { steps.by_key(step("aggregate", create, merge_value), n) } end
    return { steps.by_key(step("merge", merge_combiners), n, step("combine", create, merge_value)) }
  end }

operations.foldByKey = { rdd = true, takes = { "any", "function", "partitions?" },
  plan = function(self, zero, f, n)
    return { steps.by_key(step("merge", f), n or self:defaultPartitions(), step("combine", folding.begin(zero, f), f)) }
  end }

operations.aggregateByKey = { rdd = true, takes = { "any", "function", "function", "partitions?" },
  plan = function(self, zero, add, merge, n)
    return {
      steps.by_key(step("merge", merge), n or self:defaultPartitions(), step("combine", folding.begin(zero, add), add)),
    }
  end }

local function left_without_right(sides) return #sides[2] == 0 and sides[1] or {} end

operations.subtractByKey = { rdd = true, others = { 1, 1 }, takes = { "partitions?" },
  plan = function(self, sides, n)
    return { steps.cogroup(sides, n or self:defaultPartitions()), keyed_narrow("flatMapValues", left_without_right) }
  end }

operations.cogroup = { rdd = true, stream = true, others = { 1, 3 }, takes = { "partitions?" },
  plan = function(self, sides, n) return { steps.cogroup(sides, n or self:defaultPartitions()) } end }

operations.groupWith = { rdd = true, others = { 1, 3 }, takes = {},
  plan = function(self, sides) return { steps.cogroup(sides, self:defaultPartitions()) } end }

local joins = {
  join = "joinInner", leftOuterJoin = "joinLeft", rightOuterJoin = "joinRight", fullOuterJoin = "joinFull",
}
for name, kind in pairs(joins) do
  operations[name] = { rdd = true, stream = true, others = { 1, 1 }, takes = { "partitions?" },
    plan = function(self, sides, n)
      return { steps.cogroup(sides, n or self:defaultPartitions()), keyed_narrow(kind) }
    end }
end

-- methods -------------------------------------------------------------------------------------------------------------

-- self and the others a call begins with.
local function parents_of(class, name, entry, self, ...)
  local parents, least, most = { self }, table.unpack(entry.others or { 0, 0 })
  while #parents - 1 < most and getmetatable((select(#parents, ...))) == class do
    parents[#parents + 1] = (select(#parents, ...))
  end
  if #parents - 1 < least then check.bad(#parents, name, class.__name, (select(#parents, ...))) end
  for i = 2, #parents do
    if parents[i].owner ~= self.owner then
      check.fail(("bad argument #%d to '%s' (the %ss are of different contexts)"):format(i - 1, name, class.__name))
    end
  end
  return parents
end

local function plan_of(name, entry, self, sides, ...)
  if entry.others then return entry.plan(self, sides, check.arguments(name, entry.takes, sides, ...)) end
  return entry.plan(self, check.arguments(name, entry.takes, 1, ...))
end

local ops = {}

--- Gives a class its methods. The class has derive(self, name, parents, plan, strict), which makes the result.
---@param class table
---@param which "rdd"|"stream"
function ops.install(class, which)
  for name, entry in pairs(operations) do
    local strict = entry[which] == "strict"
    if entry[which] then
      class[name] = function(self, ...)
        check.self(class, name, self)
        local parents = parents_of(class, name, entry, self, ...)
        local plan = plan_of(name, entry, self, #parents, select(#parents, ...))
        local result = self:derive(name, parents, plan, strict) -- no tail call: see site.here
        return result
      end
    end
  end
end

return ops
