---@meta _

--- Inputs, streams and outputs of a job, and its life. Streams and outputs can be added until start. The second
--- argument is the batch duration.
---@class rille.StreamingContext
---@overload fun(conf: rille.Settings, batchDuration: rille.Duration): rille.StreamingContext
---@overload fun(context: rille.Context, batchDuration: rille.Duration): rille.StreamingContext
local StreamingContext = {}

--- The context that was started and not yet stopped.
---@return rille.StreamingContext?
function StreamingContext.getActive() end

--- A context whose checkpoint is in a directory: start goes on with the job that is there. `make` is always called: the
--- script of today says what is done, the checkpoint has the state, the batches that were not done, and the positions.
--- Where there is a checkpoint and `make` raises, gives nothing or is nil, the function recorded in the checkpoint is
--- called instead, with a warning.
---@overload fun(path: string, make: (fun(): rille.StreamingContext)?, createOnError: boolean?): rille.StreamingContext
---@param path string checkpoint directory
---@param make (fun(): rille.StreamingContext)? may call ssc:checkpoint(path) itself
---@param conf table? has no meaning here
---@param createOnError boolean? a checkpoint that cannot be read is put aside; without it that is an error
---@return rille.StreamingContext
function StreamingContext.getOrCreate(path, make, conf, createOnError) end

--- The active context, or else as getOrCreate; without a directory what `make` gives.
---@overload fun(make: fun(): rille.StreamingContext): rille.StreamingContext
---@param path string
---@param make (fun(): rille.StreamingContext)?
---@param conf table?
---@param createOnError boolean?
---@return rille.StreamingContext
function StreamingContext.getActiveOrCreate(path, make, conf, createOnError) end

--- Lines of text from a TCP server; connects again after rille.streaming.receiverRestartDelay when the peer goes.
--- With ack, the server is one that keeps its lines until they are acknowledged, which is when they are in the job's log
--- on disk, and none is lost (docs/ack-protocol.md); the job needs a checkpoint directory then.
---@param host string
---@param port integer
---@param options { storageLevel: rille.StorageLevel?, ack: boolean? }? level: MEMORY_AND_DISK_SER_2; never lost
---@return rille.DStream
function StreamingContext:socketTextStream(host, port, options) end

--- Records that a converter makes of the bytes of a TCP connection. It runs on a thread and in a state of its own, once a
--- connection; read(n) gives n bytes, fewer only before the end, nil at the end, read("l") a line without its end.
---@param host string
---@param port integer
---@param converter fun(read: fun(what: integer|"l"): string?): function gives an iterator of records
---@param storageLevel rille.StorageLevel? MEMORY_AND_DISK_SER_2
---@return rille.DStream
function StreamingContext:socketStream(host, port, converter, storageLevel) end

--- Blocks of encoded records, each behind its length (4 bytes, big-endian).
---@param host string
---@param port integer
---@param storageLevel rille.StorageLevel? MEMORY_AND_DISK_SER_2
---@return rille.DStream
function StreamingContext:rawSocketStream(host, port, storageLevel) end

--- Lines of new files.
---@param directory string a directory, a pattern of directories, or directory/pattern for the files in it
---@return rille.DStream
function StreamingContext:textFileStream(directory) end

---@param directory string as above
---@param options { filter: (fun(path: string): boolean)?, newFilesOnly: boolean? }?
---@return rille.DStream
function StreamingContext:fileStream(directory, options) end

---@param directory string as above
---@param length integer bytes of a record
---@return rille.DStream
function StreamingContext:binaryRecordsStream(directory, length) end

--- A batch out of a queue: the job may add to the table while it runs.
---@param queue (rille.RDD|any[])[] taken from the front
---@param oneAtATime boolean? true without it; false: all that is there
---@param default rille.RDD|any[]|nil for batches with an empty queue; without it an empty RDD
---@return rille.DStream
function StreamingContext:queueStream(queue, oneAtATime, default) end

--- Records of a receiver written in Lua, which runs on a thread and in a state of its own.
---@param receiver rille.Receiver
---@return rille.DStream
function StreamingContext:receiverStream(receiver) end

---@param streams rille.DStream[] at least one
---@return rille.DStream
function StreamingContext:union(streams) end

---@param streams rille.DStream[] at least one
---@param f fun(rdds: rille.RDD[], time: integer): rille.RDD
---@return rille.DStream
function StreamingContext:transform(streams, f) end

--- How long RDDs are kept at least; may be said once.
---@param seconds rille.Duration
function StreamingContext:remember(seconds) end

--- Reads what the operator with this uid (`:uid`) remembers; from start on.
---@param uid string
---@return rille.State
function StreamingContext:state(uid) end

--- Makes the job durable: its log, state and script are kept in a directory, and start goes on with the job that is
--- there. nil: it is not durable. Before start.
---@param directory string?
function StreamingContext:checkpoint(directory) end

