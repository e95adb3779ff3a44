local child = require "spec.lua.child"
local rille = require "rille"
local support = require "spec.lua.support"

-- Real sockets and real time: a spec waits for what it expects, for at most this many seconds.
local LIMIT = 120

describe("the rate of a source", function()
  local ssc, servers, begun

  local function start_with(settings, interval)
    local conf = { master = "local[2]", ["rille.log.level"] = "off" }
    for key, value in pairs(settings) do conf[key] = value end
    begun = rille.time.now()
    ssc = rille.StreamingContext(conf, interval)
  end

  before_each(function() servers = {} end)

  after_each(function()
    if ssc:getState() ~= "STOPPED" then ssc:stop(true, false) end
    for _, server in ipairs(servers) do server.close() end
  end)

  local function wait_until(done)
    local before = os.time()
    while not done() and os.time() - before < LIMIT do ssc:awaitTerminationOrTimeout(0.01) end
    return done()
  end

  -- All n records of a stream. Whenever some have come, the rate must have allowed for them.
  local function received_within(stream, n, rate)
    local records, batches = {}, 0
    stream:foreachRDD(function(rdd)
      local batch = rdd:collect()
      table.move(batch, 1, #batch, #records + 1, records)
      if #batch > 0 then batches = batches + 1 end
      assert(#records <= (rille.time.now() - begun) / 1000 * rate + 1, "there are more than the rate allows")
    end)
    ssc:start()
    wait_until(function() return #records >= n end)
    return records, batches
  end

  local function numbers(n)
    local list = {}
    for i = 1, n do list[i] = tostring(i) end
    return list
  end

  it("is no higher than receiver.maxRate: a socket is not read for a while", function()
    start_with({ ["rille.streaming.receiver.maxRate"] = 200 }, 0.1)
    servers[1] = child.serve(table.concat(numbers(300), "\\n") .. "\\n", "--hold")
    local lines, batches = received_within(ssc:socketTextStream("127.0.0.1", servers[1].port), 300, 200)
    assert.same(numbers(300), lines)
    assert.is_true(batches >= 2)
  end)

  it("is no higher than receiver.maxRate: store waits", function()
    start_with({ ["spark.streaming.receiver.maxRate"] = "150" }, 0.1)
    local stream = ssc:receiverStream {
      onStart = function(self)
        for i = 1, 250 do self:store(tostring(i)) end
      end,
    }
    assert.same(numbers(250), (received_within(stream, 250, 150)))
  end)

  it("is at first the initial one, also without backpressure", function()
    start_with({ ["rille.streaming.backpressure.initialRate"] = 100, ["rille.streaming.receiver.maxRate"] = 1000 }, 0.1)
    servers[1] = child.serve(table.concat(numbers(150), "\\n") .. "\\n", "--hold")
    assert.same(numbers(150),
      (received_within(ssc:socketTextStream("127.0.0.1", servers[1].port), 150, 100)))
  end)

  it("does not count blocks that are stored as a whole", function()
    start_with({ ["rille.streaming.receiver.maxRate"] = 1 }, 0.1)
    local stream = ssc:receiverStream { onStart = function(self) self:store(numbers(500)) end }
    local seen = 0
    stream:foreachRDD(function(rdd) seen = seen + rdd:count() end)
    ssc:start()
    assert.is_true(wait_until(function() return seen == 500 end)) -- at one a second it would be over eight minutes
  end)

  it("settles under an overload, with backpressure, at what the job can do", function()
    local interval, a_second = 0.2, 1000
    start_with({ ["rille.streaming.backpressure.enabled"] = true, master = "local[1]" }, interval)
    local feed = assert(io.popen("exec rille-feed --rate 3000 --clients 1", "r"))
    servers[1] = { close = function() feed:close() end }
    ssc:socketTextStream("127.0.0.1", math.tointeger(tonumber(feed:read("l")))):foreachRDD(function(rdd)
      rdd:foreachPartition(function(it)
        local first, n = rille.time.now(), 0
        for _ in it do
          n = n + 1
          while rille.time.now() < first + n * 1000 / a_second do end
        end
      end)
    end)
    local overloaded, steady = false, 0
    ssc:addStreamingListener {
      onBatchCompleted = function(event)
        local delay = (event.totalMicros - event.processingMicros) / 1e6
        if delay >= interval then overloaded, steady = true, 0
        elseif overloaded and event.numRecords > 0.3 * a_second * interval then steady = steady + 1 end
      end,
    }
    ssc:start()
    assert.is_true(wait_until(function() return steady >= 10 end))
  end)

  it("is estimated in one way only", function()
    start_with({ ["rille.streaming.backpressure.enabled"] = true,
      ["rille.streaming.backpressure.rateEstimator"] = "other" }, 1)
    local message = support.failure(function() ssc:socketTextStream("127.0.0.1", 1) end)
    assert.matches("backpressure_spec.lua:%d+: rille.streaming.backpressure.rateEstimator is 'other'; " ..
      "there is only pid", message)
  end)
end)
