-- Joins two streams batch by batch: page views with the logins of the same batch.
--
--   rille run scripts/join_streams.lua [HOST [VIEWS_PORT [LOGINS_PORT [SECONDS]]]]
--
-- Give it lines "user page" on the first port (9998) and lines "user country" on the second (9999). A view of someone
-- who did not log in within the batch has "?" for a country. A batch is 1 second unless SECONDS says otherwise.
local rille = require "rille"

local host = arg[1] or "localhost"
local views_port = tonumber(arg[2] or 9998)
local logins_port = tonumber(arg[3] or 9999)
local batch = tonumber(arg[4] or 1)

local ssc = rille.StreamingContext({ appName = "JoinStreams" }, batch)

-- "a b" -> (a, b); other lines are left out.
local function pairs_of(port)
  return ssc:socketTextStream(host, port):flatMap(function(line)
    local key, value = line:match("^(%S+)%s+(%S+)$")
    return key and { rille.tuple(key, value) } or {}
  end)
end

local views, logins = pairs_of(views_port), pairs_of(logins_port)

views:leftOuterJoin(logins)
  :map(function(_, page, country) return rille.tuple(page, country or "?"), 1 end)
  :reduceByKey(function(a, b) return a + b end)
  :print()

ssc:start()
ssc:awaitTermination()
