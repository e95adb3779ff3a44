-- lua5.4 tools/docs.lua ROOT [--check]: see tools/docs.
local root, option = ...
local annotations = dofile(root .. "/tools/annotations.lua")

local INTRODUCTION = [[
# Reference

Written by `tools/docs` out of the annotations in stdlib/meta, which editors show as well; change those.
]]

local lines = {}

local function put(text, ...)
  lines[#lines + 1] = select("#", ...) > 0 and text:format(...) or text
end

-- A type may have | in it, which ends a cell of a table even in code.
local function code(text, in_table)
  if in_table then text = text:gsub("|", "\\|") end
  return "`" .. text .. "`"
end

local function put_text(text)
  if #text == 0 then return end
  for _, line in ipairs(text) do put(line) end
  put ""
end

-- Where a heading is found; one that looks like an earlier one gets a number, in order of the document.
local anchors = {}

local function anchor(heading)
  local name = heading:lower():gsub("[^%w_ %-]", ""):gsub(" ", "-")
  local n = anchors[name]
  anchors[name] = (n or 0) + 1
  return n and ("%s-%d"):format(name, n) or name
end

local function heading(f) return (f.call:gsub("%(.*", "")) end

-- "`type`: text"
local function described(what)
  local text = what.text:gsub("^%S+ # ", "") -- a result's name says nothing beside its description
  return text == "" and code(what.type) or ("%s: %s"):format(code(what.type), text)
end

local function put_function(f)
  put("### %s", heading(f))
  put ""
  put("    %s", f.call)
  for _, overload in ipairs(f.overloads) do put("    %s", (overload:gsub("^fun", heading(f)))) end
  put ""
  put_text(f.text)
  for _, generic in ipairs(f.generics) do put("- for any %s", code(generic)) end
  for _, param in ipairs(f.params) do put("- %s %s", code(param.name), described(param)) end
  for _, result in ipairs(f.returns) do put("- gives %s", described(result)) end
  if #f.generics + #f.params + #f.returns > 0 then put "" end
end

local function put_fields(fields)
  put "| Field | Type | |"
  put "|---|---|---|"
  for _, field in ipairs(fields) do
    put("| %s | %s | %s |", code(field.name, true), code(field.type, true), field.text)
  end
  put ""
end

local function put_class(class)
  put("## %s", class.name)
  put ""
  for _, overload in ipairs(class.overloads) do put("    %s", (overload:gsub("^fun", class.name))) end
  if #class.overloads > 0 then put "" end
  if class.parent then
    put("As %s.", code(class.parent))
    put ""
  end
  put_text(class.text)
  if #class.fields > 0 then put_fields(class.fields) end
  put_text(class.after)
  for _, f in ipairs(class.functions) do put_function(f) end
end

local function put_contents(classes)
  for _, class in ipairs(classes) do
    local own, links = anchor(class.name), {}
    for i, f in ipairs(class.functions) do links[i] = ("[%s](#%s)"):format(f.name, anchor(heading(f))) end
    put("- [%s](#%s)%s", class.name, own, #links > 0 and ": " .. table.concat(links, ", ") or "")
  end
  put ""
end

local function reference()
  local classes = annotations.read(root, annotations.files(root))
  put(INTRODUCTION)
  for _, text in ipairs(classes.introductions) do put_text(text) end
  put_contents(classes)
  for _, class in ipairs(classes) do put_class(class) end
  return (table.concat(lines, "\n"):gsub("\n+$", "\n"))
end

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "a"
  if file then file:close() end
  return text
end

local ok, text = pcall(reference)
if not ok then
  io.stderr:write(("docs: %s\n"):format(text))
  os.exit(1)
end

local path = root .. "/docs/api.md"
if option == "--check" then
  if read(path) ~= text then
    io.stderr:write "docs: docs/api.md is not what stdlib/meta says; run tools/docs\n"
    os.exit(1)
  end
elseif option then
  io.stderr:write(("docs: unknown argument '%s'; usage: tools/docs [--check]\n"):format(option))
  os.exit(2)
else
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
end
