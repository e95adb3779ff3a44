-- Sends lines to a Kafka topic, for the other scripts to read: each line of standard input is a record.
--
--   rille run scripts/kafka_send.lua [BROKERS [TOPIC]] <LINES
--
-- "KEY<tab>VALUE" is a record with a key, a line without a tab a value alone. `tools/kafka start` gives a broker to try
-- it with (BROKERS is 127.0.0.1:19092 unless said otherwise), `tools/kafka topic TOPIC` makes a topic (lines).
local rille = require "rille"

local brokers = arg[1] or "127.0.0.1:19092"
local topic = arg[2] or "lines"
local EVERY = 10000 -- records, after which it waits for the broker to have them

local producer = rille.kafka.producer { brokers = brokers }

local n = 0
for line in io.lines() do
  local key, value = line:match "^([^\t]*)\t(.*)$"
  producer:send(topic, key, value or line)
  n = n + 1
  if n % EVERY == 0 then producer:flush(60) end
end
producer:flush(60)
print(("%d records are in %s"):format(n, topic))
