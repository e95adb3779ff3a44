-- rille.kafka.producer, read back from a real broker.
local kafka = require "spec.kafka.support"
local program = require "spec.lua.program"
local rille = require "rille"
local support = require "spec.lua.support"

-- All records of a topic, by partition, in the full form.
local function content(sc, topic, partitions)
  local ranges = kafka.ranges(topic, partitions)
  return rille.kafka.createRDD(sc, { brokers = kafka.brokers, records = "full" }, ranges):glom():collect()
end

-- How often each value is in a topic.
local function values(sc, topic, partitions)
  local seen = {}
  for _, records in ipairs(content(sc, topic, partitions)) do
    for _, record in ipairs(records) do
      local value = record[2] or rille.null
      seen[value] = (seen[value] or 0) + 1
    end
  end
  return seen
end

describe("a Kafka producer", function()
  local sc
  after_each(function()
    if sc then sc:stop() end
    sc = nil
  end)

  it("sends what functions in all workers give it, and batches end when it is there", function()
    local topic = kafka.topic(3)
    local producer = rille.kafka.producer { brokers = kafka.brokers }
    local again = rille.kafka.producer { brokers = { kafka.brokers } } -- the same one
    local ssc = rille.StreamingContext({ master = "local[3]", clock = "manual" }, 1)
    sc = ssc:context()
    local queue = {}
    for batch = 0, 4 do queue[batch + 1] = sc:range(batch * 1000, batch * 1000 + 1000, 1, 6) end
    ssc:queueStream(queue):foreachRDD(function(rdd, time)
      rdd:foreachPartition(function(it)
        for n in it do
          local one = n % 2 == 0 and producer or again
          one:send(topic, n % 7, n)
        end
      end)
      local there = kafka.last(topic, 0) + kafka.last(topic, 1) + kafka.last(topic, 2)
      assert(there == time, "sent, and there are " .. there) -- 1000 a batch
    end)
    ssc:start()
    for _ = 1, 5 do
      ssc:clock():advance(1)
      ssc:awaitTerminationOrTimeout(0)
    end
    ssc:stop(false)
    local n, home = 0, {}
    for partition, records in ipairs(content(sc, topic, 3)) do
      for _, record in ipairs(records) do
        n = n + 1
        assert.equal(tostring(tonumber(record[2]) % 7), record[1])
        assert.equal(home[record[1]] or partition, partition)
        home[record[1]] = partition
      end
    end
    assert.equal(5000, n)
    local seen = values(sc, topic, 3)
    for i = 0, 4999 do assert.equal(1, seen[tostring(i)]) end
  end)

  it("sends keys, tombstones, headers, times and partitions, from the script too", function()
    local topic = kafka.topic(2)
    local producer = rille.kafka.producer { brokers = kafka.brokers }
    producer:send(topic, "k", "v", { partition = 1, timestamp = 1234,
      headers = { a = "x", many = { 1, rille.null, true } } })
    producer:send(topic, rille.null, 2.5, { partition = 1 })
    producer:send(topic, "gone", nil, { partition = 1 })
    producer:send(topic, "gone too", rille.null, { partition = 1 })
    producer:send(topic, nil, "a\0b", { partition = 1 })
    producer:send(topic, true, "", { partition = 1 })
    producer:flush(60)
    producer:flush()
    sc = rille.Context { master = "local[1]" }
    local got = content(sc, topic, 2)
    assert.equal(0, #got[1])
    local first = got[2][1]
    assert.same({ "k", "v", 1234 }, { first[1], first[2], first[6] })
    assert.same({ a = "x", many = { "1", rille.null, "true" } }, first[7])
    local rest = {}
    for i = 2, #got[2] do rest[i - 1] = { got[2][i][1], got[2][i][2] == nil and "nil" or got[2][i][2] } end
    assert.same({ { rille.null, "2.5" }, { "gone", "nil" }, { "gone too", "nil" }, { rille.null, "a\0b" },
      { "true", "" } }, rest)
    producer:send(topic, "alone")
    producer:flush()
    assert.equal(1, values(sc, topic, 2).alone)
  end)

  it("fails the batch of a record that the broker refuses", function()
    local topic = kafka.topic(1, "max.message.bytes=1000")
    local producer = rille.kafka.producer { brokers = kafka.brokers }
    local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual" }, 1)
    sc = ssc:context()
    ssc:queueStream({ sc:parallelize({ "small", ("x"):rep(5000) }, 2) }):foreachRDD(function(rdd)
      rdd:foreachPartition(function(it)
        for text in it do pcall(function() -- what the function makes of it does not matter
          producer:send(topic, nil, text)
          producer:flush()
        end) end
      end)
    end)
    ssc:start()
    ssc:clock():advance(1)
    local ok, why = pcall(ssc.awaitTerminationOrTimeout, ssc, 0)
    assert.is_false(ok)
    assert.matches("batch 1000 ms: .*producer_spec.lua:%d+: a record for topic '" .. topic:gsub("%p", "%%%0") ..
      "' was not taken by Kafka at [^ ]+, partition 0: Broker: Message size too large", why)
    ssc:stop(false)
    assert.is_nil(values(sc, topic, 1)[("x"):rep(5000)])
  end)

  it("fails the batch also where the function of foreachRDD itself has sent", function()
    local topic = kafka.topic(1, "max.message.bytes=1000")
    local producer = rille.kafka.producer { brokers = kafka.brokers }
    local ssc = rille.StreamingContext({ master = "local[1]", clock = "manual" }, 1)
    sc = ssc:context()
    ssc:queueStream({ sc:parallelize { 1 }, sc:parallelize { 5000 } }):foreachRDD(function(rdd)
      for _, n in ipairs(rdd:collect()) do producer:send(topic, nil, ("x"):rep(n)) end
    end)
    ssc:start()
    ssc:clock():advance(1)
    ssc:awaitTerminationOrTimeout(0)
    assert.equal(1, kafka.last(topic, 0))
    ssc:clock():advance(1)
    local ok, why = pcall(ssc.awaitTerminationOrTimeout, ssc, 0)
    assert.is_false(ok)
    assert.matches("producer_spec.lua:%d+: a record for topic .* too large", why)
    ssc:stop(false)
  end)

  it("tells the script once what was refused", function()
    local topic = kafka.topic(1, "max.message.bytes=1000")
    local producer = rille.kafka.producer { brokers = kafka.brokers }
    producer:send(topic, nil, ("x"):rep(5000))
    local why = support.failure(function() producer:flush() end)
    assert.matches("^%S*producer_spec.lua:%d+: a record for topic .* too large", why)
    producer:send(topic, nil, "small")
    producer:flush()
    assert.equal(1, kafka.last(topic, 0))
  end)

  it("sends again what a task sent that is run again", function()
    local topic, dir = kafka.topic(1), support.directory()
    local producer = rille.kafka.producer { brokers = kafka.brokers }
    sc = rille.Context { master = "local[1]" }
    sc:parallelize({ "a", "b" }, 1):foreachPartition(function(it)
      for text in it do producer:send(topic, nil, text) end
      producer:flush()
      if os.rename(dir .. "/once", dir .. "/twice") then return end
      assert(io.open(dir .. "/once", "w")):close()
      error "the first attempt fails"
    end)
    support.remove(dir)
    assert.same({ a = 2, b = 2 }, values(sc, topic, 1))
  end)

  it("waits when more is sent than may be queued", function()
    local topic = kafka.topic(1)
    local producer = rille.kafka.producer { brokers = kafka.brokers, ["queue.buffering.max.messages"] = 20,
      ["linger.ms"] = 0 }
    sc = rille.Context { master = "local[2]" }
    sc:range(0, 2000, 1, 2):foreachPartition(function(it)
      for n in it do producer:send(topic, nil, n) end
    end)
    assert.equal(2000, kafka.last(topic, 0))
    for n = 1, 100 do producer:send(topic, nil, n) end
    producer:flush()
    assert.equal(2100, kafka.last(topic, 0))
  end)

  it("comes back with the function that made the job", function()
    local topic = kafka.topic(1)
    local dir = program.project { ["job.lua"] = ([==[
      local rille = require "rille"
      local make
      if arg[1] == "first" then
        local producer = rille.kafka.producer { brokers = "%s", ["linger.ms"] = 1 }
        function make()
          local ssc = rille.StreamingContext({ appName = "producer", master = "local[2]" }, 0.1)
          rille.kafka.createDirectStream(ssc, { brokers = "%s", topics = "%s", ["auto.offset.reset"] = "earliest" })
            :foreachRDD(function(rdd)
              rdd:foreachPartition(function(it)
                for key, value in it do
                  if not value:find "answer" then producer:send("%s", key, "answer to " .. value) end
                end
              end)
              if not rdd:isEmpty() then ssc:stop(true, true) end
            end)
          return ssc
        end
      end
      local ssc = rille.StreamingContext.getOrCreate("ck", make)
      ssc:start()
      ssc:awaitTermination()
    ]==]):format(kafka.brokers, kafka.brokers, topic, topic) }
    kafka.put(topic, 0, "k", "one")
    local first = program.run_in(dir, "rille run job.lua first")
    assert.equal(0, first.status, first.err)
    kafka.put(topic, 0, "k", "two")
    local second = program.run_in(dir, "rille run job.lua second")
    assert.equal(0, second.status, second.err)
    support.remove(dir)
    sc = rille.Context { master = "local[1]" }
    local seen = values(sc, topic, 1)
    assert.equal(1, seen["answer to one"])
    assert.equal(1, seen["answer to two"])
  end)

  it("sends what is under way when the program ends", function()
    local topic = kafka.topic(1)
    local dir = program.project { ["job.lua"] = ([[
      local producer = require "rille".kafka.producer { brokers = "%s", ["linger.ms"] = 500 }
      producer:send("%s", nil, "last words")
    ]]):format(kafka.brokers, topic) }
    local run = program.run_in(dir, "rille run job.lua")
    assert.equal(0, run.status, run.err)
    support.remove(dir)
    assert.equal(1, kafka.last(topic, 0))
  end)
end)
