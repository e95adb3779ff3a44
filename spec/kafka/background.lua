--- Jobs that run beside a spec.
local support = require "spec.lua.support"

local background = {}

--- Waits for a file, 60 s at most.
function background.await(path)
  for _ = 1, 600 do
    if support.exists(path) then return end
    os.execute "sleep 0.1"
  end
  error(path .. " does not come", 2)
end

--- Starts a shell command in a directory.
---@param name string of its own there
---@return fun(): integer, string # waits for its end: its exit status, and what it said
function background.start(dir, name, command)
  os.remove(dir .. "/" .. name .. ".ended")
  local line = "cd '%s' && { timeout -k 5 120 %s; echo $? >%s.new; mv %s.new %s.ended; } >%s.out 2>&1 </dev/null &"
  assert(os.execute(line:format(dir, command, name, name, name, name)))
  return function()
    background.await(dir .. "/" .. name .. ".ended")
    return math.tointeger(tonumber(support.read(dir .. "/" .. name .. ".ended"))),
      support.read(dir .. "/" .. name .. ".out")
  end
end

return background
