--- Rille: streaming jobs in Lua. `local rille = require "rille"`; stdlib/meta describes all that is in here.
local check = require "rille.check"
local Context = require "rille.context"
local control = require "rille.control"
local core = require "rille.core"
local kafka = require "rille.kafka"
local once = require "rille.once"
local sink = require "rille.sink"
local StateSpec = require "rille.state_spec"
local StreamingContext = require "rille.streaming"

local rille = {
  version = core.version,
  tuple = core.tuple,
  null = core.null,
  once = once,
  json = core.json,
  kafka = kafka,
  time = core.time,
  sink = sink,
  Context = Context,
  StateSpec = StateSpec,
  StreamingContext = StreamingContext,
}

--- Waits, and serves the active context meanwhile.
---@param seconds number
function rille.sleep(seconds)
  local ms = check.argument(1, "sleep", "seconds", seconds)
  if control.holder then control.holder:sleep(ms) else core.sleep(ms) end
end

return rille
