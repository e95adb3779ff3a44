--- DStreams: for every batch an RDD. A DStream is described here when the job makes it; its primitive counterpart is
--- made at start, when all uids are known; inputs exist from the beginning. Operations are in ops.lua;
--- here are transform, outputs, and what a stream says of itself.
local class = require "rille.class"
local check = require "rille.check"
local core = require "rille.core"
local ops = require "rille.ops"
local RDD = require "rille.rdd"
local site = require "rille.site"
local stateful = require "rille.stateful"
local steps = require "rille.steps"
local uid = require "rille.uid"
local windows = require "rille.windows"

---@class rille.DStream
---@field package owner rille.StreamingContext
---@field package operation string            "map", "socketTextStream"
---@field package detail string?              "localhost:9999"
---@field package site string?
---@field package parents rille.DStream[]
---@field package slide integer               ms
---@field package number integer              in order of making
---@field package twin integer                which one among its like (uid.lua)
---@field package children table<string, integer>
---@field package given string?               uid by stream:uid
---@field package make function?              (self, handles of the parents, uid) -> handle, its Fns
---@field package plan rille.Part[]?          of an operation whose functions go to the workers
---@field package f function?                 the job's function that runs on the driver
---@field package handle rille.core.DStream?  from start on; inputs: always
---@field package level rille.StorageLevel? its RDDs are persisted at
---@field package checkpoint_ms integer?     the interval given to checkpoint
---@field package checkpoint_site string?
---@field package strict boolean?
---@field package guarded boolean?            its bad records are diverted
---@field package keeps_errors boolean?       and there is a stream of them
---@field package kafka boolean?              it reads from Kafka (kafka.lua)
---@field package tagged rille.core.DStream[]? where they are, from start on
local DStream = class "DStream"

---@param value any
---@return boolean
function DStream.is(value) return getmetatable(value) == DStream end

-- Streams that are combined have their batches at the same times.
local function check_slides(node)
  local first = node.parents[1]
  for _, parent in ipairs(node.parents) do
    if parent.slide ~= first.slide then
      check.fail(("%s: the streams have different slides (%s has %g s, %s has %g s); a window over one of them can " ..
        "bring them together"):format(node.operation, first:label(), first.slide / 1000, parent:label(),
        parent.slide / 1000))
    end
  end
end

--- Describes a stream and enters it into its context.
---@param owner rille.StreamingContext
---@param node table fields of the new stream: operation, parents, and make or handle; slide where it is its own
---@return rille.DStream
function DStream.add(owner, node)
  local nodes = owner.nodes
  check_slides(node)
  node.slide = node.slide or node.parents[1] and node.parents[1].slide or owner.batch_ms
  node.owner, node.number, node.children = owner, #nodes + 1, {}
  node.site = node.site or site.here()
  uid.enlist(node, owner.roots)
  nodes[node.number] = setmetatable(node, DStream)
  return node
end

-- What has good and bad records of a stream is computed once for both.
local function keep_errors(node, handles)
  node.tagged = node.tagged or {}
  for _, handle in ipairs(handles) do
    handle:persist "MEMORY_AND_DISK_SER" -- not computed twice: bad records would count twice
    table.insert(node.tagged, handle)
  end
end

local function apply(part, handles)
  local window = part.window
  if window then return { core.dwindow(window.named, handles[1], window.length, window.slide) } end
  if part.snapshots then return { core.dsnapshots(part.snapshots, handles[1]) } end
  local state = part.stateful
  if state then
    local initial = state.initial
    if initial then initial:capture() end
    return { core.dstateful(state, part.op, initial and initial.handle, handles[1]) }
  end
  if not part.each then return { core.dapply(part.op, handles) } end
  local results = {}
  for i, handle in ipairs(handles) do results[i] = core.dapply(part.op, { handle }) end
  return results
end

