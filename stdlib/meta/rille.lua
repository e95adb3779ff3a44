---@meta rille
--- What `require "rille"` gives to a job. Names are Spark's. Durations are seconds, fractions allowed (whole
--- milliseconds); times handed to functions are integers, milliseconds since the epoch.
---
--- Functions given to operations get the fields of a record as arguments and return the fields of a new one: `return w`
--- makes a record of one value, `return w, 1` a key-value record. They run in workers, on copies of what they capture.
--- Functions given to transform, foreachRDD, listeners and fileStream's filter run in place, in the job's own state.

---@class rille
---@field version string                       of the engine
---@field null userdata                        stands for nothing (JSON's null), as a field or a key: equal to itself only, true
---@field json rille.json
---@field kafka rille.kafka
---@field time rille.time
---@field sink rille.sink
---@field Context rille.Context
---@field StateSpec rille.StateSpec
---@field StreamingContext rille.StreamingContext
local rille = {}

--- A record of several values, made by hand. t[1], t[2], ..., t.n; compared by content; printed as (a,b).
---@param ... any the fields; the first must not be nil in a record
---@return rille.Tuple
function rille.tuple(...) end

--- What `make` gave when it was first called under this name in this worker (in the job's own state: in the job).
--- For connections: made once, kept between batches.
---@param name string
---@param make fun(): any must not give nil
---@return any
function rille.once(name, make) end

--- Waits; the active streaming context goes on meanwhile. In a receiver: to its stop at most.
---@param seconds number from 0
function rille.sleep(seconds) end

-- rille.json ----------------------------------------------------------------------------------------------------------

--- JSON texts and values, in the script and in workers. Integers and floats stay what they are; null is rille.null; an
--- object is a table with string keys, an array one with the keys 1 to n.
---@class rille.json
local json = {}

--- The value of a text of at most 64 MiB, nested at most 100 deep. Raises what is wrong, with the byte up to which it
--- was read; integers beyond 64 bits are an error. `[]` gives an empty table, as `{}` does.
---@param text string UTF-8
---@return any
function json.decode(text) end

--- The text of a value; equal values give equal texts. A tuple is an array; an empty table an object, unless it is
--- marked by json.array. Raises for what has no form in JSON: functions, NaN, strings that are not UTF-8, tables of
--- mixed keys or with a metatable.
---@param value any
---@param options { sorted: boolean? }? sorted = false: keys of objects in any order
---@return string
function json.encode(value, options) end

--- Marks a table as an array, also when it is empty. A marked table is for encode: it cannot be in a record.
---@generic T
---@param t T[]? a new one without it
---@return T[] t
function json.array(t) end

-- rille.time ----------------------------------------------------------------------------------------------------------

--- Points in time as whole milliseconds since 1970, in UTC, in the script and in workers.
---@class rille.time
local time = {}

--- The computer's clock; tasks that are tried again see another time.
---@return integer ms
function time.now() end

--- A date or a time as ISO 8601 has it: 2024-05-17, 2024-05-17T08:30, 2024-05-17 08:30:00.250+02:00. UTC without a
--- zone; what is finer than a millisecond is cut off. Raises for anything else.
---@param text string
---@return integer ms
function time.parse(text) end

--- As text, in UTC: %Y %m %d %H %M %S, %L (milliseconds), %j (day of the year), %u (Monday is 1), %%.
---@param ms integer
---@param pattern string? "%Y-%m-%dT%H:%M:%S.%LZ"
---@return string
function time.format(ms, pattern) end

--- The beginning of the window of so many seconds that a time is in; windows begin at multiples of their length.
---@param ms integer
---@param seconds number
---@return integer ms
function time.floor(ms, seconds) end

---@class rille.Tuple
---@field n integer number of fields
---@field [integer] any

---@class rille.Settings: { [string]: string|number|boolean }
---@field appName string?      a name for messages
---@field master string?       "local[*]" (a worker a core), "local[N]" or "local"
---@field clock "system"|"manual"|nil
---@field properties string?   name of a file of settings, read first
--- and any `rille.` setting: ["rille.streaming.blockInterval"] = "50ms"

-- Context -------------------------------------------------------------------------------------------------------------

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

-- RDD -----------------------------------------------------------------------------------------------------------------

--- An immutable, partitioned data set, computed when an action asks for it. `n` is always a number of partitions.
---
--- Where an operation takes records as one value (reduce, fold, sortWith, values of keyBy and zip), a record of several
--- values is a rille.tuple of them.
---
--- Sorting (sortBy, sortByKey, repartitionAndSortWithinPartitions, takeOrdered, top, min, max) has one order over values of
--- all types: rille.null, false, true, numbers (an integer before an equal float, NaN last), strings by their bytes,
--- tuples, tables (both field by field). Equal ones stay in their order. Comparing by a function: sortWith.
---
--- What takes a seed gives the same result for the same seed, partitions and records, on any number of workers.
---@class rille.RDD
local RDD = {}

---@param f fun(...: any): ... the fields of the new record
---@return rille.RDD
function RDD:map(f) end

---@param f fun(...: any): any[]|function an array of records, or an iterator of them
---@return rille.RDD
function RDD:flatMap(f) end

---@param f fun(...: any): boolean records for which it is true stay
---@return rille.RDD
function RDD:filter(f) end

---@param f fun(records: fun(): ...): any[]|function gets an iterator; also called for empty partitions
---@param preservesPartitioning boolean? keys stay what they were
---@return rille.RDD
function RDD:mapPartitions(f, preservesPartitioning) end

---@param f fun(index: integer, records: fun(): ...): any[]|function index counts from 0
---@param preservesPartitioning boolean?
---@return rille.RDD
function RDD:mapPartitionsWithIndex(f, preservesPartitioning) end

--- (f(record), record).
---@param f fun(...: any): any
---@return rille.RDD
function RDD:keyBy(f) end

---@return rille.RDD
function RDD:keys() end

--- Of records of more than two values: records of all but the first.
---@return rille.RDD
function RDD:values() end

--- A random part of the records, in their order.
---@param withReplacement boolean each record any number of times, `fraction` on average
---@param fraction number the chance of each record, 0 to 1; with replacement any from 0
---@param seed integer?
---@return rille.RDD
function RDD:sample(withReplacement, fraction, seed) end

--- sample with a fraction for each key, given by a table (that has all keys) or by a function, which runs in the workers.
---@generic K
---@param withReplacement boolean
---@param fractions table<K, number>|fun(key: K): number
---@param seed integer?
---@return rille.RDD
function RDD:sampleByKey(withReplacement, fractions, seed) end

--- Every record in one of as many RDDs as there are weights, at random.
---@param weights number[] from 0; only their proportions count
---@param seed integer?
---@return rille.RDD[]
function RDD:randomSplit(weights, seed) end

--- Through a process a partition: records go in as lines (as saveAsTextFile writes them), lines that come out are records.
--- It must end with status 0; it may end without reading all. No shell is involved: { "sh", "-c", "..." } is one.
---@param command string|string[] the program and its arguments; a string is cut at white space
---@param options { env: table<string, string>? }? env: variables on top of the job's own
---@return rille.RDD
function RDD:pipe(command, options) end

--- One array per partition.
---@return rille.RDD
function RDD:glom() end

--- All records of all, duplicates kept.
---@param ... rille.RDD
---@return rille.RDD
function RDD:union(...) end

--- Unique records.
---@param n integer?
---@return rille.RDD
function RDD:distinct(n) end

--- Records that are not in the other, compared as keys; duplicates kept.
---@param other rille.RDD
---@param n integer?
---@return rille.RDD
function RDD:subtract(other, n) end

--- Unique records that are in both, compared as keys.
---@param other rille.RDD
---@param n integer?
---@return rille.RDD
function RDD:intersection(other, n) end

--- (record, record of the other), all combinations; partitions of both multiplied. A partition of the other at a time is
--- held in memory.
---@param other rille.RDD
---@return rille.RDD
function RDD:cartesian(other) end

--- (record, record of the other) in their order. As many partitions, and records in each, are needed.
---@param other rille.RDD
---@return rille.RDD
function RDD:zip(other) end

--- What a function makes of an iterator over each one's partition. As many partitions are needed, which may differ in
--- length; where one is read ahead of another, what lies between is held in memory.
---@param other rille.RDD up to three of them, then the function, then preservesPartitioning
---@param ... rille.RDD|fun(...: fun(): ...): (any[]|function)|boolean|nil
---@return rille.RDD
function RDD:zipPartitions(other, ...) end

--- (record, its number from 0). Runs a job first when there are several partitions.
---@return rille.RDD
function RDD:zipWithIndex() end

--- (record, a number no other has): i, i + n, i + 2 n, ... in partition i of n. Runs no job.
---@return rille.RDD
function RDD:zipWithUniqueId() end

--- Exchanged round robin; order is not kept.
---@param n integer
---@return rille.RDD
function RDD:repartition(n) end

--- Neighbouring partitions joined; with `shuffle` as repartition.
---@param n integer
---@param shuffle boolean? false without it
---@return rille.RDD
function RDD:coalesce(n, shuffle) end

---@param f fun(...: any): any what to sort by
---@param ascending boolean? true without it
---@param n integer?
---@return rille.RDD
function RDD:sortBy(f, ascending, n) end

--- Sorted by a comparison function, stable, into one partition.
---@generic T
---@param less fun(a: T, b: T): boolean does a come before b? Gets records as one value; runs in the workers
---@return rille.RDD
function RDD:sortWith(less) end

---@param ascending boolean? true without it
---@param n integer?
---@return rille.RDD
function RDD:sortByKey(ascending, n) end

--- Exchanged by key; nothing is done where that is so already.
---@param n integer
---@return rille.RDD
function RDD:partitionBy(n) end

--- Exchanged by key, and sorted by key in each partition.
---@param n integer
---@param ascending boolean? true without it
---@return rille.RDD
function RDD:repartitionAndSortWithinPartitions(n, ascending) end

--- (f(record), array of records).
---@param f fun(...: any): any
---@param n integer?
---@return rille.RDD
function RDD:groupBy(f, n) end

---@param f fun(value: any): any
---@return rille.RDD
function RDD:mapValues(f) end

---@param f fun(value: any): any[]|function
---@return rille.RDD
function RDD:flatMapValues(f) end

--- (key, array of values), values in order of arrival.
---@param n integer?
---@return rille.RDD
function RDD:groupByKey(n) end

---@param f fun(a: any, b: any): any associative
---@param n integer?
---@return rille.RDD
function RDD:reduceByKey(f, n) end

---@param create fun(value: any): any            of the first value of a key
---@param mergeValue fun(combined: any, value: any): any
---@param mergeCombiners fun(a: any, b: any): any
---@param n integer?
---@param mapSideCombine boolean? true without it
---@return rille.RDD
function RDD:combineByKey(create, mergeValue, mergeCombiners, n, mapSideCombine) end

--- Values of each key added to a zero value, once a partition; each key gets a copy of its own.
---@generic V
---@param zero V
---@param f fun(a: V, b: V): V associative
---@param n integer?
---@return rille.RDD
function RDD:foldByKey(zero, f, n) end

--- As foldByKey, into another type.
---@generic A, V
---@param zero A
---@param add fun(acc: A, value: V): A
---@param merge fun(a: A, b: A): A
---@param n integer?
---@return rille.RDD
function RDD:aggregateByKey(zero, add, merge, n) end

--- Pairs whose key the other does not have.
---@param other rille.RDD
---@param n integer?
---@return rille.RDD
function RDD:subtractByKey(other, n) end

--- As cogroup.
---@param other rille.RDD up to three of them
---@param ... rille.RDD
---@return rille.RDD
function RDD:groupWith(other, ...) end

--- (key, lefts, rights, ...): arrays, for every key of any side.
---@param other rille.RDD up to three of them, then the number of partitions
---@param ... rille.RDD|integer|nil
---@return rille.RDD
function RDD:cogroup(other, ...) end

--- (key, left, right): all combinations.
---@param other rille.RDD
---@param n integer?
---@return rille.RDD
function RDD:join(other, n) end

--- As join; right is nil where there is none.
---@param other rille.RDD
---@param n integer?
---@return rille.RDD
function RDD:leftOuterJoin(other, n) end

--- As join; left is nil where there is none.
---@param other rille.RDD
---@param n integer?
---@return rille.RDD
function RDD:rightOuterJoin(other, n) end

--- As join; the side that is not there is nil.
---@param other rille.RDD
---@param n integer?
---@return rille.RDD
function RDD:fullOuterJoin(other, n) end

--- All records: plain values where records have one value, rille.tuple else.
---@return any[]
function RDD:collect() end

---@return integer
function RDD:count() end

--- What the RDD of a Kafka stream reads, or one of rille.kafka.createRDD; to be asked in the stream's own transform or
--- foreachRDD, as no other RDD has ranges.
---@return rille.OffsetRange[] # a partition each, in their order
function RDD:offsetRanges() end

--- All records, in order; a job for each partition as it is reached.
---@return fun(): any
function RDD:toLocalIterator() end

--- (key, value) records as a table; of equal keys the last counts.
---@return table<any, any>
function RDD:collectAsMap() end

--- How often each key is there.
---@return table<any, integer>
function RDD:countByKey() end

---@generic V
---@param f fun(a: V, b: V): V associative
---@return table<any, V> by key
function RDD:reduceByKeyLocally(f) end

--- The values of a key; of one partition only where records are exchanged by key.
---@param key any
---@return any[]
function RDD:lookup(key) end

--- How often each record is there. Records of several values are keys as rille.tuple: go through them with pairs.
---@return table<any, integer>
function RDD:countByValue() end

---@return any record # an error when the RDD is empty
function RDD:first() end

---@param n integer
---@return any[] records # the first n in partition order
function RDD:take(n) end

---@param n integer
---@param by (fun(...: any): any)? what to compare by; the records themselves without it
---@return any[] records # the n largest, largest first
function RDD:top(n, by) end

---@param n integer
---@param by (fun(...: any): any)? what to compare by; the records themselves without it
---@return any[] records # the n smallest, smallest first
function RDD:takeOrdered(n, by) end

--- n records at random, in random order; fewer where there are not so many and none may come twice.
---@param withReplacement boolean
---@param n integer
---@param seed integer?
---@return any[] records
function RDD:takeSample(withReplacement, n, seed) end

---@param by (fun(...: any): any)?
---@return any record # an error when the RDD is empty
function RDD:max(by) end

---@param by (fun(...: any): any)?
---@return any record # an error when the RDD is empty
function RDD:min(by) end

--- As reduce, beginning with a zero value in every partition and once more for their results.
---@generic T
---@param zero T copied for each
---@param f fun(a: T, b: T): T associative; also runs in the job's own state
---@return T
function RDD:fold(zero, f) end

--- As fold, into another type.
---@generic A
---@param zero A copied for each
---@param add fun(acc: A, ...: any): A gets the fields of a record
---@param merge fun(a: A, b: A): A also runs in the job's own state
---@return A
function RDD:aggregate(zero, add, merge) end

--- As reduce, with partitions' results joined by the workers, some at a time, as long as there are many.
---@param f fun(a: any, b: any): any associative and commutative
---@param depth integer? of the tree; 2 without it
---@return any
function RDD:treeReduce(f, depth) end

--- As aggregate, in the way of treeReduce.
---@generic A
---@param zero A
---@param add fun(acc: A, ...: any): A
---@param merge fun(a: A, b: A): A associative and commutative
---@param depth integer?
---@return A
function RDD:treeAggregate(zero, add, merge, depth) end

--- Of numbers; integers stay integers. 0 without records.
---@return number
function RDD:sum() end

---@return number NaN without records, as all that follow
function RDD:mean() end

---@return number of the numbers themselves
function RDD:variance() end

---@return number
function RDD:stdev() end

---@return number estimated for what the numbers are a sample of
function RDD:sampleVariance() end

---@return number
function RDD:sampleStdev() end

---@class rille.Stats
---@field count integer
---@field sum number
---@field mean number
---@field min number            math.huge without records
---@field max number
---@field variance number
---@field stdev number
---@field sampleVariance number
---@field sampleStdev number

---@return rille.Stats
function RDD:stats() end

--- How many numbers lie between each two bounds; the lower belongs to it, of the last one the upper too. Others, and NaN,
--- are left out.
---@param buckets integer|number[] so many of equal width from the smallest number to the largest; or the bounds, rising
---@return number[] bounds
---@return integer[] counts
function RDD:histogram(buckets) end

--- Exact, as all these: what Spark estimates is counted here, and limits of time and of error are not looked at.
---@param timeout number?
---@param confidence number?
---@return integer
function RDD:countApprox(timeout, confidence) end

---@param relativeSD number?
---@return integer
function RDD:countApproxDistinct(relativeSD) end

---@param relativeSD number?
---@return table<any, integer> by key: how many different values
function RDD:countApproxDistinctByKey(relativeSD) end

---@param timeout number?
---@param confidence number?
---@return table<any, integer>
function RDD:countByValueApprox(timeout, confidence) end

---@param timeout number?
---@param confidence number?
---@return table<any, integer>
function RDD:countByKeyApprox(timeout, confidence) end

---@param timeout number?
---@param confidence number?
---@return number
function RDD:sumApprox(timeout, confidence) end

---@param timeout number?
---@param confidence number?
---@return number
function RDD:meanApprox(timeout, confidence) end

--- Also run in the job's own state, over the partitions' results. An error when the RDD is empty.
---@param f fun(a: any, b: any): any associative and commutative
---@return any
function RDD:reduce(f) end

---@param f fun(...: any) runs in the workers
function RDD:foreach(f) end

---@param f fun(records: fun(): ...) runs in the workers, once a partition
function RDD:foreachPartition(f) end

---@return boolean
function RDD:isEmpty() end

--- One line a record; dir/part-00000, ..., then dir/_SUCCESS. Outside of batches dir must not exist.
---@param dir string
function RDD:saveAsTextFile(dir) end

--- For Context:objectFile.
---@param dir string
function RDD:saveAsObjectFile(dir) end

---@alias rille.StorageLevel
---| "MEMORY_ONLY"|"MEMORY_ONLY_2"|"MEMORY_ONLY_SER"|"MEMORY_ONLY_SER_2"
---| "MEMORY_AND_DISK"|"MEMORY_AND_DISK_2"|"MEMORY_AND_DISK_SER"|"MEMORY_AND_DISK_SER_2"
---| "DISK_ONLY"|"DISK_ONLY_2"|"DISK_ONLY_3"|"OFF_HEAP"|"NONE"

--- Kept once computed, at a level (docs/settings.md): without one MEMORY_ONLY. What was dropped, for want of memory, is
--- computed anew. Another level than it has is an error; "NONE" is unpersist.
---@param level rille.StorageLevel?
---@return rille.RDD self
function RDD:persist(level) end

---@return rille.StorageLevel
function RDD:getStorageLevel() end

--- persist("MEMORY_ONLY").
---@return rille.RDD self
function RDD:cache() end

---@return rille.RDD self
function RDD:unpersist() end

---@param name string
---@return rille.RDD self
function RDD:setName(name) end

---@return string? name
function RDD:name() end

---@return integer
function RDD:id() end

---@return integer
function RDD:getNumPartitions() end

--- How records are spread by key; nil where that is not known.
---@return { kind: "hash", numPartitions: integer }?
function RDD:partitioner() end

--- What it is computed from: primitive steps, of which an operation may take several.
---@return { rdd: rille.RDD, kind: "narrow"|"shuffle" }[]
function RDD:dependencies() end

--- Diverts the bad records of the operation just made: those on which its function raises (or gives nil where a record
--- is needed), and keys that are nil or NaN. They are counted, shown in the log and left out.
---@param handler "skip"|fun(err: any, ...: any) runs in the worker for each, with what was raised and the record
---@return rille.RDD self
function RDD:onError(handler) end

---@return rille.Context
function RDD:context() end

--- The lineage, one line an RDD, with uids.
---@return string
function RDD:toDebugString() end

-- StreamingContext ----------------------------------------------------------------------------------------------------

--- Inputs, streams and outputs of a job, and its life. Streams and outputs can be added until start. The second
--- argument is the batch duration in seconds.
--- What mapWithState does: `rille.StateSpec(f):timeout(60):numPartitions(4)`. Its methods give a new one.
---@class rille.StateSpec
---@overload fun(f: fun(time: integer, key: any, value: any, state: rille.StateOfKey): ...): rille.StateSpec
local StateSpec = {}

--- Keys that were not touched for longer time out. Touched is a key with data that has a state then.
---@param seconds number
---@return rille.StateSpec
function StateSpec:timeout(seconds) end

---@param n integer the context's default parallelism without it
---@return rille.StateSpec
function StateSpec:numPartitions(n) end

--- What there is before the first batch; it counts as touched in that.
---@param rdd rille.RDD of (key, state)
---@return rille.StateSpec
function StateSpec:initialState(rdd) end

--- The state of the key that a function of mapWithState is called for; valid during that call.
---@class rille.StateOfKey
local StateOfKey = {}

---@return any state nil when there is none
function StateOfKey:get() end

---@return boolean
function StateOfKey:exists() end

--- Raises after remove in the same call, while the key is timing out, and for nil. The value is stored when the batch's
--- task ends; what is changed in a table until then is stored with it.
---@param state any
function StateOfKey:update(state) end

--- Raises when it was removed in the same call already, and while the key is timing out.
function StateOfKey:remove() end

---@return boolean yes in the last call for a key
function StateOfKey:isTimingOut() end

--- What an operator remembers, from ssc:state(uid): as of the last batch that was worked off, while the job runs.
---@class rille.State
local State = {}

---@param key any
---@return any state nil when the key has none
function State:get(key) end

---@return integer keys
function State:count() end

--- All keys and their states, as of one batch, in no order of interest: `for key, state in ssc:state("x"):iterate() do`.
--- While the loop runs, changes of that state stay in memory; a job that has too many of them waits for its end, and fails
--- after a while. Used in another way than by `for`, an iterator is to be read to its end.
---@param prefix string? then only keys that are strings and begin with it
---@return fun(): any, any
function State:iterate(prefix) end

---@class rille.StreamingContext
---@overload fun(conf: rille.Settings, batchDuration: number): rille.StreamingContext
---@overload fun(context: rille.Context, batchDuration: number): rille.StreamingContext
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
---@param seconds number
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

---@param seconds number
---@return boolean stopped # false: the time is over
function StreamingContext:awaitTerminationOrTimeout(seconds) end

---@class rille.Clock
local Clock = {}

---@return integer ms # since the epoch; the manual clock begins at 0
function Clock:now() end

--- Moves the manual clock on; returns when all that this caused has finished.
---@param seconds number
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
---@param seconds number? pause; rille.streaming.receiverRestartDelay without it
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

--- Any of these; each gets one event. A listener must not stop the context.
---@class rille.StreamingListener
---@field onStreamingStarted fun(event: table)?
---@field onBatchSubmitted fun(event: table)?
---@field onBatchStarted fun(event: table)?
---@field onBatchCompleted fun(event: table)? event.badRecords: how many records were diverted in the batch; event.spilledBytes: written to spill files meanwhile
---@field onOutputOperationStarted fun(event: table)?
---@field onOutputOperationCompleted fun(event: table)?
---@field onReceiverStarted fun(event: table)?
---@field onReceiverError fun(event: table)?
---@field onReceiverStopped fun(event: table)?

-- DStream -------------------------------------------------------------------------------------------------------------

--- For every batch an RDD. `n` is always a number of partitions; without it keyed operations have
--- rille.default.parallelism.
---@class rille.DStream
local DStream = {}

---@param f fun(...: any): ... the fields of the new record
---@return rille.DStream
function DStream:map(f) end

---@param f fun(...: any): any[]|function an array of records, or an iterator of them
---@return rille.DStream
function DStream:flatMap(f) end

---@param f fun(...: any): boolean records for which it is true stay
---@return rille.DStream
function DStream:filter(f) end

---@param f fun(records: fun(): ...): any[]|function gets an iterator; also called for empty partitions
---@param preservesPartitioning boolean? keys stay what they were
---@return rille.DStream
function DStream:mapPartitions(f, preservesPartitioning) end

--- One array per partition.
---@return rille.DStream
function DStream:glom() end

---@param n integer
---@return rille.DStream
function DStream:repartition(n) end

---@param ... rille.DStream
---@return rille.DStream
function DStream:union(...) end

--- One record a batch, 0 for an empty one.
---@return rille.DStream
function DStream:count() end

--- One record a batch, none for an empty one.
---@param f fun(a: any, b: any): any associative and commutative
---@return rille.DStream
function DStream:reduce(f) end

--- (record, how often).
---@param n integer?
---@return rille.DStream
function DStream:countByValue(n) end

---@param f fun(value: any): any
---@return rille.DStream
function DStream:mapValues(f) end

---@param f fun(value: any): any[]|function
---@return rille.DStream
function DStream:flatMapValues(f) end

--- (key, array of values), values in order of arrival.
---@param n integer?
---@return rille.DStream
function DStream:groupByKey(n) end

---@param f fun(a: any, b: any): any associative
---@param n integer?
---@return rille.DStream
function DStream:reduceByKey(f, n) end

---@param create fun(value: any): any            of the first value of a key
---@param mergeValue fun(combined: any, value: any): any
---@param mergeCombiners fun(a: any, b: any): any
---@param n integer?
---@param mapSideCombine boolean? true without it
---@return rille.DStream
function DStream:combineByKey(create, mergeValue, mergeCombiners, n, mapSideCombine) end

--- (key, lefts, rights, ...): arrays, for every key of any side.
---@param other rille.DStream up to three of them, then the number of partitions
---@param ... rille.DStream|integer|nil
---@return rille.DStream
function DStream:cogroup(other, ...) end

--- (key, left, right): all combinations.
---@param other rille.DStream
---@param n integer?
---@return rille.DStream
function DStream:join(other, n) end

--- As join; right is nil where there is none.
---@param other rille.DStream
---@param n integer?
---@return rille.DStream
function DStream:leftOuterJoin(other, n) end

--- As join; left is nil where there is none.
---@param other rille.DStream
---@param n integer?
---@return rille.DStream
function DStream:rightOuterJoin(other, n) end

--- As join; the side that is not there is nil.
---@param other rille.DStream
---@param n integer?
---@return rille.DStream
function DStream:fullOuterJoin(other, n) end

--- What came in the last `length` seconds, the batch of the time itself included, every `slide` seconds: the batches
--- one after another. Both must be multiples of this stream's slide. The first windows hold what there is; a stream that
--- slides by more than its length leaves batches out; there is no batch between its times. To be combined, streams need
--- the same slide. This stream is persisted, and keeps its batches for as long as the window needs them.
---@param length number seconds
---@param slide number? seconds; that of this stream without it
---@return rille.DStream
function DStream:window(length, slide) end

--- As groupByKey over the window: (key, array of values), in the order of batches.
---@param length number seconds
---@param slide number? seconds
---@param n integer?
---@return rille.DStream
function DStream:groupByKeyAndWindow(length, slide, n) end

--- As reduceByKey over the window; keys that are not in it are gone. Each batch is reduced once. Where f is known to add
--- both values or to pick the larger or smaller one (`a + b`, `math.max(a, b)`, `a < b and a or b` and the like, or the
--- names 'sum', 'count', 'min', 'max'), the window costs what enters and leaves it; else the results of the window's
--- batches are reduced once more.
---
--- With an inverse function behind f the window is kept up for any f: what left is taken off with `inverse`, then what
--- entered is added with f (section 7.3 of the reference). A key once seen stays, with whatever the inverse leaves, until
--- `filter` drops it; it must only drop values that stand for nothing, as a count of 0. Such a window is state: see
--- updateStateByKey.
---@overload fun(self: rille.DStream, f: fun(a: any, b: any): (any), inverse: fun(value: any, left: any): (any), length: number, slide: number?, n: integer?, filter: (fun(key: any, value: any): boolean)?): rille.DStream
---@param f (fun(a: any, b: any): any)|"sum"|"count"|"min"|"max" associative
---@param length number seconds
---@param slide number? seconds
---@param n integer?
---@return rille.DStream
function DStream:reduceByKeyAndWindow(f, length, slide, n) end

--- As reduce over the window: one record, none when the window is empty. With an inverse function behind f, or a known f,
--- it costs what enters and leaves the window, as reduceByKeyAndWindow; with an inverse there is one record in every
--- window from the first record ever seen on.
---@overload fun(self: rille.DStream, f: fun(a: any, b: any): (any), inverse: fun(value: any, left: any): (any), length: number, slide: number?): rille.DStream
---@param f (fun(a: any, b: any): any)|"sum"|"count"|"min"|"max" associative and commutative
---@param length number seconds
---@param slide number? seconds
---@return rille.DStream
function DStream:reduceByWindow(f, length, slide) end

--- The number of records in the window: nothing before the first record ever seen, then 0 for empty windows.
---@param length number seconds
---@param slide number? seconds
---@return rille.DStream
function DStream:countByWindow(length, slide) end

--- (value, how often it is in the window); values that are not in it are gone.
---@param length number seconds
---@param slide number? seconds
---@param n integer?
---@return rille.DStream
function DStream:countByValueAndWindow(length, slide, n) end

--- State by key, brought on in every batch: f gets the array of a key's new values (empty for a key without any) and its
--- state (nil at first), and returns the new state; nil removes the key. It is called for every key that has data or
--- state. The stream is the whole state, (key, state), in every batch. With `withTime`, f gets the batch time and the key
--- before those. `initial`, an RDD of (key, state), is what there is before the first batch.
---
--- The state is kept by the engine (docs/decisions/010), by the uid of the operation (`:uid`), as a value: what f does to a
--- table it was given counts only if it returns it. f runs once a key and batch, however often the result is used. A batch
--- whose f fails is discarded: rille.streaming.onBatchFailure. Source: section 8 of the reference.
---@param f fun(values: any[], state: any): any or, with withTime, fun(time, key, values, state)
---@param options { partitions: integer?, initial: rille.RDD?, withTime: boolean? }?
---@return rille.DStream
function DStream:updateStateByKey(f, options) end

--- State by key, record by record: the function of the StateSpec is called for every record with the batch time, the key,
--- the value and the key's state, and what it returns is a record of the result (nothing or nil: none). Keys without
--- data cost nothing. With a timeout the function is called once more, without a value, in the first batch in which a key
--- was not touched for longer; then the key is gone. Source: section 9 of the reference.
---@param spec rille.StateSpec
---@return rille.DStream
function DStream:mapWithState(spec) end

--- Of the result of mapWithState: the whole state, (key, state), of every batch.
---@return rille.DStream
function DStream:stateSnapshots() end

---@param f fun(rdd: rille.RDD, time: integer): rille.RDD
---@return rille.DStream
function DStream:transform(f) end

---@param other rille.DStream
---@param f fun(rdd: rille.RDD, otherRdd: rille.RDD, time: integer): rille.RDD
---@return rille.DStream
function DStream:transformWith(other, f) end

--- Once a batch, also for empty RDDs. f may run again for a batch, after a failure or a crash, and then gets the same time
--- and the same records: what it writes under the time, or under time and partition, is written once
--- (docs/guarantees.md).
---@param f fun(rdd: rille.RDD, time: integer) time: of the batch, ms since the epoch
function DStream:foreachRDD(f) end

--- The first records of every batch.
---@param n integer? 10 without it
function DStream:print(n) end

--- A directory a batch: prefix-<time in ms>, and .suffix where one is given; in it a file a partition, part-00000 and so
--- on, and _SUCCESS once all are there and on disk. A batch run again takes _SUCCESS away first and replaces the parts.
---@param prefix string?
---@param suffix string?
function DStream:saveAsTextFiles(prefix, suffix) end

--- As saveAsTextFiles, for Context:objectFile.
---@param prefix string?
---@param suffix string?
function DStream:saveAsObjectFiles(prefix, suffix) end

--- Its RDDs are kept once computed, until no batch needs them; of a window, those of the stream it is over. Before start.
---@param level rille.StorageLevel? MEMORY_ONLY_SER
---@return rille.DStream self
function DStream:persist(level) end

--- persist("MEMORY_ONLY_SER").
---@return rille.DStream self
function DStream:cache() end

--- persist("MEMORY_ONLY_SER"), as in Spark. The interval is checked at start: it needs a checkpoint directory, and is a
--- multiple of the stream's slide. It has no other effect: state is logged in every batch.
---@param interval number seconds
---@return rille.DStream self
function DStream:checkpoint(interval) end

--- Diverts the bad records of the operation just made: those on which its function raises (or gives nil where a record
--- is needed), and keys that are nil or NaN. They are counted (`badRecords` of the batch's event), shown in one line of
--- the log a batch, and left out. Before start.
---@param handler "skip"|fun(err: any, ...: any) runs in the worker for each, with what was raised and the record
---@return rille.DStream self
function DStream:onError(handler) end

--- The bad records of the operation just made, in the same batch: (message, record as one value). They are diverted as
--- by onError("skip") where that was not called. Before start.
---@return rille.DStream
function DStream:errors() end

--- Names the operator that made this stream: its identity over changes of the job. Before start.
---@param name string unique in the job
---@return rille.DStream self
function DStream:uid(name) end

--- Of a Kafka stream: commits the ends of the ranges to its group (["group.id"]) in the background; never less than
--- before. The callback is called at the next batch, or at the stop, with the ranges and, where it failed, why.
---@param ranges rille.OffsetRange[]
---@param callback (fun(ranges: rille.OffsetRange[], failure: string?))?
function DStream:commitAsync(ranges, callback) end

--- The RDDs of the batches from one time to another, both included, as far as they are still kept (see remember). After
--- start.
---@param from integer ms since the epoch
---@param to integer ms since the epoch
---@return rille.RDD[]
function DStream:slice(from, to) end

---@return rille.StreamingContext
function DStream:context() end

---@return number seconds
function DStream:slideDuration() end

--- The stream and what it comes from, one line an operator, with uids.
---@return string
function DStream:toDebugString() end

-- rille.sink ----------------------------------------------------------------------------------------------------------

--- Where a batch goes in LMDB. `text`: a string is its bytes, a number or boolean its text, and there is nothing else;
--- read back, keys are strings, and a value that looks exactly as a number is written is that number. `binary`: any value,
--- in a form of Rille's.
---@class rille.LmdbOptions
---@field path string                  the environment: a directory, made where it is missing; or the file of one
---@field db string?                   the database in it; "data" without it
---@field name string?                 the output's, which its batches are known by, for ever; without it the stream's uid
---@field format "text"|"binary"?      "text" without it
---@field encode (fun(value: any): any)?  what is stored of a value: rille.json.encode, for one
---@field decode (fun(stored: any): any)?  what merge gets of it
---@field merge (fun(old: any, value: any): any)?  what is to be there: from what is (nil: nothing), and the record's value
---@field mapSize integer?             bytes of address space to reserve at least; it grows by itself

--- Outputs with a promise of their own, and what reads them.
---@class rille.sink
local sink = {}

--- Puts the records of every batch, (key, value), into an LMDB environment, exactly once: a batch is one transaction,
--- which holds the batch's time as well, so one that comes again after a crash is known and left out. Of several records
--- of a key the last counts; a value nil removes the key. With `merge`, values are made out of what is there, record by
--- record in their order: sums, sets, latest of some kind; a result nil removes the key. encode, decode and merge run in
--- workers.
---
--- Batches are written in the order of their times; none is written behind one that failed, unless
--- rille.streaming.onBatchFailure is skip. Batches are known by the application's name, the name of the output, and
--- `db`: all three stay as they are, or batches of a recovery are taken for new ones. Source: docs/guarantees.md.
---@param stream rille.DStream
---@param options rille.LmdbOptions
function sink.lmdb(stream, options) end

--- What is in a database of an environment, in the order of its keys' bytes, at one moment; also while a job writes:
--- `for key, value in rille.sink.lmdbRead(path) do`. Not for long: as long as it reads, the environment grows.
---@param path string
---@param options { db: string?, format: "text"|"binary"? }? as they were for sink.lmdb
---@return fun(): any, any
---@return nil
---@return nil
---@return userdata closing
function sink.lmdbRead(path, options) end

-- rille.testing -------------------------------------------------------------------------------------------------------

---@class rille.testing.Options
---@field inputs (any[]|false)[][]  for each input its batches: arrays of records, or false where it gives no RDD
---@field operation fun(ssc: rille.StreamingContext, ...: rille.DStream): rille.DStream
---@field batch number?             seconds; 1 without it
---@field batches integer?          how many are run; without it those that the longest input has, and has left
---@field partitions integer?       of the inputs' RDDs; 2 without it
---@field conf rille.Settings?      the clock is always the manual one
---@field checkpoint string?        directory; with a job in it, what is run are the batches behind its last one

-- rille.testing: scripts under test -----------------------------------------------------------------------------------

---@class rille.testing.JobOptions
---@field script string       the job's script; a relative name begins at the folder of the file that says it
---@field args any[]?         its arguments
---@field conf rille.Settings? win over those of the script; two workers unless `master` is given, always the manual clock

---@class rille.testing.Case
---@field inputs table<string|integer, (any[]|false)[]>?   for each input its batches
---@field outputs table<string|integer, (any[]|false)[]>?  for each output what it must have got in every batch
---@field bag boolean?                                     compares in any order

--- What `require "rille.testing"` gives.
---@class rille.testing
local testing = {}

--- Runs a job that is made of given batches and a function, without a script. One array of records for each batch in
--- which the returned stream had an RDD.
---@param options rille.testing.Options
---@return any[][]
function testing.run(options) end

--- Texts as received blocks: an RDD of lines with one partition a text.
---@param context rille.Context|rille.StreamingContext
---@param texts string[]
---@return rille.RDD
function testing.blocks(context, texts) end

--- In a file for `rille test`: the job of the cases that follow.
---@param options rille.testing.JobOptions
function testing.job(options) end

--- In a file for `rille test`: a case of the job named last. Each has a job of its own.
---@param name string
---@param body fun(job: rille.testing.Job)|rille.testing.Case
function testing.case(name, body) end

--- A script under control of the caller, from busted or any other program: `local job <close> = testing.load { ... }`.
--- It is loaded at the first step. An expectation that does not hold raises an error; under busted, a failure.
---@param options rille.testing.JobOptions
---@return rille.testing.Job
function testing.load(options) end

--- A job under test. Inputs and outputs are named by uid (an output by that of its stream), by operation ("print"), by
--- number, an input also by what its operation was given ("localhost:9999"), an output also as "uid/print" or "print#2".
---@class rille.testing.Job
local Job = {}

--- Puts functions of the test in the place of an operator's own (map, transform ...) or of an output's body. Before the
--- first step.
---@param name string uid of the operator, or an output
---@param ... function as many as the operator has
---@return rille.testing.Job self
function Job:replace(name, ...) end

--- Puts a value of the test in the place of a global, also of one that the script defines. Before the first step.
---@param name string
---@param value any
---@return rille.testing.Job self
function Job:global(name, value) end

--- Runs one batch.
---@param records table<string|integer, any[]|false>? for inputs; false: no RDD. The others have no records
---@return rille.testing.Job self
function Job:batch(records) end

--- Runs as many batches as the longest list has.
---@param lists table<string|integer, (any[]|false)[]>
---@return rille.testing.Job self
function Job:batches(lists) end

--- Moves the clock on; batches that are due run without new records.
---@param seconds number
---@return rille.testing.Job self
function Job:advance(seconds) end

--- Time on the job's clock, which begins at 0.
---@return integer ms
function Job:time() end

--- The job's context.
---@return rille.StreamingContext
function Job:context() end

--- What an output got in batch n, or in the last one; nil when it had no RDD then.
---@param output string|integer|nil may be left out when there is one only
---@param n integer? counted from 1
---@return any[]?
function Job:records(output, n) end

--- What an output got in the last batch must be these records. Plain tables stand for tuples.
---@overload fun(self: rille.testing.Job, records: any[]|false, options: { bag: boolean? }?): rille.testing.Job
---@param output string|integer may be left out when there is one only
---@param records any[]|false false: no RDD
---@param options { bag: boolean? }? bag: in any order
---@return rille.testing.Job self
function Job:expect(output, records, options) end

--- The same for all batches so far.
---@overload fun(self: rille.testing.Job, batches: (any[]|false)[], options: { bag: boolean? }?): rille.testing.Job
---@param output string|integer
---@param batches (any[]|false)[]
---@param options { bag: boolean? }?
---@return rille.testing.Job self
function Job:expectBatches(output, batches, options) end

--- What the operator with this uid remembers.
---@param uid string
---@return rille.State
function Job:state(uid) end

--- What the operator with this uid remembers must be this, and no more.
---@param uid string
---@param wanted table<any, any> state by key; for keys that are tables: an array of rille.tuple(key, state) instead
---@return rille.testing.Job self
function Job:expectState(uid, wanted) end

--- Stops the context gracefully; the script runs on to its end.
---@return rille.testing.Job self
function Job:stop() end

--- Ends the job and gives the Lua state back as it was.
function Job:close() end

return rille
