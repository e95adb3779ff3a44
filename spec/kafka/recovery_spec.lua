-- A durable job over a direct stream, killed again and again while records come: its state has each record once.
local kafka = require "spec.kafka.support"
local program = require "spec.lua.program"
local support = require "spec.lua.support"

-- Counts the values by their last digit; writes the counts, in order, into ./out after each batch. With a third argument
-- it stops when there are so many.
local JOB <const> = [==[
local rille = require "rille"
local ssc = rille.StreamingContext({ appName = "recovery", master = "local[2]" }, 0.1)
ssc:checkpoint "ck"
local wanted = tonumber(arg[3])
rille.kafka.createDirectStream(ssc, { brokers = arg[1], topics = arg[2], records = "value",
    ["auto.offset.reset"] = "earliest", ["topic.metadata.refresh.interval.ms"] = 100 })
  :map(function(value) return value:sub(-1), 1 end)
  :updateStateByKey(function(values, n) return (n or 0) + #values end)
  :uid "counts"
  :foreachRDD(function(rdd)
    local counts, sum, texts = {}, 0, {}
    for _, pair in ipairs(rdd:collect()) do counts[pair[1]] = pair[2] sum = sum + pair[2] end
    for digit = 0, 9 do texts[#texts + 1] = tostring(counts[tostring(digit)] or 0) end
    local out = io.open("out.new", "w")
    out:write(table.concat(texts, " "))
    out:close()
    os.rename("out.new", "out")
    if wanted and sum >= wanted then ssc:stop(true, true) end
  end)
ssc:start()
ssc:awaitTermination()
]==]

describe("a durable job over Kafka", function()
  it("counts every record once, however often it is killed", function()
    local dir = program.project { ["job.lua"] = JOB }
    local topic, n = kafka.topic(2), 0
    for round = 1, 6 do
      kafka.fill(topic, round % 2, n, 1000)
      n = n + 1000
      if round == 3 then -- it is not there to see it
        kafka.grow(topic, 3)
        kafka.fill(topic, 2, n, 1000)
        n = n + 1000
      end
      local killed = program.run_in(dir, ("timeout -s KILL %g rille run job.lua '%s' '%s'")
        :format(0.3 + 0.2 * round, kafka.brokers, topic))
      assert.equal(137, killed.status, killed.err)
    end
    local last = program.run_in(dir, ("rille run job.lua '%s' '%s' %d"):format(kafka.brokers, topic, n))
    assert.equal(0, last.status, last.err)
    assert.equal((" " .. n // 10):rep(10):sub(2), support.read(dir .. "/out"))
    local sum = 0
    for offset in program.run_in(dir, "rille inspect ck").out:gmatch ", partition %d: next offset (%d+)" do
      sum = sum + tonumber(offset)
    end
    assert.equal(n, sum)
    support.remove(dir)
  end)

  -- Two streams; state has how many records of the healthy one there were. Stops when the first has brought "v<arg[4]>".
  local PAIR <const> = [==[
  local rille = require "rille"
  local ssc = rille.StreamingContext({ appName = "gone", master = "local[2]" }, 0.2)
  ssc:checkpoint "ck"
  local function stream(topic, uid)
    return rille.kafka.createDirectStream(ssc, { brokers = arg[1], topics = topic, records = "value",
      ["auto.offset.reset"] = arg[5] }):uid(uid)
  end
  stream(arg[2], "old"):transform(function(rdd) assert(#rdd:offsetRanges() == 1) return rdd end)
    :foreachRDD(function(rdd)
      for _, value in ipairs(rdd:collect()) do
        print("old", value)
        if value == "v" .. arg[4] then ssc:stop(true, true) end
      end
    end)
  stream(arg[3], "young"):map(function() return "n", 1 end)
    :updateStateByKey(function(values, n) return (n or 0) + #values end):uid "counts"
    :foreachRDD(function(rdd) for _, pair in ipairs(rdd:collect()) do print("young", pair[2]) end end)
  ssc:start()
  ssc:awaitTermination()
  ]==]

  local function gone(check)
    local dir = program.project { ["job.lua"] = PAIR }
    local old, young = kafka.topic(1), kafka.topic(1)
    local function run(last, reset, settings, other)
      return program.run_in(dir, ("timeout 120 rille run %s job.lua '%s' '%s' '%s' %d %s")
        :format(settings or "", kafka.brokers, other or old, young, last, reset))
    end
    kafka.fill(young, 0, 0, 20)
    kafka.fill(old, 0, 0, 20)
    assert.equal(0, run(19, "earliest").status)
    kafka.fill(old, 0, 20, 20)
    kafka.trim(old, 0, 30)
    kafka.fill(young, 0, 20, 7)
    check(run, old)
    support.remove(dir)
  end

  it("loses no position, however often it fails for records that are gone", function()
    gone(function(run, old)
      for _ = 1, 4 do
        local failed = run(39, "none")
        assert.equal(1, failed.status)
        assert.matches(old .. "/0: offsets 20 to 29 are no longer there (now it has 30 to 40)", failed.err, 1, true)
      end
      local mended = run(39, "earliest")
      assert.equal(0, mended.status, mended.err)
      assert.matches("it goes on at 30, as auto.offset.reset says", mended.err, 1, true)
      local values, counted = {}, nil
      for value in mended.out:gmatch "old\t(%S+)" do values[#values + 1] = value end
      for n in mended.out:gmatch "young\t(%d+)" do counted = n end
      assert.equal("v30 v39 10", ("%s %s %d"):format(values[1], values[#values], #values))
      assert.equal("27", counted)
    end)
  end)

  it("reads no more of a topic that the script dropped, from the first batch on", function()
    gone(function(run, old)
      local other = kafka.topic(1)
      kafka.fill(other, 0, 50, 5)
      local result = run(54, "earliest", nil, other)
      assert.equal(0, result.status, result.err)
      assert.matches(old .. "/0 is read no more: the script does not name it any longer; it is left at offset 20",
        result.err, 1, true)
      assert.matches("^old\tv50\n", result.out)
      assert.is_nil(result.out:find "v3%d")
    end)
  end)

  it("leaves out one batch for records that are gone, and goes on with what is there", function()
    gone(function(run, old)
      local result = run(39, "none", "--conf rille.streaming.onBatchFailure=skip")
      assert.matches(old .. "/0: offsets 20 to 29 are no longer there (now it has 30 to 40); it goes on at 30",
        result.err, 1, true)
      assert.equal(1, select(2, result.err:gsub("ms is left out", "")))
      assert.matches("old\tv30\n.*old\tv39\n", result.out)
      assert.is_nil(result.out:find "v29")
    end)
  end)
end)
