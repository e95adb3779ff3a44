local program = require "spec.lua.program"

local HEAD = 'local rille = require "rille"\nlocal ssc = rille.StreamingContext({ appName = "Checked" }, 0.5)\n'
local TAIL = "\nssc:start()\nerror('not to be reached')\n"

-- `body` begins in line 3.
local function check(body, command, files)
  files = files or {}
  files["job.lua"] = HEAD .. body .. TAIL
  return program.run(files, command or "rille check job.lua")
end

local GOOD = [[
local words = { "a", "b", other = ("x"):rep(5000) }
function threshold() return 3 end
ssc:socketTextStream("localhost", 9999):uid("lines")
  :filter(function(line) return #line > threshold() and words[line] end)
  :union(ssc:queueStream {})
  :transform(function(rdd) return rdd end)
  :foreachRDD(function(rdd) rdd:count() end)]]

describe("rille check", function()
  it("shows the operators with uid, place and parents", function()
    local got = check(GOOD)
    assert.equal(0, got.status, got.out .. got.err)
    assert.equal("", got.err)
    assert.matches("^Checked on local%[%*%], batches of 0.5 s\noperators\n", got.out)
    assert.matches("\n  1 socketTextStream  job.lua:5\n    uid lines\n", got.out)
    assert.matches("\n  2 filter <%- 1  job.lua:6\n    uid lines/filter %(derived%)\n", got.out)
    assert.matches("\n  4 union <%- 2, 3  job.lua:5\n    uid lines/filter/union%(queueStream%) %(derived%)\n", got.out)
    assert.matches("\n  5 transform <%- 4  job.lua:8\n    uid .-\n    its function runs in the job's own state\n",
      got.out)
    assert.matches("\noutputs\n  foreachRDD <%- 5  job.lua:9\njob.lua: 0 problems, 0 warnings\n$", got.out)
  end)

  it("shows what functions take along, with sizes", function()
    local got = check(GOOD)
    assert.matches("    the function given to filter: [%d.]+ %a+\n      upvalue words: table, (%d+) bytes\n" ..
      "      global threshold: function, %d+ bytes\n", got.out)
    local bytes = tonumber(got.out:match "upvalue words: table, (%d+) bytes")
    assert.is_true(bytes > 5000 and bytes < 5500, got.out)
  end)

  it("does not start anything", function()
    local got = check [[
      ssc:receiverStream({ onStart = function() error "started" end }):print()
      ssc:textFileStream("."):print()]]
    assert.equal(0, got.status, got.out .. got.err)
    assert.matches("the receiver given to receiverStream: %d+ bytes", got.out)
  end)

  it("finds functions that cannot travel, all of them", function()
    local got = check [[
local log = io.tmpfile()
local s = ssc:queueStream {}
s:map(function(x) log:write(x) return x end):print()
s:filter(function() return coroutine.running() == log end):print()
ssc:receiverStream({ onStart = function() log:write "x" end }):print()]]
    assert.equal(1, got.status)
    for _, place in ipairs { "5: the function given to map captures 'log'", "6: the function given to filter captures",
                             "7: the receiver given to receiverStream captures 'log'" } do
      assert.is_truthy(got.out:find("problem: job.lua:" .. place, 1, true), got.out)
    end
    assert.matches("upvalue log: userdata, cannot travel", got.out)
    assert.matches("job.lua: 3 problems, 0 warnings\n$", got.out)
  end)

  it("warns of assigned variables, and of what leads nowhere", function()
    local body = [[
local n = 0
ssc:queueStream({}):map(function(x) n = n + x return n end):print()
ssc:queueStream({})
ssc:queueStream({}):uid("q"):map(function(x) return x end)]]
    local got = check(body)
    assert.equal(0, got.status, got.out .. got.err)
    assert.matches("upvalue n: number, %d+ bytes, assigned\n", got.out)
    assert.matches("warning: job.lua:4: the function given to map assigns 'n'", got.out)
    assert.matches("warning: job.lua:5: no output depends on the input queueStream\n", got.out)
    assert.matches("warning: job.lua:6: no output depends on the input queueStream\n", got.out)
    assert.matches("warning: job.lua:6: the result of map is not used\n", got.out)
    assert.matches("0 problems, 4 warnings\n$", got.out)
    assert.equal("", got.err)
    assert.equal(1, check(body, "rille check --strict job.lua").status)
  end)

  it("warns of state without a name of its own, windows that are kept up included", function()
    local got = check [[
local words = ssc:queueStream({}):map(function(word) return word, 1 end)
local function count(values, n) return (n or 0) + #values end
local function add(a, b) return a + b end
words:updateStateByKey(count):print()
words:mapWithState(rille.StateSpec(function() end)):stateSnapshots():print()
words:reduceByKeyAndWindow(add, 2):print()
words:reduceByWindow(add, function(a, b) return a - b end, 2):print()
words:countByWindow(2):uid("number"):print()
words:mapWithState(rille.StateSpec(function() end)):uid("named"):print()
words:window(2):groupByKey():print()
words:reduceByKeyAndWindow(function(a, b) return a .. b end, 2):print()]]
    assert.equal(0, got.status, got.out .. got.err)
    local warned = {}
    local WARNING <const> = 'warning: job.lua:(%d+): unnamed state: (%w+) .- (:uid%("%w+"%))\n'
    for line, operation, remedy in got.out:gmatch(WARNING) do
      warned[#warned + 1] = line .. " " .. operation
      assert.matches("^:uid", remedy)
    end
    assert.same({ "6 updateStateByKey", "7 mapWithState", "8 reduceByKeyAndWindow", "9 reduceByWindow" }, warned)
    local _, keepers = got.out:gsub("\n    keeps state\n", "")
    assert.equal(6, keepers)
    assert.matches("0 problems, 4 warnings\n$", got.out)
    assert.matches("stateSnapshots <%- %d+  job.lua:7\n", got.out)
  end)

  it("shows the engine's warnings", function()
    local got = check("ssc:queueStream({}):print()", "rille check job.lua --conf spark.no.such.setting=1 --strict")
    assert.equal(1, got.status)
    assert.matches("warning: .-spark.no.such.setting", got.out)
  end)

  it("finds jobs that cannot start", function()
    local none = check "ssc:queueStream({})"
    assert.equal(1, none.status)
    assert.matches("problem: the job has no output", none.out)
    local twice = check 'ssc:queueStream({}):uid("queueStream#2"):print() ssc:queueStream({}):print()'
    assert.equal(1, twice.status, twice.out)
    assert.matches("problem: the uid 'queueStream#2' of .- is also that of", twice.out)
  end)

  it("finds scripts that fail, or do not start their context", function()
    for text, message in pairs {
      ["local x = = 1"] = "problem: job.lua:1: unexpected symbol",
      ["local function f() error('no luck') end\nf()\n"] = "problem: job.lua:1: no luck\n.-  job.lua:2: in main chunk",
      ["print 'hello'"] = "hello\nproblem: job.lua: the script ended without ssc:start",
      ["os.exit(0)"] = "the script ended without ssc:start",
      [HEAD .. "ssc:awaitTermination()"] = "the script waits without ssc:start",
      [HEAD .. "ssc:queueStream({}):map(5)"] = "problem: job.lua:3: bad argument #1 to 'map'",
    } do
      local got = program.run({ ["job.lua"] = text }, "rille check job.lua")
      assert.equal(1, got.status, text)
      assert.matches(message, got.out)
    end
    assert.matches("problem: job.lua: No such file", program.run({}, "rille check job.lua").out)
  end)

  it("gives the script its arguments and its neighbours", function()
    local got = check('ssc:queueStream({}):print(tonumber(arg[1]) + require("near") + select("#", ...)) print(...)',
      "rille check job.lua 3 --own x -- --strict", { ["near.lua"] = "return 1" })
    assert.equal(0, got.status, got.out .. got.err)
    assert.matches("^3\t%-%-own\tx\t%-%-strict\n", got.out)
  end)

  it("takes settings", function()
    local got = check("ssc:queueStream({}):print()", "rille check --master=local[3] --conf appName=Other job.lua")
    assert.matches("^Other on local%[3%]", got.out)
  end)

  it("refuses wrong usage", function()
    for command, message in pairs {
      [""] = "which job%? Give a Lua script", ["--quick job.lua"] = "unknown option %-%-quick",
      ["--conf =1 job.lua"] = "%-%-conf needs KEY=VALUE", ["--master mars job.lua"] = "rille.master is 'mars'",
      ["job.lua --conf rille.no=1"] = "unknown setting 'rille.no'", ["--properties no job.lua"] = "cannot open no",
    } do
      local got = program.run({}, "rille check " .. command)
      assert.equal(2, got.status)
      assert.matches("rille: " .. message .. ".-\nTry 'rille check %-%-help'", got.err)
    end
    assert.matches("^usage: rille check", program.run({}, "rille help check").out)
  end)

  it("finds nothing wrong with the sample jobs", function()
    for _, name in ipairs { "network_wordcount", "join_streams", "top_k", "foreach_pool", "queue_stream",
                            "file_wordcount", "custom_receiver", "windowed_wordcount", "click_join",
                            "stateful_wordcount", "sessions" } do
      local got = program.run_in(os.getenv "RILLE_SOURCE", ("rille check --strict scripts/%s.lua"):format(name))
      assert.equal(0, got.status, got.out .. got.err)
    end
  end)
end)
