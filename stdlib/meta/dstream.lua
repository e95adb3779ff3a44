---@meta _

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
---@param length rille.Duration
---@param slide rille.Duration? that of this stream without it
---@return rille.DStream
function DStream:window(length, slide) end

--- As groupByKey over the window: (key, array of values), in the order of batches.
---@param length rille.Duration
---@param slide rille.Duration?
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
---@overload fun(self: rille.DStream, f: fun(a: any, b: any): (any), inverse: fun(value: any, left: any): (any), length: rille.Duration, slide: rille.Duration?, n: integer?, filter: (fun(key: any, value: any): boolean)?): rille.DStream
---@param f (fun(a: any, b: any): any)|"sum"|"count"|"min"|"max" associative
---@param length rille.Duration
---@param slide rille.Duration?
---@param n integer?
---@return rille.DStream
function DStream:reduceByKeyAndWindow(f, length, slide, n) end

--- As reduce over the window: one record, none when the window is empty. With an inverse function behind f, or a known f,
--- it costs what enters and leaves the window, as reduceByKeyAndWindow; with an inverse there is one record in every
--- window from the first record ever seen on.
---@overload fun(self: rille.DStream, f: fun(a: any, b: any): (any), inverse: fun(value: any, left: any): (any), length: rille.Duration, slide: rille.Duration?): rille.DStream
---@param f (fun(a: any, b: any): any)|"sum"|"count"|"min"|"max" associative and commutative
---@param length rille.Duration
---@param slide rille.Duration?
---@return rille.DStream
function DStream:reduceByWindow(f, length, slide) end

--- The number of records in the window: nothing before the first record ever seen, then 0 for empty windows.
---@param length rille.Duration
---@param slide rille.Duration?
---@return rille.DStream
function DStream:countByWindow(length, slide) end

--- (value, how often it is in the window); values that are not in it are gone.
---@param length rille.Duration
---@param slide rille.Duration?
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
---@param interval rille.Duration
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
