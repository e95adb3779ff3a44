-- saveToKafka, read back from a real broker.
local kafka = require "spec.kafka.support"
local rille = require "rille"

-- All values of a topic, by partition.
local function content(sc, topic, partitions)
  return rille.kafka.createRDD(sc, { brokers = kafka.brokers }, kafka.ranges(topic, partitions)):glom():collect()
end

describe("saveToKafka", function()
  it("sends all records of a stream, those of a key to one partition and in order", function()
    local from, to = kafka.topic(2), kafka.topic(3)
    for partition = 0, 1 do kafka.fill(from, partition, 0, 2000) end
    local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual",
      ["rille.streaming.kafka.maxRatePerPartition"] = 700 }, 1)
    local stream = rille.kafka.createDirectStream(ssc, { brokers = kafka.brokers, topics = from,
      ["auto.offset.reset"] = "earliest" })
    rille.kafka.saveToKafka(stream:map(function(_, value)
      local i = tonumber(value:sub(2))
      return i % 10, i
    end), { brokers = kafka.brokers, topic = to })
    ssc:start()
    ssc:clock():advance(4)
    ssc:stop(false)
    local count, home, last = 0, {}, {}
    for partition, records in ipairs(content(ssc:context(), to, 3)) do
      for _, record in ipairs(records) do
        local key, i = record[1], tonumber(record[2])
        assert.equal(home[key] or partition, partition)
        home[key], count = partition, count + 1
        last[key] = last[key] or {}
        last[key][i] = (last[key][i] or 0) + 1
      end
    end
    assert.equal(4000, count)
    for _, seen in pairs(last) do
      for _, times in pairs(seen) do assert.equal(2, times) end -- once out of each partition
    end
    ssc:context():stop()
  end)

  it("asks a function for the topic", function()
    local even, odd = kafka.topic(1), kafka.topic(1)
    local sc = rille.Context { master = "local[2]" }
    local topics = { [0] = even, odd }
    rille.kafka.saveToKafka(sc:range(0, 10):map(function(n) return "k", n end),
      { brokers = kafka.brokers, topic = function(_, n) return topics[n % 2] end })
    local got = {}
    for i, topic in ipairs { even, odd } do
      got[i] = {}
      for k, record in ipairs(content(sc, topic, 1)[1]) do got[i][k] = record[2] end
      table.sort(got[i])
    end
    assert.same({ { "0", "2", "4", "6", "8" }, { "1", "3", "5", "7", "9" } }, got)
    sc:stop()
  end)

  it("fails when a broker refuses a record", function()
    local topic = kafka.topic(1, "max.message.bytes=1000")
    local sc = rille.Context { master = "local[1]" }
    local ok, why = pcall(rille.kafka.saveToKafka, sc:parallelize { ("x"):rep(5000) },
      { brokers = kafka.brokers, topic = topic })
    assert.is_false(ok)
    assert.matches("sink_spec.lua:%d+: a record for topic '[^']*' was not taken by Kafka", why)
    assert.matches("too large", why)
    assert.equal(0, kafka.last(topic, 0))
    sc:stop()
  end)

  it("says that there is no such topic, and which setting a record is too large for", function()
    local sc = rille.Context { master = "local[1]" }
    local function refused(value, options)
      options.brokers = kafka.brokers
      local ok, why = pcall(rille.kafka.saveToKafka, sc:parallelize { value }, options)
      assert.is_false(ok)
      return why
    end
    local topic = kafka.topic(1)
    assert.matches("there is no topic '" .. topic .. "x' in Kafka at ", refused("a", { topic = topic .. "x" }), 1, true)
    local large = ("x"):rep(5000)
    assert.matches("too large for the producer's message.max.bytes",
      refused(large, { topic = topic, ["message.max.bytes"] = 1000 }), 1, true)
    assert.matches("too large for the producer's queue.buffering.max.kbytes",
      refused(large, { topic = topic, ["queue.buffering.max.kbytes"] = 1 }), 1, true)
    assert.matches("`acks` must be set to `all`", refused("a", { topic = topic, acks = 1 }), 1, true)
    sc:stop()
  end)

  it("says what is missing", function()
    local sc = rille.Context { master = "local[1]" }
    local rdd = sc:parallelize { "a" }
    local function refused(options)
      local ok, why = pcall(rille.kafka.saveToKafka, rdd, options)
      assert.is_false(ok)
      return why
    end
    assert.matches("option 'topic': name or function expected", refused { brokers = "localhost:1" })
    assert.matches("the address of a Kafka broker is needed", refused { topic = "t" })
    assert.matches("unknown Kafka setting 'linger'", refused { brokers = "localhost:1", topic = "t", linger = 5 })
    sc:stop()
  end)
end)
