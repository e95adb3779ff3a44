--- rille.StreamingContext: inputs, life and listeners of a streaming job (sections 2, 10, 16 and 19 of the reference).
local class = require "rille.class"
local check = require "rille.check"
local Clock = require "rille.clock"
local Context = require "rille.context"
local control = require "rille.control"
local core = require "rille.core"
local DStream = require "rille.dstream"
local durable = require "rille.durable"
local queue = require "rille.queue"
local shared = require "rille.shared"
local site = require "rille.site"
local State = require "rille.state"
local uid = require "rille.uid"

---@class rille.StreamingContext
---@field package sc rille.Context
---@field package handle rille.core.Streaming
---@field package batch_ms integer
---@field package nodes rille.DStream[]        parents before children
---@field package outputs table[]              { stream =, name =, site =, run = } in order of registration
---@field package roots table<string, integer> counts of inputs by what they are (uid.lua)
---@field package made boolean?                the primitive streams exist
---@field package modules table<string, rille.RecordedModule>? in its functions, from then on
---@field package checkpoint_dir string?
---@field package setup rille.Setup? the function given to getOrCreate, for the checkpoint
---@field package listening boolean?           a listener is being called
local StreamingContext = class "StreamingContext"

-- Which context a handle belongs to; an entry goes with its handle.
local contexts = setmetatable({}, { __mode = "k" })

---@param value any
---@return boolean
function StreamingContext.is(value) return getmetatable(value) == StreamingContext end

function StreamingContext:__tostring()
  return ("StreamingContext(%s, batches of %g s)"):format(self.handle:state(), self.batch_ms / 1000)
end

-- construction --------------------------------------------------------------------------------------------------------

local function create(_, context, duration)
  local is_context = Context.is(context)
  if not is_context and (type(context) ~= "table" or getmetatable(context) ~= nil) then
    check.bad(1, "StreamingContext", "table of settings or Context", context)
  end
  local batch_ms = check.argument(2, "StreamingContext", "duration", duration)
  local sc = is_context and context or Context(context)
  local ok, handle = pcall(core.streaming, sc.handle, batch_ms)
  if not ok then
    if not is_context then sc.handle:stop() end
    check.fail(handle)
  end
  local self = setmetatable({ sc = sc, handle = handle, batch_ms = batch_ms, nodes = {}, outputs = {}, roots = {} },
    StreamingContext)
  contexts[handle] = self
  local dir = sc.handle:conf "rille.streaming.checkpoint.directory"
  if dir ~= "" then self:checkpoint(dir) end
  return self
end

setmetatable(StreamingContext, { __call = create })

function StreamingContext.getActive()
  local handle = core.active()
  return handle and contexts[handle]
end

local function created(name, make)
  local ssc = make()
  if not StreamingContext.is(ssc) then
    check.fail(("the function given to %s returned %s where a StreamingContext is needed")
      :format(name, ssc == nil and "nothing" or "a " .. check.describe(ssc)))
  end
  return ssc
end

-- The context's checkpoint is in `path`.
local function attach(name, ssc, path, setup)
  if ssc.checkpoint_dir and not durable.is_same_place(ssc.checkpoint_dir, path) then
    check.fail(("%s: the context it was given has its checkpoint in '%s', not in '%s'"):format(name, ssc.checkpoint_dir,
      path))
  end
  if ssc:getState() == "INITIALIZED" then
    if not ssc.checkpoint_dir then ssc:checkpoint(path) end
    ssc.setup = setup
  elseif ssc:getState() == "ACTIVE" and not ssc.checkpoint_dir then
    check.fail(("%s: the function has started its context, so it has no checkpoint; start it behind %s, or let the " ..
      "function call checkpoint('%s') first"):format(name, name, path))
  end
  return ssc
end

