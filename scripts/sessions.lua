-- Sessions of users: mapWithState with a timeout. A line is "USER ACTION"; a session ends when its user has been silent
-- for a while, and is then printed with the number of its actions and how long it lasted.
--
--   rille run scripts/sessions.lua [HOST [PORT [SECONDS [SILENCE]]]]
--
-- In another terminal type lines: `nc -lk 9999`. A batch is 1 second, and a silence 5 seconds, unless said otherwise.
local rille = require "rille"

local host = arg[1] or "localhost"
local port = tonumber(arg[2] or 9999)
local batch = tonumber(arg[3] or 1)
local silence = tonumber(arg[4] or 5)

local ssc = rille.StreamingContext({ appName = "Sessions" }, batch)

-- Called once a record, and once more without an action when the session's time is over.
local function track(time, user, action, session)
  if session:isTimingOut() then
    local s = session:get()
    return user, ("session over: %d actions in %.1f s"):format(s.actions, (s.last - s.first) / 1000)
  end
  local s = session:get()
  session:update { first = s and s.first or time, last = time, actions = (s and s.actions or 0) + 1 }
  if not s then return user, "session begins with " .. action end
end

ssc:socketTextStream(host, port)
  :flatMap(function(line)
    local user, action = line:match("^(%S+)%s+(.+)$")
    return user and { rille.tuple(user, action) } or {}
  end)
  :mapWithState(rille.StateSpec(track):timeout(silence)):uid("sessions")
  :print()

ssc:start()
ssc:awaitTermination()
