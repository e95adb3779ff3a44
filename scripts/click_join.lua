-- Joins two windowed streams: which ads that were shown lately were clicked, and how soon.
--
--   rille run scripts/click_join.lua [HOST [IMPRESSIONS_PORT [CLICKS_PORT [WINDOW [SECONDS]]]]]
--
-- Give it lines "id ad milliseconds" on the first port (9998), one for each ad that was shown, and lines
-- "id milliseconds" on the second (9999), one for each click; the id is that of the impression. A click counts when its
-- impression came in the same batch or within the WINDOW before it (30 seconds). For each ad with clicks the number of
-- clicks and the mean delay are printed. A batch is 1 second unless SECONDS says otherwise.
--
-- Both streams must have the same slide to be joined. Clicks need no past: theirs is a window of one batch, so each
-- click is met with the impressions once, however long these are kept.
local rille = require "rille"

local host = arg[1] or "localhost"
local impressions_port = tonumber(arg[2] or 9998)
local clicks_port = tonumber(arg[3] or 9999)
local window = tonumber(arg[4] or 30)
local batch = tonumber(arg[5] or 1)

local ssc = rille.StreamingContext({ appName = "ClickJoin" }, batch)

-- Lines that are nothing of the kind are left out.
local impressions = ssc:socketTextStream(host, impressions_port):flatMap(function(line)
  local id, ad, shown = line:match("^(%S+)%s+(%S+)%s+(%d+)$")
  return id and { rille.tuple(id, rille.tuple(ad, math.tointeger(shown))) } or {}
end)
local clicks = ssc:socketTextStream(host, clicks_port):flatMap(function(line)
  local id, clicked = line:match("^(%S+)%s+(%d+)$")
  return id and { rille.tuple(id, math.tointeger(clicked)) } or {}
end)

impressions:window(window, batch)
  :join(clicks:window(batch, batch))
  :map(function(_, impression, clicked) return impression[1], rille.tuple(1, clicked - impression[2]) end)
  :reduceByKey(function(a, b) return rille.tuple(a[1] + b[1], a[2] + b[2]) end)
  :map(function(ad, sums) return ad, sums[1], sums[2] / sums[1] end)
  :print()

ssc:start()
ssc:awaitTermination()
