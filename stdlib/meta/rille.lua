---@meta rille
--- What `require "rille"` gives to a job. Names are Spark's. Durations (rille.Duration) are seconds, fractions
--- allowed (whole milliseconds), or texts with a unit as in settings: `"500ms"`, `"10s"`, `"2m"`, `"1h"`. Times handed
--- to functions are integers, milliseconds since the epoch.
---
--- Functions given to operations get the fields of a record as arguments and return the fields of a new one: `return w`
--- makes a record of one value, `return w, 1` a key-value record. They run in workers, on copies of what they capture.
--- Functions given to transform, foreachRDD, listeners and fileStream's filter run in place, in the job's own state.

---@alias rille.Duration number|string seconds, or a text with a unit: "500ms"

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
---@param seconds rille.Duration from 0
function rille.sleep(seconds) end

---@class rille.Tuple
---@field n integer number of fields
---@field [integer] any

---@class rille.Settings: { [string]: string|number|boolean }
---@field appName string?      a name for messages
---@field master string?       "local[*]" (a worker a core), "local[N]" or "local"
---@field clock "system"|"manual"|nil
---@field properties string?   name of a file of settings, read first
--- and any `rille.` setting: ["rille.streaming.blockInterval"] = "50ms"

return rille