--- The result of an operation.
---@param name string
---@param parents rille.DStream[]
---@param plan rille.Part[]
---@param strict boolean a batch in which the parent has no RDD is an error
---@param slide integer? ms; without it that of the parents
---@return rille.DStream
function DStream:derive(name, parents, plan, strict, slide)
  self.owner:check_open()
  local guarded = self.owner.sc.diverts and not strict and steps.guarded(plan)
  plan = guarded or plan
  local where = site.here(steps.given(plan))
  steps.make(plan, name, where) -- functions that cannot travel are refused here, where the job hands them over
  local function make(node, handles, own)
    local made = steps.make(node.keeps_errors and steps.tagged(node.plan) or node.plan, name, where, own)
    if strict then
      local context = self.owner.sc
      local function compute(rdds) return RDD.chain(context, made, rdds) end
      return core.dtransform({ name = name, site = where, uid = own }, handles, compute), made.fns
    end
    for _, part in ipairs(made.ops) do
      handles = apply(part, handles)
      if part.tagged then keep_errors(node, handles) end
    end
    return handles[1], made.fns
  end
  return DStream.add(self.owner, { operation = name, parents = parents, site = where, make = make, plan = plan,
    strict = strict, slide = slide, guarded = guarded and true })
end

--- Makes the primitive stream; the parents' exist.
---@param own string its uid
---@return rille.core.Fn[] to be captured
function DStream:materialise(own)
  local fns = {}
  if self.make then
    local handles = {}
    for i, parent in ipairs(self.parents) do handles[i] = parent.handle end
    self.handle, fns = self:make(handles, own)
    self.make = nil
  else
    self.handle:setUid(own)
  end
  if self.level then self.handle:persist(self.level) end
  return fns
end

--- Keyed operations on streams have the context's number of partitions, whatever the parents have.
function DStream:defaultPartitions() return self.owner.sc.handle:parallelism() end

ops.install(DStream, "stream")
windows.install(DStream)
stateful.install(DStream)

local function method(name, takes, body)
  DStream[name] = function(self, ...)
    check.self(DStream, name, self)
    local result = body(self, check.arguments(name, takes, 1, ...)) -- no tail call: see site.here
    return result
  end
end

-- transform -----------------------------------------------------------------------------------------------------------

-- What a driver function gave for a batch: the primitive RDD, ready to run.
local function rdd_given(owner, name, where, result)
  if not RDD.is(result) then
    error(site.located(where, ("the function given to %s returned %s where an RDD is needed; for nothing return " ..
      "ssc:context():emptyRDD()"):format(name, result == nil and "nothing" or "a " .. check.describe(result))), 0)
  end
  if result.owner ~= owner.sc then
    error(site.located(where, ("the function given to %s returned an RDD of another context"):format(name)), 0)
  end
  result:capture()
  return result.handle
end

--- A stream whose RDDs a driver function makes out of those of its parents.
---@param owner rille.StreamingContext
---@param name string
---@param parents rille.DStream[]
---@param f function the job's
---@param call fun(f: function, rdds: rille.RDD[], time: integer): rille.RDD
---@return rille.DStream
function DStream.transformed(owner, name, parents, f, call)
  owner:check_open()
  local where = site.here(f)
  local node = { operation = name, parents = parents, site = where, f = f }
  local function compute(handles, time)
    local rdds = {}
    for i, handle in ipairs(handles) do rdds[i] = RDD.wrap(owner.sc, handle, { time = time, site = where }) end
    return rdd_given(owner, name, where, call(node.f, rdds, time))
  end
  function node.make(_, handles, own)
    return core.dtransform({ name = name, site = where, uid = own }, handles, compute), {}
  end
  return DStream.add(owner, node)
end

method("transform", { "function" }, function(self, f)
  local function call(of_job, rdds, time) return of_job(rdds[1], time) end
  local result = DStream.transformed(self.owner, "transform", { self }, f, call)
  return result
end)

