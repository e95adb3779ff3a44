--- The program `rille` in a directory of files, seen from outside.
local support = require "spec.lua.support"

local program = {}

--- Writes files into a new directory; support.remove takes it away.
---@param files table<string, string> texts by name; a name may have folders in front
---@return string directory
function program.project(files)
  local directory = support.directory()
  for name, text in pairs(files) do
    local folder = name:match "^(.*)/"
    if folder then assert(os.execute(("mkdir -p '%s/%s'"):format(directory, folder))) end
    support.write(directory .. "/" .. name, text)
  end
  return directory
end

--- Runs a shell command in a directory, for at most 300 s.
---@param directory string
---@param command string
---@return { status: integer, out: string, err: string }
function program.run_in(directory, command)
  local out, err = os.tmpname(), os.tmpname()
  local _, _, status = os.execute(("cd '%s' && { timeout -k 5 300 %s; } >%s 2>%s </dev/null")
    :format(directory, command, out, err))
  local result = { status = status, out = support.read(out), err = support.read(err) }
  os.remove(out)
  os.remove(err)
  return result
end

--- Runs a shell command in a directory with these files.
---@param files table<string, string>
---@param command string
function program.run(files, command)
  local directory = program.project(files)
  local result = program.run_in(directory, command)
  support.remove(directory)
  return result
end

return program