-- Is there a checkpoint to go on with? What cannot be read is put aside when it may be.
local function find_checkpoint(name, path, create_on_error)
  if core.overrides["rille.reliable"] == "false" then return false end
  local found, unreadable = core.checkpointExists(path)
  if unreadable then check.fail(("%s: %s"):format(name, unreadable)) end
  if not found then return false end
  local readable, why, in_use = core.probeCheckpoint(path, create_on_error)
  if readable or in_use then return true end -- who has it is told by the start
  if not create_on_error then
    check.fail(("%s: the checkpoint in '%s' cannot be read: %s"):format(name, path, why))
  end
  local aside = ("%s.unreadable-%d"):format(path:gsub("/+$", ""), core.now())
  local moved, trouble = os.rename(path, aside)
  if not moved then check.fail(("%s: %s; it cannot be put aside: %s"):format(name, why, trouble)) end
  core.log("warn", ("%s: %s; the job begins anew, and the checkpoint is in %s now"):format(name, why, aside))
  return false
end

-- The script of today has the say. Where it fails, what the checkpoint has of it goes on.
local function get_or_create(name, path, make, create_on_error)
  local found = find_checkpoint(name, path, create_on_error)
  if make == nil and not found then
    check.fail(("%s: there is no checkpoint in '%s', and no function that makes a context"):format(name, path))
  end
  local setup = make and durable.setup(make, name)
  local ok, result = false, "no function was given"
  if make then ok, result = pcall(created, name, make) end
  if ok then return attach(name, result, path, setup) end
  if not found then error(result, 0) end
  local recorded, bytes = durable.recorded_setup(path)
  if not recorded then
    check.fail(("%s: %s; and the checkpoint in '%s' cannot stand in: %s"):format(name, result, path, bytes))
  end
  core.log("warn", site.located(site.here(), ("%s: %s; the function recorded in '%s' is used"):format(name, result,
    path)))
  return attach(name, created(name, recorded), path, { bytes = bytes })
end

-- (path, make, createOnError), or with settings in the third place, as in the original: they are those of file systems
-- that are not known here.
local function checkpointed(name, path, make, conf, create_on_error)
  if type(conf) == "boolean" then conf, create_on_error = nil, conf end
  check.arguments(name, { "text", "function?", "table?", "boolean?" }, 1, path, make, conf, create_on_error)
  return durable.place(path), make, create_on_error or false
end

function StreamingContext.getOrCreate(...)
  local ssc = get_or_create("getOrCreate", checkpointed("getOrCreate", ...))
  return ssc
end

function StreamingContext.getActiveOrCreate(path, ...)
  if type(path) == "function" then return StreamingContext.getActive() or created("getActiveOrCreate", path) end
  local dir, make, create_on_error = checkpointed("getActiveOrCreate", path, ...)
  local ssc = StreamingContext.getActive() or get_or_create("getActiveOrCreate", dir, make, create_on_error)
  return ssc
end

--- Raises unless streams and outputs can still be added.
function StreamingContext:check_open()
  local state = self.handle:state()
  if state == "ACTIVE" then
    check.fail "illegal state: inputs, operations and outputs can not be added after the context was started"
  elseif state == "STOPPED" then
    check.fail "illegal state: inputs, operations and outputs can not be added after the context was stopped"
  end
end

local function method(name, takes, body)
  StreamingContext[name] = function(self, ...)
    check.self(StreamingContext, name, self)
    local result = body(self, check.arguments(name, takes, 1, ...)) -- no tail call: see site.here
    return result
  end
end

-- inputs --------------------------------------------------------------------------------------------------------------

--- Enters an input.
---@param name string the operation
---@param detail string? what tells it from others of its kind: its uid is made of this
---@param make fun(site: string?): rille.core.DStream
---@param node table? further fields of the stream: `compute`, the driver function of its batches; `filter`, one that it
---asks; `ships`, what goes to a receiver's thread
---@return rille.DStream
function StreamingContext:input(name, detail, make, node)
  self:check_open()
  local where, holder = site.here(), control.holder
  node = node or {}
  node.operation, node.detail, node.parents, node.site = name, detail, {}, where
  if holder then
    node.handle = site.call(holder.input, holder, self, node, make)
  else
    node.handle = site.call(make, where)
  end
  return DStream.add(self, node)
