--- What specs of Kafka need: the broker that RILLE_KAFKA_BROKERS names, topics and records in it (spec/tools/kafka_admin.c).
local core = require "rille.core"

core.setLogLevel "off"

local kafka = { brokers = assert(os.getenv "RILLE_KAFKA_BROKERS", "RILLE_KAFKA_BROKERS is not set") }

local build = assert(os.getenv "RILLE_BUILD")

-- Each command is a process's: two pipes to one process can not be had in Lua.
local function admin(...)
  local words = {}
  for i, word in ipairs { ... } do words[i] = tostring(word) end
  local command = ("printf '%%s\\n' '%s' | '%s/spec/kafka_admin' '%s'")
    :format(table.concat(words, "\t"):gsub("'", "'\\''"), build, kafka.brokers)
  local pipe = assert(io.popen(command))
  local answer = pipe:read "l" or "no answer"
  pipe:close()
  local result = answer:match "^ok\t(.*)$"
  if not result then error(answer, 2) end
  return result
end

local made = 0

--- A topic that no other spec has.
---@param partitions integer
---@param ... string settings, "name=value"
---@return string
function kafka.topic(partitions, ...)
  made = made + 1
  local name = ("spec-%d-%d-%d"):format(os.time(), math.random(1 << 30), made)
  admin("create", name, partitions, ...)
  return name
end

function kafka.create(name, partitions) admin("create", name, partitions) end

function kafka.grow(topic, partitions) admin("grow", topic, partitions) end

function kafka.delete(topic) admin("delete", topic) end

--- Removes the records before an offset.
function kafka.trim(topic, partition, offset) admin("trim", topic, partition, offset) end

--- Records ("k<i>", "v<i>") for i from first on.
function kafka.fill(topic, partition, first, n) admin("fill", topic, partition, first, n) end

--- Records ("k<i mod keys>", "<i>") for i from first on, all of a key in one partition.
function kafka.spread(topic, partitions, keys, first, n) admin("spread", topic, partitions, keys, first, n) end

--- A record; nil stands for null, headers are "name=value".
function kafka.put(topic, partition, key, value, ...) admin("put", topic, partition, key or "-", value or "-", ...) end

function kafka.big(topic, partition, bytes) admin("big", topic, partition, bytes) end

---@param how "commit"|"abort"|"leave" leave: open, until the next transaction
function kafka.transaction(how, topic, partition, first, n) admin("transaction", how, topic, partition, first, n) end

---@return integer # the offset behind the last record that is committed
function kafka.last(topic, partition) return math.tointeger(tonumber(admin("end", topic, partition))) end

--- All that is in a topic of so many partitions, as rille.kafka.createRDD takes it.
function kafka.ranges(topic, partitions)
  local ranges = {}
  for partition = 0, partitions - 1 do
    ranges[partition + 1] = { topic = topic, partition = partition, fromOffset = 0,
      untilOffset = kafka.last(topic, partition) }
  end
  return ranges
end

---@return integer # how many committed records have offsets from `from` to `to` - 1
function kafka.count(topic, partition, from, to)
  return math.tointeger(tonumber(admin("count", topic, partition, from, to)))
end

---@return integer? # nil: none is committed
function kafka.committed(group, topic, partition)
  local offset = math.tointeger(tonumber(admin("committed", group, topic, partition)))
  return offset >= 0 and offset or nil
end

return kafka
