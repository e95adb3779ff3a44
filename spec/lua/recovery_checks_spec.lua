--- Durable jobs as processes: what a start finds in the directory, and says of it or refuses.
local durable = require "spec.lua.durable"
local program = require "spec.lua.program"
local support = require "spec.lua.support"

local words, run, last = durable.words, durable.run, durable.last

local function case(what, text, body) it(what, durable.in_project(text, body)) end

describe("a durable job", function()
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
