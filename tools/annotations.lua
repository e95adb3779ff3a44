-- Reads the annotations of a `---@meta` file, as the Lua language server knows them: classes with fields, and functions
-- with parameters and results, each with its text. For tools/docs, and the spec that holds them against the library.
local annotations = {}

---@class Annotations.Function
---@field class string      "rille.RDD"
---@field name string       "map"
---@field call string       how it is written: "RDD:map(f)"
---@field text string[]     lines
---@field params { name: string, type: string, text: string }[]
---@field returns { type: string, text: string }[]
---@field overloads string[]
---@field generics string[]
---@field where string      "stdlib/meta/rille.lua:12"

---@class Annotations.Class
---@field name string
---@field parent string?
---@field text string[]
---@field fields { name: string, type: string, text: string }[]
---@field after string[]      text behind the fields
---@field overloads string[]  how it is called itself
---@field functions Annotations.Function[]

-- types ---------------------------------------------------------------------------------------------------------------

local type_end -- forward

local function skip_blanks(s, i) return s:match("^%s*()", i) end

-- Behind one type without | and what binds closer: a name, "literal", (type), { fields }, fun(...): results.
local function primary_end(s, i)
  local behind = s:match('^"[^"]*"()', i) or s:match("^%.%.%.()", i) or s:match("^%b{}()", i)
  if behind then return behind end
  behind = s:match("^fun%b()()", i)
  if behind then
    local result = s:match("^%s*:%s*()", behind)
    if not result then return behind end
    behind = type_end(s, result)
    while s:find("^,%s*", behind) do behind = type_end(s, s:match("^,%s*()", behind)) end
    return behind
  end
  return s:match("^%b()()", i) or s:match("^[%w_.%-`]+%b<>()", i) or s:match("^[%w_.%-`]+()", i)
end

-- Behind the type that begins at i.
function type_end(s, i)
  local behind = primary_end(s, i)
  if not behind then error(("no type at '%s'"):format(s:sub(i)), 0) end
  while true do
    local suffix = s:match("^%[%]()", behind) or s:match("^%?()", behind)
    local another = s:match("^%s*|%s*()", behind)
    if suffix then
      behind = suffix
    elseif another then
      return type_end(s, another)
    else
      return behind
    end
  end
end

-- The type at the beginning of s, and the text behind it.
local function split_type(s)
  local behind = type_end(s, 1)
  return s:sub(1, behind - 1), (s:sub(skip_blanks(s, behind)):gsub("^#%s*", ""))
end

-- blocks --------------------------------------------------------------------------------------------------------------

local function new_block()
  return { text = {}, params = {}, returns = {}, fields = {}, after = {}, overloads = {}, generics = {} }
end

local function named(rest)
  local name, behind = rest:match "^(%b[])%s+()"
  if not name then name, behind = rest:match "^([%w_.]+%??)%s+()" end
  if not name then error(("a name and a type are expected, not '%s'"):format(rest), 0) end
  local kind, text = split_type(rest:sub(behind))
  if name:find "%?$" then name, kind = name:sub(1, -2), kind .. "?" end
  return { name = name, type = kind, text = text }
end

local tags = {}

function tags.class(block, rest)
  block.class, block.parent = rest:match "^([%w_.]+)%s*:?%s*(.*)$"
  if block.parent == "" then block.parent = nil end
end
function tags.param(block, rest) table.insert(block.params, named(rest)) end
function tags.field(block, rest) table.insert(block.fields, named(rest)) end
function tags.overload(block, rest) table.insert(block.overloads, rest) end
function tags.generic(block, rest) table.insert(block.generics, rest) end
tags["return"] = function(block, rest)
  local kind, text = split_type(rest)
  table.insert(block.returns, { type = kind, text = text })
end
tags["type"] = function() end
tags.alias = tags["type"]
function tags.meta(block) block.meta = true end
tags.diagnostic = tags["type"]