end

-- What is received is kept at a level.
local function stored(level, handle)
  if level then handle:storeAt(level) end
  return handle
end

method("socketTextStream", { "text", "port", "table?" }, function(self, host, port, options)
  options = check.options(3, "socketTextStream", { storageLevel = "level", ack = "boolean" }, options)
  local level = check.keeps(3, "socketTextStream", options.storageLevel)
  return self:input("socketTextStream", host .. ":" .. port,
    function(where) return stored(level, self.handle:socket(host, port, where, options.ack)) end)
end)

method("socketStream", { "text", "port", "function", "level?" }, function(self, host, port, converter, level)
  level = check.keeps(4, "socketStream", level)
  return self:input("socketStream", host .. ":" .. port,
    function(where) return stored(level, self.handle:socketConverter(host, port, converter, where)) end,
    { ships = converter })
end)

method("rawSocketStream", { "text", "port", "level?" }, function(self, host, port, level)
  level = check.keeps(3, "rawSocketStream", level)
  return self:input("rawSocketStream", host .. ":" .. port,
    function(where) return stored(level, self.handle:rawSocket(host, port, where)) end)
end)

local function files(self, name, spec)
  return self:input(name, spec.path, function(where)
    spec.site = where
    return self.handle:files(spec)
  end, { filter = spec.filter })
end

method("textFileStream", { "text" }, function(self, path)
  return files(self, "textFileStream", { path = path, format = "text", newFilesOnly = true })
end)

method("fileStream", { "text", "table?" }, function(self, path, options)
  options = check.options(2, "fileStream", { filter = "function", newFilesOnly = "boolean" }, options)
  return files(self, "fileStream",
    { path = path, format = "text", newFilesOnly = options.newFilesOnly ~= false, filter = options.filter })
end)

method("binaryRecordsStream", { "text", "positive" }, function(self, path, length)
  return files(self, "binaryRecordsStream",
    { path = path, format = "binary", recordLength = length, newFilesOnly = true })
end)

function StreamingContext:queueStream(items, oneAtATime, ...)
  check.self(StreamingContext, "queueStream", self)
  check.arguments("queueStream", { "list", "boolean?" }, 1, items, oneAtATime)
  local default = ...
  -- As in the original: no default is an empty RDD of one partition, nil given for it one without partitions.
  local empty_partitions = select("#", ...) == 0 and 1 or 0
  local compute = queue.source(self.sc, site.here(), items, oneAtATime ~= false, default, empty_partitions)
  return self:input("queueStream", nil,
    function(where) return self.handle:input("Queue stream", compute, where) end, { compute = compute })
end

method("receiverStream", { "list" }, function(self, receiver)
  for key, wanted in pairs { onStart = "function", onStop = "function", storageLevel = "string", name = "string" } do
    local value = receiver[key]
    if type(value) ~= wanted and (value ~= nil or key == "onStart") then
      check.fail(("bad argument #1 to 'receiverStream' (%s: %s expected, got %s)")
        :format(key, wanted, check.describe(value)))
    end
  end
  local level = check.keeps(1, "receiverStream", check.argument(1, "receiverStream", "level?", receiver.storageLevel))
  return self:input("receiverStream", receiver.name,
    function(where) return stored(level, self.handle:receiver(receiver, receiver.name or "Receiver", where)) end,
    { ships = receiver })
end)

-- several streams -----------------------------------------------------------------------------------------------------