function DStream:transformWith(other, f)
  check.self(DStream, "transformWith", self)
  if not DStream.is(other) then check.bad(1, "transformWith", "DStream", other) end
  check.argument(2, "transformWith", "function", f)
  if other.owner ~= self.owner then
    check.fail "bad argument #1 to 'transformWith' (the DStreams are of different contexts)"
  end
  local function call(of_job, rdds, time) return of_job(rdds[1], rdds[2], time) end
  local result = DStream.transformed(self.owner, "transformWith", { self, other }, f, call)
  return result
end

-- outputs -------------------------------------------------------------------------------------------------------------

---@class rille.Output
---@field stream rille.DStream
---@field name string
---@field site string?
---@field body fun(rdd: rille.RDD, time: integer)
---@field f function?     the job's: it is the body
---@field limit integer?  how many records it looks at
---@field files string?   names of the directories it makes
---@field identity string? what tells it from others of its kind on the stream, also when the script was changed
---@field run function?   body for a primitive RDD
---@field prepare (fun(uid: string): rille.core.Fn[])? at start, with the uid of its stream: what is to be captured

--- Adds an output.
---@param stream rille.DStream
---@param made rille.Output its name, body, f, identity, limit and prepare
function DStream.output(stream, made)
  local owner, where = stream.owner, site.here(made.f)
  owner:check_open()
  made.stream, made.site = stream, where
  function made.run(handle, time)
    made.body(RDD.wrap(owner.sc, handle, { time = time, site = where }), time)
    core.settleProducers()
  end
  owner.outputs[#owner.outputs + 1] = made
end

local output = DStream.output

method("foreachRDD", { "function" }, function(self, f)
  output(self, { name = "foreachRDD", body = f, f = f, identity = core.fingerprint(f) })
end)

local DASHES = ("-"):rep(43)

local function format(record)
  if core.isTuple(record) then return core.format(table.unpack(record, 1, record.n)) end
  return core.format(record)
end

method("print", { "count?" }, function(self, n)
  n = n or 10
  local function body(rdd, time)
    local records = RDD.head(rdd, "print", n + 1)
    local lines = { DASHES, ("Time: %d ms"):format(time), DASHES }
    for i = 1, math.min(n, #records) do lines[#lines + 1] = format(records[i]) end
    if #records > n then lines[#lines + 1] = "..." end
    lines[#lines + 1] = "\n"
    local written, why = io.stdout:write(table.concat(lines, "\n"))
    if written then written, why = io.stdout:flush() end
    if not written then error("standard output cannot be written: " .. why, 0) end
  end
  output(self, { name = "print", body = body, limit = n })
end)

-- Two outputs with the same names would write over each other's files.
local function check_alone(owner, name, files)
  for _, other in ipairs(owner.outputs) do
    if other.files == files then
      check.fail(("%s: %s of %s writes to %s, too; give one of them another prefix or suffix")
        :format(name, other.name, other.site or "another output", files))
    end
  end
end

local function saves(name, kind)
  method(name, { "plain?", "plain?" }, function(self, prefix, suffix)
    prefix = prefix and prefix ~= "" and prefix .. "-" or ""
    suffix = suffix and suffix ~= "" and "." .. suffix or ""
    local function body(rdd, time) RDD.save(rdd, name, prefix .. time .. suffix, kind) end
    local files = prefix .. "*" .. suffix
    check_alone(self.owner, name, files)
    output(self, { name = name, body = body, identity = files, files = files })
  end)
end

saves("saveAsTextFiles", "text")
saves("saveAsObjectFiles", "objects")

-- the stream itself ---------------------------------------------------------------------------------------------------

local function persist(self, level, what)
  if self.owner:getState() ~= "INITIALIZED" then
    check.fail(("unsupported operation: a stream can not be %s after its context was started"):format(what))
  end
  self.level = level
  return self
end

method("persist", { "level?" }, function(self, level)
  local result = persist(self, level or "MEMORY_ONLY_SER", "persisted")
  return result
end)

method("cache", {}, function(self)
  local result = persist(self, "MEMORY_ONLY_SER", "persisted")
  return result
end)

-- State is logged in every batch and nothing is recomputed from further back, so the interval has nothing to set.
method("checkpoint", { "duration" }, function(self, ms)
  local result = persist(self, "MEMORY_ONLY_SER", "checkpointed")
  self.checkpoint_ms, self.checkpoint_site = ms, site.here()
  return result
end)

function DStream:uid(name)
  check.self(DStream, "uid", self)
  self.owner:check_open()
  uid.give(self, name, self.owner.nodes)
  return self
end

-- Down to the grid of the stream's batches.
local function aligned(time, zero, slide, which)
  local floored = time - (time - zero) % slide
  if floored ~= time then
    core.log("warn", ("slice: the %s time %d ms is not that of a batch; %d ms is used"):format(which, time, floored))
  end
  return floored
end

method("slice", { "time", "time" }, function(self, from, to)
  local zero = self.owner.handle:zeroTime()
  if not (zero and self.handle) then check.fail "illegal state: slice needs a context that was started" end
  local slide = self.handle:slide()
  from, to = aligned(from, zero, slide, "first"), aligned(to, zero, slide, "last")
  local rdds = {}
  for time = math.max(from, zero), to, slide do
    local handle = self.handle:get(time)
    if handle then rdds[#rdds + 1] = RDD.wrap(self.owner.sc, handle, { time = time, site = self.site }) end
  end
  return rdds
end)

-- bad records ---------------------------------------------------------------------------------------------------------

-- Diverts the bad records of the operation a stream was made by.
local function guard(self, name, handler)
  self.owner:check_open()
  local plan = self.plan and not self.strict and steps.guarded(self.plan, handler)
  if not plan then
    check.fail(("%s: %s calls no function with single records, so it has no bad ones"):format(name, self.operation))
  end
  steps.make(plan, self.operation, self.site) -- a handler that cannot travel is refused here
  self.plan, self.guarded = plan, true
end

method("onError", { "handler" }, function(self, handler)
  guard(self, "onError", handler ~= "skip" and handler or nil)
  return self
end)

method("errors", {}, function(self)
  if not self.guarded then guard(self, "errors", nil) end
  self.owner:check_open()
  self.keeps_errors = true
  local where = site.here()
  local function make(_, _, own)
    local of_each, fns = {}, {}
    for i, handle in ipairs(self.tagged) do
      if handle:slide() ~= self.slide then -- those before a window come when the next one does
        local named = { name = "errors", site = where, uid = ("%s:%d:window"):format(own, i) }
        handle = core.dwindow(named, handle, self.slide, self.slide)
      end
      local made = steps.make({ steps.diverted() }, "errors", where, own .. ":" .. i)
      of_each[i] = core.dapply(made.ops[1].op, { handle })
      table.move(made.fns, 1, #made.fns, #fns + 1, fns)
    end
    if #of_each == 1 then return of_each[1], fns end
    return core.dapply(steps.make({ { kind = "union" } }, "errors", where, own).ops[1].op, of_each), fns
  end
  return DStream.add(self.owner, { operation = "errors", parents = { self }, site = where, make = make })
end)

method("context", {}, function(self) return self.owner end)

method("slideDuration", {}, function(self) return self.slide / 1000 end)

--- "map at job.lua:3"
---@return string
function DStream:label() return self.site and self.operation .. " at " .. self.site or self.operation end

function DStream:__tostring() return "DStream " .. self:label() end

method("toDebugString", {}, function(self)
  local uids, lines, shown = uid.all(self.owner.nodes), {}, {}
  local open = { { self, 0 } }
  while #open > 0 do
    local node, depth = table.unpack(table.remove(open))
    lines[#lines + 1] = ("%s%s [uid %s]%s"):format(("  "):rep(depth), node:label(), uids[node],
      shown[node] and " (see above)" or "")
    for i = shown[node] and 0 or #node.parents, 1, -1 do open[#open + 1] = { node.parents[i], depth + 1 } end
    shown[node] = true
  end
  return table.concat(lines, "\n")
end)

return DStream
