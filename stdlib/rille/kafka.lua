--- rille.kafka: streams and RDDs of Kafka topics, sinks and producers. Here what a job gives is checked and brought
--- into the form that the primitives take; the work is done in C.
local check = require "rille.check"
local Context = require "rille.context"
local control = require "rille.control"
local core = require "rille.core"
local DStream = require "rille.dstream"
local exact = require "rille.kafka_exact"
local methods_of = require "rille.method"
local RDD = require "rille.rdd"
local site = require "rille.site"
local StreamingContext = require "rille.streaming"

local kafka = {}

local FORMS <const> = { pair = true, value = true, full = true }

local function wrong(position, name, what)
  check.fail(("bad argument #%d to '%s' (%s)"):format(position, name, what))
end

-- As text; what is neither text nor an array of such comes back as it is.
local function brokers_of(options)
  local brokers = options.brokers
  if type(brokers) ~= "table" then return brokers end
  for _, broker in pairs(brokers) do
    if type(broker) ~= "string" then return brokers end
  end
  return table.concat(brokers, ",")
end

-- Settings of librdkafka: all string keys that are no options of ours.
local function settings_of(name, options, known, position)
  position = position or 2
  local settings = {}
  for key, value in pairs(options) do
    if not known[key] then
      local kind = type(value)
      if type(key) ~= "string" then wrong(position, name, "an option's name is a " .. type(key)) end
      if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
        wrong(position, name, ("option '%s': string, number or boolean expected, got %s")
          :format(key, check.describe(value)))
      end
      settings[#settings + 1] = { name = key, value = math.type(value) == "float" and value == math.floor(value) and
        ("%d"):format(value) or tostring(value) }
    end
  end
  table.sort(settings, function(a, b) return a.name < b.name end) -- the first that is wrong is always the same
  if options["group.id"] == "" then wrong(2, name, "option '[\"group.id\"]': a group's name is not empty") end
  local brokers = brokers_of(options)
  if brokers ~= nil and type(brokers) ~= "string" then
    wrong(position, name, "option 'brokers': string or array of strings expected, got " .. check.describe(brokers))
  end
  if brokers then settings[#settings + 1] = { name = "bootstrap.servers", value = brokers } end
  return settings
end

local function records_of(name, options)
  local form = options.records or "pair"
  if not FORMS[form] then wrong(2, name, "option 'records': \"pair\", \"value\" or \"full\" expected") end
  return form
end

local function topics_of(name, topics)
  if topics == nil then return end
  if type(topics) == "string" then topics = { topics } end
  if type(topics) ~= "table" or #topics == 0 then wrong(2, name, "option 'topics': array of names expected") end
  for _, topic in ipairs(topics) do
    if type(topic) ~= "string" or topic == "" then wrong(2, name, "option 'topics': array of names expected") end
  end
  return topics
end

local function partition_number(name, option, value)
  local n = math.tointeger(value)
  if not n or n < 0 or n > 0x7fffffff then
    wrong(2, name, ("option '%s': a partition is a whole number from 0 to 2147483647, not %s"):format(option,
      tostring(value)))
  end
  return n
end

-- { topic = { 0, 1 } } as a list.
local function partitions_of(name, topics)
  if topics == nil then return end
  local list = {}
  if type(topics) ~= "table" then wrong(2, name, "option 'assign': table { topic = { partition, ... } } expected") end
  for topic, partitions in pairs(topics) do
    if type(topic) ~= "string" or type(partitions) ~= "table" then
      wrong(2, name, "option 'assign': table { topic = { partition, ... } } expected")
    end
    for _, partition in ipairs(partitions) do
      list[#list + 1] = { topic = topic, partition = partition_number(name, "assign", partition) }
    end
  end
  if #list == 0 then wrong(2, name, "option 'assign' names no partition") end
  table.sort(list, function(a, b)
    if a.topic ~= b.topic then return a.topic < b.topic end
    return a.partition < b.partition
  end)
  return list
end

-- { topic = { [0] = 5 } } as a list.
local function offsets_of(name, topics)
  if topics == nil then return end
  local list = {}
  if type(topics) ~= "table" then
    wrong(2, name, "option 'fromOffsets': table { topic = { [partition] = offset } } expected")
  end
  for topic, offsets in pairs(topics) do
    if type(topic) ~= "string" or type(offsets) ~= "table" then
      wrong(2, name, "option 'fromOffsets': table { topic = { [partition] = offset } } expected")
    end
    for partition, offset in pairs(offsets) do
      local at = math.tointeger(offset)
      if not at or at < 0 then
        wrong(2, name, ("option 'fromOffsets': an offset is a whole number from 0, not %s"):format(tostring(offset)))
      end
      list[#list + 1] = { topic = topic, partition = partition_number(name, "fromOffsets", partition), offset = at }
    end
  end
  return list
end

local STREAM_OPTIONS <const> = { brokers = true, topics = true, pattern = true, assign = true, fromOffsets = true,
  records = true }

local function subscription(name, spec)
  if spec.topics then return table.concat(spec.topics, ",") end
  if spec.pattern then return "/" .. spec.pattern .. "/" end
  if not spec.assign then wrong(2, name, "one of the options topics, pattern and assign is needed") end
  local parts = {}
  for i, part in ipairs(spec.assign) do parts[i] = part.topic .. "/" .. part.partition end
  return table.concat(parts, ",")
end

function kafka.createDirectStream(ssc, options)
  local name <const> = "createDirectStream"
  if not StreamingContext.is(ssc) then check.bad(1, name, "StreamingContext", ssc) end
  check.argument(2, name, "list", options)
  local spec = { settings = settings_of(name, options, STREAM_OPTIONS), records = records_of(name, options),
    topics = topics_of(name, options.topics), assign = partitions_of(name, options.assign),
    pattern = check.argument(2, name, "text?", options.pattern), from = offsets_of(name, options.fromOffsets) }
  local stream = ssc:input(name, subscription(name, spec), function(where)
    spec.site = where
    return ssc.handle:kafka(spec)
  end)
  stream.kafka, stream.group = true, options["group.id"]
  return stream
end

local GROUP_OPTIONS <const> = { brokers = true, group = true, topics = true, records = true, storageLevel = true }

function kafka.createStream(ssc, options)
  local name <const> = "createStream"
  if not StreamingContext.is(ssc) then check.bad(1, name, "StreamingContext", ssc) end
  check.argument(2, name, "list", options)
  local spec = { settings = settings_of(name, options, GROUP_OPTIONS), records = records_of(name, options),
    topics = topics_of(name, options.topics) }
  local group = check.argument(2, name, "text?", options.group) or options["group.id"]
  if options.group and options["group.id"] then
    wrong(2, name, "options 'group' and '[\"group.id\"]' are the same: give one of them")
  end
  if not group then wrong(2, name, "option 'group' is missing: the consumer group") end
  if not spec.topics then wrong(2, name, "option 'topics' is missing") end
  if options.group then spec.settings[#spec.settings + 1] = { name = "group.id", value = group } end
  local level = check.keeps(2, name, options.storageLevel)
  return ssc:input(name, group .. ":" .. subscription(name, spec), function(where)
    spec.site = where
    local handle = ssc.handle:kafkaGroup(spec)
    if level then handle:storeAt(level) end
    return handle
  end)
end

local RDD_OPTIONS <const> = { brokers = true, records = true }

local function is_whole(value) return type(value) == "number" and math.tointeger(value) end

local function check_ranges(position, name, ranges)
  check.argument(position, name, "list", ranges)
  for i, range in ipairs(ranges) do
    local ok = type(range) == "table" and type(range.topic) == "string" and is_whole(range.partition) and
      is_whole(range.fromOffset) and is_whole(range.untilOffset)
    if not ok then
      wrong(position, name, ("[%d]: { topic =, partition =, fromOffset =, untilOffset = } expected"):format(i))
    end
    if range.partition < 0 or range.partition > 0x7fffffff or range.fromOffset < 0 or range.untilOffset < 0 then
      wrong(position, name, ("[%d]: %s/%s, offsets %s to %s: partitions and offsets count from 0"):format(i,
        range.topic, range.partition, range.fromOffset, range.untilOffset))
    end
  end
  return ranges
end

function kafka.createRDD(sc, options, ranges)
  local name <const> = "createRDD"
  if not Context.is(sc) then check.bad(1, name, "Context", sc) end
  check.argument(2, name, "list", options)
  local spec = { settings = settings_of(name, options, RDD_OPTIONS), records = records_of(name, options) }
  check_ranges(3, name, ranges)
  local where = site.here()
  return RDD.wrap(sc, site.call(sc.handle.kafka, sc.handle, spec, ranges), { site = where })
end

local SINK_OPTIONS <const> = { brokers = true, topic = true, transactional = true, marker = true }
local EXACT_OPTIONS <const> = { brokers = true, topic = true, transactional = true, marker = true,
  ["transactional.id"] = true }

-- For workers: the topic that a function of the job chooses, in front of the record.
local function routed(choose)
  return function(...)
    local topic = choose(...)
    if type(topic) ~= "string" or topic == "" then
      error(("the function given as 'topic' must return a topic's name, not %s"):format(
        topic == "" and "an empty one" or type(topic)), 0)
    end
    return topic, ...
  end
end

-- Sends an RDD's records, and waits for the brokers to have them all.
local function send(rdd, name, op)
  rdd:capture()
  local writer = RDD.wrap(rdd.owner, site.call(core.apply, op, { rdd.handle }, 0), { time = rdd.time, site = rdd.site })
  writer:run(name, "run")
end

function kafka.saveToKafka(from, options)
  local name <const> = "saveToKafka"
  local is_stream = DStream.is(from)
  if not is_stream and not RDD.is(from) then check.bad(1, name, "DStream or RDD", from) end
  check.argument(2, name, "list", options)
  local topic, where = options.topic, site.here()
  local chosen = type(topic) == "function"
  if not chosen and (type(topic) ~= "string" or topic == "") then
    wrong(2, name, "option 'topic': name or function expected, got " .. check.describe(topic))
  end
  if options.transactional ~= nil and type(options.transactional) ~= "boolean" then
    wrong(2, name, "option 'transactional': boolean expected, got " .. check.describe(options.transactional))
  end
  local marker = check.argument(2, name, "text?", options.marker) or not chosen and topic or nil
  if options.transactional then
    if not is_stream then wrong(2, name, "option 'transactional' is for streams; an RDD has no batch") end
    if not marker then wrong(2, name, "option 'marker' is missing: a topic that is always there") end
    if chosen then from = from:map(routed(topic)) end
    return exact(from, { settings = settings_of(name, options, EXACT_OPTIONS), topic = not chosen and topic or nil,
      marker = marker, id = options["transactional.id"] }, where)
  end
  local context = (is_stream and from.owner.sc or from.owner).handle
  local spec = { settings = settings_of(name, options, SINK_OPTIONS), topic = not chosen and topic or nil }
  local sink = site.call(context.kafkaSink, context, spec)
  local op = core.op { kind = "narrow", name = name, site = where, fn = sink }
  if chosen then from = from:map(routed(topic)) end
  if not is_stream then return send(from, name, op) end
  local what = chosen and core.fingerprint(topic) or topic
  local identity = ("%s/%s"):format(brokers_of(options) or options["bootstrap.servers"], what)
  DStream.output(from, { name = name, body = function(rdd) send(rdd, name, op) end, identity = identity })
end

--- A producer for functions of the job. Under test nothing is sent.
function kafka.producer(options)
  local name <const> = "producer"
  check.argument(1, name, "list", options)
  local settings = settings_of(name, options, { brokers = true }, 1)
  return (site.call(core.kafkaProducer, { settings = settings, mute = control.holder ~= nil }))
end

methods_of(RDD)("offsetRanges", {}, function(self)
  local ranges = self.handle:kafkaRanges()
  if ranges then return ranges end
  if control.holder then return {} end -- under test inputs are the test's
  check.fail("offsetRanges: only the RDD of a Kafka stream has ranges, and none that was made of it: ask in the " ..
    "stream's own transform or foreachRDD")
end)

methods_of(DStream)("commitAsync", { "list", "function?" }, function(self, ranges, callback)
  if not self.kafka then
    check.fail "commitAsync: only a stream of rille.kafka.createDirectStream has offsets to commit"
  end
  check_ranges(1, "commitAsync", ranges)
  if control.holder then
    if callback then callback(ranges) end
    return
  end
  local function done(failure) callback(ranges, failure) end
  site.call(self.handle.commit, self.handle, ranges, callback and done)
end)

return kafka
