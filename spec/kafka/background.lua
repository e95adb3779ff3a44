--- Jobs that run beside a spec.
local core = require "rille.core"
local rille = require "rille"
local support = require "spec.lua.support"

local background = {}

--- Waits until condition(...) holds, 300 s at most; returns what it gives.
function background.await(condition, ...)
  local deadline = core.monotonic() + 300
  repeat
    local result, missing = condition(...)
    if result then return result end
    if core.monotonic() > deadline then error("not within 300 s: " .. tostring(missing or "what was waited for"), 2) end
    rille.sleep(0.03)
  until false
end

--- Waits for a file.
function background.await_file(path)
  background.await(function() return support.exists(path), path end)
end

--- Starts a shell command in a directory.
---@param name string of its own there
---@return fun(): integer, string # waits for its end: its exit status, and what it said
function background.start(dir, name, command)
  local pipe = assert(io.popen(("cd '%s' && timeout -k 5 600 %s >%s.out 2>&1 </dev/null; echo $?")
    :format(dir, command, name)))
  return function()
    local status = pipe:read "n"
    pipe:close()
    return status, support.read(dir .. "/" .. name .. ".out")
  end
end

return background
