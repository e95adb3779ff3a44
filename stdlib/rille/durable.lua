--- The script in the checkpoint (docs/recovery-of-scripts.md): what of a durable job's Lua is recorded at its start,
--- and how it is had again when the script is gone. Source text only, never bytecode.
local control = require "rille.control"
local core = require "rille.core"
local site = require "rille.site"

local durable = {}

-- Notes beside the state: dbi and name.
local SCRIPT <const>, SETUP <const> = { "script", "job" }, { "closure", "setup" }

local FORM <const> = 1 -- of the script's note

---@class rille.RecordedModule
---@field source string chunk name: "@lib/words.lua"
---@field text string

---@class rille.RecordedJob
---@field form integer
---@field release string              of Rille
---@field main rille.RecordedModule?  the script; nil: its text could not be had
---@field arguments (string|false)[]  the script's, and its name at [0]; false: a secret was in it
---@field modules table<string, rille.RecordedModule>
---@field path string                 package.path
---@field cpath string
---@field settings table<string, string> of the command line, but for secrets
---@field secrets string[]            names of those that were left out
---@field properties string?          file of settings
---@field directory string            of the checkpoint, as the script named it
---@field without string[]?           secrets that the recorded function lacks: "the variable 'pw' (...)"

--- The function given to getOrCreate, as it was before it was called: an image; as it came out of a checkpoint; or why
--- there is none.
---@class rille.Setup
---@field site string?
---@field image userdata?
---@field bytes string?
---@field why string?

--- Modules that came out of a checkpoint in this process, by name.
---@type table<string, rille.RecordedModule>
local adopted = {}

--- The job that this process recovers: its checkpoint is in `place`, which the script calls `name`.
---@type { place: string, name: string }?
local recovering

-- what is recorded ----------------------------------------------------------------------------------------------------

local function is_secret(name, value)
  return core.isSecretName(name) or name:lower():find("sasl", 1, true) ~= nil or core.secretIn(value) ~= nil
end

local function read_file(path)
  local file = io.open(path, "rb")
  local text = file and file:read "a"
  if file then file:close() end
  return text
end

local function text_of(source)
  return core.knownText(source) or (source:sub(1, 1) == "@" and read_file(source:sub(2))) or nil
end

local function with_text(source)
  local text = text_of(source)
  return text and { source = source, text = text }
end

local function is_own(name) return name == "rille" or name:sub(1, 6) == "rille." end

-- Modules that the script loaded from files in Lua, and those that its functions will load in workers.
local function all_modules(found)
  local modules = {}
  for name in pairs(package.loaded) do
    if type(name) == "string" and not is_own(name) then
      local file = not adopted[name] and package.searchpath(name, package.path)
      modules[name] = adopted[name] or (file and with_text("@" .. file)) or nil
    end
  end
  for name, module in pairs(found) do
    if not is_own(name) then modules[name] = module end
  end
  return modules
end

