--- rille.once in the driver's state; workers have one of their own, for each worker.
local check = require "rille.check"

local made = {}

--- What `make` gave the first time it was called under this name; a connection, say.
---@param name string
---@param make fun(): any
---@return any
local function once(name, make)
  check.argument(1, "once", "string", name)
  check.argument(2, "once", "function", make)
  if made[name] == nil then
    made[name] = make()
    if made[name] == nil then check.fail(("the function given to rille.once for '%s' returned nil"):format(name)) end
  end
  return made[name]
end

return once
