-- saveToKafka with transactional = true, read back with read_committed (librdkafka's default) from a real broker.
local kafka = require "spec.kafka.support"
local program = require "spec.lua.program"
local rille = require "rille"
local support = require "spec.lua.support"

-- All records of a topic that were committed.
local function content(topic, partitions)
  local sc = rille.Context { master = "local[1]" }
  local ranges = {}
  for partition = 0, partitions - 1 do
    ranges[partition + 1] = { topic = topic, partition = partition, fromOffset = 0,
      untilOffset = kafka.last(topic, partition) }
  end
  local records = rille.kafka.createRDD(sc, { brokers = kafka.brokers }, ranges):collect()
  sc:stop()
  return records
end

-- Numbers the values by their last digit, in order; stops when there have been so many.
local JOB <const> = [==[
local rille = require "rille"
local ssc = rille.StreamingContext({ appName = arg[3], master = "local[2]" }, 0.1)
ssc:checkpoint "ck"
local wanted, sum = tonumber(arg[4]), 0
local numbered = rille.kafka.createDirectStream(ssc, { brokers = arg[1], topics = arg[2], records = "value",
    ["auto.offset.reset"] = "earliest", ["topic.metadata.refresh.interval.ms"] = 100, ["group.id"] = arg[3] })
  :map(function(value) return value:sub(-1), value end)
  :mapWithState(rille.StateSpec(function(_, digit, _, state)
    local n = (state:get() or 0) + 1
    state:update(n)
    return digit, n
  end))
  :uid "numbered"
rille.kafka.saveToKafka(numbered, { brokers = arg[1], topic = arg[3], transactional = true })
if wanted then
  numbered:foreachRDD(function(rdd)
    for _, record in ipairs(rdd:collect()) do sum = math.max(sum, record[2]) end
    if sum >= wanted then ssc:stop(true, true) end
  end)
end
ssc:start()
ssc:awaitTermination()
]==]

local function check_numbers(topic, partitions, each)
  local seen, n = {}, 0
  for _, record in ipairs(content(topic, partitions)) do
    local id = record[1] .. ":" .. record[2]
    assert.is_nil(seen[id], id)
    seen[id], n = true, n + 1
  end
  assert.equal(10 * each, n)
  for digit = 0, 9 do
    for i = 1, each do assert.is_true(seen[digit .. ":" .. i]) end
  end
end

describe("saveToKafka with transactions", function()
  it("writes each record once, however often the job is killed", function()
    local dir = program.project { ["job.lua"] = JOB }
    local from, to, n = kafka.topic(2), kafka.topic(2), 0
    for round = 1, 10 do
      kafka.fill(from, round % 2, n, 500)
      n = n + 500
      local killed = program.run_in(dir, ("timeout -s KILL %g rille run job.lua '%s' '%s' '%s'")
        :format(0.4 + 0.11 * round, kafka.brokers, from, to))
      assert.equal(137, killed.status, killed.err)
    end
    local last = program.run_in(dir, ("rille run job.lua '%s' '%s' '%s' %d"):format(kafka.brokers, from, to, n // 10))
    assert.equal(0, last.status, last.err)
    check_numbers(to, 2, n // 10)
    assert.equal(kafka.last(from, 0), kafka.committed(to, from, 0))
    assert.equal(kafka.last(from, 1), kafka.committed(to, from, 1))
    support.remove(dir)
  end)
end)
