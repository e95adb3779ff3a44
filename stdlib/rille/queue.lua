--- queueStream: batches out of a table that the job fills, also while it runs (section 10.1 of the reference).
local check = require "rille.check"
local core = require "rille.core"
local RDD = require "rille.rdd"
local site = require "rille.site"

local queue = {}

local function fail(where, message) error(site.located(where, "queueStream: " .. message), 0) end

-- What is in the queue, ready to run: an RDD, or an array that becomes one.
local function handle_of(sc, where, value)
  if RDD.is(value) then
    if value.owner ~= sc then fail(where, "an RDD of another context is in the queue") end
    value:capture()
    return value.handle
  end
  if type(value) ~= "table" or getmetatable(value) ~= nil then
    fail(where, ("a %s is in the queue; RDDs and arrays are expected"):format(check.describe(value)))
  end
  local ok, handle = pcall(sc.handle.parallelize, sc.handle, value, sc.handle:parallelism())
  if not ok then fail(where, handle) end
  return handle
end

--- The function that gives a batch's RDD.
---@param sc rille.Context
---@param where string? site of the stream
---@param items table the job's own: taken from the front
---@param one_at_a_time boolean
---@param otherwise any RDD or array for batches with an empty queue; nil: an RDD without records
---@param empty_partitions integer of that one
---@return fun(): rille.core.Rdd
function queue.source(sc, where, items, one_at_a_time, otherwise, empty_partitions)
  local together = core.op { kind = "union", name = "queueStream", site = where }
  local default = otherwise and handle_of(sc, where, otherwise) or sc.handle:empty(empty_partitions)

  local function all()
    local handles = {}
    for i = 1, #items do
      local ok, handle = pcall(handle_of, sc, where, items[i])
      if not ok then
        table.remove(items, i) -- this one is lost with its message; the others wait for the next batch
        error(handle, 0)
      end
      handles[i] = handle
    end
    for i = #handles, 1, -1 do items[i] = nil end
    return #handles == 1 and handles[1] or core.apply(together, handles, 0)
  end

  return function()
    if #items == 0 then return default end
    if one_at_a_time then return handle_of(sc, where, table.remove(items, 1)) end
    return all()
  end
end

return queue