-- What the command line says besides the script. `settings` without secrets; the names of those.
local function split_settings()
  local settings, secrets = {}, {}
  for key, value in pairs(core.overrides) do
    value = tostring(value)
    if is_secret(key, value) then secrets[#secrets + 1] = key else settings[key] = value end
  end
  table.sort(secrets)
  return settings, secrets
end

-- Options of the program stand before the script, at negative places of `arg`: they may hold secrets, and are not
-- taken.
local function without_options(f, ...)
  local given, options = rawget(_G, "arg"), {}
  if type(given) ~= "table" then return pcall(f, ...) end
  for i, word in next, given do
    if math.type(i) == "integer" and i < 0 then options[i] = word end
  end
  for i in next, options do given[i] = nil end
  local ok, result = pcall(f, ...)
  for i, word in next, options do given[i] = word end
  return ok, result
end

local function arguments()
  local given, list = rawget(_G, "arg"), {}
  if type(given) ~= "table" then return list end
  for i = 0, #given do
    local word = tostring(given[i])
    list[i] = not core.secretIn(word) and word
  end
  return list
end

local function main_source()
  local given = rawget(_G, "arg")
  return core.main or (type(given) == "table" and type(given[0]) == "string" and "@" .. given[0]) or nil
end

--- Do both name the same directory, whatever their slashes?
---@param dir string
---@param other string
---@return boolean
function durable.is_same(dir, other)
  local function plain(path) return (path:gsub("/+", "/"):gsub("(.)/$", "%1")) end
  return plain(dir) == plain(other)
end

local function split(path)
  local above, name = path:gsub("/+$", ""):match("^(.-)/*([^/]+)$")
  if not name then return "/", "." end
  return above ~= "" and above or path:sub(1, 1) == "/" and "/" or ".", name
end

--- The same directory, under whatever names; one that is not there yet is known by where it will be.
---@param dir string
---@param other string
---@return boolean
function durable.is_same_place(dir, other)
  if durable.is_same(dir, other) or core.isSameFile(dir, other) then return true end
  local above, name = split(dir)
  local other_above, other_name = split(other)
  return name == other_name and core.isSameFile(above, other_above)
end

--- Where the checkpoint is that the script names so: a recovered one is where it was found.
---@param dir string
---@return string
function durable.place(dir)
  return recovering and durable.is_same(dir, recovering.name) and recovering.place or dir
end

local function name_of(dir)
  return recovering and durable.is_same(dir, recovering.place) and recovering.name or dir
end

---@return rille.RecordedJob
local function describe(ssc, found)
  local source = main_source()
  local settings, secrets = split_settings()
  return {
    form = FORM, release = core.version, main = source and with_text(source), arguments = arguments(),
    modules = all_modules(found), path = package.path, cpath = package.cpath, settings = settings, secrets = secrets,
    properties = core.properties, directory = name_of(ssc.checkpoint_dir),
  }
end

--- Tells a context that is about to start which texts its functions come from, with the script's arguments.
---@param ssc rille.StreamingContext
---@param found table<string, rille.RecordedModule> modules in the functions of its graph
function durable.compare(ssc, found)
  local source = main_source()
  local main = source and text_of(source)
  if not main then return end
  local texts = { main = main, arguments = arguments(), modules = {} }
  for name, module in pairs(all_modules(found)) do texts.modules[name] = module.text end
  ssc.handle:putCode(core.encodeValue(texts))
end

--- Raises when this process recovers another job than the one of this directory.
---@param dir string?
function durable.check_place(dir)
  if not recovering or not dir or durable.is_same(dir, recovering.place) or core.isSameFile(dir, recovering.place) then
    return
  end
  error(("the job in %s is to be recovered, but the script has its checkpoint in %s: give it arguments that lead to " ..
    "the one, or none; to begin a job in the other, run the script itself"):format(recovering.place, dir), 0)
end

--- Is this context's job kept in its checkpoint directory?
---@param ssc rille.StreamingContext
---@return boolean
function durable.is(ssc) return ssc.checkpoint_dir ~= nil and ssc.sc.handle:conf "rille.reliable" == "true" end

--- Functions of a job that run in the driver, and would be lost with it, and those of receivers: they must be fit for a
--- checkpoint too.
---@param ssc rille.StreamingContext
---@return table<string, rille.RecordedModule> modules in them
function durable.check(ssc)
  local list = {}
  local function add(f, name, where)
    local what = type(f) == "function" and "function" or "receiver"
    list[#list + 1] = { f = f, role = ("the %s given to %s"):format(what, name), site = where }
  end
  for _, node in ipairs(ssc.nodes) do
    local f = node.f or node.filter or node.ships -- what is shipped has modules of its own
    if f then add(f, node.operation, node.site) end
  end
  for _, output in ipairs(ssc.outputs) do
    if output.f then add(output.f, output.name, output.site) end
  end
  return #list > 0 and core.checkDurable(list) or {}
end

--- A function that makes the job, as it is before it is called.
---@param make function
---@param name string what it was given to
---@return rille.Setup
function durable.setup(make, name)
  local where = site.here(make)
  local ok, result = without_options(core.captureFunction, make, "the function given to " .. name, where)
  if ok then return { image = result, site = where } end
  return { why = result }
end

-- The bytes of the function, and what secrets they lack. Only now, as it may have made them known itself.
local function encode_setup(setup)
  if not setup.image then return setup.bytes, setup.why, {} end
  local ok, bytes, left = pcall(core.encodeFunction, setup.image)
  if not ok then return nil, bytes, {} end
  local without, seen = {}, {}
  for line in left:gmatch "[^\n]+" do
    if not seen[line] then without[#without + 1] = line end
    seen[line] = true
  end
  if #without > 0 then
    core.log("warn", site.located(setup.site, ("the function given to getOrCreate is recorded without %s, which is " ..
      "secret, and cannot stand in for the script; let it read that itself, with os.getenv"):format(
      table.concat(without, ", "))))
  end
  return bytes, nil, without
end

-- Texts go into the checkpoint as they are: they are the user's.
local function warn_of_texts(job, setup)
  local function look(what, text)
    local setting = text and core.secretIn(text)
    if not setting then return false end
    core.log("warn", ("the text of %s has the value of %s in it, and is written to the checkpoint as it is; read it " ..
      "from the environment or a file"):format(what, setting))
    return true
  end
  local told = job.main and look((job.main.source:gsub("^@", "")), job.main.text)
  for name, module in pairs(job.modules) do told = look("the module " .. name, module.text) or told end
  if not told then look("the function given to getOrCreate", setup) end
end

--- Writes a started job's script into its checkpoint.
---@param ssc rille.StreamingContext
---@param found table<string, rille.RecordedModule> modules in the functions of its graph
function durable.record(ssc, found)
  local job = describe(ssc, found)
  local bytes, why, without = encode_setup(ssc.setup or {})
  warn_of_texts(job, bytes)
  if why then core.log("warn", "the job cannot be recovered without its script: " .. why) end
  job.without = without
  ssc.handle:putNote(SCRIPT[1], SCRIPT[2], core.encodeValue(job))
  ssc.handle:putNote(SETUP[1], SETUP[2], bytes)
end

-- what comes back -----------------------------------------------------------------------------------------------------

--- What a checkpoint has recorded; before a context of it runs.
---@param dir string
---@return rille.RecordedJob? job nil: there is none, or
---@return string? why it cannot be read
---@return boolean? in_use another process has the checkpoint
function durable.job(dir)
  local bytes, why, in_use = core.readNote(dir, SCRIPT[1], SCRIPT[2])
  if not bytes then return nil, why, in_use end
  local ok, job = pcall(core.decodeValue, bytes)
  if not ok then return nil, job end
  if type(job) ~= "table" or job.form ~= FORM then
    return nil, "its script was recorded in a form that this release does not know"
  end
  return job
end

--- The function that made the job of a checkpoint.
---@param dir string
---@return function? setup
---@return string? bytes its durable form; without a setup: why not
function durable.recorded_setup(dir)
  local bytes, why = core.readNote(dir, SETUP[1], SETUP[2])
  if not bytes then return nil, why or "it has none recorded" end
  local job = durable.job(dir)
  if job and job.without and #job.without > 0 then
    return nil, ("the function recorded in it lacks %s, as secrets are not kept in checkpoints; run the script, and " ..
      "let its function read that itself, with os.getenv"):format(table.concat(job.without, ", "))
  end
  local path, cpath = package.path, package.cpath
  local ok, setup = pcall(core.decodeFunction, bytes, control.holder ~= nil)
  -- Where modules were found comes first, as it did; the script of today has its own places, too.
  if package.path ~= path then package.path = package.path .. ";" .. path end
  if package.cpath ~= cpath then package.cpath = package.cpath .. ";" .. cpath end
  if not ok then return nil, setup end
  return setup, bytes
end

-- A searcher for `require`: the recorded modules.
local function search(name)
  local module = adopted[name]
  if not module then return ("no module '%s' in the checkpoint"):format(name) end
  local chunk, why = core.loadText(module.text, module.source, name)
  if not chunk then error(why, 0) end
  return chunk, module.source:sub(2)
end

local function warn_of_secrets(job)
  for _, name in ipairs(job.secrets) do
    if core.overrides[name] == nil then
      core.log("warn", ("the setting %s was given on the command line and is not kept in checkpoints; give it " ..
        "again with --conf"):format(name))
    end
  end
end

-- What the command line says now wins.
local function take_settings(job)
  for name, value in pairs(job.settings) do
    if core.overrides[name] == nil then core.overrides[name] = value end
  end
  warn_of_secrets(job)
  if core.properties or not job.properties then return end
  if read_file(job.properties) then core.properties = job.properties
  else core.log("warn", ("the file of settings %s is gone; the job goes on without"):format(job.properties)) end
end

local function check_arguments(job)
  for i, word in ipairs(job.arguments) do
    if not word then
      error(("argument %d of the script had a secret in it, which is not kept in checkpoints; give the arguments " ..
        "again, behind the directory"):format(i), 0)
    end
  end
end

--- Makes the recorded job the one of this process: its modules are found, its settings and `arg` are set.
---@param dir string
---@param given string[] arguments for the script; none: those that were recorded
---@return function main the script as a chunk
---@return string ... its arguments
function durable.recover(dir, given)
  local found, unreadable = core.checkpointExists(dir)
  if not found then error(unreadable or ("there is no checkpoint in %s"):format(dir), 0) end
  local job, why, in_use = durable.job(dir)
  if in_use then error(("the checkpoint in %s cannot be opened: %s"):format(dir, why), 0) end
  if why then
    error(("the script in the checkpoint in %s cannot be had: %s; where the script is at hand, run that")
      :format(dir, why), 0)
  end
  if not job or not job.main then
    error(("the checkpoint in %s has no script recorded; run the script itself"):format(dir), 0)
  end
  if #given == 0 then check_arguments(job) end
  adopted, recovering = job.modules, { place = dir, name = job.directory }
  package.path, package.cpath = job.path, job.cpath
  table.insert(package.searchers, 2, search)
  take_settings(job)
  local arg = #given > 0 and table.move(given, 1, #given, 1, {}) or table.move(job.arguments, 1, #job.arguments, 1, {})
  arg[0] = job.arguments[0] or job.main.source:sub(2)
  rawset(_G, "arg", arg)
  local main, wrong = core.loadText(job.main.text, job.main.source)
  if not main then error(wrong, 0) end
  core.main = job.main.source
  return main, table.unpack(arg)
end

return durable
