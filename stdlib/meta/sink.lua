---@meta _

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
