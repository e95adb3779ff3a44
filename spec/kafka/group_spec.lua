-- Receivers in a consumer group, with a real broker.
local background = require "spec.kafka.background"
local kafka = require "spec.kafka.support"
local program = require "spec.lua.program"
local rille = require "rille"
local support = require "spec.lua.support"

-- Two members in one process write each value that they were given into ./out, until ./stop is there.
local JOB <const> = [==[
local rille = require "rille"
local ssc = rille.StreamingContext({ appName = "group", master = "local[2]" }, 0.2)
ssc:checkpoint "ck"
local function member(name)
  return rille.kafka.createStream(ssc, { brokers = arg[1], topics = arg[2], group = arg[2], records = "value",
    ["auto.offset.reset"] = "earliest", ["group.instance.id"] = arg[3] .. name, ["session.timeout.ms"] = 45000 })
end
member "1":union(member "2"):foreachRDD(function(rdd)
  local out = io.open("out", "a")
  out:write(table.concat(rdd:collect(), "\n"), "\n")
  out:close()
  if io.open "stop" then ssc:stop(true, true) end
end)
ssc:start()
ssc:awaitTermination()
]==]

local function read_values(seen, path)
  if not support.exists(path) then return seen end
  for value in support.read(path):gmatch "%S+" do seen[value] = (seen[value] or 0) + 1 end
  return seen
end

local function has_all(n, ...)
  local seen = {}
  for _, path in ipairs { ... } do read_values(seen, path) end
  for i = 0, n - 1 do
    if not seen["v" .. i] then return false, "v" .. i end
  end
  return true
end

local function await_all(n, ...) background.await(has_all, n, ...) end

-- How many of the four partitions' last `each` values, of n values in all, are in a file.
local function of_last(n, each, path)
  local seen, found = read_values({}, path), 0
  for i = n - 4 * each, n - 1, each do
    if seen["v" .. i] then found = found + 1 end
  end
  return found
end

local function all_committed(topic, partitions)
  for partition = 0, partitions - 1 do
    if kafka.last(topic, partition) ~= kafka.committed(topic, topic, partition) then return false end
  end
  return true
end

local function command(topic, name) return ("rille run job.lua '%s' '%s' '%s'"):format(kafka.brokers, topic, name) end

describe("createStream", function()
  it("loses nothing, however often the job is killed", function()
    local dir, topic, n = program.project { ["job.lua"] = JOB }, kafka.topic(3), 0
    for round = 1, 6 do
      kafka.fill(topic, round % 3, n, 500)
      n = n + 500
      local killed = program.run_in(dir, ("timeout -s KILL %g "):format(0.4 + 0.3 * round) .. command(topic, "a"))
      assert.equal(137, killed.status, killed.err)
    end
    local ended = background.start(dir, "last", command(topic, "a"))
    await_all(n, dir .. "/out")
    support.write(dir .. "/stop", "")
    local status, said = ended()
    assert.equal(0, status, said)
    local committed = 0
    for partition = 0, 2 do
      assert.equal(kafka.last(topic, partition), kafka.committed(topic, topic, partition))
      committed = committed + kafka.last(topic, partition)
    end
    assert.equal(n, committed)
    support.remove(dir)
  end)

  it("shares a group with another process, each record once while none comes or goes", function()
    local one, other = program.project { ["job.lua"] = JOB }, program.project { ["job.lua"] = JOB }
    local topic, n, each = kafka.topic(4), 0, 250
    local function fill()
      for partition = 0, 3 do
        kafka.fill(topic, partition, n, each)
        n = n + each
      end
    end
    local first = background.start(one, "one", command(topic, "a"))
    fill()
    await_all(n, one .. "/out")
    local member = command(topic, "b"):gsub("'", "")
    local killed = background.start(other, "other", "sh -c 'echo $$ >pid; exec " .. member .. "'")

    -- Four members have a partition each when all have joined. Then nothing is read again, and what was committed not either.
    local function joined()
      fill()
      await_all(n, one .. "/out", other .. "/out")
      return of_last(n, each, one .. "/out") == 2 and of_last(n, each, other .. "/out") == 2
    end
    background.await(joined)
    background.await(all_committed, topic, 4)
    fill()
    await_all(n, one .. "/out", other .. "/out")
    local times = read_values(read_values({}, one .. "/out"), other .. "/out")
    for i = n - 4 * each, n - 1 do assert.equal(1, times["v" .. i], "v" .. i) end
    assert.same({ 2, 2 }, { of_last(n, each, one .. "/out"), of_last(n, each, other .. "/out") })

    os.execute("kill -9 $(cat " .. other .. "/pid)")
    assert.equal(137, (killed()))
    fill()
    local again = background.start(other, "again", command(topic, "b")) -- what it had logged is its own to do
    await_all(n, one .. "/out", other .. "/out")
    support.write(one .. "/stop", "")
    support.write(other .. "/stop", "")
    for _, ended in ipairs { first, again } do
      local status, said = ended()
      assert.equal(0, status, said)
    end
    support.remove(one)
    support.remove(other)
  end)

  it("gives records as pairs, and in full", function()
    local topic = kafka.topic(1)
    kafka.put(topic, 0, "k", "one", "h=1")
    kafka.put(topic, 0, nil, "two")
    local ssc = rille.StreamingContext({ master = "local[2]" }, 0.1)
    local got = { {}, {} }
    for i, form in ipairs { "pair", "full" } do
      rille.kafka.createStream(ssc, { brokers = kafka.brokers, topics = { topic }, group = topic .. i, records = form,
        ["auto.offset.reset"] = "earliest" })
        :foreachRDD(function(rdd)
          for _, record in ipairs(rdd:collect()) do table.insert(got[i], record) end
          if #got[1] == 2 and #got[2] == 2 then ssc:stop() end
        end)
    end
    ssc:start()
    assert.is_true(ssc:awaitTerminationOrTimeout(60))
    assert.same({ "k", "one" }, { got[1][1][1], got[1][1][2] })
    assert.same({ rille.null, "two" }, { got[1][2][1], got[1][2][2] })
    local full = got[2][1]
    assert.same({ "k", "one", topic, 0, 0 }, { full[1], full[2], full[3], full[4], full[5] })
    assert.equal("1", full[7].h)
  end)

  it("says what is missing", function()
    local ssc = rille.StreamingContext({ master = "local[1]" }, 1)
    local function refused(options)
      local ok, why = pcall(rille.kafka.createStream, ssc, options)
      assert.is_false(ok)
      return why
    end
    assert.matches("option 'group' is missing", refused { brokers = "localhost:1", topics = "t" })
    assert.matches("option 'topics' is missing", refused { brokers = "localhost:1", group = "g" })
    assert.matches("enable.auto.commit can not be set to 'true'",
      refused { brokers = "localhost:1", group = "g", topics = "t", ["enable.auto.commit"] = true })
    ssc:stop()
  end)
end)