local function add_comment(block, comment)
  local tag, rest = comment:match "^@(%w+)%s*(.*)$"
  if not tag then
    table.insert(#block.fields > 0 and block.after or block.text, (comment:gsub("^ ", "")))
    return
  end
  if not tags[tag] then error(("unknown annotation @%s"):format(tag), 0) end
  tags[tag](block, rest)
end

-- files ---------------------------------------------------------------------------------------------------------------

---@class Annotations.Reader
---@field classes Annotations.Class[]  in order, and by name
---@field variables table<string, Annotations.Class>  the class that a local of the file stands for

local function add_class(reader, block)
  local class = reader.classes[block.class]
  if not class then
    class = { name = block.class, functions = {}, text = {}, fields = {}, after = {}, overloads = {} }
    reader.classes[block.class] = class
    table.insert(reader.classes, class)
  end
  class.parent = block.parent
  for _, part in ipairs { "text", "fields", "after", "overloads" } do
    table.move(block[part], 1, #block[part], #class[part] + 1, class[part])
  end
  return class
end

local function check_params(block, list)
  local declared = {}
  for name in list:gmatch "[%w_.]+" do declared[#declared + 1] = name end
  for i = 1, math.max(#declared, #block.params) do
    local param = block.params[i]
    if not declared[i] or not param or param.name ~= declared[i] then
      error(("parameter %d is '%s', its annotation is of '%s'"):format(i, declared[i] or "none",
        param and param.name or "none"), 0)
    end
  end
end

local function add_function(reader, block, variable, separator, name, list)
  local class = reader.variables[variable]
  if not class then error(("'%s' stands for no annotated class"):format(variable), 0) end
  check_params(block, list)
  block.class, block.name, block.where = class.name, name, reader.where
  block.call = ("%s%s%s(%s)"):format(class.name:match "^rille%.([%w_.]+)$" or class.name, separator, name, list)
  table.insert(class.functions, block)
end

local function read_line(reader, line)
  local comment = line:match "^%s*%-%-%-(.*)$"
  if comment and not comment:find "^%-%-" then
    reader.block = reader.block or new_block()
    add_comment(reader.block, comment)
    return
  end
  local block = reader.block
  reader.block = nil
  local variable, separator, name, list = line:match "^function ([%w_]+)([.:])([%w_]+)%((.-)%)"
  if variable then
    add_function(reader, block or new_block(), variable, separator, name, list)
  elseif block and block.meta then
    table.insert(reader.classes.introductions, block.text)
  elseif block and block.class then
    local class = add_class(reader, block)
    variable = line:match "^local ([%w_]+)%s*=" or line:match "^([%w_.]+)%s*="
    if variable then reader.variables[variable] = class end
  end
end

--- Reads files; errors name file and line.
---@param root string
---@param paths string[] below it
---@return Annotations.Class[] classes in order, and by name; `introductions`: the texts at the files' beginnings
function annotations.read(root, paths)
  local reader = { classes = { introductions = {} } }
  for _, path in ipairs(paths) do
    local number = 0
    reader.variables = {}
    for line in assert(io.lines(root .. "/" .. path)) do
      number = number + 1
      reader.where = ("%s:%d"):format(path, number)
      local ok, why = pcall(read_line, reader, line)
      if not ok then error(("%s: %s"):format(reader.where, why), 0) end
    end
    read_line(reader, "")
  end
  return reader.classes
end

-- How the reference goes on; other files follow by their names.
local ORDER = { "rille", "context", "rdd", "rdd_actions", "streaming", "dstream", "state", "kafka", "sink", "json",
  "time", "testing" }

--- The files of annotations that are for jobs: all but the engine's own interface.
---@param root string
---@return string[] paths below root, in the order of the reference
function annotations.files(root)
  local there, paths = {}, {}
  local list = assert(io.popen(("ls '%s/stdlib/meta'"):format(root)))
  for name in list:lines() do
    name = name:match "^(.*)%.lua$"
    if name and name ~= "core" then there[#there + 1], there[name] = name, true end
  end
  list:close()
  for _, name in ipairs(ORDER) do
    if there[name] then paths[#paths + 1] = "stdlib/meta/" .. name .. ".lua" end
    there[name] = nil
  end
  for _, name in ipairs(there) do
    if there[name] then paths[#paths + 1] = "stdlib/meta/" .. name .. ".lua" end
  end
  return paths
end

return annotations
