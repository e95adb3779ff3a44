---@meta _

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
