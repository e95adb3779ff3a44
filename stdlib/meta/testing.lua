---@meta rille.testing

---@class rille.testing.Options
---@field inputs (any[]|false)[][]  for each input its batches: arrays of records, or false where it gives no RDD
---@field operation fun(ssc: rille.StreamingContext, ...: rille.DStream): rille.DStream
---@field batch rille.Duration?     1 second without it
---@field batches integer?          how many are run; without it those that the longest input has, and has left
---@field partitions integer?       of the inputs' RDDs; 2 without it
---@field conf rille.Settings?      the clock is always the manual one
---@field checkpoint string?        directory; with a job in it, what is run are the batches behind its last one


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
---@param seconds rille.Duration
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

return testing
