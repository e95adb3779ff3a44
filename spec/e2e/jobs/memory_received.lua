-- Lines of a socket that are all remembered: counted as they come, then once more when all are there. Arguments: port, lines,
-- rille.memory.limit, folder for spill files. Prints both results, then the peak of resident memory in KiB and what was spilled.
local rille = require "rille"

local port, total, limit, dir = math.tointeger(tonumber(arg[1])), math.tointeger(tonumber(arg[2])), arg[3], arg[4]

local sc = rille.Context { master = "local[2]", ["rille.memory.limit"] = limit, ["rille.local.dir"] = dir }
local ssc = rille.StreamingContext(sc, 0.1)
ssc:remember(3600)

local function add(a, b) return a + b end

local lines = ssc:socketTextStream("127.0.0.1", port)
local count, bytes, last = 0, 0, 0
lines:foreachRDD(function(rdd, time)
  local n, size = rdd:count(), rdd:map(function(line) return #line end):fold(0, add)
  count, bytes, last = count + n, bytes + size, time
end)

ssc:start()
while count < total do
  if ssc:awaitTerminationOrTimeout(0.1) then break end
end
print("came", count, bytes)

count, bytes = 0, 0
for _, rdd in ipairs(lines:slice(0, last)) do
  count = count + rdd:count()
  bytes = bytes + rdd:map(function(line) return #line end):fold(0, add)
end
print("are there", count, bytes)

local use = sc:memory()
ssc:stop()
local file = assert(io.open "/proc/self/status")
io.stderr:write(("peak %s KiB, spilled %d MB\n"):format(file:read("a"):match "VmHWM:%s*(%d+)", use.spilledTotal // 1000000))
file:close()
