--- Durable jobs as processes: killed, failed and stopped, and started again on their directory.
local program = require "spec.lua.program"
local support = require "spec.lua.support"

-- A job over files in ./in, with the words of all of them as state. Each output writes a line "NAME TIME COUNTS"; what
-- else a case needs is put in at "-- here".
local JOB <const> = [==[
local rille = require "rille"
local conf = { appName = "recovery", master = "local[2]" }
for k, v in string.gmatch(arg[1] or "", "(%S+)=(%S+)") do conf[k] = v end
local ssc = rille.StreamingContext(conf, tonumber(arg[2] or 0.2))
ssc:checkpoint "ck"
local function exists(name)
  local f = io.open(name)
  return f and f:close()
end
-- True only the first time in the life of the job.
local function once(name)
  if exists(name) then return false end
  io.open(name, "w"):close()
  return true
end
local function die() os.execute "kill -9 $PPID" rille.sleep(60) end
local counts = ssc:fileStream("in", { newFilesOnly = false })
  :flatMap(function(line) return line:gmatch "%S+" end)
  :map(function(word) return word, 1 end)
  :updateStateByKey(function(values, n)
    n = n or 0
    for _, v in ipairs(values) do n = n + v end
    return n
  end)
  :uid "counts"
local function tell(name, rdd, time)
  local texts = {}
  for _, r in ipairs(rdd:collect()) do texts[#texts + 1] = tostring(r) end
  table.sort(texts)
  local out = io.open("out", "a")
  out:write(name, " ", time, " ", table.concat(texts, " "), "\n")
  out:close()
end
local function stop_at(wanted)
  return function(rdd) if rdd:count() >= wanted then ssc:stop(true, true) end end
end
-- here
ssc:start()
ssc:awaitTermination()
]==]

local function job(text) return (JOB:gsub("%-%- here", function() return text end)) end

-- A directory with the job, and a file with these words that becomes new when `rename` is called.
local function project(text)
  local dir = program.project { ["job.lua"] = job(text) }
  assert(os.execute(("mkdir '%s/in'"):format(dir)))
  return dir
end

local files = 0
local function words(dir, text)
  files = files + 1
  support.write(("%s/.new"):format(dir), text .. "\n")
  assert(os.execute(("touch '%s/.new' && mv '%s/.new' '%s/in/f%d'"):format(dir, dir, dir, files)))
end

local function run(dir, settings, more)
  return program.run_in(dir, ("rille run job.lua '%s' %s"):format(settings or "", more or ""))
end

-- Lines of ./out by name, in order: { time =, counts = }.
local function told(dir, name)
  local list = {}
  local file = io.open(dir .. "/out")
  for line in file and file:lines() or function() end do
    local who, time, counts = line:match "^(%S+) (%d+) ?(.*)$"
    if who == name then list[#list + 1] = { time = tonumber(time), counts = counts } end
  end
  if file then file:close() end
  return list
end

local function last(dir, name)
  local list = told(dir, name)
  return list[#list] and list[#list].counts
end

-- Those with other counts than the line before.
local function changes(dir, name)
  local list, seen = {}, nil
  for _, line in ipairs(told(dir, name)) do
    if line.counts ~= seen and line.counts ~= "" then list[#list + 1] = line.counts end
    seen = line.counts
  end
  return list
end

local function case(what, text, body)
  it(what, function()
    local dir = project(text)
    local ok, why = xpcall(body, debug.traceback, dir)
    support.remove(dir)
    if not ok then error(why, 0) end
  end)
end

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
      local left = tonumber(arg[2])
      ssc:socketTextStream("localhost", 1):uid "lines":foreachRDD(function()
        left = left - 1
        if left == 0 then ssc:stop(true, false) end
      end)
      if arg[1] ~= "gone" then
        local n = 0
        ssc:fileStream("in", { newFilesOnly = false }):uid "files":foreachRDD(function(rdd)
          local out = io.open("out", "a")
          for _, line in ipairs(rdd:collect()) do out:write(line, "\n") end
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

  case("is refused with another batch duration, and by a second process", [[
    counts:foreachRDD(function(rdd, time)
      if exists "second" then
        os.execute "rille run job.lua >second 2>&1"
        ssc:stop(true, true)
      end
    end)
  ]], function(dir)
    support.write(dir .. "/second", "")
    assert.equal(0, run(dir).status)
    assert.matches("another process %(%d+%) has it open", support.read(dir .. "/second"))
    local result = run(dir, "", "0.5")
    assert.equal(1, result.status)
    assert.matches("the job in ck has batches of 0.2 s, this one of 0.5 s", result.err)
    assert.matches("job.lua:%d+:", result.err)
  end)

  case("cannot be gone on with over a queue", [[
    counts:foreachRDD(function(rdd, time) ssc:stop(true, false) end)
    if arg[3] then ssc:queueStream { ssc:context():parallelize { 1 } }:print() end
  ]], function(dir)
    assert.equal(0, run(dir, "", "0.2 queue").status)
    local result = run(dir, "", "0.2 queue")
    assert.equal(1, result.status)
    assert.matches("Queue stream %[1%] at job.lua:%d+ cannot give again what it gave before", result.err)
    assert.equal(0, run(dir).status)
  end)

  case("is not begun anew beside the state of a log that is gone", [[
    counts:foreachRDD(function(rdd, time) tell("A", rdd, time) stop_at(2)(rdd) end)
  ]], function(dir)
    words(dir, "a b")
    assert.equal(0, run(dir).status)
    os.execute("rm " .. dir .. "/ck/log/log-*")
    local result = run(dir)
    assert.equal(1, result.status)
    assert.matches("all its segments are missing", result.err)
    support.remove(dir .. "/ck/log")
    result = run(dir)
    assert.equal(1, result.status)
    assert.matches("the state of a job is there, and its log is missing", result.err)
    words(dir, "c")
    result = run(dir, "rille.checkpoint.allowDropped=true")
    assert.equal(0, result.status, result.err)
    assert.matches("the log lacks what led to the state", result.err)
    os.remove(dir .. "/ck/state/data.mdb") -- of which the new log has the end only
    result = run(dir)
    assert.equal(1, result.status)
    assert.matches("data.mdb is missing, and the log does not go back to the job's beginning", result.err)
  end)

  -- LMDB would crash over the first two, and take the next for a new one.
  case("tells of an image that is cut off, of none, and of what can be done", [[
    counts:foreachRDD(function(rdd, time) tell("A", rdd, time) stop_at(2)(rdd) end)
  ]], function(dir)
    words(dir, "a b")
    assert.equal(0, run(dir, "rille.streaming.driver.writeAheadLog.rollingInterval=0.02").status)
    words(dir, "c")
    local function refused(how, what)
      assert(os.execute(("cd '%s' && rm -rf ck2 && cp -a ck ck2 && cd ck/state && %s"):format(dir, how)))
      local result = run(dir)
      assert.equal(1, result.status, result.err)
      assert.matches("^rille: job.lua:%d+: " .. what, result.err)
      assert(os.execute(("cd '%s' && rm -r ck && mv ck2 ck"):format(dir)))
    end
    local damaged = "ck/state/data.mdb is damaged: .*; `rille inspect ck %-%-verify` tells all that is, and %-%-repair"
    refused("truncate -s 8192 data.mdb", damaged)
    refused("head -c 8192 /dev/zero | dd of=data.mdb conv=notrunc status=none", damaged)
    refused("truncate -s 0 data.mdb", "ck/state/data.mdb is damaged: it is empty")
    local oldest = ("; cd ../log; rm $(ls log-* | head -n 1)")
    refused("cd ." .. oldest, "damaged log: ck/log: records from 1 on are missing, it begins with record %d+; .*" ..
      "allowDropped")
    assert(os.execute(("cd '%s' && cp -a ck ck3 && cd ck/log && rm $(ls log-* | head -n 1)"):format(dir)))
    assert.matches("records from 1 on are missing", run(dir, "rille.checkpoint.allowDropped=true").err)
    refused("rm data.mdb", "ck/state/data.mdb is missing, and the log does not go back to the job's beginning")
    os.execute(("cd '%s' && rm -r ck && mv ck3 ck && rm ck/state/data.mdb"):format(dir))
    local result = run(dir)
    assert.equal(0, result.status, result.err)
    assert.matches("ck/state/data.mdb is missing: the state is made anew of the log", result.err)
    assert.equal("(a,1) (b,1) (c,1)", last(dir, "A"))
  end)

  case("records its script anew where what was recorded is damaged, and is not recovered from that", [[
    counts:foreachRDD(function(rdd, time) tell("A", rdd, time) stop_at(2)(rdd) end) -- a mark
  ]], function(dir)
    words(dir, "a b")
    assert.equal(0, run(dir).status)
    local image = dir .. "/ck/state/data.mdb"
    support.write(image, (support.read(image):gsub("%-%- a mark", "-- a Mark")))
    local result = program.run_in(dir, "rille recover ck")
    assert.equal(1, result.status)
    assert.matches("the script in the checkpoint in ck cannot be had: the note 'job' %(script%) in ck/state is damaged",
      result.err)
    result = run(dir)
    assert.equal(0, result.status, result.err)
    local warning = "WARN  ck/state: what was recorded of the job, the note 'job' %(script%), was damaged; it is " ..
      "replaced"
    assert.matches(warning, result.err)
    assert.equal(0, program.run_in(dir, "rille inspect ck --verify").status)
    assert.equal(0, program.run_in(dir, "rille recover ck").status)
  end)

  case("tells of state that no operator takes", [[
    local renamed = io.open "renamed"
    counts:map(function(word, n) return word, n end)
      :updateStateByKey(function(values, n) return values[#values] or n end)
      :uid(renamed and "after" or "before")
      :foreachRDD(function(rdd, time) stop_at(1)(rdd) end)
  ]], function(dir)
    words(dir, "a")
    assert.equal(0, run(dir).status)
    support.write(dir .. "/renamed", "")
    local result = run(dir)
    assert.equal(0, result.status, result.err)
    assert.matches("there is state of 'before' (1 keys), and the job has no operator of that uid", result.err, 1, true)
  end)

  case("gives an accumulator of another kind no value that was saved", [[
    local sc, kind = ssc:context(), os.getenv "KIND" or "long"
    local seen = sc[kind .. "Accumulator"](sc, "seen")
    local other, done = sc:longAccumulator("other"), false
    counts:foreachRDD(function(rdd, time)
      if done or rdd:count() == 0 then return end
      done = true
      seen:add(5)
      other:add(1)
      local value = seen:value()
      print(type(value) == "table" and table.concat(value, ",") or value, other:value())
      ssc:stop(true, true)
    end)
  ]], function(dir)
    words(dir, "a")
    assert.equal("5\t1\n", run(dir).out)
    local result = program.run_in(dir, "env KIND=collection rille run job.lua")
    assert.equal("5\t2\n", result.out)
    assert.matches("accumulator 'seen' was a long accumulator in the job's checkpoint, and is a collection " ..
      "accumulator now: it begins anew", result.err, 1, true)
    result = program.run_in(dir, "env KIND=collection rille run job.lua")
    assert.equal("5,5\t3\n", result.out)
    assert.not_matches("begins anew", result.err)
  end)

  it("names what is wrong with paths, levels and rille.reliable", function()
    local result = program.run({ ["job.lua"] = [[
      local rille = require "rille"
      local ssc = rille.StreamingContext({ ["rille.reliable"] = arg[1] == "unreliable" and "false" or nil }, 0.2)
      local input = ssc:queueStream({ ssc:context():parallelize({ "a" }) })
      if arg[1] == "nul" then
        print(select(2, pcall(ssc.checkpoint, ssc, "a\0b")))
        print(select(2, pcall(ssc.textFileStream, ssc, "a\0b")))
        print(select(2, pcall(input.saveAsTextFiles, input, "a\0b")))
        return
      end
      ssc:checkpoint "ck"
      if arg[1] == "none" then
        ssc:textFileStream("."):checkpoint(10):persist("NONE"):print()
        print(pcall(ssc.start, ssc))
        return
      end
      input:map(function(x) return x, 1 end):updateStateByKey(function() return 1 end):uid "st"
        :foreachRDD(function() ssc:stop(true, true) end)
      ssc:start()
      ssc:awaitTermination()
    ]] }, "bash -c 'for how in nul none unreliable; do rille run job.lua $how; done'")
    local _, lines = result.out:gsub("string[^\n]* expected, got one with a NUL byte", "")
    assert.equal(3, lines, result.out .. result.err)
    assert.matches("has a checkpoint interval, and storage level NONE", result.out)
    assert.matches("ends with this process: rille.reliable is false, so the checkpoint directory is not used",
      result.err, 1, true)
  end)

  it("needs a directory for the receivers' log", function()
    local result = program.run({ ["job.lua"] = [[
      local rille = require "rille"
      local ssc = rille.StreamingContext({ ["rille.streaming.receiver.writeAheadLog.enable"] = true }, 1)
      ssc:socketTextStream("localhost", 1):print()
      ssc:start()
    ]] }, "rille run job.lua")
    assert.equal(1, result.status)
    assert.matches("writeAheadLog.enable needs a checkpoint directory", result.err)
  end)

  it("refuses lines that its log could not take", function()
    local result = program.run({ ["job.lua"] = [[
      local rille = require "rille"
      local ssc = rille.StreamingContext({ ["rille.streaming.receiver.maxRecordBytes"] = "1g" }, 1)
      ssc:checkpoint "ck"
      ssc:socketTextStream("localhost", 1):print()
      ssc:start()
    ]] }, "rille run job.lua")
    assert.equal(1, result.status)
    assert.matches("receiver.maxRecordBytes = 1g is more than the log .* it takes 1008m", result.err)
  end)

  case("runs without its directory when it is not to be reliable", [[
    counts:foreachRDD(function(rdd, time) tell("A", rdd, time) ssc:stop(true, false) end)
  ]], function(dir)
    assert.equal(0, run(dir, "rille.reliable=false").status)
    assert.is_nil(io.open(dir .. "/ck"))
  end)

  case("has its directory for itself alone", [[
    counts:foreachRDD(function(rdd, time) ssc:stop(true, false) end)
  ]], function(dir)
    assert.equal(0, run(dir).status)
    for _, path in ipairs { "ck", "ck/log", "ck/state" } do
      local mode = program.run_in(dir, "stat -c %a " .. path).out
      assert.equal("700\n", mode, path)
    end
  end)
end)
