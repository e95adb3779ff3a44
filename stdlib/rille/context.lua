--- rille.Context: workers and settings, and RDDs that do not come from streams.
require "rille.actions"
require "rille.numbers"
require "rille.samples"
local class = require "rille.class"
local check = require "rille.check"
local core = require "rille.core"
local methods_of = require "rille.method"
local RDD = require "rille.rdd"
local shared = require "rille.shared"
local site = require "rille.site"
local steps = require "rille.steps"

---@class rille.Context
---@field package handle rille.core.Context
---@field package diverts boolean?            operations leave bad records out (rille.task.maxBadRecords)
---@field package kept rille.KeptAccumulators
---@field package default_partitions integer  for operations on RDDs: 0 where the parents settle it
local Context = class "Context"

---@param value any
---@return boolean
function Context.is(value) return getmetatable(value) == Context end

function Context:__tostring()
  return ("Context(%s, %d workers)"):format(self.handle:conf "rille.app.name", self.handle:workers())
end

local function create(_, conf)
  local settings = {}
  for key, value in pairs(check.argument(1, "Context", "list?", conf) or {}) do settings[key] = value end
  local properties = settings.properties
  settings.properties = nil
  if properties ~= nil and type(properties) ~= "string" then
    check.fail(("bad argument #1 to 'Context' (conf.properties: the name of a file expected, got %s)")
      :format(check.describe(properties)))
  end
  local handle = site.call(core.context, settings, properties)
  local default_partitions = handle:parallelismIsSet() and handle:parallelism() or 0
  local diverts = handle:conf "rille.task.maxBadRecords" ~= "0"
  return setmetatable({ handle = handle, default_partitions = default_partitions, diverts = diverts,
    kept = shared.kept() }, Context)
end

setmetatable(Context, { __call = create })

local method = methods_of(Context)

-- An RDD made by a primitive of the context.
local function source(name, takes, make)
  method(name, takes, function(self, ...)
    local where = site.here()
    return RDD.wrap(self, site.call(make, self.handle, ...), { site = where })
  end)
end

source("parallelize", { "records", "partitions?" }, function(handle, list, n)
  return handle:parallelize(list, n or handle:parallelism())
end)

Context.makeRDD = Context.parallelize

source("textFile", { "text", "partitions?" }, function(handle, path, n) return handle:textFile(path, n) end)

source("binaryRecords", { "text", "positive" }, function(handle, path, length)
  return handle:binaryRecords(path, length)
end)

source("objectFile", { "text" }, function(handle, path) return handle:objectFile(path) end)

source("emptyRDD", {}, function(handle) return handle:empty(0) end)

-- For workers: the numbers of one stretch.
local function count_up(first, count, step)
  local i = -1
  return function()
    i = i + 1
    if i < count then return first + i * step end
  end
end

method("range", { "integer", "integer?", "integer?", "partitions?" }, function(self, first, stop, step, n)
  if not stop then first, stop = 0, first end
  step, n = step or 1, n or self.handle:parallelism()
  if step == 0 then check.fail "bad argument #3 to 'range' (a step other than 0 expected)" end
  local count = 0
  if step > 0 and first < stop then count = (stop - first - 1) // step + 1 end
  if step < 0 and first > stop then count = (first - stop - 1) // -step + 1 end
  local stretches = {}
  local function start(i) return count // n * i + count % n * i // n end -- floor(i * count / n)
  for i = 0, n - 1 do
    stretches[i + 1] = core.tuple(first + start(i) * step, start(i + 1) - start(i), step)
  end
  return self:parallelize(stretches, n):derive("range", nil, { steps.narrow("flatMap", count_up) })
end)

-- For workers: (path, content).
local function read_file(path)
  local file, why = io.open(path, "rb")
  local content = file and file:read "a"
  if not content then error(("cannot read %s: %s"):format(path, why or "it is no file"), 0) end
  file:close()
  return path, content
end

for _, name in ipairs { "wholeTextFiles", "binaryFiles" } do
  method(name, { "text", "partitions?" }, function(self, path, n)
    local paths = site.call(self.handle.files, self.handle, path)
    n = n or math.max(1, math.min(#paths, self.handle:parallelism()))
    return self:parallelize(paths, n):derive(name, nil, { steps.narrow("map", read_file) })
  end)
end

method("union", { "list" }, function(self, rdds)
  check.members(1, "union", RDD, rdds)
  if rdds[1].owner ~= self then check.fail "bad argument #1 to 'union' (the RDDs are of another context)" end
  return rdds[1]:derive("union", table.move(rdds, 1, #rdds, 1, {}), { { kind = "union" } })
end)

shared.install(Context)

method("defaultParallelism", {}, function(self) return self.handle:parallelism() end)

method("memory", {}, function(self) return self.handle:memory() end)

method("setLogLevel", { "text" }, function(_, level) site.call(core.setLogLevel, level:lower()) end)

method("stop", {}, function(self) self.handle:stop() end)

method("isStopped", {}, function(self) return self.handle:isStopped() end)

return Context
