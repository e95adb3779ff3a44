-- Counts the words of a Kafka topic, and shows how far it has got.
--
--   rille run scripts/kafka_wordcount.lua [BROKERS [TOPIC [SECONDS]]]
--
-- A batch is 1 second unless SECONDS says otherwise. The first batch begins where the group kafka_wordcount committed,
-- or at the beginning of the topic. To try it:
--
--   tools/kafka start; tools/kafka topic lines
--   rille run scripts/kafka_send.lua 127.0.0.1:19092 lines <README.md
local rille = require "rille"

local brokers = arg[1] or "127.0.0.1:19092"
local topic = arg[2] or "lines"
local batch = tonumber(arg[3] or 1)

local ssc = rille.StreamingContext({ appName = "KafkaWordCount",
  ["rille.streaming.kafka.maxRatePerPartition"] = 100000 }, batch)

local lines = rille.kafka.createDirectStream(ssc, {
  brokers = brokers,
  topics = { topic },
  records = "value",
  ["group.id"] = "kafka_wordcount",
  ["auto.offset.reset"] = "earliest",
})

lines:filter(function(line) return line ~= rille.null end) -- tombstones
  :flatMap(function(line) return line:gmatch("%S+") end)
  :map(function(word) return word, 1 end)
  :reduceByKey(function(a, b) return a + b end)
  :print()

-- Outputs run in their order: what is committed here was printed.
lines:foreachRDD(function(rdd)
  local ranges = rdd:offsetRanges()
  lines:commitAsync(ranges)
  for _, range in ipairs(ranges) do
    print(("%s/%d: up to offset %d"):format(range.topic, range.partition, range.untilOffset))
  end
end)

ssc:start()
ssc:awaitTermination()
