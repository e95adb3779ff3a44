-- Faults of sources and files: each gives one clear error that names the job's line, and what can go on goes on.
local child = require "spec.lua.child"
local faults = require "spec.lua.faults"
local rille = require "rille"
local support = require "spec.lua.support"

local settings = faults.settings
local failure = support.failure
local HERE = "source_faults_spec.lua:%d+: "

describe("a source", function()
  local ssc, errors

  local function live(conf)
    ssc = rille.StreamingContext(settings(conf), 0.05)
    errors = {}
    ssc:addStreamingListener { onReceiverError = function(event) errors[#errors + 1] = event end }
  end

  local function until_true(condition)
    local before = os.time()
    while not condition() and os.time() - before < 120 do ssc:awaitTerminationOrTimeout(0.01) end
    assert.is_true(condition())
  end

  after_each(function() if ssc:getState() ~= "STOPPED" then ssc:stop() end end)

  it("that cannot be reached is reported, and the context goes on", function()
    live { clock = "system", ["rille.streaming.receiverRestartDelay"] = 0.02 }
    local nobody = child.nobody()
    local batches = 0
    ssc:socketTextStream("127.0.0.1", nobody.port):foreachRDD(function() batches = batches + 1 end)
    ssc:start()
    until_true(function() return #errors >= 2 and batches >= 2 end)
    local message = errors[1].lastErrorMessage .. errors[1].lastError
    assert.matches("127.0.0.1:" .. nobody.port, message, 1, true)
    assert.matches("refused", message, 1, true)
    nobody.close()
  end)

  it("that cannot be reached is logged with the job's line", function()
    local nobody = child.nobody()
    local result = child.run([[
      local rille = require "rille"
      local ssc = rille.StreamingContext({ master = "local[1]" }, 0.05)
      ssc:socketTextStream("127.0.0.1", tonumber(arg[1])):print()
      ssc:receiverStream { onStart = function(self)
        self:store(nil)
      end }:print()
      local seen = {}
      ssc:addStreamingListener { onReceiverError = function(event) seen[event.streamId] = true end }
      ssc:start()
      while not (seen[0] and seen[1]) do ssc:awaitTerminationOrTimeout(0.01) end
      ssc:stop()
    ]], { args = { tostring(nobody.port) } })
    nobody.close()
    assert.equal(0, result.status)
    assert.matches("socket stream %[0%] at job.lua:3: cannot connect to 127.0.0.1:%d+: connection refused", result.err)
    assert.matches("receiver stream %[1%] at job.lua:4: onStart: job.lua:5: the first value of a record is nil; "
      .. "trying again in 2 s\n", result.err)
  end)

  it("whose host has no address is reported, and the context goes on", function()
    live { clock = "system", ["rille.streaming.receiverRestartDelay"] = 0.02 }
    local batches = 0
    ssc:socketTextStream("no host", 9):foreachRDD(function() batches = batches + 1 end)
    ssc:start()
    until_true(function() return #errors >= 1 and batches >= 1 end)
    assert.matches("no host", errors[1].lastErrorMessage .. errors[1].lastError, 1, true)
  end)

  it("that sends binary gives it unchanged", function()
    live { clock = "system" }
    local all = {}
    for i = 0, 255 do all[#all + 1] = ("\\x%02x"):format(i) end
    local server = child.serve(table.concat(all) .. "\\n", "--hold")
    local got = {}
    ssc:socketTextStream("127.0.0.1", server.port):foreachRDD(function(rdd)
      for _, line in ipairs(rdd:collect()) do got[#got + 1] = line end
    end)
    ssc:start()
    until_true(function() return #got == 3 end)
    local bytes = {}
    for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
    local text = table.concat(bytes)
    assert.same({ text:sub(1, 10), text:sub(12, 13), text:sub(15) }, got)
    server.close()
  end)

  it("that sends one endless line has it cut, told once, and the next line is right", function()
    local server = child.serve("--times", "3000", "0123456789", "\\nnext\\n", "--hold")
    local result = child.run([[
      local rille = require "rille"
      local conf = { master = "local[2]", ["rille.streaming.receiver.maxRecordBytes"] = "10k" }
      local ssc = rille.StreamingContext(conf, 0.05)
      local sizes, last = {}, nil
      ssc:socketTextStream("127.0.0.1", tonumber(arg[1])):foreachRDD(function(rdd)
        for _, line in ipairs(rdd:collect()) do sizes[#sizes + 1], last = #line, line end
      end)
      ssc:start()
      while last ~= "next" do ssc:awaitTerminationOrTimeout(0.01) end
      ssc:stop()
      local longest, sum = math.max(table.unpack(sizes)), 0
      for _, size in ipairs(sizes) do sum = sum + size end
      print(longest, sum)
    ]], { args = { tostring(server.port) } })
    server.close()
    assert.equal(0, result.status)
    local longest, sum = result.out:match("(%d+)\t(%d+)")
    assert.equal(10240, math.tointeger(tonumber(longest)))
    assert.equal(30004, math.tointeger(tonumber(sum))) -- nothing is lost
    assert.matches("maxRecordBytes", result.err, 1, true)
    assert.equal(1, faults.count_of(result.err, "maxRecordBytes"))
  end)

  it("whose receiver raises is reported with its line, and started again", function()
    live { clock = "system", ["rille.streaming.receiverRestartDelay"] = 0.02 }
    local got = {}
    ssc:receiverStream { runs = 0, onStart = function(self)
      self.runs = self.runs + 1
      self:store(self.runs)
      if self.runs == 1 then error "no luck" end
    end }:foreachRDD(function(rdd) for _, n in ipairs(rdd:collect()) do got[#got + 1] = n end end)
    ssc:start()
    until_true(function() return #got >= 2 and #errors >= 1 end)
    assert.matches(HERE .. "no luck", errors[1].lastErrorMessage .. " " .. errors[1].lastError)
  end)

  it("whose converter raises is reported, and connects again", function()
    live { clock = "system", ["rille.streaming.receiverRestartDelay"] = 0.02 }
    local server = child.serve("bad\\n", "--hold", "--next", "good\\n", "--hold")
    local got = {}
    ssc:socketStream("127.0.0.1", server.port, function(read)
      return function()
        local line = read "l"
        if line == "bad" then error "no luck" end
        return line
      end
    end):foreachRDD(function(rdd) for _, line in ipairs(rdd:collect()) do got[#got + 1] = line end end)
    ssc:start()
    until_true(function() return #got >= 1 and #errors >= 1 end)
    assert.same({ "good" }, got)
    assert.matches(HERE .. "no luck", errors[1].lastErrorMessage .. " " .. errors[1].lastError)
    server.close()
  end)
end)

describe("files", function()
  local dir, ssc

  before_each(function()
    dir = support.directory()
    ssc = nil
  end)

  after_each(function()
    if ssc and ssc:getState() ~= "STOPPED" then ssc:stop() end
    support.remove(dir)
  end)

  local function put(path, seconds, text)
    support.write(dir .. "/.new", text)
    assert(os.execute(("touch -d @%g '%s/.new'"):format(seconds, dir)))
    assert(os.rename(dir .. "/.new", path))
  end

  -- A text file stream over a path; before(batch) is called on the driver before a batch is collected.
  local function watch(path, before)
    ssc = rille.StreamingContext(settings(), 1)
    local batches = {}
    ssc:textFileStream(path):foreachRDD(function(rdd, time)
      if before then before(time // 1000) end
      batches[time // 1000] = rdd:collect()
    end)
    ssc:start()
    return batches
  end

  local function advance() ssc:clock():advance(1) end

  it("in a directory that comes late are found", function()
    local batches = watch(dir .. "/late")
    advance()
    assert(os.execute(("mkdir '%s/late'"):format(dir)))
    put(dir .. "/late/a", 1.5, "a")
    advance()
    assert.is_false(ssc:awaitTerminationOrTimeout(0))
    assert.same({ {}, { "a" } }, batches)
  end)

  it("in a directory that vanishes are missed, and found when it is back", function()
    assert(os.execute(("mkdir '%s/in'"):format(dir)))
    local batches = watch(dir .. "/in")
    put(dir .. "/in/a", 0.5, "a")
    advance()
    support.remove(dir .. "/in")
    advance()
    assert(os.execute(("mkdir '%s/in'"):format(dir)))
    put(dir .. "/in/b", 2.5, "b")
    advance()
    assert.is_false(ssc:awaitTerminationOrTimeout(0))
    assert.same({ { "a" }, {}, { "b" } }, batches)
  end)

  it("in a directory that cannot be read are warned about, with the reason, and the job goes on", function()
    local result = child.run([[
      local rille = require "rille"
      local ssc = rille.StreamingContext({ master = "local[1]", clock = "manual" }, 1)
      local n = 0
      ssc:textFileStream("loop/in"):foreachRDD(function(rdd) n = n + rdd:count() + 1 end)
      ssc:start()
      ssc:clock():advance(3)
      ssc:awaitTerminationOrTimeout(0)
      print(n)
    ]], { before = "ln -s loop loop" }) -- unreadable for root, too
    assert.equal("3\n", result.out)
    assert.equal(0, result.status)
    assert.matches("file stream [0] at job.lua:4: ", result.err, 1, true)
    assert.matches("loop/in", result.err, 1, true)
    assert.matches("symbolic links", result.err, 1, true)
  end)

  it("that vanish before they are read fail their batch, by name, and the next batch is fine", function()
    local batches = watch(dir, function(batch) if batch == 1 then os.remove(dir .. "/a") end end)
    put(dir .. "/a", 0.5, "a")
    advance()
    local message = failure(ssc.awaitTerminationOrTimeout, ssc, 0)
    assert.matches(dir .. "/a", message, 1, true)
    assert.matches("source_faults_spec.lua:%d+", message)
    put(dir .. "/b", 1.5, "b")
    advance()
    assert.is_false(ssc:awaitTerminationOrTimeout(0))
    assert.same({ [2] = { "b" } }, batches)
  end)

  it("that shrink before they are read fail their batch, by name", function()
    local batches = watch(dir, function(batch) if batch == 1 then support.write(dir .. "/a", "12") end end)
    put(dir .. "/a", 0.5, "1234567890\n")
    advance()
    local message = failure(ssc.awaitTerminationOrTimeout, ssc, 0)
    assert.matches(dir .. "/a", message, 1, true)
    assert.matches("source_faults_spec.lua:%d+", message)
    put(dir .. "/b", 1.5, "b")
    advance()
    assert.same({ [2] = { "b" } }, batches)
  end)

  it("that an RDD was made of and that shrank are an error, never half of them", function()
    local sc = rille.Context { master = "local[2]", ["rille.log.level"] = "off" }
    support.write(dir .. "/a", ("line\n"):rep(100000))
    local rdd = sc:textFile(dir .. "/a", 4)
    assert.equal(4, rdd:getNumPartitions())
    support.write(dir .. "/a", "line\n")
    local message = failure(function() local _ = rdd:count() end)
    assert.matches(dir .. "/a", message, 1, true)
    assert.matches("source_faults_spec.lua:%d+", message)
    sc:stop()
  end)

  describe("to be written", function()
    local job = [[
      local rille = require "rille"
      local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual" }, 1)
      local big = {}
      for i = 1, 2000 do big[i] = ("%064d"):format(i) end
      ssc:queueStream({ big, { "small" } }):saveAsTextFiles("out/text", "txt")
      ssc:start()
      for i = 1, 2 do
        ssc:clock():advance(1)
        print(pcall(ssc.awaitTerminationOrTimeout, ssc, 0))
      end
      local file = io.open("out/text-1000.txt/_SUCCESS")
      print("complete", file ~= nil)
      local small = assert(io.popen "cat out/text-2000.txt/part-*"):read "a"
      io.write(small)
    ]]

    local function fails_once(why, options)
      local result = child.run(job, options)
      assert.equal(0, result.status)
      local first, rest = result.out:match("^(.-)\n(true.*)$")
      assert.matches("^false\t", first)
      assert.matches("job.lua:5", first, 1, true)
      assert.matches("out/text-1000.txt", first, 1, true)
      assert.matches(why, first, 1, true)
      assert.matches("^true\tfalse\ncomplete\tfalse\nsmall\n$", rest)
    end

    it("beyond the limit of a file's size fail their batch, and the next batch is fine", function()
      fails_once("File too large", { before = "trap '' XFSZ; ulimit -f 8" })
    end)

    -- A disk with room for one of the two parts, seen by the job alone.
    it("onto a full disk fail their batch, and the next batch is fine", function()
      local small_disk = "unshare -m sh -c 'mkdir out && mount -t tmpfs -o size=100k tmpfs out && exec \"$@\"' sh "
      if child.run("", { command = small_disk .. "true" }).status ~= 0 then
        return pending "needs the right to mount"
      end
      fails_once("No space left on device", { command = small_disk .. "rille run" })
    end)

    it("where they cannot be made fail their batch, and the context goes on", function()
      local result = child.run(job, { before = "touch out" })
      local first = result.out:match("^[^\n]*")
      assert.matches("^false\t", first)
      assert.matches("job.lua:5", first, 1, true)
      assert.matches("out", first, 1, true)
    end)

    it("through print to a full standard output end the job with an error", function()
      local result = child.run([[
        local rille = require "rille"
        local ssc = rille.StreamingContext({ master = "local[1]" }, 0.05)
        ssc:queueStream({}):print()
        ssc:start()
        ssc:awaitTermination()
      ]], { command = "sh -c 'exec rille run job.lua >/dev/full'" })
      assert.equal(1, result.status)
      assert.matches("job.lua:3", result.err, 1, true)
      assert.matches("No space left", result.err, 1, true)
    end)

    it("in a script that does not look are told at the end", function()
      local result = child.run([[io.write("x") io.stdout:flush()]],
        { command = "sh -c 'exec rille run job.lua >/dev/full'" })
      assert.equal(1, result.status)
      assert.matches("^rille: [^\n]*standard output[^\n]*\n$", result.err)
      assert.not_matches("timed out", result.err, 1, true)
    end)
  end)
end)
