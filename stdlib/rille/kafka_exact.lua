--- saveToKafka with transactional = true: each batch in one transaction of Kafka, with the offsets of what it read and
--- its time (core/sink/kafka_txn.h, docs/decisions/022).
local check = require "rille.check"
local core = require "rille.core"
local DStream = require "rille.dstream"
local durable = require "rille.durable"
local in_order = require "rille.in_order"
local site = require "rille.site"

local NAME <const> = "saveToKafka"

-- The direct streams that a stream is made of.
local function sources(stream, found, seen)
  if seen[stream] then return found end
  seen[stream] = true
  if stream.kafka then found[#found + 1] = stream end
  for _, parent in ipairs(stream.parents or {}) do sources(parent, found, seen) end
  return found
end

-- Where the batch leaves off in what it reads. A partition that does not move needs no word.
local function offsets(streams, time)
  local list = {}
  for _, stream in ipairs(streams) do
    local rdd = stream.handle:get(time)
    for _, range in ipairs(rdd and rdd:kafkaRanges() or {}) do
      if range.untilOffset > range.fromOffset then
        list[#list + 1] = { group = stream.group, topic = range.topic, partition = range.partition,
          offset = range.untilOffset }
      end
    end
  end
  return list
end

local function log_repeated(writer, time)
  if writer.told then return end
  writer.told = true
  core.log("warn", ("%s: batch %d ms is in Kafka already and is left out"):format(writer.what, time))
end

-- Two outputs with one id would take each other's batches for their own.
local function check_alone(stream, made)
  for _, output in ipairs(stream.owner.outputs) do
    local other = output.transaction
    if other and (other.id or other.stream) == (made.id or stream) and (made.id or other.marker == made.marker) then
      check.fail(("%s: %s writes in transactions of the same name, too; give one of them another option " ..
        "[\"transactional.id\"]"):format(NAME, output.site or "another output"))
    end
  end
end

-- At the start. The two jobs around a batch's are over an RDD of one record that nobody looks at.
local function open(owner, made, uid, where)
  local context = owner.sc.handle
  local id = made.id or ("%s/%s/%s"):format(context:conf "rille.app.name", uid, made.marker)
  local transaction = context:kafkaTransaction { settings = made.settings, id = id, marker = made.marker }
  transaction:atStart(owner.handle)
  local fn = context:kafkaSink { settings = made.settings, topic = made.topic, transaction = transaction }
  local nothing = context:parallelize({ 0 }, 1)
  local function op(native) return core.op { kind = "narrow", name = NAME, site = where, fn = native } end
  return { transaction = transaction, op = op(fn), id = id, what = where and NAME .. " at " .. where or NAME,
    first = core.apply(op(transaction:begin()), { nothing }, 0),
    last = core.apply(op(transaction:commit()), { nothing }, 0),
    epoch = not durable.is(owner) and core.now() or nil, -- a job without a directory is a new one at each start
    tries = math.tointeger(tonumber(context:conf "rille.task.maxFailures")) or 4,
    skips = context:conf "rille.streaming.onBatchFailure" == "skip" }
end

-- The batch in one transaction. True: it was there already.
local function try(writer, rdd, time)
  local context, options = rdd.owner.handle, { time = time, what = writer.what }
  context:run(writer.first, "run", options)
  if writer.transaction:has(time) then return true end
  context:run(core.apply(writer.op, { rdd.handle }, 0), "run", options)
  context:run(writer.last, "run", options)
end

local function write(writer, rdd, time, moved, zero)
  rdd:capture()
  writer.transaction:batch(writer.epoch or zero, moved)
  for attempt = 1, writer.tries do
    local ok, result = pcall(try, writer, rdd, time)
    if ok then return result end
    if attempt == writer.tries or not writer.transaction:again() then error(result, 0) end
    core.log("warn", ("%s: batch %d ms is written again, its transaction was not committed: %s"):format(writer.what,
      time, tostring(result):match "^[^\n]*"))
  end
end

--- Adds the output.
---@param stream rille.DStream
---@param made { settings: table[], topic: string?, marker: string, id: string? } no topic: a record's first field is it
---@param where string?
local function add(stream, made, where)
  check_alone(stream, made)
  if made.id ~= nil and (type(made.id) ~= "string" or made.id == "") then
    check.fail(("bad argument #2 to '%s' (option '[\"transactional.id\"]': string that is not empty expected, got %s)")
      :format(NAME, made.id == "" and "an empty one" or check.describe(made.id)))
  end
  site.call(stream.owner.sc.handle.kafkaTransaction, stream.owner.sc.handle, -- what cannot be is refused here
    { settings = made.settings, id = made.id or made.marker, marker = made.marker })
  made.stream = stream
  local owner = stream.owner
  local streams = sources(stream, {}, {})
  local writer
  local function prepare(own)
    local ok, result = pcall(open, owner, made, own, where)
    if not ok then error(site.located(where, result), 0) end
    writer = result
    return {}
  end
  local body = in_order(owner.sc.handle, function() return writer.skips end, function() return writer.what end,
    function(rdd, time)
      if write(writer, rdd, time, offsets(streams, time), owner.handle:zeroTime()) then log_repeated(writer, time) end
    end)
  DStream.output(stream, { name = NAME, body = body, prepare = prepare, transaction = made,
    identity = made.id or made.marker })
end

return add
