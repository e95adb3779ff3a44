--- Testing jobs: batches in, batches out, on the manual clock and in the caller's thread.
---
--- A script as it is, in a file for `rille test` (docs/testing.md):
---     local t = require "rille.testing"
---     t.job { script = "wordcount.lua" }
---     t.case("counts words", function(job)
---       job:batch { socketTextStream = { "a b", "b" } }
---       job:expect("print", { { "a", 1 }, { "b", 2 } }, { bag = true })
---     end)
--- The same in busted: `local job <close> = t.load { script = "wordcount.lua" }`.
---
--- Operations without a script:
---     local testing = require "rille.testing"
---     local got = testing.run {
---       inputs = { { { "a b", "b" }, { "b" }, false } },
---       operation = function(ssc, lines) return lines:flatMap(function(line) return line:gmatch("%S+") end) end,
---     }
---     -- got: { { "a", "b", "b" }, { "b" } }
local check = require "rille.check"
local Context = require "rille.context"
local DStream = require "rille.dstream"
local Job = require "rille.harness.job"
local RDD = require "rille.rdd"
local site = require "rille.site"
local StreamingContext = require "rille.streaming"

local testing = {
  collector = nil, ---@type rille.Collector? of `rille test`, while it loads a file
}

local OPTIONS = {
  inputs = "list", operation = "function", batch = "duration", batches = "count", partitions = "partitions",
  conf = "list", checkpoint = "text",
}

local function check_inputs(inputs)
  for i, batches in ipairs(inputs) do
    if type(batches) ~= "table" then check.fail(("run: inputs[%d] is no array of batches"):format(i)) end
    for k, batch in ipairs(batches) do
      if batch ~= false and (type(batch) ~= "table" or getmetatable(batch) ~= nil) then
        check.fail(("run: inputs[%d][%d] is a %s; an array of records is expected, or false for no RDD")
          :format(i, k, check.describe(batch)))
      end
    end
  end
end

local function checked(options)
  check.argument(1, "run", "table", options)
  local used = check.options(1, "run", OPTIONS, options)
  for _, name in ipairs { "inputs", "operation" } do
    if not used[name] then check.fail(("bad argument #1 to 'run' ('%s' is missing)"):format(name)) end
  end
  check_inputs(used.inputs)
  used.longest = 0
  for _, batches in ipairs(used.inputs) do used.longest = math.max(used.longest, #batches) end
  used.partitions = used.partitions or 2
  return used
end

-- An input that gives one list of the batches after another; then empty ones. It can repeat itself: a job that goes on
-- with a checkpoint is given the same lists, and takes those behind the last batch.
local function add_input(ssc, batches, partitions)
  local handle = ssc:context().handle
  local function compute(time)
    local batch = batches[time // ssc.batch_ms]
    if batch == false then return nil end
    return handle:parallelize(batch or {}, partitions)
  end
  return ssc:input("testInput", nil, function(where) return ssc.handle:input("Test stream", compute, where, true) end)
end

-- Runs all batches; the records of the returned stream by batch time.
local function collect_batches(ssc, options)
  local streams = {}
  for i, batches in ipairs(options.inputs) do streams[i] = add_input(ssc, batches, options.partitions) end
  local result = options.operation(ssc, table.unpack(streams))
  if not DStream.is(result) or result:context() ~= ssc then
    check.fail(("run: operation returned a %s; a DStream of the context it was given is expected")
      :format(check.describe(result)))
  end
  local times, records = {}, {}
  result:foreachRDD(function(rdd, time)
    times[#times + 1] = time
    records[time] = rdd:collect()
  end)
  ssc:start()
  for _ = 1, options.batches or options.longest - ssc.handle:time() // ssc.batch_ms do
    ssc:clock():advance(ssc.batch_ms / 1000)
    ssc:awaitTerminationOrTimeout(0) -- raises what went wrong
  end
  table.sort(times)
  local list = {}
  for i, time in ipairs(times) do list[i] = records[time] end
  return list
end

--- Runs a job over given batches.
---@param options rille.testing.Options
---@return any[][] batches records as collect() gives them, for each batch in which the returned stream had an RDD
function testing.run(options)
  options = checked(options)
  local conf = { appName = "rille.testing", master = "local[2]" }
  for key, value in pairs(options.conf or {}) do conf[key] = value end
  conf.clock = "manual"
  local ssc = StreamingContext(conf, (options.batch or 1000) / 1000)
  if options.checkpoint then ssc:checkpoint(options.checkpoint) end
  local ok, result = pcall(collect_batches, ssc, options)
  ssc.handle:abandon()
  ssc.sc.handle:stop()
  if not ok then error(result, 0) end
  return result
end

-- scripts -------------------------------------------------------------------------------------------------------------

--- A script under control of the caller; it is loaded at the first step. Close it: `local job <close> = t.load { ... }`.
---@param options rille.testing.JobOptions
---@return rille.testing.Job
function testing.load(options)
  local job = Job.new(options, "load", site.folder())
  return job
end

local function collector(name)
  if not testing.collector then
    check.fail(("illegal state: t.%s belongs into a file for `rille test`; elsewhere use t.load"):format(name))
  end
  return testing.collector
end

--- Says which job the cases that follow are of.
---@param options rille.testing.JobOptions
function testing.job(options)
  local folder = site.folder()
  collector("job").make = function() return Job.new(options, "job", folder) end
  Job.new(options, "job", folder) -- wrong options are refused here
end

local CASE = { inputs = "list", outputs = "list", bag = "boolean" }

-- A case in the form of a table: all batches of the inputs, then what the outputs must have got.
local function table_case(spec)
  local used = check.options(2, "case", CASE, spec)
  return function(job)
    job:batches(used.inputs or {})
    for output, batches in pairs(used.outputs or {}) do job:expectBatches(output, batches, { bag = used.bag }) end
  end
end

--- A case of the file's job.
---@param name string
---@param body fun(job: rille.testing.Job)|rille.testing.Case
function testing.case(name, body)
  check.argument(1, "case", "text", name)
  local cases, where = collector "case", site.here()
  if type(body) == "table" then
    body = table_case(body)
  elseif type(body) ~= "function" then
    check.bad(2, "case", "function or table", body)
  end
  if not cases.make then check.fail "case: say first which job it is of, with t.job { script = ... }" end
  cases[#cases + 1] = { name = name, make = cases.make, body = body, where = where }
end

--- Texts as received blocks: an RDD of lines with one partition a text, cut into lines in place as a socket's are.
---@param context rille.Context|rille.StreamingContext
---@param texts string[]
---@return rille.RDD
function testing.blocks(context, texts)
  if StreamingContext.is(context) then context = context:context() end
  if not Context.is(context) then check.bad(1, "blocks", "Context or StreamingContext", context) end
  check.argument(2, "blocks", "list", texts)
  local where = site.here()
  return RDD.wrap(context, site.call(context.handle.blocks, context.handle, texts), { site = where })
end

return testing
