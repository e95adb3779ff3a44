--- Actions of RDDs: what runs a job and gives its result to the driver.
local check = require "rille.check"
local core = require "rille.core"
local folding = require "rille.folding"
local methods_of = require "rille.method"
local RDD = require "rille.rdd"
local site = require "rille.site"
local sorting = require "rille.sorting"
local steps = require "rille.steps"

local method, narrow = methods_of(RDD), steps.narrow

-- records -------------------------------------------------------------------------------------------------------------

method("collect", {}, function(self) return self:run("collect", "collect") end)

method("count", {}, function(self) return self:run("count", "count") end)

method("take", { "count" }, function(self, n) return RDD.head(self, "take", n) end)

method("first", {}, function(self)
  local record = RDD.head(self, "first", 1)[1]
  if record == nil then self:fail_empty "first" end
  return record
end)

method("isEmpty", {}, function(self) return #RDD.head(self, "isEmpty", 1) == 0 end)

method("toLocalIterator", {}, function(self)
  local partition, n = -1, self.handle:partitions()
  local records, i = {}, 0
  return function()
    while i == #records do
      if partition + 1 >= n then return nil end
      partition = partition + 1
      records, i = self:run("toLocalIterator", "collect", { partitions = { partition } }), 0
    end
    i = i + 1
    return records[i]
  end
end)

method("foreach", { "function" }, function(self, f) self:evaluate("foreach", { narrow("foreach", f) }, "run") end)

method("foreachPartition", { "function" }, function(self, f)
  self:evaluate("foreachPartition", { narrow("foreachPartition", f) }, "run")
end)

method("saveAsTextFile", { "text" }, function(self, dir) RDD.save(self, "saveAsTextFile", dir, "text") end)

method("saveAsObjectFile", { "text" }, function(self, dir) RDD.save(self, "saveAsObjectFile", dir, "objects") end)

-- in order ------------------------------------------------------------------------------------------------------------

local compare = core.compare

-- Entries are { what to compare by, record }; without a function for it they are the records.
local function key_and_record(key, record)
  if key ~= nil then return { key, record } end
end
local function record_itself(record) return record end
local function ascending(a, b) return compare(a, b) < 0 end
local function descending(a, b) return compare(a, b) > 0 end
local function keys_ascending(a, b) return compare(a[1], b[1]) < 0 end
local function keys_descending(a, b) return compare(a[1], b[1]) > 0 end

--- The n first records in the order, each partition's own ones worked out by its task.
local function foremost(self, name, n, by, down)
  if n == 0 then return {} end
  local less = by and (down and keys_descending or keys_ascending) or (down and descending or ascending)
  local found = self:evaluate(name, {
    by and narrow("keyed", by) or narrow "pack",
    narrow("mapPartitions", sorting.partition_smallest(n, less, by and key_and_record or record_itself)),
  })
  found = sorting.sorted(found, less)
  local records = table.move(found, 1, math.min(n, #found), 1, {})
  for i = 1, by and #records or 0 do records[i] = records[i][2] end
  return records
end

method("top", { "count", "function?" }, function(self, n, by) return (foremost(self, "top", n, by, true)) end)

method("takeOrdered", { "count", "function?" }, function(self, n, by)
  return (foremost(self, "takeOrdered", n, by, false))
end)

method("max", { "function?" }, function(self, by)
  local record = foremost(self, "max", 1, by, true)[1]
  if record == nil then self:fail_empty "max" end
  return record
end)

method("min", { "function?" }, function(self, by)
  local record = foremost(self, "min", 1, by, false)[1]
  if record == nil then self:fail_empty "min" end
  return record
end)

-- folding -------------------------------------------------------------------------------------------------------------

method("reduce", { "function" }, function(self, f)
  local partial = self:evaluate("reduce", { narrow("reduce", f) })
  if #partial == 0 then self:fail_empty "reduce" end
  local result = partial[1]
  for i = 2, #partial do
    result = f(result, partial[i])
    if result == nil then check.fail "the function given to reduce returned nil; return a value" end
  end
  return result
end)

-- What partitions' accumulators, each in a table, become in the end.
local function combined(zero, partial, f)
  local result = folding.fresh(zero)
  for _, box in ipairs(partial) do result = f(result, box[1]) end
  return result
end

method("fold", { "any", "function" }, function(self, zero, f)
  local partial = self:evaluate("fold", { narrow "pack", narrow("mapPartitions", folding.partition(zero, f)) })
  return (combined(zero, partial, f))
end)

method("aggregate", { "any", "function", "function" }, function(self, zero, add, merge)
  local partial = self:evaluate("aggregate", { narrow("mapPartitions", folding.partition(zero, add)) })
  return (combined(zero, partial, merge))
end)

--- Appends to a plan that gives accumulators what joins them, some at a time, until there are few.
local function as_tree(plan, n, merge, depth)
  local scale = math.max(2, math.ceil(n ^ (1 / depth)))
  if n > scale + math.ceil(n / scale) then plan[#plan + 1] = narrow("mapPartitionsWithIndex", folding.numbered) end
  while n > scale + math.ceil(n / scale) do
    n = math.ceil(n / scale)
    plan[#plan + 1] = narrow("map", folding.grouped(scale))
    plan[#plan + 1] = steps.reduce_by_key(folding.boxed(merge), n)
    if n <= scale + math.ceil(n / scale) then plan[#plan + 1] = steps.to_value() end
  end
  return plan
end

method("treeReduce", { "function", "positive?" }, function(self, f, depth)
  local plan = { narrow "pack", narrow("mapPartitions", folding.partition_reduced(f)) }
  local partial = self:evaluate("treeReduce", as_tree(plan, self.handle:partitions(), f, depth or 2))
  if #partial == 0 then self:fail_empty "treeReduce" end
  local result = partial[1][1]
  for i = 2, #partial do result = f(result, partial[i][1]) end
  return result
end)

method("treeAggregate", { "any", "function", "function", "positive?" }, function(self, zero, add, merge, depth)
  local plan = { narrow("mapPartitions", folding.partition(zero, add)) }
  local partial = self:evaluate("treeAggregate", as_tree(plan, self.handle:partitions(), merge, depth or 2))
  return (combined(zero, partial, merge))
end)

-- by key --------------------------------------------------------------------------------------------------------------

--- (key, value) records as a table; of those with one key the last counts, also where keys are tables.
local function as_map(records)
  local map, known = {}, {}
  for _, record in ipairs(records) do
    local key = record[1]
    if type(key) == "table" then
      local text = core.keyText(key)
      known[text] = known[text] or key
      key = known[text]
    end
    map[key] = record[2]
  end
  return map
end

method("collectAsMap", {}, function(self) return (as_map(self:evaluate("collectAsMap", { steps.as_pairs() }))) end)

method("countByKey", {}, function(self)
  return (as_map(self:evaluate("countByKey", { steps.key_and_one(), steps.sum_by_key() })))
end)

method("countByValue", {}, function(self)
  local record, one = steps.record_and_one()
  return (as_map(self:evaluate("countByValue", { record, one, steps.sum_by_key() })))
end)

method("reduceByKeyLocally", { "function" }, function(self, f)
  return (as_map(self:evaluate("reduceByKeyLocally", { steps.reduce_by_key(f) })))
end)

-- Is a record's key this one?
local function key_is(wanted)
  if type(wanted) ~= "table" then
    return function(key) return key == wanted end
  end
  local text, key_text = core.keyText(wanted), core.keyText
  return function(key) return type(key) == "table" and key_text(key) == text end
end

method("lookup", { "any" }, function(self, key)
  site.call(core.keyText, key) -- raises for what is no key
  local partitions
  if self.handle:isHashed() then partitions = { core.keyPartition(key, self.handle:partitions()) } end
  local found = self:derive("lookup", nil,
    { steps.as_pairs(), narrow("filter", key_is(key)), steps.to_value() })
  return (found:run("lookup", "collect", { partitions = partitions }))
end)

-- estimates in Spark: here they are exact, and their limits of time and error are not needed -------------------------

for _, exact in ipairs { "count", "countByValue", "countByKey" } do
  method(exact .. "Approx", { "number?", "number?" }, function(self) return self[exact](self) end)
end

method("countApproxDistinct", { "number?" }, function(self) return (self:distinct():count()) end)

method("countApproxDistinctByKey", { "number?" }, function(self)
  local record, one = steps.record_and_one()
  return (as_map(self:evaluate("countApproxDistinctByKey", {
    steps.as_pairs(), record, one, steps.first_by_key(), steps.to_key(), steps.key_and_one(), steps.sum_by_key(),
  })))
end)

