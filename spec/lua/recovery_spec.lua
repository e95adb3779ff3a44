--- Durable jobs as processes: what their inputs and their state are after a failure or a stop.
local durable = require "spec.lua.durable"
local program = require "spec.lua.program"
local support = require "spec.lua.support"

local job, words, run = durable.job, durable.words, durable.run
local told, last, changes = durable.told, durable.last, durable.changes

local function case(what, text, body) it(what, durable.in_project(text, body)) end

describe("a durable job", function()
  case("does not take what was discarded again", [[
    local checked = counts:map(function(word, n)
      if word == "poison" and n == 1 and not io.open "harmless" then error "cannot take this" end
      return word, n
    end):updateStateByKey(function(values, n) return values[#values] or n end):uid "checked"
    checked:foreachRDD(function(rdd, time) tell("A", rdd, time) end)
    counts:foreachRDD(function(rdd, time)
      if exists "c" then stop_at(2)(rdd) else ssc:stop(true, true) end -- the batch before has no outputs
    end)
  ]], function(dir)
    words(dir, "poison")
    local result = run(dir, "rille.streaming.onBatchFailure=skip rille.task.maxFailures=1")
    assert.equal(0, result.status, result.err)
    assert.matches("ERROR batch %d+ ms: .*cannot take this", result.err)
    assert.matches("ERROR   job.lua:%d+: in function", result.err)
    support.write(dir .. "/c", "")
    support.write(dir .. "/harmless", "")
    words(dir, "a b")
    result = run(dir, "rille.streaming.onBatchFailure=skip")
    assert.equal(0, result.status, result.err)
    assert.equal("(a,1) (b,1)", last(dir, "A"))
  end)

  -- The batch of an input that cannot be read takes nothing of it, and each input goes on where it was: also when what
  -- comes next is older than a first look would take, and whichever is asked first.
  for mode, orders in pairs { skip = { "one two", "two one" }, stop = { "one two" } } do
    for _, order in ipairs(orders) do
      case(("keeps the places of inputs when one cannot be read: %s, %s"):format(mode, order), ([[
        local inputs = {}
        for name in ("%s"):gmatch "%%S+" do
          inputs[name] = ssc:fileStream(name, { newFilesOnly = false, filter = name == "two" and function()
            if exists "broken" then once "failed" error "cannot be looked at" end
            return true
          end or nil })
        end
        inputs.one:union(inputs.two):foreachRDD(function(rdd, time)
          if rdd:count() > 0 then tell("A", rdd, time) end
          if rdd:count() > 0 then ssc:stop(true, false) end
        end)
        if exists "broken" and arg[3] == "skip" then -- it does not end by itself
          ssc:start()
          while not exists "failed" do rille.sleep(0.05) end
          rille.sleep(0.3)
          ssc:stop(true, false)
          os.exit(0)
        end
      ]]):format(order), function(dir)
        local settings = "rille.streaming.fileStream.minRememberDuration=0.1 rille.streaming.catchUp=merge " ..
          "rille.streaming.onBatchFailure=" .. mode
        local function bring(name)
          support.write(("%s/%s/.new"):format(dir, name), name .. "\n")
          assert(os.execute(("cd '%s/%s' && touch .new && mv .new $(date +%%N)"):format(dir, name)))
        end
        assert(os.execute(("mkdir '%s/one' '%s/two'"):format(dir, dir)))
        bring "one"
        assert.equal(0, run(dir).status)
        assert.same({ "one" }, changes(dir, "A"))
        support.write(dir .. "/broken", "")
        bring "two"
        local failed = run(dir, settings, "0.2 " .. mode)
        assert.equal(mode == "skip" and 0 or 1, failed.status, failed.err)
        assert.matches("cannot be looked at", failed.err)
        os.remove(dir .. "/broken")
        bring "one"
        os.execute "sleep 1"
        local result = run(dir, settings, "0.2")
        assert.equal(0, result.status, result.err)
        assert.same({ "one", "one two" }, changes(dir, "A"), result.err)
      end)
    end
  end

  case("gives a batch nothing of an input that it did not have", [[
    for name in arg[3]:gmatch "%w+" do
      ssc:fileStream(name, { newFilesOnly = false }):foreachRDD(function(rdd, time)
        if rdd:count() == 0 then return end
        if name == "two" and once "killed" then die() end
        tell("A", rdd, time)
        ssc:stop(true, name == "two") -- the last batch of the first run has the file
      end)
    end
  ]], function(dir)
    assert(os.execute(("mkdir '%s/one' '%s/two' && echo one >'%s/one/a' && echo two >'%s/two/a'"):format(
      dir, dir, dir, dir)))
    assert.equal(0, run(dir, "", "0.2 one").status)
    assert.same({ "one" }, changes(dir, "A"))
    local killed = run(dir, "", "0.2 two")
    assert.equal(137, killed.status)
    assert.matches("the job has no input '[^']*one[^']*' any more; its place is kept", killed.err)
    local result = run(dir, "", "0.2 one+two")
    assert.equal(0, result.status, result.err)
    assert.same({ "one", "two" }, changes(dir, "A"))
    assert.equal(2, #told(dir, "A"))
  end)

  case("does not drop what a pending batch has of an input that is gone, unless asked to", [[
    if arg[3] ~= "gone" then
      ssc:fileStream("two", { newFilesOnly = false }):uid "two":foreachRDD(function(rdd, time)
        if rdd:count() == 0 then return end
        if not exists "killed" or exists "again" then io.open("killed", "w"):close() os.remove "again" die() end
        tell("A", rdd, time)
        ssc:stop(true, false)
      end)
    end
    counts:foreachRDD(function() if arg[3] == "gone" then ssc:stop(true, false) end end)
  ]], function(dir)
    assert(os.execute(("mkdir '%s/two' && echo x >'%s/two/a'"):format(dir, dir)))
    assert.equal(137, run(dir, "", "0.2 there").status)
    local refused = run(dir, "", "0.2 gone")
    assert.equal(1, refused.status)
    assert.matches("was not complete, and has records of 'two', .*allowDropped = true", refused.err)
    assert.equal(0, run(dir, "", "0.2 there").status)
    assert.same({ "x" }, changes(dir, "A"))
    assert.equal(0, run(dir, "", "0.2 gone").status) -- nothing is pending
    support.write(dir .. "/again", "")
    assert(os.execute(("echo y >'%s/two/b'"):format(dir)))
    assert.equal(137, run(dir, "", "0.2 there").status)
    local dropped = run(dir, "rille.checkpoint.allowDropped=true", "0.2 gone")
    assert.equal(0, dropped.status, dropped.err)
    assert.matches("runs without its records of 'two'", dropped.err)
  end)

  -- Without another file stream, so that the log is cut meanwhile.
  it("does not read files again when their stream was gone for a while", function()
    local dir = program.project { ["job.lua"] = [[
      local rille = require "rille"
      local ssc = rille.StreamingContext({ appName = "gone", master = "local[2]",
        ["rille.streaming.driver.writeAheadLog.rollingInterval"] = "0.02" }, 0.1)
      ssc:checkpoint "ck"
      local left, read = tonumber(arg[2]), 0
      ssc:socketTextStream("localhost", 1):uid "lines":foreachRDD(function()
        left = left - 1
        -- The first run has all files in batches that are complete: one that is not would give them to nobody.
        if left <= 0 and (arg[1] ~= "first" or read == 3) then ssc:stop(true, false) end
      end)
      if arg[1] ~= "gone" then
        local n = 0
        ssc:fileStream("in", { newFilesOnly = false }):uid "files":foreachRDD(function(rdd)
          local out = io.open("out", "a")
          for _, line in ipairs(rdd:collect()) do
            out:write(line, "\n")
            read = read + 1
          end
          out:close()
          n = n + 1
          if arg[1] == "first" and n <= 3 then
            local file = io.open("." .. n, "w")
            file:write(n, "\n")
            file:close()
            os.rename("." .. n, "in/" .. n)
          end
        end)
      end
      ssc:start()
      ssc:awaitTermination()
    ]] }
    assert(os.execute(("mkdir '%s/in'"):format(dir)))
    for _, arguments in ipairs { "first 8", "gone 15", "gone 15", "back 5" } do
      local result = program.run_in(dir, "rille run job.lua " .. arguments)
      assert.equal(0, result.status, result.err)
    end
    local out = assert(io.open(dir .. "/out"))
    assert.equal("1\n2\n3\n", out:read "a")
    out:close()
    support.remove(dir)
  end)

  case("keeps a batch whose state function fails, for code that does not", [[
    local checked = counts:map(function(word, n)
      if word == "bad" and not io.open "mended" then error "cannot take this" end
      return word, n
    end):updateStateByKey(function(values, n) return values[#values] or n end):uid "checked"
    checked:foreachRDD(function(rdd, time) tell("A", rdd, time) stop_at(3)(rdd) end)
  ]], function(dir)
    words(dir, "a b bad")
    local failed = run(dir, "rille.task.maxFailures=1")
    assert.equal(1, failed.status)
    assert.matches("cannot take this", failed.err)
    support.write(dir .. "/mended", "")
    local result = run(dir)
    assert.equal(0, result.status, result.err)
    assert.equal("(a,1) (b,1) (bad,1)", last(dir, "A"))
  end)

  -- Batches behind it may stand on it.
  case("does not discard a batch whose state was made before", [[
    local checked = counts:transform(function(rdd)
      if exists "broken" and once "failed" then error "not this one" end
      return rdd
    end)
    counts:foreachRDD(function(rdd, time)
      if rdd:count() > 0 and once "broken" then error "the output is broken" end
      tell("A", rdd, time)
      if exists "failed" then stop_at(2)(rdd) end
    end)
    checked:foreachRDD(function() end)
    ssc:start()
    while ssc:getState() == "ACTIVE" do pcall(ssc.awaitTermination, ssc) end -- what is reported does not end it
    os.exit(exists "failed" and 0 or 1)
  ]], function(dir)
    words(dir, "a a")
    assert.equal(1, run(dir).status)
    words(dir, "b")
    local result = run(dir, "rille.streaming.onBatchFailure=skip")
    assert.equal(0, result.status, result.err)
    assert.matches("its state was made before", result.err)
    assert.equal("(a,2) (b,1)", last(dir, "A"))
  end)

  case("keeps a batch that fails at each start, and what was missed since", [[
    local checked = counts:map(function(word, n)
      if word == "bad" and not io.open "mended" then error "cannot take this" end
      return word, n
    end):updateStateByKey(function(values, n) return values[#values] or n end):uid "checked"
    checked:foreachRDD(function(rdd, time) tell("A", rdd, time) stop_at(4)(rdd) end)
  ]], function(dir)
    words(dir, "a b bad")
    for i = 1, 3 do
      local failed = run(dir, "rille.task.maxFailures=1")
      assert.equal(1, failed.status)
      assert.matches("cannot take this", failed.err)
      if i > 1 then assert.matches("1 batch was not complete", failed.err) end
      words(dir, "a")
    end
    local before = told(dir, "A")
    support.write(dir .. "/mended", "")
    words(dir, "c")
    local result = run(dir)
    assert.equal(0, result.status, result.err)
    assert.matches("1 batch was not complete", result.err)
    assert.equal("(a,4) (b,1) (bad,1) (c,1)", last(dir, "A"))
    assert.equal("(a,1) (b,1) (bad,1)", told(dir, "A")[#before + 1].counts)
  end)

  -- What is queued when it is told to stop has not begun: the next start misses it again.
  for _, graceful in ipairs { "true", "false" } do
    case("may be told to stop while it catches up: stopGracefullyOnShutdown = " .. graceful, [[
      counts:foreachRDD(function(rdd, time)
        tell("A", rdd, time)
        if exists "slow" then
          if #rdd:collect() > 1 and once "told" then os.execute "kill -TERM $PPID" end
          rille.sleep(0.2)
        else
          stop_at(tonumber(arg[3]))(rdd)
        end
      end)
    ]], function(dir)
      local settings = "rille.streaming.gracefulStopTimeout=0.5 rille.streaming.stopGracefullyOnShutdown=" .. graceful
      words(dir, "a")
      assert.equal(0, run(dir, settings, "0.1 1").status)
      words(dir, "a b")
      os.execute "sleep 1.5"
      support.write(dir .. "/slow", "")
      local stopped = run(dir, settings, "0.1")
      assert.equal(0, stopped.status, stopped.err)
      local before = #told(dir, "A")
      os.remove(dir .. "/slow")
      words(dir, "c")
      local result = run(dir, settings, "0.1 3")
      assert.equal(0, result.status, result.err)
      assert.matches("batches were missed", result.err)
      assert.equal("(a,2) (b,1) (c,1)", last(dir, "A"))
      local list = told(dir, "A")
      assert.is_true(#list > before)
      for i = 2, #list do assert.equal(100, list[i].time - list[i - 1].time) end
    end)
  end

  case("takes on a changed function with the state kept", [[
    counts:foreachRDD(function(rdd, time) tell("A", rdd, time) stop_at(1)(rdd) end)
  ]], function(dir)
    words(dir, "a a")
    assert.equal(0, run(dir).status)
    support.write(dir .. "/job.lua", (job [[
      counts:map(function(word, n) return word, "new " .. n end)
        :foreachRDD(function(rdd, time) tell("A", rdd, time) stop_at(2)(rdd) end)
    ]]))
    words(dir, "a b")
    local result = run(dir)
    assert.equal(0, result.status, result.err)
    assert.equal("(a,new 3) (b,new 1)", last(dir, "A"))
  end)

  for how, batches in pairs { all = "run now", merge = "run as one", skip = "left to the next one" } do
    case("takes what came while it was down: catchUp = " .. how, [[
      counts:foreachRDD(function(rdd, time)
        tell("A", rdd, time)
        stop_at(tonumber(arg[3]))(rdd)
      end)
    ]], function(dir)
      words(dir, "a")
      assert.equal(0, run(dir, "", "0.2 1").status)
      local before = #told(dir, "A")
      words(dir, "b")
      os.execute "sleep 1.2"
      words(dir, "c")
      local result = run(dir, "rille.streaming.catchUp=" .. how, "0.2 3")
      assert.equal(0, result.status, result.err)
      assert.equal("(a,1) (b,1) (c,1)", last(dir, "A"))
      assert.matches(batches, result.err, 1, true)
      local list = told(dir, "A")
      local gap = list[before + 1].time - list[before].time
      if how == "all" then assert.equal(200, gap) else assert.is_true(gap > 1000) end
      for i = 2, #list do assert.equal(0, (list[i].time - list[1].time) % 200) end
    end)
  end
end)
