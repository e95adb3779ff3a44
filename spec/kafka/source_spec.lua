-- The direct stream and RDDs of ranges, against a real broker: what a mock can not do.
local job = require "spec.kafka.job"
local kafka = require "spec.kafka.support"
local rille = require "rille"

local until_records, with_job = job.until_records, job.with

local function texts(records)
  local list = {}
  for i, record in ipairs(records) do list[i] = tostring(record) end
  return list
end

local function values(first, n)
  local list = {}
  for i = 1, n do list[i] = "v" .. first + i - 1 end
  return list
end

local function failure_of(j)
  local ok, why = pcall(function()
    j.run()
    j.ssc:awaitTerminationOrTimeout(0)
  end)
  assert.is_false(ok)
  return tostring(why)
end

describe("a Kafka stream", function()
  it("gives every record once, in order of the partition, whatever the batches", function()
    local topic, n = kafka.topic(3), 5000
    for partition = 0, 2 do kafka.fill(topic, partition, partition * 10000, n) end
    with_job({ topics = topic, ["auto.offset.reset"] = "earliest" },
      { ["rille.streaming.kafka.maxRatePerPartition"] = 700 }, function(j)
        local all, seen = until_records(j, 3 * n), { {}, {}, {} }
        for _, value in ipairs(all) do
          local i = tonumber(value:sub(2))
          table.insert(seen[i // 10000 + 1], i % 10000)
        end
        for partition = 1, 3 do
          assert.equal(n, #seen[partition])
          for i, value in ipairs(seen[partition]) do assert.equal(i - 1, value) end
        end
        assert.same({}, j.run())
      end)
  end)

  it("begins at the offsets that it is given, and goes on from those that were kept", function()
    local topic = kafka.topic(2)
    kafka.fill(topic, 0, 0, 10)
    kafka.fill(topic, 1, 100, 10)
    local kept = {}
    with_job({ topics = { topic }, fromOffsets = { [topic] = { [0] = 7, [1] = 9 } } }, nil, function(j)
      assert.same({ "v7", "v8", "v9", "v109" }, j.run())
      for _, range in ipairs(j.ranges) do kept[range.partition] = range.untilOffset end
    end)
    assert.same({ [0] = 10, [1] = 10 }, kept)
    kafka.fill(topic, 1, 110, 2)
    with_job({ topics = { topic }, fromOffsets = { [topic] = kept } }, nil, function(j)
      assert.same({ "v110", "v111" }, j.run())
    end)
  end)

  it("refuses offsets of partitions that it does not read", function()
    local topic = kafka.topic(1)
    local ok, why = pcall(job.with, { topics = topic, fromOffsets = { [topic] = { [3] = 0 } } })
    rille.StreamingContext.getActive()
    assert.is_false(ok)
    assert.matches("fromOffsets names " .. topic:gsub("%-", "%%-") .. "/3", why)
  end)

  it("gives keys, tombstones and headers as they are", function()
    local topic = kafka.topic(1)
    kafka.put(topic, 0, nil, "no key")
    kafka.put(topic, 0, "gone", nil)
    kafka.put(topic, 0, "k", "v", "trace=1", "empty=-", "trace=2")
    with_job({ topics = topic, records = "full", ["auto.offset.reset"] = "earliest" }, nil, function(j)
      local records = j.run()
      assert.equal(rille.null, records[1][1])
      assert.equal("no key", records[1][2])
      assert.same({ "gone", nil, topic, 0, 1 }, { records[2][1], records[2][2], records[2][3], records[2][4],
        records[2][5] })
      assert.is_true(records[3][6] > 1e12)
      assert.same({ trace = { "1", "2" }, empty = rille.null }, records[3][7])
    end)
    with_job({ topics = topic, records = "pair", ["auto.offset.reset"] = "earliest" }, nil, function(j)
      assert.same({ "(null,no key)", "(gone,nil)", "(k,v)" }, texts(j.run()))
    end)
  end)

  it("takes in partitions that a topic gets", function()
    local topic = kafka.topic(1)
    with_job({ topics = topic }, nil, function(j)
      kafka.fill(topic, 0, 0, 1)
      assert.same({ "v0" }, j.run())
      kafka.grow(topic, 3)
      kafka.fill(topic, 2, 20, 2) -- before the stream knows of it
      assert.same({ "v20", "v21" }, until_records(j, 2))
      assert.equal(3, #j.ranges)
    end)
  end)

  it("takes in topics that come to match", function()
    local name = kafka.topic(1)
    with_job({ pattern = name .. ".*" }, nil, function(j)
      assert.same({}, j.run())
      kafka.create(name .. "-more", 2)
      kafka.fill(name .. "-more", 1, 5, 2)
      assert.same({ "v5", "v6" }, until_records(j, 2))
      assert.equal(3, #j.ranges)
    end)
  end)

  it("passes over what transactions leave behind", function()
    local topic = kafka.topic(1)
    kafka.transaction("commit", topic, 0, 0, 3)
    kafka.transaction("abort", topic, 0, 100, 50)
    kafka.transaction("commit", topic, 0, 3, 2)
    kafka.transaction("abort", topic, 0, 200, 5)
    with_job({ topics = topic, ["auto.offset.reset"] = "earliest" }, nil, function(j)
      assert.same(values(0, 5), j.run())
      assert.equal(kafka.last(topic, 0), j.ranges[1].untilOffset)
      assert.same({}, j.run())
      kafka.fill(topic, 0, 5, 1)
      assert.same({ "v5" }, j.run())
    end)
    with_job({ topics = topic, ["auto.offset.reset"] = "earliest" },
      { ["rille.streaming.kafka.maxRatePerPartition"] = 7 }, function(j)
        assert.same(values(0, 6), until_records(j, 6)) -- batches that end in the middle of a gap
      end)
    with_job({ topics = topic, ["auto.offset.reset"] = "earliest", ["isolation.level"] = "read_uncommitted" }, nil,
      function(j) assert.equal(61, #j.run()) end)
  end)

  it("fails, naming the offset, when records are gone that it was to read", function()
    local topic = kafka.topic(1)
    kafka.fill(topic, 0, 0, 10)
    kafka.trim(topic, 0, 6)
    with_job({ topics = topic, fromOffsets = { [topic] = { [0] = 2 } } }, nil, function(j)
      assert.matches("/0: offsets 2 to 5 are no longer there %(now it has 6 to 10%)", failure_of(j))
    end)
  end)

  it("goes on without what is gone, where it was told how", function()
    local topic = kafka.topic(1)
    kafka.fill(topic, 0, 0, 10)
    kafka.trim(topic, 0, 6)
    local from = { [topic] = { [0] = 2 } }
    with_job({ topics = topic, fromOffsets = from, ["auto.offset.reset"] = "earliest" }, nil, function(j)
      assert.same(values(6, 4), j.run())
    end)
    with_job({ topics = topic, fromOffsets = from, ["auto.offset.reset"] = "latest" }, nil, function(j)
      assert.same({}, j.run())
      kafka.fill(topic, 0, 10, 1)
      assert.same({ "v10" }, j.run())
    end)
  end)

  it("takes records larger than a fetch", function()
    local topic, bytes = kafka.topic(1, "max.message.bytes=30000000"), 20 << 20
    kafka.fill(topic, 0, 0, 1)
    kafka.big(topic, 0, bytes)
    kafka.fill(topic, 0, 1, 1)
    with_job({ topics = topic, ["auto.offset.reset"] = "earliest", ["fetch.message.max.bytes"] = 100000 }, nil,
      function(j)
        local records = j.run()
        assert.same({ 2, bytes, 2 }, { #records[1], #records[2], #records[3] })
        assert.equal(("x"):rep(100), records[2]:sub(-100))
      end)
  end)

  it("goes on where its group committed", function()
    local topic = kafka.topic(1)
    local options = { topics = topic, ["group.id"] = topic, ["auto.offset.reset"] = "earliest" }
    kafka.fill(topic, 0, 0, 4)
    local told
    with_job(options, nil, function(j)
      function j.after(ranges) j.stream:commitAsync(ranges, function(of, why) told = { #of, why } end) end
      assert.same(values(0, 4), j.run())
    end)
    assert.same({ 1, nil }, told)
    assert.equal(4, kafka.committed(topic, topic, 0))
    kafka.fill(topic, 0, 4, 1)
    with_job(options, nil, function(j) assert.same({ "v4" }, j.run()) end)
  end)

  it("takes as much as backpressure allows, of each partition by what it has", function()
    local topic = kafka.topic(2)
    kafka.fill(topic, 0, 0, 300)
    kafka.fill(topic, 1, 1000, 100)
    with_job({ topics = topic, ["auto.offset.reset"] = "earliest" },
      { ["rille.streaming.backpressure.enabled"] = true, ["rille.streaming.backpressure.initialRate"] = 40 },
      function(j)
        assert.equal(40, #j.run())
        assert.same({ 30, 10 }, { j.ranges[1].untilOffset, j.ranges[2].untilOffset })
      end)
  end)

  it("begins at the end without a setting, a group or offsets", function()
    local topic = kafka.topic(1)
    kafka.fill(topic, 0, 0, 4)
    with_job({ topics = topic }, nil, function(j)
      assert.same({}, j.run())
      kafka.fill(topic, 0, 4, 1)
      assert.same({ "v4" }, j.run())
    end)
    local ok, why = pcall(job.with, { topics = topic, ["auto.offset.reset"] = "none" })
    assert.is_false(ok)
    assert.matches("/0 has no offset to begin at", why)
  end)

  it("says which settings it does not know, and keeps secrets to itself", function()
    local ssc = rille.StreamingContext({ master = "local[1]" }, 1)
    local function refused(options)
      options.brokers, options.topics = kafka.brokers, "t"
      local ok, why = pcall(rille.kafka.createDirectStream, ssc, options)
      assert.is_false(ok)
      return why
    end
    assert.matches("source_spec.lua:%d+: unknown Kafka setting 'fetch.min.bites'", refused { ["fetch.min.bites"] = 1 })
    local why = refused { ["sasl.password"] = "hush-hush", ["security.protocol"] = "nothing" }
    assert.matches("security.protocol", why)
    assert.not_matches("hush", why)
    assert.matches("option 'records'", refused { records = "values" })
    ssc:stop()
  end)
end)

describe("an RDD of ranges", function()
  local sc = rille.Context { master = "local[2]" }

  teardown(function() sc:stop() end)

  it("reads what they say", function()
    local topic = kafka.topic(2)
    kafka.fill(topic, 0, 0, 10)
    kafka.fill(topic, 1, 10, 10)
    local ranges = { { topic = topic, partition = 1, fromOffset = 2, untilOffset = 4 },
      { topic = topic, partition = 0, fromOffset = 9, untilOffset = 10 } }
    local rdd = rille.kafka.createRDD(sc, { brokers = kafka.brokers }, ranges)
    assert.same({ "(k12,v12)", "(k13,v13)", "(k9,v9)" }, texts(rdd:collect()))
    assert.equal(3, rdd:count())
    assert.same(ranges, rdd:offsetRanges())
  end)

  it("fails for ranges that are not there", function()
    local topic = kafka.topic(1)
    kafka.fill(topic, 0, 0, 10)
    kafka.trim(topic, 0, 5)
    local ranges = { { topic = topic, partition = 0, fromOffset = 2, untilOffset = 9 } }
    local rdd = rille.kafka.createRDD(sc, { brokers = kafka.brokers }, ranges)
    local ok, why = pcall(rdd.collect, rdd)
    assert.is_false(ok)
    assert.matches("/0: offset 2 is no longer there %(now it has 5 to 10%)", why)
    for _, reset in ipairs { "earliest", "latest" } do -- what is left of a fixed range is read, whichever end is named
      rdd = rille.kafka.createRDD(sc, { brokers = kafka.brokers, ["auto.offset.reset"] = reset, records = "value" },
        ranges)
      assert.same(values(5, 4), rdd:collect())
    end
  end)

  it("takes numbers, and brokers by name", function()
    local function refused(brokers, partition)
      local ok, why = pcall(rille.kafka.createRDD, sc, { brokers = brokers },
        { { topic = "t", partition = partition, fromOffset = 0, untilOffset = 1 } })
      assert.is_false(ok)
      return why
    end
    assert.matches("#3 to 'createRDD' %(%[1%]: { topic =, partition =", refused(kafka.brokers, "0"))
    assert.matches("option 'brokers': string or array of strings expected, got table", refused({ {} }, 0))
  end)

  it("names a topic, or a partition, that is not there", function()
    local topic = kafka.topic(1)
    for wanted, range in pairs {
      ["there is no topic '" .. topic .. "x'"] =
        { topic = topic .. "x", partition = 0, fromOffset = 0, untilOffset = 5 },
      ["topic '" .. topic .. "' in Kafka at "] = { topic = topic, partition = 3, fromOffset = 0, untilOffset = 5 },
      ["offsets -1 to 5"] = { topic = topic, partition = 3, fromOffset = -1, untilOffset = 5 },
    } do
      local ok, why = pcall(function()
        return rille.kafka.createRDD(sc, { brokers = kafka.brokers }, { range }):count()
      end)
      assert.is_false(ok)
      assert.matches(wanted, why, 1, true)
    end
  end)

  it("has ranges, and no RDD that is made of it has", function()
    local rdd = sc:parallelize { 1 }
    local ok, why = pcall(rdd.offsetRanges, rdd)
    assert.is_false(ok)
    assert.matches("source_spec.lua:%d+: offsetRanges: only the RDD of a Kafka stream has ranges", why)
  end)
end)
