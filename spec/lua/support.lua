--- What several specs need. What the engine logs is left out: specs look at what is raised.
local core = require "rille.core"
local rille = require "rille"

core.setLogLevel "off"

local support = {}

--- Records as text, in an order of their own: for results whose order is not promised.
function support.sorted(records)
  local texts = {}
  for i, record in ipairs(records) do texts[i] = tostring(record) end
  table.sort(texts)
  return texts
end

--- Records as text, in their order.
function support.texts(records)
  local texts = {}
  for i, record in ipairs(records) do texts[i] = tostring(record) end
  return texts
end

--- (key, value) records as a table.
function support.map_of(records)
  local map = {}
  for _, record in ipairs(records) do map[record[1]] = record[2] end
  return map
end

--- Key-value records out of a flat list.
function support.pairs_of(...)
  local list, flat = {}, { ... }
  for i = 1, #flat, 2 do list[#list + 1] = rille.tuple(flat[i], flat[i + 1]) end
  return list
end

--- A new empty directory; support.remove takes it away.
function support.directory()
  local name = os.tmpname()
  os.remove(name)
  assert(os.execute("mkdir '" .. name .. "'"))
  return name
end

function support.remove(directory)
  os.execute("rm -rf '" .. directory .. "'")
end

function support.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

function support.write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

function support.exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

--- The message that f raises.
function support.failure(f, ...)
  local ok, message = pcall(f, ...)
  if ok then error("an error was expected", 2) end
  return tostring(message)
end

--- What f prints to standard output through io.stdout (or print).
function support.output_of(f)
  local path = os.tmpname()
  local real = io.stdout
  local file = assert(io.open(path, "wb"))
  rawset(io, "stdout", file)
  local ok, why = pcall(f)
  rawset(io, "stdout", real)
  file:close()
  local text = support.read(path)
  os.remove(path)
  if not ok then error(why, 0) end
  return text
end

return support
