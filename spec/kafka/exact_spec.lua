-- saveToKafka with transactional = true, read back with read_committed (librdkafka's default) from a real broker.
local background = require "spec.kafka.background"
local kafka = require "spec.kafka.support"
local program = require "spec.lua.program"
local rille = require "rille"
local support = require "spec.lua.support"

-- All records of a topic that were committed.
local function content(topic, partitions)
  local sc = rille.Context { master = "local[1]" }
  local records = rille.kafka.createRDD(sc, { brokers = kafka.brokers }, kafka.ranges(topic, partitions)):collect()
  sc:stop()
  return records
end

-- Numbers the values by their last digit, in order; stops when there have been so many.
local JOB <const> = [==[
local rille = require "rille"
local ssc = rille.StreamingContext({ appName = arg[3], master = "local[2]" }, 0.1)
ssc:checkpoint "ck"
local wanted = tonumber(arg[4])
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
    for _, record in ipairs(rdd:collect()) do
      if record[2] == wanted then ssc:stop(true, true) end
    end
  end)
end
ssc:start()
ssc:awaitTermination()
]==]

-- Lines of files go to a topic. The first batch with lines saves the checkpoint before it writes, and dies when that is
-- in Kafka: as if the note of it had not reached the log.
local DIES <const> = [==[
local rille = require "rille"
local ssc = rille.StreamingContext({ appName = arg[2], master = "local[2]" }, 0.2)
ssc:checkpoint "ck"
local lines = ssc:textFileStream "in"
local dies = arg[3] == "dies"
if dies then
  lines:foreachRDD(function(rdd) if not rdd:isEmpty() then os.execute "rm -rf saved && rille backup ck saved" end end)
end
rille.kafka.saveToKafka(lines, { brokers = arg[1], topic = arg[2], transactional = true })
lines:foreachRDD(function(rdd)
  local last = rdd:collect()
  io.open("begun" .. (arg[3] or ""), "w"):close()
  if dies and #last > 0 then os.execute "kill -9 $PPID" end
  if last[#last] == "end" then ssc:stop(true, true) end
end)
ssc:start()
ssc:awaitTermination()
]==]

-- Writes what it reads for as long as it may.
local COPIES <const> = [==[
local rille = require "rille"
local ssc = rille.StreamingContext({ appName = "copies", master = "local[2]" }, 0.1)
local wanted, got = tonumber(arg[4]), { n = 0 }
local lines = rille.kafka.createDirectStream(ssc, { brokers = arg[1], topics = arg[2], ["group.id"] = arg[3],
  ["auto.offset.reset"] = "earliest" })
rille.kafka.saveToKafka(lines, { brokers = arg[1], topic = arg[3], transactional = true,
  ["transactional.id"] = arg[3] })
lines:foreachRDD(function(rdd)
  io.open("begun" .. (arg[4] or ""), "w"):close()
  got.n = got.n + rdd:count()
  if wanted and got.n >= wanted then ssc:stop(true, true) end
end)
ssc:start()
ssc:awaitTermination()
]==]

local function values(records)
  local list = {}
  for i, record in ipairs(records) do list[i] = record[2] end
  table.sort(list)
  return list
end

-- The stream of a topic and the context, whose clock is the spec's.
local function copying(from, conf)
  conf.master, conf.clock = "local[2]", "manual"
  local ssc = rille.StreamingContext(conf, 1)
  return ssc, rille.kafka.createDirectStream(ssc, { brokers = kafka.brokers, topics = from, records = "value",
    ["auto.offset.reset"] = "earliest" })
end

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
    kafka.fill(from, 0, n, 500)
    n = n + 500
    local last = program.run_in(dir, ("rille run job.lua '%s' '%s' '%s' %d"):format(kafka.brokers, from, to, n // 10))
    assert.equal(0, last.status, last.err)
    check_numbers(to, 2, n // 10)
    assert.equal(kafka.last(from, 0), kafka.committed(to, from, 0))
    assert.equal(kafka.last(from, 1), kafka.committed(to, from, 1))
    support.remove(dir)
  end)

  it("leaves out a batch that is there, though no offset tells of it", function()
    local dir, to = program.project { ["job.lua"] = DIES }, kafka.topic(1)
    os.execute(("mkdir '%s/in'"):format(dir))
    local run = ("rille run --conf rille.log.level=info job.lua '%s' '%s' "):format(kafka.brokers, to)
    local ended = background.start(dir, "first", run .. "dies")
    background.await_file(dir .. "/begundies")
    support.write(dir .. "/in/.1", "a\nb\n")
    assert(os.rename(dir .. "/in/.1", dir .. "/in/1"))
    assert.equal(137, (ended()))
    assert.equal(2, #content(to, 1))
    os.execute(("cd '%s' && rm -rf ck && mv saved ck"):format(dir))
    ended = background.start(dir, "second", run)
    background.await_file(dir .. "/begun")
    support.write(dir .. "/in/.2", "c\nend\n")
    assert(os.rename(dir .. "/in/.2", dir .. "/in/2"))
    local status, said = ended()
    assert.equal(0, status, said)
    assert.matches("is in Kafka already and is left out", said)
    local got = content(to, 1)
    table.sort(got, function(a, b) return a[2] < b[2] end)
    assert.same({ "a", "b", "c", "end" }, values(got))
    support.remove(dir)
  end)

  it("goes on where the group committed, without a checkpoint", function()
    local dir, from, to = program.project { ["job.lua"] = COPIES }, kafka.topic(1), kafka.topic(1)
    local n = 0
    for round = 1, 4 do
      kafka.fill(from, 0, n, 500)
      n = n + 500
      local killed = program.run_in(dir, ("timeout -s KILL %g rille run job.lua '%s' '%s' '%s'")
        :format(0.3 + 0.2 * round, kafka.brokers, from, to))
      assert.equal(137, killed.status, killed.err)
    end
    local ended = background.start(dir, "last", ("rille run job.lua '%s' '%s' '%s' 1"):format(kafka.brokers, from, to))
    background.await_file(dir .. "/begun1")
    kafka.fill(from, 0, n, 500)
    local status, said = ended()
    assert.equal(0, status, said)
    assert.is_true(kafka.committed(to, from, 0) >= n)
    local seen = {}
    for _, record in ipairs(content(to, 1)) do
      assert.is_nil(seen[record[2]])
      seen[record[2]] = true
    end
    for i = 0, kafka.committed(to, from, 0) - 1 do assert.is_true(seen["v" .. i]) end
    support.remove(dir)
  end)

  it("stops when another process takes over", function()
    local dir, from, to = program.project { ["job.lua"] = COPIES }, kafka.topic(1), kafka.topic(1)
    local run = ("rille run job.lua '%s' '%s' '%s'"):format(kafka.brokers, from, to)
    local first = background.start(dir, "first", run)
    background.await_file(dir .. "/begun")
    local second = background.start(dir, "second", run .. " 100")
    background.await_file(dir .. "/begun100")
    kafka.fill(from, 0, 0, 100)
    local status, said = second()
    assert.equal(0, status, said)
    status, said = first()
    assert.equal(1, status)
    assert.matches("another process writes to Kafka as '" .. to:gsub("%-", "%%-") .. "' and has taken over", said)
    assert.not_matches("is written again[^\n]*another process", said) -- there is no use in trying
    assert.equal(100, #content(to, 1))
    support.remove(dir)
  end)

  it("undoes what was sent before a task failed, and writes it again", function()
    local from, to, flag = kafka.topic(1), kafka.topic(1), os.tmpname()
    kafka.fill(from, 0, 0, 20000)
    local ssc, lines = copying(from, {})
    rille.kafka.saveToKafka(lines:map(function(value)
      if value == "v15000" and os.rename(flag, flag .. ".gone") then error "not now" end
      return value, value
    end), { brokers = kafka.brokers, topic = to, transactional = true })
    ssc:start()
    ssc:clock():advance(1)
    ssc:stop()
    assert(os.remove(flag .. ".gone"))
    local seen = {}
    for _, record in ipairs(content(to, 1)) do
      assert.is_nil(seen[record[2]])
      seen[record[2]] = true
    end
    for i = 0, 19999 do assert.is_true(seen["v" .. i]) end
  end)

  it("fails when a broker refuses a record, and leaves nothing", function()
    local from, to, failures = kafka.topic(1), kafka.topic(1, "max.message.bytes=1000"), {}
    kafka.put(from, 0, "k", ("x"):rep(5000))
    local ssc, lines = copying(from, {})
    rille.kafka.saveToKafka(lines, { brokers = kafka.brokers, topic = to, transactional = true })
    ssc:addStreamingListener { onOutputOperationCompleted = function(event)
      failures[#failures + 1] = event.failureReason
    end }
    ssc:start()
    ssc:clock():advance(1)
    kafka.put(from, 0, "k", "small")
    ssc:clock():advance(1)
    ssc:stop()
    assert.matches("was not taken by Kafka.*too large", failures[1])
    assert.matches("batch %d+ ms has to come first", failures[2])
    assert.same({}, content(to, 1))
  end)

  it("writes batches in their order when several run at once", function()
    local from, to = kafka.topic(1), kafka.topic(1)
    kafka.fill(from, 0, 0, 600)
    local ssc, lines = copying(from, { ["rille.streaming.concurrentJobs"] = 4,
      ["rille.streaming.kafka.maxRatePerPartition"] = 100 })
    rille.kafka.saveToKafka(lines, { brokers = kafka.brokers, topic = to, transactional = true })
    ssc:start()
    ssc:clock():advance(6)
    ssc:stop()
    local got = content(to, 1)
    assert.equal(600, #got)
    for i, record in ipairs(got) do assert.equal("v" .. i - 1, record[2]) end
  end)

  it("has a job without a directory begin anew, whatever its clock says", function()
    local to = kafka.topic(1)
    for run = 1, 2 do
      local ssc = rille.StreamingContext({ master = "local[1]", clock = "manual" }, 1)
      local queue = ssc:queueStream { ssc:context():parallelize { "run " .. run } }
      rille.kafka.saveToKafka(queue, { brokers = kafka.brokers, topic = to, transactional = true })
      ssc:start()
      ssc:clock():advance(1)
      ssc:stop()
    end
    assert.same({ "run 1", "run 2" }, values(content(to, 1)))
  end)

  it("finds at the start that the brokers allow no transaction to last so long", function()
    local from, to = kafka.topic(1), kafka.topic(1)
    local ssc, lines = copying(from, {})
    rille.kafka.saveToKafka(lines, { brokers = kafka.brokers, topic = to, transactional = true,
      ["transaction.timeout.ms"] = 2000000000 })
    local ok, why = pcall(ssc.start, ssc)
    assert.is_false(ok)
    assert.matches("exact_spec.lua:%d+: Kafka at .- takes no transaction.timeout.ms of 2000000000, as it is above " ..
      "the brokers' transaction.max.timeout.ms: set a lower one for this output, or raise theirs$", why)
    ssc:stop()
  end)

  it("says what is missing", function()
    local ssc, lines = copying("t", {})
    local function refused(options)
      options.brokers, options.transactional = "localhost:1", true
      local ok, why = pcall(rille.kafka.saveToKafka, lines, options)
      assert.is_false(ok)
      return why
    end
    assert.matches("option 'marker' is missing", refused { topic = function() return "t" end })
    rille.kafka.saveToKafka(lines, { brokers = "localhost:1", topic = "t", transactional = true })
    assert.matches("writes in transactions of the same name, too", refused { topic = "t" })
    local ok, why = pcall(rille.kafka.saveToKafka, ssc:context():parallelize { "a" },
      { brokers = "localhost:1", topic = "t", transactional = true })
    assert.is_false(ok)
    assert.matches("an RDD has no batch", why)
    ssc:stop()
  end)
end)
