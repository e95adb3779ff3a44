--- A job under test: its script runs unchanged, in a coroutine, on the manual clock. Given batches stand in for its
--- inputs, its outputs are kept for comparison, and where it waits (awaitTermination, rille.sleep) the test goes on.
local check = require "rille.check"
local class = require "rille.class"
local control = require "rille.control"
local core = require "rille.core"
local difference = require "rille.harness.difference"
local failure = require "rille.harness.failure"
local names = require "rille.harness.names"
local RDD = require "rille.rdd"
local site = require "rille.site"
local uid = require "rille.uid"
local world = require "rille.harness.world"

---@class rille.testing.Job
---@field private script string
---@field private arguments string[]
---@field private conf table<string, any>
---@field private functions table<string, function[]>  replacements, by operator
---@field private globals table<string, any>           likewise, by name
---@field private world rille.World?                   while it is open
---@field private co thread?
---@field private deadline integer?                    when the script is to go on; nil: when the context stops
---@field private made rille.StreamingContext?         of the script
---@field private ssc rille.StreamingContext?          likewise, once it was started
---@field private given table<integer, table<table, any>>  by time and input
---@field private fed table<table, boolean>            inputs that were ever given something
---@field private kept table<table, table<integer, any[]>>  records by output and time
---@field private exited boolean?                      the script called os.exit
---@field private closed boolean?
---@field private uids table<table, string>?
---@field private times integer[]                      of the batches so far
local Job = class "TestJob"

local open -- the job in hand; there is one context a process

---@class rille.TestHolder: rille.Holder
---@field job rille.testing.Job
local Holder = class "TestHolder"

-- the script ----------------------------------------------------------------------------------------------------------

local OPTIONS = { script = "text", args = "list", conf = "list" }

--- A job that is loaded when it is first needed.
---@param options any
---@param name string of the function that was called with them
---@param folder string relative names of scripts begin there
---@return rille.testing.Job
function Job.new(options, name, folder)
  check.argument(1, name, "table", options)
  local used = check.options(1, name, OPTIONS, options)
  if not used.script then check.fail(("bad argument #1 to '%s' ('script' is missing)"):format(name)) end
  local arguments = {}
  for i, word in ipairs(used.args or {}) do arguments[i] = tostring(word) end
  local script = used.script:sub(1, 1) == "/" and used.script or folder .. "/" .. used.script
  return setmetatable({
    script = world.tidy(script), arguments = arguments, conf = used.conf or {}, functions = {}, globals = {},
    given = {}, fed = {}, kept = {}, times = {},
  }, Job)
end

function Job:__tostring() return "TestJob " .. self.script end

-- Lets the script run until it waits or ends.
local function go_on(self, ...)
  local co = self.co
  self.deadline = nil
  local how, why = world.resume(co, ...)
  if how == "error" then error(site.traced(co, why), 0) end
  if how == "exit" then self.exited = true end
end

local function is_waiting(self) return not self.exited and coroutine.status(self.co) == "suspended" end

local function load_script(self)
  local chunk, why = world.load(self.script, self.arguments)
  if not chunk then error(("the job cannot be loaded: %s"):format(why), 0) end
  self.world:configure(self.conf)
  self.world:replace(self.globals)
  self.co = coroutine.create(chunk)
  go_on(self, table.unpack(self.arguments))
  if not self.ssc then
    error(("%s: the script %s without ssc:start(), so there is nothing to test"):format(self.script,
      is_waiting(self) and "waits" or "ended"), 0)
  end
end

-- The job runs from the first step on.
local function opened(self, name)
  check.self(Job, name, self)
  if self.closed then check.fail(("illegal state: %s was called on a job that was closed"):format(name)) end
  if self.world then return end
  if open then open:close() end
  open, self.world, control.holder = self, world.keep(), setmetatable({ job = self }, Holder)
  local ok, why = pcall(load_script, self)
  if ok then return end
  self:close()
  error(why, 0)
end

local function check_unopened(self, name)
  check.self(Job, name, self)
  if self.world or self.closed then
    check.fail(("illegal state: %s comes before the job's first step: it is running already"):format(name))
  end
end

--- Puts functions of the test in the place of an operator's own: what is given to map, transform, foreachRDD ...
---@param name string uid of the operator, or an output's name
---@param ... function as many as the operator has, in their order
---@return rille.testing.Job self
function Job:replace(name, ...)
  check_unopened(self, "replace")
  check.argument(1, "replace", "text", name)
  local functions = { ... }
  for i = 1, math.max(1, select("#", ...)) do check.argument(i + 1, "replace", "function", functions[i]) end
  self.functions[name] = functions
  return self
end

