--- Durable jobs as processes: killed or failed in an output, and started again on their directory.
local durable = require "spec.lua.durable"
local support = require "spec.lua.support"

local words, run = durable.words, durable.run
local told, last, changes = durable.told, durable.last, durable.changes

local function case(what, text, body) it(what, durable.in_project(text, body)) end

describe("a durable job", function()
  case("is not counted twice when killed in an output", [[
    local first = true
    counts:foreachRDD(function(rdd, time)
      if first then first = false io.open("ready", "w"):close() end
      tell("A", rdd, time)
      if rdd:count() >= 2 and once "killed" then die() end
    end)
    counts:foreachRDD(function(rdd) if exists "killed" then stop_at(3)(rdd) end end)
  ]], function(dir)
    words(dir, "a b a")
    assert.equal(137, run(dir).status)
    local killed = told(dir, "A")
    words(dir, "c")
    local result = run(dir)
    assert.equal(0, result.status, result.err)
    assert.same({ "(a,2) (b,1)", "(a,2) (b,1) (c,1)" }, changes(dir, "A"))
    local again = told(dir, "A")[#killed + 1] -- the batch that was killed, at its own time
    assert.same(killed[#killed], again)
    assert.matches("1 batch was not complete", result.err)
  end)

  case("runs a failed output alone again", [[
    counts:foreachRDD(function(rdd, time) tell("A", rdd, time) end)
    counts:foreachRDD(function(rdd, time)
      if rdd:count() >= 2 and once "failed" then error "the output is broken" end
      tell("B", rdd, time)
    end)
    counts:foreachRDD(function(rdd, time) if exists "again" then stop_at(2)(rdd) end end)
  ]], function(dir)
    words(dir, "a b")
    local failed = run(dir)
    assert.equal(1, failed.status)
    assert.matches("job.lua:%d+: the output is broken", failed.err)
    support.write(dir .. "/again", "")
    local result = run(dir)
    assert.equal(0, result.status, result.err)
    local times = {}
    for _, name in ipairs { "A", "B" } do
      times[name] = {}
      for _, line in ipairs(told(dir, name)) do
        assert.is_nil(times[name][line.time], name .. " ran twice at " .. line.time)
        times[name][line.time] = line.counts
      end
    end
    assert.same(times.A, times.B)
  end)

  -- Batches pile up behind the one that fails, and the log has short segments.
  case("lets no later batch pass one whose output failed", [[
    local lines, looks = ssc:fileStream("in", { newFilesOnly = false }), 0
    lines:foreachRDD(function(rdd, time)
      -- Behind the first look, so that a slow start does not make the file too old for so short a window; and behind
      -- the tick by more than a file system's clock may be late. Again, as the shell may be too slow for it.
      looks = looks + 1
      local name = "in/f" .. looks
      if looks % 20 == 1 and not exists "again" then os.execute("sleep 0.03; echo a >.new && mv .new " .. name) end
      local fail = rdd:count() > 0 and not exists "again"
      if fail then
        rdd:mapPartitions(function(it)
          os.execute [=[cd ck/log; last=$(ls -d log-* | tail -n 1)
            until [ $(ls -d log-* | sed "1,/$last/d" | wc -l) -ge 5 ]; do sleep 0.05; done]=]
          return it
        end):count()
      end
      if fail then once "failed" error "the output is broken" end
      tell(exists "failed" and not exists "again" and "later" or "A", rdd, time)
      if exists "again" and rdd:count() > 0 then ssc:stop(true, true) end
    end)
  ]], function(dir)
    local settings = "rille.streaming.fileStream.minRememberDuration=0.1 " ..
      "rille.streaming.driver.writeAheadLog.rollingInterval=0.02"
    assert.equal(1, run(dir, settings, "0.1").status)
    assert.same({}, told(dir, "later"))
    support.write(dir .. "/again", "")
    local result = run(dir, settings, "0.1")
    assert.equal(0, result.status, result.err)
    assert.same({ "a" }, changes(dir, "A"))
  end)

  case("passes a failed output over when it is to skip", [[
    counts:foreachRDD(function(rdd, time)
      if rdd:count() == 2 and once "failed" then error "the output is broken" end
      tell("A", rdd, time)
      if exists "failed" then ssc:stop(true, true) end
    end)
    ssc:start()
    ssc:awaitTermination() -- what is passed over does not end it
    os.exit(0)
  ]], function(dir)
    words(dir, "a b")
    local result = run(dir, "rille.streaming.onBatchFailure=skip")
    assert.matches("what foreachRDD at job.lua:%d+ would have given is left out", result.err)
    assert.equal("(a,1) (b,1)", last(dir, "A"))
  end)

  -- Closures of one text, told apart by what they name.
  local OUTPUTS <const> = [[
    for name in arg[3]:gmatch "%a" do
      counts:foreachRDD(function(rdd, time)
        if name == arg[4] then error("no " .. name) end
        tell(name, rdd, time)
        if not arg[4] then ssc:stop(true, true) end
      end)
    end
  ]]

  case("finds the outputs that are done wherever they stand in the script", OUTPUTS, function(dir)
    words(dir, "a b")
    local result = run(dir, "", "0.2 ABC B")
    assert.matches("foreachRDD at job.lua:%d+: job.lua:%d+: no B", result.err)
    local pending = tonumber(result.err:match "batch (%d+) ms: foreachRDD")
    assert.equal(1, #told(dir, "A"))
    result = run(dir, "", "0.2 ZBA")
    assert.equal(0, result.status, result.err)
    assert.equal(pending, told(dir, "B")[1].time) -- A took no other's place
    assert.equal(pending, told(dir, "Z")[1].time) -- new: it has not seen the batch
    local times = {}
    for _, line in ipairs(told(dir, "A")) do
      assert.is_nil(times[line.time], "A was run twice")
      times[line.time] = true
    end
    if #told(dir, "C") == 1 then
      assert.matches("batch " .. pending .. " ms: 1 output done before the job was stopped is not in the script any " ..
        "more, or changed", result.err)
    end
  end)

  -- Nothing tells these apart but how many they are.
  case("runs outputs that are alike again when one of them is gone", [[
    for i = 1, tonumber(arg[3]) do
      counts:foreachRDD(function(rdd, time)
        tell("A", rdd, time)
        if arg[4] and not once "first" then error "no second" end
        if not arg[4] then ssc:stop(true, true) end
      end)
    end
  ]], function(dir)
    words(dir, "a")
    local failed = run(dir, "", "0.2 2 fail")
    assert.equal(1, failed.status)
    local pending = tonumber(failed.err:match "batch (%d+) ms: foreachRDD")
    local before = #told(dir, "A")
    local result = run(dir, "", "0.2 1")
    assert.equal(0, result.status, result.err)
    assert.equal(pending, told(dir, "A")[before + 1].time)
    assert.matches("1 output done before the job was stopped is not in the script any more", result.err)
  end)
end)
