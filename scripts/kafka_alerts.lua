-- Sends an alert when a service has logged too many errors.
--
--   rille run scripts/kafka_alerts.lua [BROKERS [FROM [TO [SECONDS [WINDOW [LIMIT]]]]]]
--
-- A record of FROM has a line "SERVICE LEVEL MESSAGE" as its value. A service with LIMIT lines of level ERROR (3) in the last
-- WINDOW seconds (10) is alerted to in TO, each second (SECONDS) for as long as that holds: the key is the service, the
-- value says how many there were and which came last, the header `until` the end of the window. `tools/kafka start` gives
-- a broker to try it with.
local rille = require "rille"

local brokers = arg[1] or "127.0.0.1:19092"
local from = arg[2] or "logs"
local to = arg[3] or "alerts"
local batch = tonumber(arg[4] or 1)
local window = tonumber(arg[5] or 10)
local limit = tonumber(arg[6] or 3)

local ssc = rille.StreamingContext({ appName = "KafkaAlerts" }, batch)

-- One for the whole process. Functions take it along; connections are made where they run.
local producer = rille.kafka.producer { brokers = brokers }

local lines = rille.kafka.createDirectStream(ssc, {
  brokers = brokers,
  topics = { from },
  records = "value",
  ["auto.offset.reset"] = "latest",
})

local noisy = lines
  :flatMap(function(line)
    local service, level, message = tostring(line):match "^(%S+)%s+(%S+)%s*(.*)$"
    if level == "ERROR" then return { rille.tuple(service, { n = 1, last = message }) } end
    return {} -- also of a tombstone
  end)
  :reduceByKeyAndWindow(function(a, b) return { n = a.n + b.n, last = b.last } end, window, batch)
  :filter(function(_, errors) return errors.n >= limit end)

noisy:foreachRDD(function(rdd, time)
  rdd:foreachPartition(function(services)
    for service, errors in services do
      producer:send(to, service, ("%d errors in %g s, the last: %s"):format(errors.n, window, errors.last),
        { headers = { ["until"] = time } })
    end
    -- Here the task waits for the brokers: it is done when they have acknowledged all that it sent, and is run again
    -- when they refuse something. A task that is run again sends again; an alert may come twice, and none is lost.
  end)
end)

ssc:start()
ssc:awaitTermination()
