--- Jobs in processes of their own, for what can only be seen from outside: exit status, output, crashes. And servers.
local support = require "spec.lua.support"

local child = {}

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

--- Runs a job to its end, or for at most 300 s.
---@param job string text of the script; it lies as job.lua in a directory of its own, which is the current one
---@param options { args: string[]?, before: string?, command: string? }? before: shell commands
---@return { status: integer, out: string, err: string } status 124: not in time
function child.run(job, options)
  options = options or {}
  local dir = support.directory()
  support.write(dir .. "/job.lua", job)
  local words = {}
  for i, word in ipairs(options.args or {}) do words[i] = quoted(word) end
  local _, _, status = os.execute(("cd %s && { %s\ntimeout -k 5 300 %s job.lua %s; } >stdout 2>stderr </dev/null")
    :format(dir, options.before or "", options.command or "rille run", table.concat(words, " ")))
  local result = { status = status, out = support.read(dir .. "/stdout"), err = support.read(dir .. "/stderr") }
  support.remove(dir)
  return result
end

--- A server on a loopback port (spec/tools/serve.c); it ends when it is closed.
---@param ... string what it gives its clients
---@return { port: integer, client: fun(): string, close: fun() } client waits for the next one
function child.serve(...)
  local words = {}
  for i, word in ipairs { ... } do words[i] = quoted(word) end
  local command = ("exec '%s/spec/serve' %s </dev/null"):format(os.getenv "RILLE_BUILD", table.concat(words, " "))
  local pipe = assert(io.popen(command))
  local port = math.tointeger(tonumber(pipe:read "l"))
  return { port = port, client = function() return pipe:read "l" end, close = function() pipe:close() end }
end

--- A port on which nobody listens, and which nobody else is given until it is closed.
---@return { port: integer, close: fun() }
function child.nobody() return child.serve "--refuse" end

return child
