---@meta _

-- Actions, how an RDD is kept, and what it says of itself; the rest is in rdd.lua.
---@class rille.RDD
local RDD = {}

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
