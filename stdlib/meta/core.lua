---@meta rille.core
--- The primitives that lua/ binds from the engine, as `require "rille.core"`: the contract between lua/bind*.c and stdlib/.
--- Internal: jobs use `require "rille"`. Handles are userdata; a handle of something gone (context stopped) raises a clear error. Errors are raised as
--- strings "message" (argument errors through luaL_argerror-like text at the user's level are made in stdlib), with the user's traceback of a failed task behind a newline.

---@class rille.core
local core = {}

core.version = "0.1.0"

-- values ---------------------------------------------------------------------------------------------------------------
core.null = nil ---@type userdata rille.null of this state
function core.tuple(...) end               ---@return table rille.tuple(...)
function core.isTuple(v) end               ---@return boolean
function core.format(...) end              ---@return string text of one record with these fields, as print shows it
function core.log(level, message) end      ---@param level "debug"|"info"|"warn"|"error"
function core.setLogLevel(level) end       ---@param level "debug"|"info"|"warn"|"error"|"off"
function core.monotonic() end              ---@return number seconds, monotonic
function core.now() end                    ---@return integer wall clock, ms since the epoch
function core.sleep(ms) end                ---@param ms integer serves messages of the active context meanwhile

-- Questions about values, for functions of the library that go to workers: these travel by name.
function core.compare(a, b) end            ---@return integer below 0, 0 or above: the total order (core/data/value.h)
function core.keyText(v) end               ---@return string the same for what is the same key; raises for what is none
function core.keyPartition(v, n) end       ---@return integer the hash partition of n, from 0, that the key is in
function core.fields(record) end           ---@return any ... of a record as one value

-- the command line -----------------------------------------------------------------------------------------------------
--- Settings that win over what a script gives: `rille run --master` and `--conf` put them here. core.context applies, lowest first: the file core.properties, its own
--- properties file, its conf, these.
core.overrides = {} ---@type table<string, string>
core.properties = nil ---@type string? a properties file read before all else: `rille run --properties`
function core.checkSettings(settings, properties) end ---raises for what core.context would refuse in a table and a file

--- For the program's commands (lua/bind_tools.c): what a function takes along; its size as a whole, or nil and why it cannot travel.
---@return { name: string, kind: "upvalue"|"global", type: string, assigned: boolean, bytes: integer? }[], integer?, string?
function core.captured(value, role, site) end
function core.entries(dir) end             ---@return string[]?, string[] files, directories; nil and why
function core.stamp(path) end              ---@return "file"|"directory"|nil, string? changes when the file does
function core.seconds(value) end           ---@return number? of a duration, a number or a text; nil: it is none
function core.keepLog(on) end              ---@return string? false: the lines kept since true

-- durable jobs (lua/bind_durable.c) --------------------------------------------------------------------------------------
core.main = nil ---@type string? chunk name of the script that `rille run` runs
function core.captureFunction(value, role, site) end ---@return userdata raises for what has no durable form
function core.encodeFunction(image) end    ---@return string, string docs/formats.md; lines: what secrets are left out
function core.isSecretName(name) end       ---@return boolean
function core.secretIn(text) end           ---@return string? the setting whose secret is in the text
function core.decodeFunction(bytes, mute) end ---@return any mute: its Kafka producers send nothing
---@param list { f: any, role: string, site: string? }[] raises for what is not fit for a checkpoint
---@return table<string, rille.RecordedModule> modules in them
function core.checkDurable(list) end
function core.fingerprint(f) end           ---@return string the same for what is loaded again (lua/fingerprint.h)
function core.addClass(class) end          -- objects of it are the library's, and may be in functions of the driver
function core.loadText(text, chunk, module) end ---@return function?, string? as load does; the text is known from now on
function core.knownText(chunk) end         ---@return string?
function core.encodeValue(value) end       ---@return string as the codec writes it
function core.decodeValue(bytes) end       ---@return any
function core.isSameFile(path, other) end  ---@return boolean false when either is not there
function core.checkpointExists(dir) end    ---@return boolean, string? why it cannot be looked at
function core.probeCheckpoint(dir, all) end ---@return true?, string?, boolean? nil, why it cannot be read, in use; all: reads the log
function core.readNote(dir, dbi, name) end ---@return string?, string?, boolean? nil: there is none; nil, why, in use

-- functions and operations ------------------------------------------------------------------------------------------------
---@class rille.core.Fn: userdata
---@param spec { kind: string, functions: function[], name: string, site: string?, uid: string?, param: integer?, guarded: boolean?, handled: boolean?, tagged: boolean? } kinds: lua/luafn.c
---@return rille.core.Fn  closures are kept with it until captured; diagnosed now (raises what cannot travel at all)
function core.fn(spec) end
---@param fns rille.core.Fn[] captures the unbound ones among them, all in one image with one memo
---@param durable boolean? functions without source text are refused; gives the modules in the image
---@return table<string, rille.RecordedModule>?
function core.capture(fns, durable) end

---@class rille.core.Op: userdata
---@param spec { kind: "narrow"|"shuffle"|"union"|"coalesce"|"zip"|"cartesian", name: string, site: string?, uid: string?, fn: rille.core.Fn?, mapFn: rille.core.Fn?, part: "hash"|"roundRobin"|"range"|nil, partitions: integer?, descending: boolean?, uneven: boolean?, keepsKeys: boolean? }
---@return rille.core.Op
function core.op(spec) end

---@param spec { command: string[], env: string[]?, site: string? } env: "NAME=value"
---@return rille.core.Fn for a narrow op: records through a process; there is nothing to capture
function core.pipe(spec) end

-- contexts and RDDs ----------------------------------------------------------------------------------------------------------
---@class rille.core.Context: userdata
local Context = {}
---@param conf table<string, string|number|boolean> any setting; appName, master, clock for short
---@param properties string? a file read first
---@return rille.core.Context
function core.context(conf, properties) end
function Context:stop() end
function Context:isStopped() end           ---@return boolean
function Context:workers() end             ---@return integer
function Context:parallelism() end         ---@return integer rille.default.parallelism, else the number of workers
function Context:parallelismIsSet() end    ---@return boolean was rille.default.parallelism given
function Context:memory() end              ---@return rille.MemoryUse
function Context:conf(key) end             ---@return string value given or default, "" when unset
---@param records any[] plain values or tuples; list cut at floor(i*len/n); `length` for lists that may hold nil is refused
---@return rille.core.Rdd
function Context:parallelize(records, partitions) end
function Context:textFile(path, partitions) end     ---@return rille.core.Rdd
function Context:binaryRecords(path, length) end    ---@return rille.core.Rdd
function Context:objectFile(path) end               ---@return rille.core.Rdd
function Context:files(path) end                    ---@return string[] paths of what textFile(path) would read
function Context:blocks(texts) end                  ---@return rille.core.Rdd one partition a string, each cut into lines in place
--- spec: { settings: { name =, value = }[], records: "pair"|"value"|"full" }; ranges: { topic =, partition =, fromOffset =, untilOffset = }[]
function Context:kafka(spec, ranges) end            ---@return rille.core.Rdd
---@param spec { settings: { name: string, value: string }[], topic: string?, transaction: rille.core.KafkaTransaction? } no topic: a record's first field names it
function Context:kafkaSink(spec) end                ---@return rille.core.Fn native: there is nothing to capture
---@param spec { settings: { name: string, value: string }[], id: string, marker: string }
function Context:kafkaTransaction(spec) end         ---@return rille.core.KafkaTransaction
function Context:empty(partitions) end              ---@return rille.core.Rdd
---@param rdd rille.core.Rdd
---@param kind "collect"|"partitions"|"count"|"run" collect: one array of records; partitions: an array of arrays; count: integer; run: nothing
---@param options { partitions: integer[]?, limit: integer?, time: integer?, what: string } partitions count from 0 here
---@return any  Inside an output's coroutine (and nowhere deeper) it yields, so that other outputs run meanwhile; elsewhere it serves messages while it waits
function Context:run(rdd, kind, options) end
---@param options { dir: string, format: "text"|"objects", overwrite: boolean, time: integer?, what: string }
function Context:save(rdd, options) end

---@class rille.core.Rdd: userdata
local Rdd = {}
---@param op rille.core.Op
---@param parents rille.core.Rdd[]
---@param parallelism integer 0: settled by the parents
---@return rille.core.Rdd
function core.apply(op, parents, parallelism) end
function Rdd:id() end                      ---@return integer
function Rdd:partitions() end              ---@return integer
function Rdd:parents() end                 ---@return table[] { rdd, whether its records are exchanged on the way } of each
function Rdd:isHashed() end                ---@return boolean partitioned by key
function Rdd:persist(level) end            -- level: string?; MEMORY_ONLY
function Rdd:level() end                   ---@return string
function Rdd:unpersist() end
function Rdd:isPersisted() end             ---@return boolean
function Rdd:setName(name) end
function Rdd:name() end                    ---@return string?
function Rdd:label() end                   ---@return string "map at job.lua:3"
function Rdd:kafkaRanges() end             ---@return rille.OffsetRange[]? of a Kafka stream's own RDD
function Rdd:debug() end                   ---@return string lineage

-- outputs --------------------------------------------------------------------------------------------------------------------
---@class rille.core.LmdbSink: userdata core/sink/lmdb.h
local LmdbSink = {}
---@param spec { path: string, db: string, output: string, format: "text"|"binary"?, map: integer? }
---@return rille.core.LmdbSink
function core.lmdbSink(spec) end
function LmdbSink:newest() end             ---@return integer? time of the newest batch that is in
function LmdbSink:again() end              ---@return boolean the map was full: the job that just ended is to be run again
function LmdbSink:writer() end             ---@return rille.core.Fn for a narrow op over one partition
function LmdbSink:old() end                ---@return rille.core.Fn likewise: (key, x) -> (key, x, what is there)
function core.lmdbRead(path, db, format) end  ---@return fun(): any, any; nil, nil and what closes it

---@class rille.core.KafkaTransaction: userdata core/sink/kafka_txn.h
local KafkaTransaction = {}
---@param epoch integer
---@param offsets { group: string?, topic: string, partition: integer, offset: integer }[]
function KafkaTransaction:batch(epoch, offsets) end
function KafkaTransaction:begin() end      ---@return rille.core.Fn for a narrow op over one partition
function KafkaTransaction:commit() end     ---@return rille.core.Fn likewise
function KafkaTransaction:has(time) end    ---@return boolean the batch is in
function KafkaTransaction:again() end      ---@return boolean what failed is worth another try, from begin on

--- One after another, in the order of asking.
---@class rille.core.Turn: userdata
local Turn = {}
function core.turn(context) end            ---@return rille.core.Turn
function Turn:take() end                   ---@return userdata held until it is closed; yields or waits as Context:run does

--- The output that runs is about to fail only because one before it did: it is not told of again.
function core.follows() end

-- streaming ------------------------------------------------------------------------------------------------------------------
---@class rille.core.Streaming: userdata
local Streaming = {}
---@param batchMs integer
---@return rille.core.Streaming
function core.streaming(context, batchMs) end
function core.active() end                 ---@return rille.core.Streaming? the same userdata as made by core.streaming
function Streaming:socket(host, port, site, ack) end  ---@return rille.core.DStream
function Streaming:rawSocket(host, port, site) end   ---@return rille.core.DStream
---@param spec { path: string, format: "text"|"binary", recordLength: integer?, newFilesOnly: boolean, filter: (fun(path: string): boolean)?, site: string? }
function Streaming:files(spec) end                   ---@return rille.core.DStream
---@param spec table as Context:kafka's, and topics: string[]?, pattern: string?, assign: { topic =, partition = }[]?, from: { topic =, partition =, offset = }[]?, site: string?
function Streaming:kafka(spec) end                   ---@return rille.core.DStream
---@param spec table as Context:kafka's, and topics: string[], site: string?
function Streaming:kafkaGroup(spec) end              ---@return rille.core.DStream of a receiver
--- An input whose RDDs a driver function gives: compute(time) -> rille.core.Rdd or nil (no RDD in this batch).
---@param compute fun(time: integer): rille.core.Rdd?
function Streaming:input(name, compute, site, repeats) end    ---@return rille.core.DStream
--- A receiver in Lua on a thread and state of its own. `definition` is captured (functions and plain values of the table travel) at start: fields onStart(self), onStop(self) and whatever else. In
--- its state `self` has methods store(...) (fields of a record; an array, or an iterator, of records is a block), restart(message[, seconds]),
--- reportError(message[, error]), stop(message), isStopped(), isStarted(), streamId().
function Streaming:receiver(definition, name, site) end  ---@return rille.core.DStream
--- socketStream: converter(read) runs on a thread and state of its own, once a connection; read(n) gives n bytes, fewer only before the end, nil at the end, read("l") a line without its end; it returns an iterator of records.
function Streaming:socketConverter(host, port, converter, site) end  ---@return rille.core.DStream
--- Captures what belongs to receivers and converters, then starts.
function Streaming:start() end
function Streaming:stop(stopContext, graceful) end
function Streaming:abandon() end           -- stops at once and without a word, also what was never started
---@return boolean stopped; raises a reported failure once
function Streaming:await(timeoutMs) end
function Streaming:sleep(ms) end           -- serves messages meanwhile
function Streaming:state() end             ---@return "INITIALIZED"|"ACTIVE"|"STOPPED"
function Streaming:remember(ms) end
function Streaming:checkpoint(dir) end
function Streaming:putCode(texts) end -- before start: all that the job's functions are made of
function Streaming:putNote(dbi, name, bytes) end -- into the checkpoint, after start; nil: removes it
--- keeper(time) gives what is to be kept; keeper(nil, bytes): in start, what an earlier process kept last.
---@param keeper fun(time: integer?, bytes: string?): string?
function Streaming:keep(keeper) end
function Streaming:zeroTime() end          ---@return integer? ms
function Streaming:time() end              ---@return integer the configured clock, ms
function Streaming:isManual() end          ---@return boolean
function Streaming:advance(ms) end
---@param listener fun(event: table) event.kind "streamingStarted"|"batchSubmitted"|"batchStarted"|"batchCompleted"|"outputOperationStarted"|"outputOperationCompleted"|"receiverStarted"|"receiverError"|"receiverStopped"; fields as in section 19 of the reference, and totalMicros (tick due to completion), processingMicros
function Streaming:addListener(listener) end
function Streaming:context() end           ---@return rille.core.Context

--- Broadcasts and accumulators (lua/shared.h).
function core.broadcast(value, site) end   ---@return rille.Broadcast
---@param spec { zero: any, add: function, fromZero: boolean, name: string?, site: string? }
function core.accumulator(spec) end        ---@return rille.Accumulator
function core.zero(accumulator) end        ---@return any a copy of what it began with
---@param spec { settings: table[], mute: boolean? } settings as Context:kafka's; mute: it checks what it is given, and sends nothing
function core.kafkaProducer(spec) end      ---@return rille.KafkaProducer
function core.settleProducers() end        -- waits for what the output that runs has sent in the driver; raises what was refused
core.Accumulator = {}                      --- methods of accumulators in the driver: to be filled
--- Called with what tasks reported, as id, value, id, value, ...; id 0: bad records, (batch time or nil, count, samples...).
---@param handler fun(entries: any[])
function core.onUpdates(handler) end
function Context:deliverUpdates() end
core.json, core.time = {}, {}              --- rille.json, rille.time

---@class rille.core.DStream: userdata
local DStream = {}
--- Commits the ends of ranges of a Kafka stream; callback(failure) comes on the driver.
function DStream:commit(ranges, callback) end
function core.dapply(op, parents) end      ---@param op rille.core.Op @param parents rille.core.DStream[] @return rille.core.DStream
---@param fn fun(rdds: rille.core.Rdd[], time: integer): rille.core.Rdd runs on the driver
---@param named { name: string, site: string?, uid: string? }
function core.dtransform(named, parents, fn) end     ---@return rille.core.DStream
---@param named { name: string, site: string?, uid: string? }
function core.dwindow(named, parent, window_ms, slide_ms) end  ---@return rille.core.DStream
--- Raises unless both durations are multiples of the parent's slide; the message begins with the name.
function core.checkWindow(name, parent_slide_ms, window_ms, slide_ms) end
--- Keyed state (core/run/streaming.h, rl_stateful). update: a shuffle by key whose function is a state step.
---@param spec { name: string, site: string?, uid: string, timed: boolean?, always: boolean?, passing: boolean?, form: string?, window: integer?, slide: integer? }
---@param update rille.core.Op
---@param initial rille.core.Rdd?
function core.dstateful(spec, update, initial, parent) end  ---@return rille.core.DStream
---@param named { name: string, site: string?, uid: string?, first: boolean? } first: states are tuples, whose first field is meant
function core.dsnapshots(named, stateful) end        ---@return rille.core.DStream
---@param reducer { kind: "sum"|"pick", orEqual: boolean?, swapped: boolean?, negated: boolean?, label: string } core/store/panes.h
function core.panes(reducer) end                     ---@return rille.core.Fn
--- Of ssc.handle:stateOf(uid), nil when there is none.
---@class rille.core.State: userdata
local State = {}
function State:get(key) end                ---@return any
function State:count() end                 ---@return integer
function State:iterate(prefix) end         ---@return fun(): any, any; nil, nil and what closes it
--- body runs on the driver, in a coroutine, once a batch.
---@param body fun(rdd: rille.core.Rdd, time: integer)
function DStream:output(name, site, identity, body) end
function DStream:persist(level) end        -- level: string?; MEMORY_ONLY_SER
function DStream:storeAt(level) end        -- of a receiver's: how what it stores is kept
function DStream:setUid(uid) end           -- of an input
function DStream:slide() end               ---@return integer ms
function DStream:inputId() end             ---@return integer -1 when no input
function DStream:get(time) end             ---@return rille.core.Rdd?
function DStream:label() end               ---@return string
function DStream:debug() end               ---@return string

return core