local function streams_of(self, name, streams)
  check.members(1, name, DStream, streams)
  if streams[1].owner ~= self then
    check.fail(("bad argument #1 to '%s' (the DStreams are of another context)"):format(name))
  end
  return table.move(streams, 1, #streams, 1, {})
end

method("union", { "list" }, function(self, streams)
  streams = streams_of(self, "union", streams)
  return streams[1]:derive("union", streams, { { kind = "union" } }, false)
end)

method("transform", { "list", "function" }, function(self, streams, f)
  local function call(of_job, rdds, time) return of_job(rdds, time) end
  local result = DStream.transformed(self, "transform", streams_of(self, "transform", streams), f, call)
  return result
end)

-- settings ------------------------------------------------------------------------------------------------------------

method("remember", { "duration" }, function(self, ms) site.call(self.handle.remember, self.handle, ms) end)

method("checkpoint", { "text?" }, function(self, dir)
  dir = dir and durable.place(dir)
  site.call(self.handle.checkpoint, self.handle, dir)
  self.checkpoint_dir = dir
end)

method("context", {}, function(self) return self.sc end)

method("state", { "text" }, function(self, name)
  local state = State.of(self, name)
  return state
end)

--- "; there are: a, b": the uids of operators with state.
---@return string
function StreamingContext:with_state()
  local uids, names = uid.all(self.nodes), {}
  for _, node in ipairs(self.nodes) do
    if node.has_state then names[#names + 1] = uids[node] end
  end
  return #names > 0 and "; there are: " .. table.concat(names, ", ") or ""
end

method("clock", {}, function(self) return Clock.of(self.handle) end)

method("getState", {}, function(self) return self.handle:state() end)

-- listeners -----------------------------------------------------------------------------------------------------------

local LISTENER_METHODS = {
  "onStreamingStarted", "onBatchSubmitted", "onBatchStarted", "onBatchCompleted", "onOutputOperationStarted",
  "onOutputOperationCompleted", "onReceiverStarted", "onReceiverError", "onReceiverStopped",
}

local handler_names = {}
for _, name in ipairs(LISTENER_METHODS) do handler_names[name:sub(3, 3):lower() .. name:sub(4)] = name end

local function check_listener(listener)
  local found = false
  for _, name in ipairs(LISTENER_METHODS) do
    local handler = listener[name]
    if handler ~= nil and type(handler) ~= "function" then
      check.fail(("bad argument #1 to 'addStreamingListener' (%s: function expected, got %s)")
        :format(name, check.describe(handler)))
    end
    found = found or handler ~= nil
  end
  if not found then
    check.fail(("bad argument #1 to 'addStreamingListener' (none of %s is there)")
      :format(table.concat(LISTENER_METHODS, ", ")))
  end
end

method("addStreamingListener", { "table" }, function(self, listener)
  check_listener(listener)
  self.handle:addListener(function(event)
    local handler = listener[handler_names[event.kind]]
    if not handler then return end
    if event.kind == "batchCompleted" then event.badRecords = shared.bad_records(event.batchTime) end
    local outer = self.listening
    self.listening = true
    local ok, why = pcall(handler, event)
    self.listening = outer
    if not ok then error(why, 0) end
  end)
end)

-- life ----------------------------------------------------------------------------------------------------------------

-- A stream's interval, as section 3.5 of the reference has it.
local function check_interval(node, has_directory)
  local ms, where = node.checkpoint_ms, node.checkpoint_site
  if not ms then return end
  local label = node:label()
  local function refuse(message, ...) error(site.located(where, message:format(label, ...)), 0) end
  if not has_directory then
    refuse("%s has a checkpoint interval, but its context no checkpoint directory; set one with ssc:checkpoint(dir)")
  end
  if node.level == "NONE" then
    refuse("%s has a checkpoint interval, and storage level NONE; persist it at another level, or before checkpoint")
  end
  if ms < node.slide then
    refuse("the checkpoint interval of %s, %g s, is shorter than its slide of %g s; make it a multiple of that",
      ms / 1000, node.slide / 1000)
  end
  if ms % node.slide ~= 0 then
    refuse("the checkpoint interval of %s, %g s, is no multiple of its slide of %g s", ms / 1000, node.slide / 1000)
  end
end

-- Of the streams that outputs depend on.
local function check_checkpoints(self)
  local reached = {}
  for _, output in ipairs(self.outputs) do reached[output.stream] = true end
  for i = #self.nodes, 1, -1 do -- parents come before their children
    local node = self.nodes[i]
    if reached[node] then
      check_interval(node, self.checkpoint_dir ~= nil)
      for _, parent in ipairs(node.parents) do reached[parent] = true end
    end
  end
end

-- State belongs to a uid: a derived one is another as soon as an operation above is, and its state is left behind.
local function warn_of_unnamed_state(self, uids)
  for _, node in ipairs(self.nodes) do
    if node.has_state and not node.given then
      core.log("warn", ("%s: %s keeps its state under the derived uid '%s', which changes with the operations above " ..
        "it; name it with :uid(name)"):format(node.site or "?", node.operation, uids[node]))
    end
  end
end

-- The modules in its functions, of a durable job.
local function materialise(self)
  local uids, fns, is_durable = uid.all(self.nodes), {}, durable.is(self)
  if is_durable then warn_of_unnamed_state(self, uids) end
  for _, node in ipairs(self.nodes) do
    local own = node:materialise(uids[node])
    table.move(own, 1, #own, #fns + 1, fns)
  end
  for _, output in ipairs(self.outputs) do
    local own = output.prepare and output.prepare(uids[output.stream]) or {}
    table.move(own, 1, #own, #fns + 1, fns)
    output.stream.handle:output(output.name, output.site, output.identity, output.run)
  end
  local modules = is_durable and durable.check(self) or {}
  local shipped = #fns > 0 and core.capture(fns, is_durable)
  for name, module in pairs(shipped or {}) do modules[name] = module end
  return modules
end

-- The line about each batch's bad records. Events are made only for listeners: there is none where nothing is diverted.
local function watch_bad_records(self)
  local wanted = self.sc.diverts or false
  for _, node in ipairs(self.nodes) do wanted = wanted or node.guarded end
  shared.watch(wanted)
  if not wanted then return end
  self.handle:addListener(function(event)
    if event.kind == "batchCompleted" then shared.end_batch(event.batchTime) end
  end)
end

local function start(self)
  local first = self.handle:state() == "INITIALIZED"
  if first and not self.made then
    if durable.is(self) then durable.check_place(self.checkpoint_dir) end
    if control.holder then control.holder:starting(self) end
    check_checkpoints(self)
    self.modules = materialise(self)
    watch_bad_records(self)
    if durable.is(self) then
      shared.keep(self)
      durable.compare(self, self.modules)
    end
    self.made = true
  end
  self.handle:start()
  if first and durable.is(self) then durable.record(self, self.modules) end
end

method("start", {}, function(self)
  local where = site.here()
  local ok, why = pcall(start, self)
  if ok then return end
  -- What could not start is over, unless it was only not its turn.
  if self.handle:state() == "INITIALIZED" and not (self.made and core.active()) then self.handle:abandon() end
  error(site.located(where, why), 0)
end)

method("stop", { "boolean?", "boolean?" }, function(self, stop_context, gracefully)
  if self.listening then check.fail "illegal state: stop was called by a streaming listener" end
  if stop_context == nil then stop_context = self.sc.handle:conf "rille.streaming.stopContextByDefault" == "true" end
  self.handle:stop(stop_context, gracefully == true)
end)

local function await(self, ms)
  if control.holder then return control.holder:await(self, ms) end
  return self.handle:await(ms)
end

method("awaitTermination", {}, function(self) await(self, -1) end)

method("awaitTerminationOrTimeout", { "seconds" }, await)

return StreamingContext
