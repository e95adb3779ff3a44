local rille = require "rille"
local support = require "spec.lua.support"

describe("queueStream", function()
  local ssc, sc

  before_each(function()
    ssc = rille.StreamingContext({ master = "local[2]", clock = "manual" }, 1)
    sc = ssc:context()
  end)
  after_each(function() ssc:stop() end)

  -- The records and the number of partitions of the batches.
  local function run(stream, batches, between)
    local records, partitions = {}, {}
    stream:foreachRDD(function(rdd)
      records[#records + 1] = rdd:collect()
      partitions[#partitions + 1] = rdd:getNumPartitions()
    end)
    ssc:start()
    for i = 1, batches do
      ssc:clock():advance(1)
      ssc:awaitTerminationOrTimeout(0)
      if between then between(i) end
    end
    return records, partitions
  end

  it("takes one a batch, then gives empty batches of one partition", function()
    local records, partitions = run(ssc:queueStream { sc:parallelize({ 1, 2 }, 2), sc:parallelize({ 3 }, 3) }, 3)
    assert.same({ { 1, 2 }, { 3 }, {} }, records)
    assert.same({ 2, 3, 1 }, partitions)
  end)

  it("takes all that is there", function()
    local records = run(ssc:queueStream({ sc:parallelize({ 1 }, 1), { 2, 3 }, { 4 } }, false), 2)
    assert.same({ { 1, 2, 3, 4 }, {} }, records)
  end)

  it("sees what the job adds while it runs", function()
    local queue = {}
    local records = run(ssc:queueStream(queue), 3, function(i)
      if i == 1 then queue[1], queue[2] = { "a" }, sc:parallelize { "b" } end
    end)
    assert.same({ {}, { "a" }, { "b" } }, records)
    assert.same({}, queue)
  end)

  it("falls back to the default", function()
    local records = run(ssc:queueStream({ { 1 } }, true, { 7, 8 }), 3)
    assert.same({ { 1 }, { 7, 8 }, { 7, 8 } }, records)
  end)

  it("gives batches without partitions when nil is given for the default", function()
    local records, partitions = run(ssc:queueStream({}, true, nil), 2)
    assert.same({ {}, {} }, records)
    assert.same({ 0, 0 }, partitions)
  end)

  it("captures the functions of RDDs that come late", function()
    local records = run(ssc:queueStream { sc:parallelize({ 1, 2 }):map(function(x) return x + 1 end) }, 1)
    assert.same({ { 2, 3 } }, records)
  end)

  it("says what does not belong into a queue", function()
    assert.matches("queue_spec.lua:%d+: queueStream: a number is in the queue", support.failure(function()
      local stream = ssc:queueStream { 5 }
      run(stream, 1)
    end))
  end)

  it("says where the queue is in whose array is no record", function()
    assert.matches("^batch 1000 ms: spec/lua/queue_spec.lua:%d+: queueStream: record 2: a function cannot",
      support.failure(function()
        local stream = ssc:queueStream { { 1, print } }
        run(stream, 1)
      end))
  end)
end)
