--- Words of a command line.
local core = require "rille.core"

local options = {}

-- Settings: what all commands take that run a job.
local SETTINGS = { master = true, conf = true, properties = true }

local function add_setting(to, name, value)
  if name == "properties" then
    to.properties = value
  elseif name == "master" then
    to.settings.master = value
  else
    local key, text = value:match "^([^=]+)=(.*)$"
    if not key then return ("--conf needs KEY=VALUE, not %s"):format(value == "" and "nothing" or value) end
    to.settings[key] = text
  end
end

-- Takes the option at words[i]. Gives the position behind it, or nil and what is wrong; false: it is none of `known`.
local function take(words, i, known, to)
  local name, value = words[i]:match "^%-%-([%w%-]+)=(.*)$"
  name = name or words[i]:match "^%-%-([%w%-]+)$"
  local kind = known[name] or (SETTINGS[name] and "value")
  if not kind then return false end
  if kind == "flag" then
    if value then return nil, ("--%s takes no value"):format(name) end
    to[name] = true
    return i + 1
  end
  if not value then value, i = words[i + 1], i + 1 end
  if not value or value == "" then return nil, ("a value is missing behind --%s"):format(name) end
  local wrong = nil
  if SETTINGS[name] then wrong = add_setting(to, name, value) else to[name] = value end
  if wrong then return nil, wrong end
  return i + 1
end

-- What is wrong with the settings. Jobs are warned of them later, when they get them.
local function wrong_settings(to)
  core.setLogLevel "off"
  local ok, why = pcall(core.checkSettings, to.settings, to.properties)
  core.setLogLevel "warn"
  return not ok and why or nil
end

--- Reads a command line: options, and the other words.
---@param words string[]
---@param known table<string, "flag"|"value"> by name without the dashes; those of settings are known anyway
---@param script boolean the first word is a script, and what is not known behind it belongs to that
---@return table? options by name; `settings` by key, `properties`
---@return string[]|string rest, or what is wrong
function options.parse(words, known, script)
  local to, rest, i = { settings = {} }, {}, 1
  while i <= #words do
    local word = words[i]
    if word == "--" then
      table.move(words, i + 1, #words, #rest + 1, rest)
      break
    end
    local behind, wrong = take(words, i, known, to)
    if behind == nil then return nil, wrong end
    if not behind then
      local is_option = word:find "^%-." and not (script and #rest > 0)
      if is_option then return nil, "unknown option " .. word end
      rest[#rest + 1], behind = word, i + 1
    end
    i = behind
  end
  local wrong = wrong_settings(to)
  if wrong then return nil, wrong end
  return to, rest
end

--- Says on the error output what is wrong with the command line.
---@param command string
---@param wrong string
---@return integer status
function options.wrong_usage(command, wrong)
  io.stderr:write(("rille: %s\nTry 'rille %s --help'.\n"):format(wrong, command))
  return 2
end

return options
