---@meta _

--- What mapWithState does: `rille.StateSpec(f):timeout(60):numPartitions(4)`. Its methods give a new one.
---@class rille.StateSpec
---@overload fun(f: fun(time: integer, key: any, value: any, state: rille.StateOfKey): ...): rille.StateSpec
local StateSpec = {}

--- Keys that were not touched for longer time out. Touched is a key with data that has a state then.
---@param seconds rille.Duration
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
