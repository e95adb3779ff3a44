---@meta _

--- Kafka topics as streams and RDDs. docs/kafka.md tells how it works.
---@class rille.kafka
local kafka = {}

--- Which offsets of a topic partition: untilOffset is not among them.
---@class rille.OffsetRange
---@field topic string
---@field partition integer from 0
---@field fromOffset integer
---@field untilOffset integer

--- All other string keys are settings of librdkafka: ["group.id"], ["auto.offset.reset"], ["security.protocol"] ...
---@class rille.KafkaOptions
---@field brokers string|string[] addresses to begin with: "localhost:9092"
---@field topics (string|string[])? what to read: topics,
---@field pattern string? topics whose whole name matches (POSIX extended; none that begins with "__"), also new ones,
---@field assign table<string, integer[]>? or certain partitions: { topic = { 0, 1 } }
---@field fromOffsets table<string, table<integer, integer>>? { topic = { [partition] = offset } } to begin at; else what the group committed, else ["auto.offset.reset"]
---@field records ("pair"|"value"|"full")? pair: (key, value); value: the value alone; full: (key, value, topic, partition, offset, timestamp, headers)
---@field [string] any

--- A stream with one partition for each topic partition. What a batch reads is settled when it begins; a batch that runs
--- again reads the same. A null key is rille.null; the value of a tombstone is nil (with records = "value": rille.null);
--- headers are a table by name, the values of a name that comes several times an array.
---@param ssc rille.StreamingContext
---@param options rille.KafkaOptions
---@return rille.DStream
function kafka.createDirectStream(ssc, options) end

--- A stream of a receiver that is a member of a consumer group: the group's partitions are spread over all its members,
--- in this process (several streams, brought together by `union`) and others. Offsets are committed when the records are
--- stored, in a job with a checkpoint directory when they are on disk there: at least once.
---@param ssc rille.StreamingContext
---@param options { brokers: string|string[], group: string, topics: string|string[], records: "pair"|"value"|"full"|nil, storageLevel: rille.StorageLevel?, [string]: any } a topic that begins with ^ is a regular expression; and librdkafka's settings
---@return rille.DStream
function kafka.createStream(ssc, options) end

--- An RDD with a partition for each range.
---@param sc rille.Context
---@param options rille.KafkaOptions brokers, records, and librdkafka's settings
---@param ranges rille.OffsetRange[]
---@return rille.RDD
function kafka.createRDD(sc, options, ranges) end

--- Sends the records of a stream, or of an RDD at once, to Kafka: (key, value), or a value alone, whose key is null.
--- Strings are sent as they are, numbers and booleans as text, nil and rille.null as null. Batches end when the brokers
--- have all of it; a batch that is run again sends again. With a function for `topic` it gets the record's fields.
--- With `transactional` (streams only) each batch is one transaction, with the offsets of what it read of Kafka, and is
--- there exactly once for readers with read_committed. That is told by an offset of the topic `marker`, without it `topic`.
---@param from rille.DStream|rille.RDD
---@param options { brokers: string|string[], topic: string|function, transactional: boolean?, marker: string?, [string]: any } and librdkafka's settings
function kafka.saveToKafka(from, options) end

--- A producer, for functions of the job and for the script itself: all with the same settings are one in the process,
--- kept between batches. Idempotent, unless ["enable.idempotence"] = false. What is wrong with the settings is told here.
--- A task, and an output's function in the script, is done when the brokers have acknowledged all that it sent; a record
--- that they refuse fails it. What runs again sends again: at least once.
---@param options { brokers: string|string[], [string]: any } and librdkafka's settings
---@return rille.KafkaProducer
function kafka.producer(options) end

--- What `rille.kafka.producer` makes. Functions may capture it; it comes back with a checkpoint's setup.
---@class rille.KafkaProducer
local KafkaProducer = {}

--- Sends a record; `send(topic, value)` one whose key is null. Strings are sent as they are, numbers and booleans as
--- text, nil and rille.null as null; a value of nil is a tombstone. Waits while as much is queued as may be
--- (["queue.buffering.max.kbytes"]), and may raise what became of a record sent before.
---@param topic string
---@param key string|number|boolean|nil
---@param value string|number|boolean|nil
---@param options { partition: integer?, timestamp: integer?, headers: table<string, any>? }? timestamp in milliseconds; the values of a header that comes several times are an array
function KafkaProducer:send(topic, key, value, options) end

--- Waits until all that was sent here is acknowledged: in this task, this function of an output, or the script. Raises
--- what the brokers refused, or did not take in time.
---@param seconds number? at most; without it as long as a record may take: ["message.timeout.ms"]
function KafkaProducer:flush(seconds) end
