---@meta _

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