--- Puts a value of the test in the place of a global, also of one that the script defines itself.
---@param name string
---@param value any
---@return rille.testing.Job self
function Job:global(name, value)
  check_unopened(self, "global")
  check.argument(1, "global", "text", name)
  if value == nil then check.fail "bad argument #2 to 'global' (a value expected, got nil)" end
  self.globals[name] = value
  return self
end

-- the holder's part (control.lua) -------------------------------------------------------------------------------------

local TEXT_INPUTS = { socketTextStream = true, textFileStream = true, binaryRecordsStream = true }

--- An input of the script: its batches are what the test gives.
function Holder:input(ssc, node)
  local job, handle = self.job, ssc:context().handle
  job.made = ssc
  local function compute(time)
    local batch = (job.given[time] or {})[node]
    if batch == false then return nil end
    if batch == nil and node.compute and not job.fed[node] then return node.compute(time) end
    return handle:parallelize(batch or {}, handle:parallelism())
  end
  return ssc.handle:input("Test stream", compute, node.site)
end

-- What an output gets is kept; then the job's function, if there is one, runs on it.
local function keep_output(self, output)
  local kept, body = {}, output.body
  self.kept[output] = kept
  output.prepare = nil -- nothing outside is touched
  local function records_of(rdd)
    if not output.limit then return rdd:collect() end
    return RDD.head(rdd, output.name, output.limit)
  end
  function output.body(rdd, time)
    local ours = output.f ~= nil and not rdd.handle:isPersisted() -- computed once, although looked at twice
    if ours then rdd.handle:persist "MEMORY_AND_DISK" end
    kept[time] = records_of(rdd)
    if output.f then body(rdd, time) end
    if ours then rdd.handle:unpersist() end
  end
end

--- The script has described all: replacements take their places, outputs are watched.
function Holder:starting(ssc)
  local job, uids = self.job, uid.all(ssc.nodes)
  for name, functions in pairs(job.functions) do names.replace(ssc, uids, name, functions) end
  for _, output in ipairs(ssc.outputs) do keep_output(job, output) end
  job.world:settle(job.globals)
  job.ssc, job.uids = ssc, uids
end

local function now(self) return self.ssc.handle:time() end

local function has_stopped(self) return self.ssc.handle:state() == "STOPPED" end

-- The script waits here: until its context stops, or until `deadline`.
local function wait(self, deadline)
  while not has_stopped(self) and not (deadline and now(self) >= deadline) do
    self.deadline = deadline
    coroutine.yield()
  end
  return has_stopped(self)
end

-- Does the script itself wait, and not a function that the engine called?
local function is_script(self) return coroutine.running() == self.co and coroutine.isyieldable() end

function Holder:await(ssc, ms)
  if not is_script(self.job) then
    check.fail("illegal state: under test a job can wait in its script only, not in a coroutine of its own or in a " ..
      "module while that is loaded")
  end
  if not self.job.ssc then coroutine.yield() end -- it was not started; load_script says so
  return wait(self.job, ms >= 0 and ssc.handle:time() + ms or nil)
end

function Holder:sleep(ms)
  if not is_script(self.job) then
    core.sleep(ms)
  elseif self.job.ssc then
    wait(self.job, now(self.job) + ms)
  end
end

-- steps ---------------------------------------------------------------------------------------------------------------

-- Moves the clock; the script goes on where its time has come.
local function move_to(self, time)
  local handle = self.ssc.handle
  repeat
    local stop_at = self.deadline and math.min(self.deadline, time) or time
    handle:advance(math.max(0, stop_at - now(self)))
    handle:await(0) -- raises what went wrong
    local due = has_stopped(self) or (self.deadline and self.deadline <= now(self))
    if due and is_waiting(self) then go_on(self) end
  until now(self) >= time
end

