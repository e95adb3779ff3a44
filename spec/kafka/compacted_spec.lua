-- Offsets with gaps, on a real broker: what the log cleaner has taken out of a topic, and what transactions leave.
local job = require "spec.kafka.job"
local kafka = require "spec.kafka.support"
local rille = require "rille"

-- A topic and its records, from offset 0 until `last`, after the cleaner had them: (key, value, offset) in order.
local compacted = { records = {} }

local function kept(key, value, offset) table.insert(compacted.records, { key, value, offset }) end

-- Of many records with ten keys the last ones are kept, between others with keys of their own, of which one has a
-- tombstone, and beside transactions.
local function write()
  local topic = compacted.topic
  kafka.fill(topic, 0, 1000, 5)
  for i = 1, 4 do kept("k" .. 1000 + i, "v" .. 1000 + i, i) end
  kafka.spread(topic, 1, 10, 0, 1000)
  kafka.fill(topic, 0, 1005, 5)
  for i = 0, 4 do kept("k" .. 1005 + i, "v" .. 1005 + i, 1005 + i) end
  kafka.transaction("commit", topic, 0, 2000, 3)
  for i = 0, 2 do kept("k" .. 2000 + i, "v" .. 2000 + i, 1010 + i) end
  kafka.transaction("abort", topic, 0, 3000, 40)
  kafka.put(topic, 0, "k1000", nil)
  local first = kafka.last(topic, 0)
  kafka.spread(topic, 1, 10, 0, 1000)
  for i = 990, 999 do kept("k" .. i % 10, tostring(i), first + i) end
  compacted.last = kafka.last(topic, 0)
  assert.equal(first + 1000, compacted.last)
end

-- A segment is closed by a record that comes later, and only then cleaned; tombstones go at the second time.
local function await_cleaner()
  for i = 1, 600 do
    kafka.put(compacted.topic, 0, "later", tostring(i))
    if kafka.count(compacted.topic, 0, 0, compacted.last) == #compacted.records then return end
    rille.sleep(0.1)
  end
  error "the topic was not compacted within a minute"
end

-- What is kept of a range of offsets, as `records = "full"` begins: key, value, topic, partition, offset.
local function within(from, to)
  local list = {}
  for _, record in ipairs(compacted.records) do
    if record[3] >= from and record[3] < to then
      list[#list + 1] = { record[1], record[2], compacted.topic, 0, record[3] }
    end
  end
  return list
end

local function first_five(records)
  local list = {}
  for i, record in ipairs(records) do list[i] = { record[1], record[2], record[3], record[4], record[5] } end
  return list
end

describe("a compacted topic", function()
  setup(function()
    compacted.topic = kafka.topic(1, "cleanup.policy=compact", "segment.ms=100", "min.cleanable.dirty.ratio=0.01",
      "delete.retention.ms=0")
    write()
    await_cleaner()
  end)

  for _, level in ipairs { "read_committed", "read_uncommitted" } do
    it("is read to its end in batches that begin and end in gaps, with " .. level, function()
      job.with({ topics = compacted.topic, records = "full", ["auto.offset.reset"] = "earliest",
        ["isolation.level"] = level }, { ["rille.streaming.kafka.maxRatePerPartition"] = 13 }, function(j)
        local empty = 0
        for from = 0, compacted.last - 130, 130 do
          local records, to = first_five(j.run()), from + 130
          assert.same({ { topic = compacted.topic, partition = 0, fromOffset = from, untilOffset = to } }, j.ranges)
          assert.same(within(from, to), records)
          if #records == 0 then empty = empty + 1 end
        end
        assert.is_true(empty > 10)
      end)
    end)
  end

  it("is read in one batch, and on from there", function()
    job.with({ topics = compacted.topic, records = "full", ["auto.offset.reset"] = "earliest" }, nil, function(j)
      local records = first_five(j.run())
      local expected = within(0, compacted.last)
      assert.same(expected, table.move(records, 1, #expected, 1, {}))
      for i = #expected + 1, #records do assert.equal("later", records[i][1]) end
      assert.same({}, j.run())
      kafka.put(compacted.topic, 0, "new", "one")
      assert.same({ "new", "one" }, table.move(first_five(j.run())[1], 1, 2, 1, {}))
    end)
  end)

  it("is read from an offset that is gone, without a word", function()
    job.with({ topics = compacted.topic, records = "full", fromOffsets = { [compacted.topic] = { [0] = 500 } } },
      { ["rille.streaming.kafka.maxRatePerPartition"] = 70 },
      function(j) assert.same(within(500, 1200), first_five(j.run())) end)
  end)

  it("is read by ranges", function()
    local sc, ranges, expected = rille.Context { master = "local[2]" }, {}, {}
    local of = { { 0, 3 }, { 5, 990 }, { 700, 1007 }, { 3, 1500 }, { 1011, 1011 }, { 1013, compacted.last } }
    for i, bounds in ipairs(of) do
      ranges[i] = { topic = compacted.topic, partition = 0, fromOffset = bounds[1], untilOffset = bounds[2] }
      for _, record in ipairs(within(bounds[1], bounds[2])) do expected[#expected + 1] = record end
    end
    local rdd = rille.kafka.createRDD(sc, { brokers = kafka.brokers, records = "full" }, ranges)
    assert.same(expected, first_five(rdd:collect()))
    assert.equal(#expected, rdd:count())
    sc:stop()
  end)
end)

describe("transactions", function()
  it("end ranges with marks that are no records", function()
    local topic, sc = kafka.topic(1), rille.Context { master = "local[2]" }
    kafka.fill(topic, 0, 0, 2)
    kafka.transaction("abort", topic, 0, 10, 5)
    kafka.transaction("commit", topic, 0, 2, 1)
    local function read(from, to, level)
      local rdd = rille.kafka.createRDD(sc, { brokers = kafka.brokers, records = "value", ["isolation.level"] = level },
        { { topic = topic, partition = 0, fromOffset = from, untilOffset = to } })
      local list = {}
      for i, value in ipairs(rdd:collect()) do list[i] = value end
      return list
    end
    assert.equal(10, kafka.last(topic, 0)) -- a mark behind 5 records, and behind 1
    assert.same({ "v0", "v1", "v2" }, read(0, 10, "read_committed"))
    assert.same({ "v1" }, read(1, 8, "read_committed"))
    assert.same({}, read(2, 8, "read_committed"))
    assert.same({ "v14" }, read(6, 8, "read_uncommitted"))
    for _, level in ipairs { "read_committed", "read_uncommitted" } do
      assert.same({}, read(7, 8, level))
      assert.same({}, read(9, 10, level))
    end
    sc:stop()
  end)

  it("that are open hold back what is behind them, until they are decided", function()
    local topic = kafka.topic(1)
    job.with({ topics = topic }, nil, function(j)
      kafka.fill(topic, 0, 0, 2)
      kafka.transaction("leave", topic, 0, 10, 5)
      kafka.fill(topic, 0, 2, 2)
      assert.same({ "v0", "v1" }, j.run())
      assert.same({}, j.run())
      kafka.transaction("commit", topic, 0, 4, 1) -- its producer begins by undoing what was left
      assert.same({ "v2", "v3", "v4" }, job.until_records(j, 3))
      assert.equal(kafka.last(topic, 0), j.ranges[1].untilOffset)
    end)
  end)
end)