---@param listener rille.StreamingListener
function StreamingContext:addStreamingListener(listener) end

---@return rille.Context
function StreamingContext:context() end

---@return rille.Clock
function StreamingContext:clock() end

---@return "INITIALIZED"|"ACTIVE"|"STOPPED"
function StreamingContext:getState() end

function StreamingContext:start() end

--- Without arguments: at once, and with the Context as rille.streaming.stopContextByDefault says (true).
---@param stopContext boolean?
---@param gracefully boolean? what was received is worked off first
function StreamingContext:stop(stopContext, gracefully) end

--- Waits until the context is stopped. Raises what failed meanwhile.
function StreamingContext:awaitTermination() end

---@param seconds rille.Duration
---@return boolean stopped # false: the time is over
function StreamingContext:awaitTerminationOrTimeout(seconds) end

---@class rille.Clock
local Clock = {}

---@return integer ms # since the epoch; the manual clock begins at 0
function Clock:now() end

--- Moves the manual clock on; returns when all that this caused has finished.
---@param seconds rille.Duration
function Clock:advance(seconds) end

---@class rille.Receiver
---@field onStart fun(self: rille.ReceiverSelf)
---@field onStop fun(self: rille.ReceiverSelf)?
---@field name string?          for messages
---@field storageLevel rille.StorageLevel? of what it stores: MEMORY_AND_DISK_SER_2
---@field [any] any             travels with it

--- What a receiver's functions see of themselves: what the job put into the table, and
---@class rille.ReceiverSelf: rille.Receiver
local ReceiverSelf = {}

--- Stores one record, or many at once: an array (a table with no other keys than 1 to n) or an iterator becomes a block
--- of its own. So a record that is such a table goes into an array of one: `self:store { { 1, 2 } }`.
---@param ... any the fields of one record, or an array of records, or an iterator over them
function ReceiverSelf:store(...) end

--- Stops and starts again.
---@param message string
---@param seconds rille.Duration? pause; rille.streaming.receiverRestartDelay without it
function ReceiverSelf:restart(message, seconds) end

---@param message string
---@param err any?
function ReceiverSelf:reportError(message, err) end

---@param message string
function ReceiverSelf:stop(message) end

---@return boolean
function ReceiverSelf:isStopped() end

---@return boolean
function ReceiverSelf:isStarted() end

---@return integer
function ReceiverSelf:streamId() end

--- Any of these; each gets one event, a table whose `kind` is its name ("batchCompleted"). A listener must not stop the
--- context.
---@class rille.StreamingListener
---@field onStreamingStarted fun(event: table)? event.time: when
---@field onBatchSubmitted fun(event: rille.BatchEvent)?
---@field onBatchStarted fun(event: rille.BatchEvent)?
---@field onBatchCompleted fun(event: rille.BatchEvent)?
---@field onOutputOperationStarted fun(event: rille.OutputEvent)?
---@field onOutputOperationCompleted fun(event: rille.OutputEvent)?
---@field onReceiverStarted fun(event: rille.ReceiverEvent)?
---@field onReceiverError fun(event: rille.ReceiverEvent)?
---@field onReceiverStopped fun(event: rille.ReceiverEvent)?

--- A batch, as far as it has got. Times are milliseconds since the epoch, delays and durations milliseconds.
---@class rille.BatchEvent
---@field kind string
---@field batchTime integer
---@field numRecords integer of all inputs
---@field streamIdToInputInfo table<integer, rille.InputInfo> by the id of the input
---@field outputOperationInfos table<integer, rille.OutputEvent> by their id
---@field submissionTime integer? when it was given to the scheduler
---@field processingStartTime integer? when its first output began
---@field processingEndTime integer?
---@field schedulingDelay integer? how long it waited for that
---@field processingDelay integer?
---@field totalDelay integer? both
---@field processingMicros integer? the processing delay in microseconds
---@field totalMicros integer? from the batch's tick to its end, in microseconds
---@field badRecords integer? how many records were diverted in the batch, when it is complete
---@field spilledBytes integer? written to spill files meanwhile

---@class rille.InputInfo
---@field inputStreamId integer
---@field numRecords integer
---@field metadata table `Description`: what was read (offsets, files), where the source says so; `files`: their names

---@class rille.OutputEvent
---@field kind string? where it is an event of its own
---@field batchTime integer
---@field id integer
---@field name string
---@field description string
---@field startTime integer?
---@field endTime integer?
---@field duration integer? milliseconds
---@field failureReason string? it failed

---@class rille.ReceiverEvent
---@field kind string
---@field streamId integer
---@field name string
---@field active boolean
---@field lastErrorMessage string empty without one
---@field lastError string what was given beside it
---@field lastErrorTime integer milliseconds since the epoch; -1 without one