local function next_time(self, time)
  local zero, interval = self.ssc.handle:zeroTime(), self.ssc.batch_ms
  return zero + ((time - zero) // interval + 1) * interval
end

local function check_running(self, name)
  if has_stopped(self) then
    failure.raise(("%s: the job has stopped its context at %d ms, so no more batches are run"):format(name, now(self)))
  end
end

local function check_records(self, node, records)
  local label = names.input(node, self.uids)
  if records == false then return end
  if type(records) ~= "table" or getmetatable(records) ~= nil then
    check.fail(("batch: %s was given a %s; an array of records is expected, or false for no RDD")
      :format(label, check.describe(records)))
  end
  for i, record in ipairs(records) do
    if TEXT_INPUTS[node.operation] and type(record) ~= "string" then
      check.fail(("batch: record %d for %s is a %s; this input has strings"):format(i, label, check.describe(record)))
    end
  end
end

-- The batch given by the test: by stream instead of by name.
local function by_node(self, batch)
  local given = {}
  for name, records in pairs(batch) do
    local node = names.find_input(self.ssc, self.uids, name)
    if not names.is_used(self.ssc, node) then
      check.fail(("batch: no output depends on %s, so it cannot be given records"):format(names.input(node, self.uids)))
    end
    check_records(self, node, records)
    given[node] = records
  end
  return given
end

local function run_batch(self, given)
  local time = next_time(self, now(self))
  for node in pairs(given) do self.fed[node] = true end
  self.given[time] = given
  self.times[#self.times + 1] = time
  move_to(self, time)
end

--- Runs one batch.
---@param batch table<string|integer, any[]|false>? records by input: its uid, operation or number; the others have none
---@return rille.testing.Job self
function Job:batch(batch)
  opened(self, "batch")
  check.argument(1, "batch", "list?", batch)
  check_running(self, "batch")
  run_batch(self, by_node(self, batch or {}))
  return self
end

--- Runs as many batches as the longest list has.
---@param lists table<string|integer, (any[]|false)[]> by input
---@return rille.testing.Job self
function Job:batches(lists)
  opened(self, "batches")
  check.argument(1, "batches", "list", lists)
  local n, batches = 0, {}
  for name, list in pairs(lists) do
    if type(list) ~= "table" then check.fail(("batches: '%s' is no array of batches"):format(tostring(name))) end
    n = math.max(n, #list)
  end
  for i = 1, n do
    local batch = {}
    for name, list in pairs(lists) do batch[name] = list[i] end
    batches[i] = by_node(self, batch)
  end
  for _, batch in ipairs(batches) do
    check_running(self, "batches")
    run_batch(self, batch)
  end
  return self
end

--- Moves the clock on; batches that are due run without new records.
---@param seconds number
---@return rille.testing.Job self
function Job:advance(seconds)
  opened(self, "advance")
  local target = now(self) + check.argument(1, "advance", "duration", seconds)
  while next_time(self, now(self)) <= target and not has_stopped(self) do run_batch(self, {}) end
  move_to(self, target)
  return self
end

--- Time on the job's clock, which begins at 0.
---@return integer ms
function Job:time()
  opened(self, "time")
  return now(self)
end

---@return rille.StreamingContext
function Job:context()
  opened(self, "context")
  return self.ssc
end

-- results -------------------------------------------------------------------------------------------------------------

--- The records an output got: those of the last batch, or of batch n.
---@param output string|integer|nil uid of its stream, its operation or its number; nil: the only one
---@param n integer? counted from 1
---@return any[]? records nil: it had no RDD in that batch
function Job:records(output, n)
  opened(self, "records")
  n = check.argument(2, "records", "positive", n or math.max(1, #self.times))
  return self.kept[names.find_output(self.ssc, self.uids, output)][self.times[n]]
end

local MAX_SHOWN = 20

-- A plain table that stands for a tuple is shown as one where tuples came.
local function shown(record, among)
  local stands = type(record) == "table" and not core.isTuple(record) and #record > 0 and core.isTuple(among[1])
  return difference.show(stands and core.tuple(table.unpack(record)) or record)
end

local function add_changes(lines, changes, got)
  for i, change in ipairs(changes) do
    if i > MAX_SHOWN then
      lines[#lines + 1] = ("  ... and %d more differences"):format(#changes - MAX_SHOWN)
      return
    end
    lines[#lines + 1] = ("  %s %s"):format(change.sign, shown(change.record, got))
  end
end

-- Why there may be less than was wanted.
local function hint(self, output, time)
  local kept = self.kept[output]
  if not kept[time] then
    return "its stream had no RDD in this batch: an input was given false, or it has batches less often"
  end
  local without = {}
  for _, node in ipairs(names.inputs_of(self.ssc, output.stream)) do
    local records = (self.given[time] or {})[node]
    if not records or #records == 0 then without[#without + 1] = names.input(node, self.uids) end
  end
  if #kept[time] == 0 and #without > 0 then
    return "without records in this batch: " .. table.concat(without, ", ")
  end
  if output.limit and #kept[time] == output.limit then return ("print shows %d records"):format(output.limit) end
end

local function is_same_list(wanted, got)
  return rawequal(wanted, got) or (wanted and got and #difference.bag(wanted, got) == 0)
end

-- Adds what is different in one batch; wanted false: no RDD.
local function compare(self, lines, output, time, wanted, in_order)
  local got = self.kept[output][time] or false
  local changes = (in_order and difference.list or difference.bag)(wanted or {}, got or {})
  if #changes == 0 and (wanted == false) == (got == false) then return end
  local number = 0
  for i, at in ipairs(self.times) do number = at == time and i or number end
  lines[#lines + 1] = ("%s, batch %d (%d ms)%s:"):format(names.output(output, self.uids), number, time,
    in_order and "" or ", in any order")
  add_changes(lines, changes, got or {})
  if wanted == false then lines[#lines + 1] = "  no RDD was expected" end
  local why = in_order and is_same_list(wanted, got) and
    "the same records in another order; { bag = true } compares without regard to it" or hint(self, output, time)
  if why and (wanted or got) then lines[#lines + 1] = "  hint: " .. why end
end

local function check_wanted(name, wanted)
  if wanted == false or (type(wanted) == "table" and getmetatable(wanted) == nil) then return end
  check.fail(("bad argument to '%s' (an array of records expected, or false for no RDD, got %s)")
    :format(name, check.describe(wanted)))
end

-- (output, list, options), or without the output.
local function expectation(self, name, output, wanted, options)
  if type(output) ~= "string" and type(output) ~= "number" and output ~= nil then
    output, wanted, options = nil, output, wanted
  end
  opened(self, name)
  local used = check.options(3, name, { bag = "boolean" }, options)
  return names.find_output(self.ssc, self.uids, output), wanted, not used.bag
end

local function report(lines)
  if #lines > 0 then failure.raise(table.concat(lines, "\n")) end
end

--- What an output got in the last batch must be these records.
---@param output string|integer uid of its stream, its operation or its number; may be left out when there is one only
---@param wanted any[]|false    plain tables stand for tuples; false: no RDD
---@param options { bag: boolean? }? bag: in any order
---@return rille.testing.Job self
function Job:expect(output, wanted, options)
  local found, list, in_order = expectation(self, "expect", output, wanted, options)
  check_wanted("expect", list)
  local time, lines = self.times[#self.times], {}
  if not time then failure.raise "expect: no batch was run yet; job:batch { ... } runs one" end
  compare(self, lines, found, time, list, in_order)
  report(lines)
  return self
end

--- What an output got in all batches so far.
---@param output string|integer as for expect
---@param wanted (any[]|false)[] for each batch
---@param options { bag: boolean? }?
---@return rille.testing.Job self
function Job:expectBatches(output, wanted, options)
  local found, lists, in_order = expectation(self, "expectBatches", output, wanted, options)
  check.argument(2, "expectBatches", "list", lists)
  for _, list in ipairs(lists) do check_wanted("expectBatches", list) end
  local lines = {}
  for i = 1, math.max(#self.times, #lists) do
    if not self.times[i] then
      lines[#lines + 1] = ("%s, batch %d: it was not run; there were %d"):format(names.output(found, self.uids), i,
        #self.times)
    elseif lists[i] == nil then
      lines[#lines + 1] = ("%s, batch %d (%d ms): nothing is said of it; {} expects no records"):format(
        names.output(found, self.uids), i, self.times[i])
    else
      compare(self, lines, found, self.times[i], lists[i], in_order)
    end
  end
  report(lines)
  return self
end

--- What the operator with this uid remembers.
---@param name string
---@return rille.State
function Job:state(name)
  opened(self, "state")
  return self.ssc:state(name)
end

--- What the operator with this uid remembers must be this, and no more.
---@param name string
---@param wanted table<any, any> state by key; for keys that are tables: an array of rille.tuple(key, state) instead
---@return rille.testing.Job self
function Job:expectState(name, wanted)
  opened(self, "expectState")
  check.argument(2, "expectState", "table", wanted)
  local list, got = {}, {}
  for key, value in pairs(wanted) do list[#list + 1] = core.isTuple(value) and value or core.tuple(key, value) end
  for key, value in self.ssc:state(name):iterate() do got[#got + 1] = core.tuple(key, value) end
  local changes = difference.bag(list, got)
  if #changes == 0 then return self end
  local lines = { ("the state of %s after %d ms:"):format(name, now(self)) }
  add_changes(lines, changes, got)
  report(lines)
end

-- the end -------------------------------------------------------------------------------------------------------------

--- Stops the context gracefully; the script runs on to its end.
---@return rille.testing.Job self
function Job:stop()
  opened(self, "stop")
  if not has_stopped(self) then self.ssc.handle:stop(true, true) end
  self.ssc.handle:await(0)
  while is_waiting(self) do go_on(self) end
  return self
end

local function stop_context(ssc)
  if ssc.handle:state() == "ACTIVE" then ssc.handle:stop(true, false) end
  if not ssc.sc.handle:isStopped() then ssc.sc.handle:stop() end
end

--- Ends the job at once and gives the state back as it was.
function Job:close()
  check.self(Job, "close", self)
  self.closed = true
  if not self.world then return end
  local kept = self.world
  self.world, control.holder, open = nil, nil, nil
  local ok, why = true, nil
  if self.made then ok, why = pcall(stop_context, self.made) end
  if self.co and coroutine.status(self.co) == "suspended" then coroutine.close(self.co) end
  kept:give_back()
  collectgarbage() -- what else the script made ends its threads
  if not ok then error(why, 0) end
end

Job.__close = Job.close

return Job
