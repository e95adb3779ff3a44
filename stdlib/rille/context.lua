--- rille.Context: workers and settings, and RDDs that do not come from streams.
local class = require "rille.class"
local check = require "rille.check"
local core = require "rille.core"
local RDD = require "rille.rdd"
local site = require "rille.site"

---@class rille.Context
---@field package handle rille.core.Context
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
  return setmetatable({ handle = handle, default_partitions = default_partitions }, Context)
end

setmetatable(Context, { __call = create })

local function method(name, takes, body)
  Context[name] = function(self, ...)
    check.self(Context, name, self)
    local result = body(self, check.arguments(name, takes, 1, ...)) -- no tail call: see site.here
    return result
  end
end

-- An RDD made by a primitive of the context.
local function source(name, takes, make)
  method(name, takes, function(self, ...)
    local where = site.here()
    return RDD.wrap(self, site.call(make, self.handle, ...), { site = where })
  end)
end

source("parallelize", { "list", "partitions?" }, function(handle, list, n)
  return handle:parallelize(list, n or handle:parallelism())
end)

source("textFile", { "text", "partitions?" }, function(handle, path, n) return handle:textFile(path, n) end)

source("binaryRecords", { "text", "positive" }, function(handle, path, length)
  return handle:binaryRecords(path, length)
end)

source("objectFile", { "text" }, function(handle, path) return handle:objectFile(path) end)

source("emptyRDD", {}, function(handle) return handle:empty(0) end)

method("union", { "list" }, function(self, rdds)
  check.members(1, "union", RDD, rdds)
  if rdds[1].owner ~= self then check.fail "bad argument #1 to 'union' (the RDDs are of another context)" end
  return rdds[1]:derive("union", table.move(rdds, 1, #rdds, 1, {}), { { kind = "union" } })
end)

method("defaultParallelism", {}, function(self) return self.handle:parallelism() end)

method("setLogLevel", { "text" }, function(_, level) site.call(core.setLogLevel, level:lower()) end)

method("stop", {}, function(self) self.handle:stop() end)

method("isStopped", {}, function(self) return self.handle:isStopped() end)

return Context
