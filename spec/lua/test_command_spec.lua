local program = require "spec.lua.program"
local support = require "spec.lua.support"

local WORDCOUNT = [[
local rille = require "rille"
local ssc = rille.StreamingContext({}, 1)
ssc:socketTextStream("localhost", 9999):uid("lines")
  :flatMap(function(line) return line:gmatch("%S+") end)
  :map(function(word) return word, 1 end):uid("ones")
  :reduceByKey(function(a, b) return a + b end):uid("counts")
  :print()
ssc:start()
ssc:awaitTermination()
]]

local function cases(text)
  return 'local t = require "rille.testing"\nt.job { script = "job.lua" }\n' .. text
end

local function test(text, command)
  return program.run({ ["job.lua"] = WORDCOUNT, ["job_test.lua"] = cases(text) }, command or "rille test")
end

describe("rille test", function()
  it("passes", function()
    local got = test [[
      t.case("counts", function(job)
        job:batch { lines = { "a b", "b" } }
        job:expect("counts", { { "a", 1 }, { "b", 2 } }, { bag = true })
      end)]]
    assert.equal(0, got.status, got.out .. got.err)
    assert.matches("job_test.lua\n  ok    counts %(%d+ ms%)\n1 passed, 0 failed, 0 errors", got.out)
    assert.equal("", got.err)
  end)

  it("refuses a job in place of a test, instead of running it", function()
    local got = test("", "rille test job.lua")
    assert.equal(1, got.status)
    assert.matches("job.lua:8: this file starts a streaming context: it is a job, not a test", got.out)
  end)

  it("prints what is missing and what is too much, batch by batch", function()
    local got = test [[
      t.case("counts", { bag = true,
        inputs = { lines = { { "a" }, { "b b" }, { "c" } } },
        outputs = { counts = { { { "a", 1 } }, { { "b", 1 }, { "x", 9 } }, {} } } })]]
    assert.equal(1, got.status)
    assert.matches('FAIL  counts', got.out)
    assert.matches("print of 'counts' %(job.lua:%d+%), batch 2 %(2000 ms%), in any order:\n" ..
      '%s+%- %("b", 1%)\n%s+%- %("x", 9%)\n%s+%+ %("b", 2%)\n', got.out)
    assert.matches('batch 3 %(3000 ms%), in any order:\n%s+%+ %("c", 1%)\n', got.out)
    assert.is_nil(got.out:find("batch 1", 1, true))
    assert.matches("0 passed, 1 failed, 0 errors", got.out)
  end)

  it("fails at once where a step gives nothing, and says why", function()
    local got = test [[
      t.case("no records", function(job) job:batch {} job:expect("counts", { { "a", 1 } }) end)
      t.case("no RDD", function(job) job:batch { lines = false } job:expect("counts", { { "a", 1 } }) end)
      t.case("no batch", function(job) job:expect("counts", {}) end)]]
    assert.equal(1, got.status)
    assert.matches("hint: without records in this batch: 'lines' %(job.lua:3%)", got.out)
    assert.matches("hint: its stream had no RDD in this batch", got.out)
    assert.matches("no batch was run yet; job:batch", got.out)
  end)

  it("tells errors from failures, with the lines of the test", function()
    local got = test [[
      t.case("name", function(job) job:batch { other = {} } end)
      t.case("own", function() local nothing; return nothing.field end)
      t.case("fine", function(job) job:batch() end)]]
    assert.equal(1, got.status)
    assert.matches("ERROR name .-\n%s+job_test.lua:3: the job has no input 'other'; there are:\n%s+1  'lines'", got.out)
    assert.matches("ERROR own .-\n%s+job_test.lua:4: attempt to index", got.out)
    assert.matches("1 passed, 0 failed, 2 errors", got.out)
  end)

  it("shows the engine's warnings with a case that failed", function()
    local got = program.run({
      ["job.lua"] = WORDCOUNT:gsub("local ssc", "local n = 0\nlocal ssc", 1):gsub("return word, 1", "n = n + 1 %0"),
      ["job_test.lua"] = cases [[
        t.case("x", function(job) job:batch { lines = { "a" } } job:expect("counts", {}) end)]],
    }, "rille test")
    assert.matches("WARN  job.lua:%d+: the function given to map assigns 'n'", got.out)
    assert.equal("", got.err)
  end)

  it("says what is wrong with a test file, and goes on with the others", function()
    local got = program.run({
      ["job.lua"] = WORDCOUNT,
      ["a_test.lua"] = "t.case(",
      ["b_test.lua"] = "error 'not today'",
      ["c_test.lua"] = "-- nothing",
      ["d_test.lua"] = 'require("rille.testing").case("x", function() end)',
      ["e_test.lua"] = cases [[t.case("good", function(job) job:batch() end)]],
    }, "rille test")
    assert.equal(1, got.status)
    assert.matches("a_test.lua:1: unexpected symbol", got.out)
    assert.matches("b_test.lua:1: not today", got.out)
    assert.matches("c_test.lua: there is no t.case", got.out)
    assert.matches("d_test.lua:1: case: say first which job it is of", got.out)
    assert.matches("1 passed, 0 failed, 4 errors", got.out)
  end)

  it("finds *_test.lua below directories, takes files by name, and filters cases", function()
    local one = 'local t = require "rille.testing"\nt.job { script = "%sjob.lua" }\n' ..
      't.case("red", function(job) job:batch() end) t.case("blue", function(job) job:batch() end)'
    local directory = program.project {
      ["job.lua"] = WORDCOUNT, ["tests/deep/a_test.lua"] = one:format "../../", ["tests/b.lua"] = one:format "../",
      [".hidden/c_test.lua"] = one:format "../",
    }
    local all = program.run_in(directory, "rille test")
    local named = program.run_in(directory, "rille test tests/b.lua --filter blue")
    local none = program.run_in(directory, "rille test .hidden/none")
    local empty = program.run_in(directory, "rille test tests --filter green")
    support.remove(directory)
    assert.matches("^tests/deep/a_test.lua\n", all.out)
    assert.matches("2 passed, 0 failed", all.out)
    assert.matches("^tests/b.lua\n  ok    blue .-\n1 passed, 0 failed", named.out)
    assert.equal(2, none.status)
    assert.matches("rille: .hidden/none is not there", none.err)
    assert.equal(1, empty.status)
    assert.matches("nothing to test", empty.err)
  end)

  it("writes TAP", function()
    local got = test([[
      t.case("good #1", function(job) job:batch() end)
      t.case("bad", function(job) job:batch() job:expect("counts", { 1 }) end)]], "rille test --tap")
    assert.equal(1, got.status)
    assert.matches("^TAP version 13\nok 1 %- job_test.lua: good \\#1\n" ..
      "not ok 2 %- job_test.lua: bad\n# job_test.lua:4: ", got.out)
    assert.matches("\n#   %- 1\n", got.out)
    assert.matches("\n1%.%.2\n$", got.out)
  end)

  it("writes a JUnit file beside the usual output", function()
    local got = test([[
      t.case("good", function(job) job:batch() end)
      t.case("a < b", function(job) job:batch() job:expect("counts", { "<&>\1" }) end)
      t.case("broken", function() error "broken" end)]], "rille test --junit=out.xml; cat out.xml")
    assert.matches("1 passed, 1 failed, 1 error ", got.out)
    assert.matches('<testsuite name="job_test.lua" tests="3" failures="1" errors="1" time="[%d.]+">', got.out)
    assert.matches('<testcase classname="job_test.lua" name="good" time="[%d.]+"/>', got.out)
    assert.matches('name="a &lt; b" time="[%d.]+">\n%s+<failure message="job_test.lua:4: [^"]*">', got.out)
    assert.matches('%- &quot;&lt;&amp;&gt;\\x01&quot;', got.out)
    assert.matches('<error message="job_test.lua:5: broken">', got.out)
    assert.is_nil(got.out:find "[%z\1-\8\11-\31]")
  end)

  it("fails when the JUnit file cannot be written", function()
    local got = test([[t.case("good", function(job) job:batch() end)]], "rille test --junit /no/such/dir/out.xml")
    assert.equal(1, got.status)
    assert.matches("the JUnit file cannot be written: /no/such/dir/out.xml", got.err)
  end)

  it("takes settings", function()
    local got = test([[
      t.case("two workers as a rule", function(job)
        local conf = job:context():context().handle
        print(conf:conf "rille.master", conf:conf "rille.app.name", conf:conf "rille.task.maxFailures")
      end)]], "rille test --master local[3] --conf appName=x --conf=rille.task.maxFailures=7")
    assert.matches("local%[3%]\tx\t7\n", got.out)
  end)

  it("refuses wrong usage", function()
    for command, message in pairs {
      ["--watches"] = "unknown option %-%-watches", ["--junit"] = "a value is missing behind %-%-junit",
      ["--conf x"] = "%-%-conf needs KEY=VALUE, not x", ["--tap=1"] = "%-%-tap takes no value",
    } do
      local got = program.run({}, "rille test " .. command)
      assert.equal(2, got.status)
      assert.matches("rille: " .. message .. "\nTry 'rille test %-%-help'", got.err)
    end
    assert.matches("^usage: rille test", program.run({}, "rille test --help").out)
    assert.matches("^usage: rille test", program.run({}, "rille help test").out)
  end)

  it("passes for the sample jobs", function()
    local got = program.run_in(os.getenv "RILLE_SOURCE", "rille test scripts/tests")
    assert.equal(0, got.status, got.out .. got.err)
    assert.equal("", got.err)
  end)
end)

