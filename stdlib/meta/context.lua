---@meta _

--- Workers and settings; RDDs that do not come from streams.
---@class rille.Context
---@overload fun(conf: rille.Settings?): rille.Context
local Context = {}

--- An RDD out of a list, cut at floor(i * #list / n).
---@param list any[] plain values or rille.tuple
---@param n integer? number of partitions; rille.default.parallelism without it
---@return rille.RDD
function Context:parallelize(list, n) end

--- As parallelize.
---@param list any[]
---@param n integer?
---@return rille.RDD
function Context:makeRDD(list, n) end

--- Whole numbers from `first` up to, and without, `stop`; with one number, from 0 up to it.
---@overload fun(self: rille.Context, stop: integer): rille.RDD
---@param first integer
---@param stop integer
---@param step integer? 1 without it; below 0 they go down
---@param n integer? number of partitions; rille.default.parallelism without it
---@return rille.RDD
function Context:range(first, stop, step, n) end

--- (path, content) of each file; path as for textFile.
---@param path string
---@param n integer? number of partitions
---@return rille.RDD
function Context:wholeTextFiles(path, n) end

--- As wholeTextFiles: a string holds any bytes.
---@param path string
---@param n integer?
---@return rille.RDD
function Context:binaryFiles(path, n) end

--- The lines of a file, of the files of a directory, or of those that match a pattern.
---@param path string
---@param n integer? least number of partitions where the size allows
---@return rille.RDD
function Context:textFile(path, n) end

--- Records of fixed length.
---@param path string
---@param length integer bytes of a record
---@return rille.RDD
function Context:binaryRecords(path, length) end

--- What saveAsObjectFile wrote.
---@param path string
---@return rille.RDD
function Context:objectFile(path) end

--- An RDD without partitions.
---@return rille.RDD
function Context:emptyRDD() end

---@param rdds rille.RDD[] at least one
---@return rille.RDD
function Context:union(rdds) end

---@return integer n # rille.default.parallelism, else the number of workers
function Context:defaultParallelism() end

--- What the context keeps.
---@return rille.MemoryUse
function Context:memory() end

---@class rille.MemoryUse all in bytes
---@field limit integer        for records: rille.memory.limit without the Lua states
---@field used integer         by records and buffers now, of all contexts of the process
---@field storage integer      of it kept: persisted, received, left for the next stage
---@field spilled integer      in spill files now
---@field spilledTotal integer written to them so far
---@field droppedTotal integer dropped so far, to be computed anew

---@param level "debug"|"info"|"warn"|"error"|"off"
function Context:setLogLevel(level) end

--- Ends the workers. RDDs of this context are of no more use.
function Context:stop() end

---@return boolean
function Context:isStopped() end

--- A value for closures, shipped once to each worker, which decodes it once: for tables of any size. It is captured
--- now, as closures are.
---@param value any
---@return rille.Broadcast
function Context:broadcast(value) end

--- A value that tasks add to and the script reads. A task counts once, when it succeeds, however often it is tried;
--- records that are computed again count again.
---@generic T
---@param zero T what it begins with
---@param add fun(value: T, added: any): T without `merge` both are of one kind: a task begins with what it adds first
---@param merge (fun(value: T, ofTask: T): T)? with it a task begins with a copy of zero; it adds the tasks' values up
---@return rille.Accumulator
function Context:accumulator(zero, add, merge) end

--- Adds up whole numbers.
---@param name string?
---@return rille.Accumulator
function Context:longAccumulator(name) end

--- Adds up numbers as floats, in the order of partitions.
---@param name string?
---@return rille.Accumulator
function Context:doubleAccumulator(name) end

--- Collects values: value() is an array of them, in the order of partitions.
---@param name string?
---@return rille.Accumulator
function Context:collectionAccumulator(name) end

---@class rille.Broadcast
local Broadcast = {}

--- In closures and in the script. Raises after destroy.
---@return any
function Broadcast:value() end

--- Workers drop their copies; a closure that asks again gets it again. Only in the script.
function Broadcast:unpersist() end

--- Ends it, here and in workers. Only in the script.
function Broadcast:destroy() end

---@return integer
function Broadcast:id() end

---@class rille.Accumulator
local Accumulator = {}

--- The only method that closures may call, with `name` and `id`.
---@param value any
function Accumulator:add(value) end

--- With all that finished tasks added so far.
---@return any
function Accumulator:value() end

--- Begins anew.
function Accumulator:reset() end

---@return boolean isZero # nothing was added since it began
function Accumulator:isZero() end

---@return string?
function Accumulator:name() end

---@return integer
function Accumulator:id() end

--- Of long and double accumulators, as count and avg.
---@return number
function Accumulator:sum() end

---@return integer how many were added
function Accumulator:count() end

---@return number avg # NaN when there is nothing
function Accumulator:avg() end
