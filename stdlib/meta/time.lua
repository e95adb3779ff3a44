---@meta _

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
---@param seconds rille.Duration
---@return integer ms
function time.floor(ms, seconds) end
