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
end)
