-- Running totals from topic to topic, exactly once: kill it as often as you like.
--
--   rille run scripts/kafka_to_kafka.lua [BROKERS [FROM [TO [DIRECTORY [SECONDS]]]]]
--
-- A record of FROM has a user as its key and an amount as its value; for each of them TO gets the user and the total so
-- far. Totals are in DIRECTORY (./kafka_to_kafka). Each batch is one transaction of Kafka, so readers of TO should read
-- what is committed (isolation.level = read_committed), as kafka_wordcount.lua does. To try it:
--
--   tools/kafka start; tools/kafka topic payments; tools/kafka topic totals
--   printf 'ann\t5\nbob\t1\nann\t2\n' | rille run scripts/kafka_send.lua 127.0.0.1:19092 payments
--   rille run scripts/kafka_wordcount.lua 127.0.0.1:19092 totals
local rille = require "rille"

local brokers = arg[1] or "127.0.0.1:19092"
local from = arg[2] or "payments"
local to = arg[3] or "totals"
local directory = arg[4] or "kafka_to_kafka"
local batch = tonumber(arg[5] or 1)

local function setup()
  local ssc = rille.StreamingContext({ appName = "KafkaToKafka",
    ["rille.streaming.kafka.maxRatePerPartition"] = 100000 }, batch)

  local payments = rille.kafka.createDirectStream(ssc, {
    brokers = brokers,
    topics = { from },
    ["auto.offset.reset"] = "earliest",
    ["group.id"] = "kafka_to_kafka", -- for tools that look at the lag
  })

  local totals = payments
    :map(function(user, amount) return user, tonumber(amount) or 0 end)
    :mapWithState(rille.StateSpec(function(_, user, amount, total)
      local sum = (total:get() or 0) + amount
      total:update(sum)
      return user, sum
    end))
    :uid("totals")

  rille.kafka.saveToKafka(totals, { brokers = brokers, topic = to, transactional = true })
  return ssc
end

local ssc = rille.StreamingContext.getOrCreate(directory, setup)
ssc:start()
ssc:awaitTermination()
