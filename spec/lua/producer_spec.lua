-- rille.kafka.producer without a broker: what it is given, where it travels. spec/kafka/producer_spec.lua has the rest.
local core = require "rille.core"
local program = require "spec.lua.program"
local rille = require "rille"
local support = require "spec.lua.support"

local failure = support.failure

local NOBODY <const> = "127.0.0.1:1"

-- Drops what was never sent, without waiting for it.
local function quick(settings)
  settings.brokers, settings["message.timeout.ms"] = NOBODY, 100
  return settings
end

local function encode(f, role) return (core.encodeFunction(core.captureFunction(f, role))) end

describe("rille.kafka.producer", function()
  it("checks its settings at once, with librdkafka's reason, at the line of the job", function()
    local function refused(options) return failure(function() rille.kafka.producer(options) end) end
    assert.matches("^%S*producer_spec.lua:%d+: the address of a Kafka broker is needed", refused {})
    assert.matches("bad argument #1 to 'producer' %(array expected, got nil%)", refused())
    assert.matches("unknown Kafka setting 'linger'", refused { brokers = NOBODY, linger = 5 })
    assert.matches("`acks` must be set to `all`", refused { brokers = NOBODY, acks = 1 })
    assert.matches("option 'client.id': string, number or boolean expected",
      refused { brokers = NOBODY, ["client.id"] = {} })
    assert.matches("transactional.id can not be set", refused { brokers = NOBODY, ["transactional.id"] = "x" })
    local why = refused { brokers = NOBODY, ["security.protocol"] = "nosuch", ["sasl.password"] = "hush" }
    assert.matches("security.protocol", why)
    assert.is_nil(why:find("hush", 1, true))
  end)

  it("names the line of the job where send or flush is given something wrong", function()
    local producer = rille.kafka.producer(quick {})
    local function refused(...)
      local given = table.pack(...)
      local why = failure(function() producer:send(table.unpack(given, 1, given.n)) end)
      assert.matches("^%S*producer_spec.lua:%d+: ", why)
      return why
    end
    assert.matches("bad argument #1 to 'send' %(name of a topic expected, got nil", refused(nil, "v"))
    assert.matches("bad argument #1 to 'send' %(name of a topic expected", refused("", "v"))
    assert.matches("bad argument #2 to 'send' %(value expected", refused("t"))
    assert.matches("bad argument #2 to 'send' .*boolean or nil expected, got table; rille.json.encode",
      refused("t", {}))
    assert.matches("bad argument #3 to 'send' .*got tuple", refused("t", "k", rille.tuple(1, 2)))
    assert.matches("bad argument #2 to 'send' .*got function", refused("t", print, "v"))
    assert.matches("unknown option 'part'; there are: headers, partition, timestamp",
      refused("t", "k", "v", { part = 1 }))
    assert.matches("option 'partition': whole number from 0 expected", refused("t", "k", "v", { partition = -1 }))
    assert.matches("option 'partition': whole number from 0 expected", refused("t", "k", "v", { partition = "1" }))
    assert.matches("option 'timestamp': whole number from 1 expected", refused("t", "k", "v", { timestamp = 1.5 }))
    assert.matches("option 'headers': table expected", refused("t", "k", "v", { headers = "a=b" }))
    assert.matches("option 'headers': { name", refused("t", "k", "v", { headers = { a = { {} } } }))
    assert.matches("number of seconds from 0", failure(function() producer:flush(-1) end))
    assert.matches("number expected, got boolean", failure(function() producer:flush(true) end))
    assert.matches("KafkaProducer expected, got string", failure(function() producer.send("t", "v") end))
    producer:flush() -- nothing was sent
  end)

  it("says what brokers that are not there have not taken", function()
    local producer = rille.kafka.producer(quick {})
    producer:send("t", "v")
    assert.matches("producer_spec.lua:%d+: .* for topic 't' was not taken by Kafka at 127.0.0.1:1: Local: Message",
      failure(function() producer:flush() end))
    producer:flush() -- it was told
    local patient = rille.kafka.producer { brokers = NOBODY, ["message.timeout.ms"] = 3000 }
    patient:send("t", "v")
    assert.matches("Kafka at 127.0.0.1:1 has not taken 1 record in time", failure(function() patient:flush(0.01) end))
    assert.matches("was not taken", failure(function() patient:flush() end)) -- it was still under way
  end)

  it("fails tasks, within rille.task.maxSeconds", function()
    local sc = rille.Context { master = "local[2]", ["rille.task.maxFailures"] = 1, ["rille.task.maxSeconds"] = 5 }
    local slow, small = rille.kafka.producer { brokers = NOBODY },
      rille.kafka.producer { brokers = NOBODY, ["queue.buffering.max.messages"] = 1 }
    assert.matches("spec.lua:%d+: Kafka at 127.0.0.1:1 has not taken 1 record in time: .*refused", failure(function()
      sc:parallelize({ 1 }, 1):foreachPartition(function(it) for n in it do slow:send("t", n) end end)
    end))
    assert.matches("producer_spec.lua:%d+: Kafka at 127.0.0.1:1 has not taken %d records? in time", failure(function()
      sc:parallelize({ 1, 2, 3 }, 1):foreachPartition(function(it) for n in it do small:send("t", n) end end)
    end))
    sc:stop()
  end)

  it("travels in the durable form with its settings, but for secrets", function()
    local secret = ("hush"):rep(3) -- the text of this file is in there, too
    local options = quick { ["sasl.password"] = secret, ["client.id"] = "spec" }
    local producer = rille.kafka.producer(options)
    local bytes = encode(function(what) producer[what](producer, "t", "v") end, "a function")
    assert.is_nil(bytes:find(secret, 1, true))
    assert.is_truthy(bytes:find("client.id", 1, true))
    local send = core.decodeFunction(bytes)
    send "send" -- there is one with these settings
    assert.matches("was not taken", failure(function() producer:flush() end)) -- and it is the same
    local lone = encode((function()
      local gone = rille.kafka.producer(quick { ["sasl.password"] = "hush", ["client.id"] = "gone" })
      return function() gone:send("t", "v") end
    end)(), "a function")
    collectgarbage()
    collectgarbage()
    assert.matches("spec.lua:%d+: this Kafka producer came out of a checkpoint, which does not keep 'sasl.password'",
      failure(core.decodeFunction(lone)))
    core.decodeFunction(lone, true)() -- under test
  end)

  it("waits no longer than a graceful stop may take", function()
    local dir = program.project { ["job.lua"] = [[
      local rille = require "rille"
      local ssc = rille.StreamingContext({ ["rille.streaming.gracefulStopTimeout"] = 0.5 }, 0.1)
      local producer = rille.kafka.producer { brokers = "127.0.0.1:1", ["message.timeout.ms"] = 40000 }
      ssc:queueStream({}):foreachRDD(function()
        producer:send("t", "v")
        ssc:stop(true, true)
      end)
      ssc:start()
      ssc:awaitTermination()
    ]] }
    local run = program.run_in(dir, "rille run job.lua")
    assert.equal(1, run.status, run.err)
    assert.matches("job.lua:5: the graceful stop is over its limit", run.err)
    support.remove(dir)
  end)

  it("is not there in workers", function()
    local sc = rille.Context { master = "local[1]" }
    assert.matches("rille.kafka is not there in functions that run in workers", failure(function()
      sc:parallelize({ 1 }):foreach(function() require "rille".kafka.producer {} end)
    end))
    sc:stop()
  end)

  it("sends nothing under test", function()
    local dir = program.project {
      ["job.lua"] = [[
        local rille = require "rille"
        local producer = rille.kafka.producer { brokers = "127.0.0.1:1" }
        local ssc = rille.StreamingContext({}, 1)
        ssc:queueStream({}):uid "words":foreachRDD(function(rdd)
          rdd:foreachPartition(function(it) for word in it do producer:send("words", nil, word) end end)
          producer:send("batches", nil, rdd:count())
          producer:flush()
        end)
        ssc:start()
        ssc:awaitTermination()
      ]],
      ["job_test.lua"] = [[
        local t = require "rille.testing"
        t.job { script = "job.lua" }
        t.case("a batch", function(job)
          job:batch { words = { "a", "b" } }
          job:expect("foreachRDD", { "a", "b" })
        end)
        t.case("a value that cannot be sent", function(job) job:batch { words = { { 1 } } } end)
      ]],
    }
    local run = program.run_in(dir, "rille test job_test.lua")
    assert.matches("ok    a batch", run.out)
    assert.matches("job.lua:5: bad argument #3 to 'send' %(string, number, boolean or nil expected, got table", run.out)
    assert.matches("1 passed, 0 failed, 1 error", run.out)
    local checked = program.run_in(dir, "rille check job.lua")
    assert.equal(0, checked.status, checked.out .. checked.err)
    support.remove(dir)
  end)
end)
