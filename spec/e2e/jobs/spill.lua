-- More than fits: OPERATION LIMIT MEGABYTES. Prints what comes of it, as one line that does not depend on the order of
-- records where that is not given, and what it took: bytes spilled and the most memory that was resident, in MiB.
local rille = require "rille"

local operation, limit, megabytes = arg[1], arg[2], tonumber(arg[3])
local conf = { master = "local[2]", appName = "spill", ["rille.local.dir"] = os.getenv "RILLE_SPILL_DIR",
  ["rille.default.parallelism"] = 4, clock = "manual" }
if limit ~= "none" then conf["rille.memory.limit"] = limit end
local sc = rille.Context(conf)

-- Records of 100 bytes of text each, under keys as many as told.
local RECORD <const> = 112
local n = megabytes * 1024 * 1024 // RECORD
local function records(count, keys)
  return sc:range(count, nil, nil, 8):map(function(x)
    local r = (x * 2654435761 + 12345) % 4294967296
    return r % keys, ("%010d %016x "):format(x, r * r % 1000003):rep(4):sub(1, 100)
  end)
end

-- Of every partition: how many records, and a sum over them in any order.
local function checksum(rdd, weigh)
  local sums = rdd:map(function(...) return 1, weigh(...) & 0xffffffffffff end):mapPartitions(function(all)
    local count, sum = 0, 0
    for one, weight in all do count, sum = count + one, (sum + weight) & 0xffffffffffff end
    return { rille.tuple(count, sum) }
  end):collect()
  local count, sum = 0, 0
  for _, s in ipairs(sums) do count, sum = count + s[1], (sum + s[2]) & 0xffffffffffff end
  return count, sum
end

-- Texts differ in their first bytes and in the middle.
local function weight(text)
  local a, b = text:byte(1, 10), 0
  for i = 1, #text, 9 do b = (b * 31 + text:byte(i)) & 0xffffffffffff end
  return a + b
end

-- The order of values counts.
local function grouped(key, texts)
  local sum = key
  for i, text in ipairs(texts) do sum = sum + i * weight(text) end
  return sum * 31
end

local results = {
  groupByKey = function()
    return checksum(records(n, n // 50):groupByKey(), grouped)
  end,
  -- Four batches, grouped by key in a window that holds them all.
  window = function()
    local ssc = rille.StreamingContext(sc, 1)
    local batches, counts = {}, {}
    for i = 1, 4 do batches[i] = records(n // 4, n // 100 + i) end
    ssc:queueStream(batches):window(4):groupByKey():foreachRDD(function(rdd)
      local count, sum = checksum(rdd, grouped)
      counts[#counts + 1] = count .. " " .. sum
    end)
    ssc:start()
    for _ = 1, 4 do ssc:clock():advance(1) end
    assert(not ssc:awaitTerminationOrTimeout(0))
    ssc:stop(false, true)
    assert(#counts == 4, "a window is missing")
    return table.concat(counts, "\t")
  end,
  sortByKey = function()
    local parts = records(n, n):sortByKey(true, 8):mapPartitions(function(all)
      local first, last, count, sum = nil, nil, 0, 0
      for k, text in all do
        assert(not last or last <= k, "not in order")
        first, last, count, sum = first or k, k, count + 1, (sum * 7 + weight(text)) & 0xffffffffffff
      end
      return { rille.tuple(count, sum, first, last) }
    end):collect()
    local count, texts, before = 0, {}, nil
    for _, p in ipairs(parts) do
      count, texts[#texts + 1] = count + p[1], p[2]
      if p[1] > 0 then
        assert(not before or before <= p[3], "partitions are not in order")
        before = p[4]
      end
    end
    return count, table.concat(texts, " ")
  end,
  join = function()
    local left, right = records(n // 2, n // 4), records(n // 2, n // 4)
    return checksum(left:join(right), function(k, a, b) return k + weight(a) * 3 + weight(b) * 5 end)
  end,
  distinct = function()
    return checksum(records(n, n):values():map(function(text) return text:sub(1, 80) end):distinct(), weight)
  end,
  reduceByKey = function()
    return checksum(records(n, n):reduceByKey(function(a, b) return a < b and a or b end), function(k, text)
      return k + weight(text)
    end)
  end,
}

print(operation, results[operation]())

local status = assert(io.open "/proc/self/status")
local resident = tonumber(status:read("a"):match "VmHWM:%s+(%d+) kB") // 1024
status:close()
io.stderr:write(("spilled %d MiB, resident %d MiB\n"):format(sc:memory().spilledTotal // 1048576, resident))
sc:stop()
