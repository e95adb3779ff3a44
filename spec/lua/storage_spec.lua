--- Storage levels and the memory budget, from the job's side: what is kept, spilled, dropped, and what bad disks do.
local child = require "spec.lua.child"
local rille = require "rille"
local support = require "spec.lua.support"

local RECORDS = 20000

describe("storage", function()
  local dir, sc

  before_each(function() dir = support.directory() end)

  after_each(function()
    if sc then sc:stop() end
    sc = nil
    support.remove(dir)
  end)

  -- With so little memory that all that is kept must go.
  local function tiny(more)
    local conf = { master = "local[2]", ["rille.memory.fraction"] = 1e-9, ["rille.local.dir"] = dir }
    for key, value in pairs(more or {}) do conf[key] = value end
    return conf
  end

  local function context(conf)
    sc = rille.Context(conf)
    return sc
  end

  local function folders()
    local pipe = assert(io.popen("ls '" .. dir .. "'"))
    local names = pipe:read "a"
    pipe:close()
    return names
  end

  -- A persisted RDD counted twice: its sum, and how often its function was called.
  local function count_twice(level, conf)
    local calls = context(conf):longAccumulator()
    local rdd = sc:range(RECORDS):map(function(x)
      calls:add(1)
      return x * 2
    end):persist(level)
    assert.equal(level, rdd:getStorageLevel())
    rdd:count()
    local sum = rdd:sum()
    local use = sc:memory()
    rdd:unpersist()
    assert.equal(0, sc:memory().storage)
    assert.equal(0, sc:memory().spilled)
    sc:stop()
    return sum, calls:value(), use
  end

  local SUM = RECORDS * (RECORDS - 1)
  local with_disk = { "MEMORY_AND_DISK", "MEMORY_AND_DISK_2", "MEMORY_AND_DISK_SER", "MEMORY_AND_DISK_SER_2",
    "DISK_ONLY", "DISK_ONLY_2", "OFF_HEAP" }
  local without = { "MEMORY_ONLY", "MEMORY_ONLY_2", "MEMORY_ONLY_SER", "MEMORY_ONLY_SER_2" }

  describe("levels", function()
    it("all keep what was computed, where there is memory", function()
      for _, list in ipairs { with_disk, without } do
        for _, level in ipairs(list) do
          local sum, calls, use = count_twice(level, { master = "local[2]", ["rille.local.dir"] = dir })
          assert.same({ level, SUM, RECORDS, 0 }, { level, sum, calls, use.droppedTotal })
          assert.equal(level:find "DISK_ONLY" ~= nil, use.spilledTotal > 0)
        end
      end
    end)

    it("with disk spill when memory is short, and are computed once", function()
      for _, level in ipairs(with_disk) do
        local sum, calls, use = count_twice(level, tiny())
        assert.same({ level, SUM, RECORDS, 0 }, { level, sum, calls, use.droppedTotal })
        assert.is_true(use.spilledTotal > 0)
      end
    end)

    it("without disk are dropped when memory is short, and computed anew", function()
      for _, level in ipairs(without) do
        local sum, calls, use = count_twice(level, tiny())
        assert.same({ level, SUM, 2 * RECORDS, 0 }, { level, sum, calls, use.spilledTotal })
        assert.is_true(use.droppedTotal > 0)
      end
    end)

    it("that are serialised are compressed when rille.rdd.compress is set", function()
      local conf = { master = "local[2]" }
      local _, _, plain = count_twice("MEMORY_ONLY_SER", conf)
      conf["rille.rdd.compress"] = true
      local sum, calls, packed = count_twice("MEMORY_ONLY_SER", conf)
      assert.same({ SUM, RECORDS }, { sum, calls })
      assert.is_true(packed.storage < plain.storage)
    end)

    it("of a stream keep its batches", function()
      for _, level in ipairs { "MEMORY_AND_DISK", "MEMORY_ONLY" } do
        context(tiny { clock = "manual" })
        local ssc = rille.StreamingContext(sc, 1)
        local calls, spilled, sums = sc:longAccumulator(), 0, {}
        local kept = ssc:queueStream { sc:parallelize { 1, 2, 3 } }:map(function(x)
          calls:add(1)
          return x
        end):persist(level)
        for i = 1, 2 do kept:foreachRDD(function(rdd) sums[i] = rdd:sum() end) end
        ssc:addStreamingListener { onBatchCompleted = function(event) spilled = spilled + event.spilledBytes end }
        ssc:start()
        ssc:clock():advance(1)
        ssc:stop(false, true)
        assert.same({ 6, 6 }, sums)
        assert.equal(level == "MEMORY_AND_DISK", calls:value() == 3)
        assert.equal(level == "MEMORY_AND_DISK", spilled > 0)
        sc:stop()
      end
    end)

    it("of received blocks lose nothing", function()
      local lines, expected = {}, 0
      for i = 1, RECORDS do
        lines[i] = tostring(i)
        expected = expected + i
      end
      for _, level in ipairs { "MEMORY_ONLY", "MEMORY_AND_DISK_SER", "DISK_ONLY_2" } do
        local server = child.serve(table.concat(lines, "\n") .. "\n")
        context(tiny())
        local ssc = rille.StreamingContext(sc, 0.05)
        local count, sum = 0, 0
        ssc:socketTextStream("127.0.0.1", server.port, { storageLevel = level }):map(tonumber):foreachRDD(function(rdd)
          count = count + rdd:count()
          sum = sum + rdd:fold(0, function(a, b) return a + b end)
        end)
        ssc:start()
        local before = os.time()
        while count < RECORDS and os.time() - before < 120 do ssc:awaitTerminationOrTimeout(0.025) end
        ssc:stop(false)
        assert.same({ level, RECORDS, expected }, { level, count, sum })
        if level == "DISK_ONLY_2" then assert.is_true(sc:memory().spilledTotal > 0) end
        if level == "MEMORY_ONLY" then assert.equal(0, sc:memory().spilledTotal) end
        sc:stop()
        server.close()
      end
    end)

    it("are checked where they are given", function()
      context { master = "local[1]" }
      local ssc = rille.StreamingContext(sc, 1)
      local function refused(pattern, f) assert.matches("storage_spec.lua:%d+: .*" .. pattern, support.failure(f)) end
      local all = "storage level %(NONE, MEMORY_ONLY, MEMORY_ONLY_2, .*, OFF_HEAP%) expected"
      refused("'storageLevel': " .. all, function() ssc:socketTextStream("h", 1, { storageLevel = "RAM" }) end)
      refused("#3 to 'socketTextStream' %(storage level NONE would lose",
        function() ssc:socketTextStream("h", 1, { storageLevel = "NONE" }) end)
      refused("#4 to 'socketStream' %(storage level", function() ssc:socketStream("h", 1, print, "RAM") end)
      refused("#3 to 'rawSocketStream' %(storage level NONE", function() ssc:rawSocketStream("h", 1, "NONE") end)
      refused("#1 to 'receiverStream' %(storage level", function()
        ssc:receiverStream { onStart = print, storageLevel = "RAM" }
      end)
      refused("'persist' %(storage level", function() ssc:queueStream({}):persist "RAM" end)
      ssc:stop()
    end)
  end)

  describe("a shuffle", function()
    it("gives the same records in the same order when it spills", function()
      local function group()
        local grouped = sc:range(RECORDS):map(function(x) return x % 97, x end):groupByKey():collect()
        local texts = {}
        for i, record in ipairs(grouped) do texts[i] = record[1] .. ":" .. table.concat(record[2], ",") end
        return texts
      end
      context { master = "local[2]" }
      local expected = group()
      assert.equal(0, sc:memory().spilledTotal)
      sc:stop()
      context(tiny())
      assert.same(expected, group())
      assert.is_true(sc:memory().spilledTotal > 0)
    end)
  end)

  describe("the spill folder", function()
    it("goes with the context", function()
      context(tiny())
      local rdd = sc:range(RECORDS):persist "DISK_ONLY"
      rdd:count()
      assert.matches("^rille%-spill%-%d+%-", folders())
      sc:stop()
      assert.equal("", folders())
    end)

    it("of a killed process is removed by the next one", function()
      local job = ([[
        local sc = require "rille".Context { master = "local[2]", ["rille.local.dir"] = "%s" }
        sc:range(1000):persist("DISK_ONLY"):count()
        os.execute "kill -9 $PPID"
      ]]):format(dir)
      child.run(job)
      assert.matches("^rille%-spill%-", folders())
      context { master = "local[1]", ["rille.local.dir"] = dir }
      assert.equal("", folders())
    end)
  end)

  describe("a damaged spill file", function()
    -- Changes one byte in the middle of each; or bytes in n places, where not all of the file is used any more.
    local damage = [[
      local function damage(dir, n)
        local pipe = io.popen("ls -d " .. dir .. "/*/*.spill")
        for path in pipe:lines() do
          local file = assert(io.open(path, "r+b"))
          local size = file:seek "end"
          for i = 1, n or 1 do
            file:seek("set", size * i // ((n or 1) + 1))
            local byte = file:read(1)
            file:seek("cur", -1)
            file:write(string.char(byte:byte() ~ 1))
          end
          file:close()
        end
        pipe:close()
      end
    ]]

    it("is found, and a persisted partition computed anew", function()
      local result = child.run(damage .. ([[
        local dir = "%s"
        local sc = require "rille".Context { master = "local[2]", ["rille.local.dir"] = dir }
        local rdd = sc:range(10000):map(function(x) return x end):persist "DISK_ONLY"
        print(rdd:sum())
        damage(dir)
        print(rdd:sum())
      ]]):format(dir))
      assert.same({ 0, "49995000\n49995000\n" }, { result.status, result.out })
      assert.matches("persisted partition %d: damaged spill file .*%.spill at offset %d+ %(%d+ bytes%): " ..
        "wrong checksum; it held chunk %d+ of %d+: records %d+ to %d+ of %d+; it is computed anew", result.err)
    end)

    it("fails a job that needs what a map task left", function()
      local result = child.run(damage .. ([[
        local dir = "%s"
        local sc = require "rille".Context { master = "local[2]", ["rille.local.dir"] = dir,
          ["rille.memory.fraction"] = 1e-9 }
        local rdd = sc:range(10000):map(function(x) return x %% 10, x end):groupByKey()
        print(rdd:count())
        damage(dir, 100)
        print(rdd:count())
      ]]):format(dir))
      assert.same({ 1, "10\n" }, { result.status, result.out })
      assert.matches("groupByKey at job.lua:%d+, partition %d, what map task %d left for it: damaged spill file",
        result.err)
    end)
  end)

  describe("a disk that takes no more", function()
    local job = [[
      local sc = require "rille".Context { master = "local[2]", ["rille.local.dir"] = "%s",
        ["rille.memory.fraction"] = 1e-9 }
      local text = sc:range(40000):map(function(x) return x %% 1000, ("%%d "):format(x * 7919 %% 65537):rep(20) end)
    ]]

    it("costs a persisted RDD its place, with a warning", function()
      local result = child.run(job:format(dir) .. [[
        text:persist "MEMORY_AND_DISK"
        print(text:count(), text:count())
      ]], { before = "ulimit -f 64" })
      assert.same({ 0, "40000\t40000\n" }, { result.status, result.out })
      assert.matches("cannot write .*File too large; persisted partitions are dropped instead", result.err)
    end)

    it("fails a shuffle, naming the file", function()
      local result = child.run(job:format(dir) .. "print(text:groupByKey():count())", { before = "ulimit -f 64" })
      assert.equal(1, result.status)
      assert.matches("cannot spill to disk %(rille.local.dir%): cannot write .*/0.spill: File too large", result.err)
    end)

    it("can also be one that cannot be written at all", function()
      local result = child.run(job:format "/proc/nowhere" .. "print(text:groupByKey():count())")
      assert.equal(1, result.status)
      assert.matches("cannot spill to disk %(rille.local.dir%): cannot make directory /proc/nowhere", result.err)
    end)
  end)

  describe("rille.memory.limit", function()
    it("that is too small is refused where the context is made", function()
      local conf = { master = "local[3]", ["rille.memory.limit"] = "40m" }
      local message = support.failure(function() rille.Context(conf) end)
      assert.matches("storage_spec.lua:%d+: rille.memory.limit is 40m, too little .* make it 64m or more", message)
    end)

    it("limits workers' Lua states with it", function()
      context { master = "local[1]", ["rille.memory.limit"] = "64m", ["rille.task.maxFailures"] = 1 }
      local message = support.failure(function()
        sc:parallelize({ 1 }):map(function() return #("x"):rep(32 << 20) end):collect()
      end)
      assert.matches("a worker's Lua state may hold 16777216 bytes %(rille.task.maxMemory%)", message)
      assert.is_true(sc:memory().limit <= 32 << 20)
    end)
  end)
end)
