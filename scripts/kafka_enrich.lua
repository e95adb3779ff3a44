-- Clicks joined with a table of users that may change while the job runs.
--
--   rille run scripts/kafka_enrich.lua [BROKERS [FROM [TO [USERS [SECONDS]]]]]
--
-- A record of FROM has a user as its key and a page as its value. USERS is a file of lines "USER NAME"; it is read anew
-- for every batch, and sent to the workers again (rille.Context.broadcast) when it is not what it was. TO gets the user
-- as key, and the page with the name. FROM is "clicks", TO "named_clicks", USERS "users.txt", and a batch 1 second,
-- unless said otherwise. To try it:
--
--   tools/kafka start; tools/kafka topic clicks; tools/kafka topic named_clicks
--   printf 'ann\thome\nbob\tcart\n' | rille run scripts/kafka_send.lua 127.0.0.1:19092 clicks
--   rille run scripts/kafka_wordcount.lua 127.0.0.1:19092 named_clicks
local rille = require "rille"

local brokers = arg[1] or "127.0.0.1:19092"
local from = arg[2] or "clicks"
local to = arg[3] or "named_clicks"
local path = arg[4] or "users.txt"
local batch = tonumber(arg[5] or 1)

local ssc = rille.StreamingContext({ appName = "KafkaEnrich" }, batch)

local users = { text = nil, table = nil } -- the file as it was, and the broadcast of what is in it

local function current_users()
  local file = io.open(path)
  local text = file and file:read("a") or ""
  if file then file:close() end
  if text == users.text then return users.table end
  if users.table then users.table:unpersist() end
  local names, n = {}, 0
  for user, name in text:gmatch("(%S+)[ \t]+([^\n]+)") do
    names[user], n = name, n + 1
  end
  users.text, users.table = text, ssc:context():broadcast(names)
  print(("%d users"):format(n))
  io.stdout:flush()
  return users.table
end

local clicks = rille.kafka.createDirectStream(ssc, {
  brokers = brokers,
  topics = { from },
  ["group.id"] = "kafka_enrich",
  ["auto.offset.reset"] = "earliest",
})

-- The function given to transform runs here, once a batch; the one given to map runs on the workers.
local named = clicks:transform(function(rdd)
  local names = current_users()
  return rdd:map(function(user, page)
    return user, ("%s %s"):format(names:value()[user] or "somebody", page or "nothing")
  end)
end)

-- Each batch with its offsets in one transaction: the next start goes on where this one left off.
rille.kafka.saveToKafka(named, { brokers = brokers, topic = to, transactional = true })

ssc:start()
ssc:awaitTermination()