describe("rille test --watch", function()
  it("runs again when the job, a module or a test changes, until Ctrl-C", function()
    local directory = program.project {
      ["job.lua"] = 'local one = require "one"\n' .. WORDCOUNT:gsub("word, 1", "word, one"), ["one.lua"] = "return 1",
      ["job_test.lua"] = cases [[
        t.case("one", function(job) job:batch { lines = { "a" } } job:expect("counts", { { "a", 1 } }) end)]],
    }
    local pipe = assert(io.popen(("cd '%s' && echo $$ && exec timeout 300 rille test --watch 2>&1"):format(directory)))
    local pid = pipe:read "l"
    -- Whole at once: it looks all the time, and would run with a file that is empty yet.
    local function change(name, text)
      support.write(directory .. "/.new", text)
      assert(os.rename(directory .. "/.new", directory .. "/" .. name))
    end
    local function summary()
      for line in pipe:lines() do
        if line:find "passed," then
          assert.matches("waiting for changes", pipe:read "l")
          return line:match "^%d+ passed, %d+ failed"
        end
      end
    end
    assert.equal("1 passed, 0 failed", summary())
    change("one.lua", "return 10")
    assert.equal("0 passed, 1 failed", summary())
    change("one.lua", "return 1")
    assert.equal("1 passed, 0 failed", summary())
    change("new_test.lua", cases [[t.case("two", function(job) job:batch() end)]])
    assert.equal("2 passed, 0 failed", summary())
    os.execute("kill -INT " .. pid)
    assert.is_nil(summary())
    pipe:close()
    support.remove(directory)
  end)
end)
