-- What a script gets wrong: each gives one clear error that names its line.
local child = require "spec.lua.child"
local faults = require "spec.lua.faults"
local rille = require "rille"
local support = require "spec.lua.support"

local settings = faults.settings
local failure = support.failure
local HERE = "arguments_spec.lua:%d+: "

describe("wrong arguments", function()
  local ssc

  before_each(function() ssc = rille.StreamingContext(settings(), 1) end)
  after_each(function() ssc:stop() end)

  local function refused(pattern, f) assert.matches("^spec/lua/" .. HERE .. ".*" .. pattern, failure(f)) end

  it("are refused by contexts", function()
    refused("bad argument #1 to 'Context'", function() local _ = rille.Context "local[2]" end)
    refused("bad argument #2 to 'StreamingContext'", function() local _ = rille.StreamingContext({}, "1") end)
    refused("bad argument #1 to 'remember'", function() ssc:remember(-1) end)
    refused("bad argument #1 to 'awaitTerminationOrTimeout'", function() ssc:awaitTerminationOrTimeout "1" end)
    refused("bad argument #1 to 'advance'", function() ssc:clock():advance(-1) end)
    refused("bad argument #1 to 'parallelize'", function() ssc:context():parallelize "abc" end)
    refused("write it with a colon", function() ssc.socketTextStream("localhost", 9999) end)
  end)

  it("are refused by sources", function()
    refused("bad argument #1 to 'socketTextStream' %(non%-empty string", function() ssc:socketTextStream(9999) end)
    for _, port in ipairs { 0, 65536, 1.5, -1 } do
      refused("bad argument #2 to 'socketTextStream' %(port", function() ssc:socketTextStream("localhost", port) end)
    end
    refused("bad argument #2 to 'socketTextStream'", function() ssc:socketTextStream("localhost", "9999") end)
    refused("unknown option 'acks'", function() ssc:socketTextStream("localhost", 9999, { acks = true }) end)
    refused("bad argument #3 to 'socketStream' %(function", function() ssc:socketStream("localhost", 9999) end)
    refused("bad argument #1 to 'textFileStream'", function() ssc:textFileStream "" end)
    refused("option 'filter': function", function() ssc:fileStream("/tmp", { filter = "*.csv" }) end)
    refused("bad argument #2 to 'binaryRecordsStream'", function() ssc:binaryRecordsStream("/tmp", 0) end)
    refused("bad argument #1 to 'queueStream' %(array", function() ssc:queueStream "rdds" end)
    refused("onStart: function expected, got nil", function() ssc:receiverStream {} end)
    refused("bad argument #1 to 'union'", function() ssc:union {} end)
  end)

  it("are refused by operations", function()
    local stream = ssc:queueStream {}
    refused("bad argument #1 to 'map' %(function expected, got string%)", function() stream:map "x" end)
    refused("bad argument #1 to 'print'", function() stream:print "all" end)
    refused("bad argument #2 to 'reduceByKey'", function() stream:reduceByKey(math.max, 0) end)
    refused("bad argument #1 to 'join' %(DStream expected", function() stream:join({}) end)
    refused("bad argument #1 to 'uid'", function() stream:uid "" end)
    refused("bad argument #1 to 'saveAsTextFiles'", function() stream:saveAsTextFiles(1) end)
    refused("bad argument #1 to 'addStreamingListener'", function() ssc:addStreamingListener {} end)
    refused("bad argument #1 to 'foreachRDD'", function() stream:foreachRDD() end)
  end)
end)

describe("settings", function()
  it("that are unknown are an error, with the nearest known one", function()
    assert.matches("^spec/lua/" .. HERE .. ".*'rille.default.paralelism'; did you mean 'rille.default.parallelism'",
      failure(function() local _ = rille.Context { ["rille.default.paralelism"] = 2 } end))
    assert.matches("'colour'", failure(function() local _ = rille.Context { colour = "red" } end))
  end)

  it("that do not fit are an error", function()
    for key, value in pairs { ["rille.task.maxFailures"] = "often", ["rille.task.maxMemory"] = "-1",
      ["rille.streaming.blockInterval"] = "5 parsecs", master = "mesos://x", clock = "sundial",
      ["rille.log.level"] = "loud", ["rille.streaming.unpersist"] = "maybe" } do
      local message = failure(function() local _ = rille.Context { [key] = value } end)
      assert.matches("^spec/lua/" .. HERE, message)
      assert.matches(value, message, 1, true)
    end
  end)

  it("of Spark's are understood, or warned about", function()
    local result = child.run [[
      local rille = require "rille"
      local sc = rille.Context { ["spark.default.parallelism"] = 3, ["spark.executor.memory"] = "1g" }
      print(sc:defaultParallelism())
    ]]
    assert.equal("3\n", result.out)
    assert.equal(1, faults.count_of(result.err, "\n"))
    assert.matches("spark.executor.memory", result.err, 1, true)
    assert.equal(0, result.status)
  end)
end)

describe("a script", function()
  it("with a syntax error ends with its line", function()
    local result = child.run "local x = 1\nlocal y = = 2\n"
    assert.equal(1, result.status)
    assert.matches("job.lua:2: unexpected symbol near '='", result.err, 1, true)
    assert.equal("", result.out)
  end)

  it("that is missing or no text is refused", function()
    assert.equal(1, child.run("", { command = "rille run no", args = {} }).status)
    local result = child.run("\27Lua")
    assert.equal(1, result.status)
    assert.matches("binary chunk", result.err, 1, true)
  end)
end)
