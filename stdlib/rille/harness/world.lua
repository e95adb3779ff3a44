--- The Lua state around a job that is run in a test: kept as it was before, and given back behind it.
local core = require "rille.core"

local io, os = io, os -- a test may replace the globals

local world = {}

--- Files that jobs under test were made of: scripts and the modules they required.
---@type table<string, boolean>
world.files = {}

local function copy(from)
  local to = {}
  for key, value in next, from do to[key] = value end
  return to
end

---@class rille.World
---@field private globals table
---@field private meta table?
---@field private loaded table<string, any>
---@field private path string
---@field private overrides table<string, string>
local World = {}
World.__index = World

--- Notes the state as it is.
---@return rille.World
function world.keep()
  return setmetatable({
    globals = copy(_G), meta = getmetatable(_G), loaded = copy(package.loaded), path = package.path,
    overrides = copy(core.overrides),
  }, World)
end

local function put_back(to, kept)
  for key in next, copy(to) do
    if kept[key] == nil then rawset(to, key, nil) end
  end
  for key, value in next, kept do rawset(to, key, value) end
end

-- The job's own modules begin anew in the next test; those in C and the library's stay.
local function forget_modules(kept)
  for name in next, copy(package.loaded) do
    local file = kept[name] == nil and not name:find "^rille%f[.\0]" and package.searchpath(name, package.path)
    if file then
      world.files[file] = true
      package.loaded[name] = nil
    end
  end
end

--- Makes it the state again.
function World:give_back()
  forget_modules(self.loaded)
  package.path = self.path
  setmetatable(_G, self.meta)
  put_back(_G, self.globals)
  put_back(core.overrides, self.overrides)
end

local function inherited(meta, name)
  local index = meta and meta.__index
  if type(index) == "function" then return index(_G, name) end
  return index and index[name]
end

--- Globals that the script may define, but does not get to see as it defined them.
---@param values table<string, any>
function World:replace(values)
  if next(values) == nil then return end
  for name in next, values do rawset(_G, name, nil) end
  local meta = copy(self.meta or {})
  function meta.__index(_, name)
    if values[name] ~= nil then return values[name] end
    return inherited(self.meta, name)
  end
  function meta.__newindex(globals, name, value)
    if values[name] ~= nil then value = values[name] end
    rawset(globals, name, value)
  end
  setmetatable(_G, meta)
end

--- The script has made its definitions: from now on the replacements are ordinary globals.
---@param values table<string, any>
function World:settle(values)
  if next(values) == nil then return end
  setmetatable(_G, self.meta)
  for name, value in next, values do rawset(_G, name, value) end
end

local SHORT = { ["rille.master"] = "master", ["rille.app.name"] = "appName", ["rille.streaming.clock"] = "clock" }

--- Settings that win over the script's; what the command line gave wins over them, and the manual clock over all. Two
--- workers unless something else is said: then results do not depend on the machine. Nor on what an earlier test left: a
--- checkpoint directory is not used.
---@param settings table<string, string|number|boolean>
function World:configure(settings)
  local first = { master = "local[2]", ["rille.reliable"] = "false" }
  for _, layer in ipairs { first, settings, self.overrides, { clock = "manual" } } do
    for key, value in next, layer do core.overrides[SHORT[key] or key] = value end
  end
end

--- "a/b/../c.lua" -> "a/c.lua"
---@param path string
---@return string
function world.tidy(path)
  local parts = {}
  for part in path:gmatch "[^/]+" do
    local last = parts[#parts]
    if part == ".." and last and last ~= ".." then parts[#parts] = nil
    elseif part ~= "." then parts[#parts + 1] = part end
  end
  return (path:sub(1, 1) == "/" and "/" or "") .. table.concat(parts, "/")
end

--- Loads a script as `rille run` would: its neighbours are found as modules, its arguments are in `arg`.
---@param script string
---@param arguments string[]
---@return fun(...: string)?, string? why not
function world.load(script, arguments)
  local folder = script:match "^(.*)/[^/]*$"
  folder = folder == "" and "/" or folder or "."
  package.path = ("%s/?.lua;%s/?/init.lua;%s"):format(folder, folder, package.path)
  local arg = { [-2] = "rille", [-1] = "run", [0] = script }
  table.move(arguments, 1, #arguments, 1, arg)
  rawset(_G, "arg", arg)
  world.files[script] = true
  local file, why = io.open(script, "rb")
  if not file then return nil, why end
  file:close()
  return loadfile(script, "t")
end

local EXIT = {}

local function results(ok, first, ...)
  if ok and first == EXIT then return "exit", ... end
  return ok and "" or "error", first, ...
end

--- Goes on with a job's coroutine. os.exit ends it there, not the program.
---@param co thread
---@return ""|"exit"|"error" how, any why
function world.resume(co, ...)
  local exit = os.exit
  rawset(os, "exit", function(...) coroutine.yield(EXIT, ...) end)
  local how, why = results(coroutine.resume(co, ...))
  rawset(os, "exit", exit)
  return how, why
end

return world
