-- Some megabytes of lines, persisted, counted, and grouped by a key: prints a digest of the result, then the peak of resident memory
-- in KiB and what was spilled. Arguments: megabytes, rille.memory.limit, folder for spill files.
local rille = require "rille"

local megabytes, limit, dir = math.tointeger(tonumber(arg[1])), arg[2], arg[3]
local LINES = 10000 -- of 100 bytes: a megabyte

local sc = rille.Context { master = "local[2]", ["rille.memory.limit"] = limit, ["rille.local.dir"] = dir }

-- The n-th megabyte: (key, line) records.
local function lines(n)
  local i, keys = n * LINES, megabytes * 50
  local last = i + LINES
  return function()
    if i == last then return end
    i = i + 1
    return rille.tuple(i * 7919 % keys, ("%-99d\n"):format(i * 1000003 % 999983))
  end
end

local text = sc:range(0, megabytes, 1, megabytes // 8 + 1):flatMap(lines):persist "MEMORY_AND_DISK"
print("lines", text:count())

-- Order counts: it must be the one in which the lines were made.
local function digest(key, group)
  local sum = key
  for i, line in ipairs(group) do sum = (sum * 31 + i * #line + tonumber(line)) % 1000000007 end
  return sum
end

local groups = text:groupByKey(megabytes // 8 + 1):map(digest)
print("groups", groups:count())
print("digest", groups:fold(0, function(a, b) return a + b end))

local use = sc:memory()
sc:stop()
local file = assert(io.open "/proc/self/status")
io.stderr:write(("peak %s KiB, spilled %d MB\n"):format(file:read("a"):match "VmHWM:%s*(%d+)", use.spilledTotal // 1000000))
file:close()
