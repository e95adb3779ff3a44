-- Batches of 50 MB of lines through a window of three of them and a groupByKey: prints a digest of each window, then the peak of
-- resident memory in KiB and what was spilled. Arguments: megabytes, rille.memory.limit, folder for spill files.
local rille = require "rille"

local megabytes, limit, dir = math.tointeger(tonumber(arg[1])), arg[2], arg[3]
local BATCH <const>, LINES <const> = 50, 10000 -- megabytes; lines of 100 bytes in one

local sc = rille.Context { master = "local[2]", clock = "manual", ["rille.memory.limit"] = limit,
  ["rille.local.dir"] = dir }
local ssc = rille.StreamingContext(sc, 1)

-- The n-th megabyte: (key, line) records.
local function lines(n)
  local i = n * LINES
  local last = i + LINES
  return function()
    if i == last then return end
    i = i + 1
    return rille.tuple(i * 7919 % 5000, ("%-99d\n"):format(i * 1000003 % 999983))
  end
end

-- Order counts.
local function digest(key, group)
  local sum = key
  for i, line in ipairs(group) do sum = (sum * 31 + i * #line + tonumber(line)) % 1000000007 end
  return sum
end

local batches = {}
for from = 0, megabytes - 1, BATCH do
  batches[#batches + 1] = sc:range(from, math.min(from + BATCH, megabytes), 1, 8)
end

local spilled, windows = 0, 0
ssc:queueStream(batches):flatMap(lines):window(3, 1):groupByKey(16):map(digest):foreachRDD(function(rdd)
  windows = windows + 1
  print(windows, rdd:count(), rdd:fold(0, function(a, b) return a + b end))
end)
ssc:addStreamingListener { onBatchCompleted = function(event) spilled = spilled + event.spilledBytes end }

ssc:start()
for _ = 1, #batches do
  ssc:clock():advance(1)
end
ssc:stop(false, true)
sc:stop()

local file = assert(io.open "/proc/self/status")
local peak = file:read("a"):match "VmHWM:%s*(%d+)"
io.stderr:write(("peak %s KiB, spilled %d MB\n"):format(peak, spilled // 1000000))
file:close()
