local child = require "spec.lua.child"
local rille = require "rille"
local support = require "spec.lua.support"

-- Sockets: real time, so a spec waits for what it expects, for at most this many seconds.
local LIMIT = 120

describe("from a socket", function()
  local ssc, servers

  before_each(function()
    servers = {}
    ssc = rille.StreamingContext({ master = "local[2]", ["rille.log.level"] = "off",
      ["rille.streaming.receiverRestartDelay"] = 0.05 }, 0.05)
  end)

  after_each(function()
    if ssc:getState() ~= "STOPPED" then ssc:stop() end
    for _, server in ipairs(servers) do server.close() end
  end)

  local function serve(...)
    servers[#servers + 1] = child.serve(...)
    return servers[#servers].port
  end

  -- Starts, and gives all records of a stream as soon as they are n; a little later there must not be more.
  local function received(stream, n)
    local records = {}
    stream:foreachRDD(function(rdd)
      local batch = rdd:collect()
      table.move(batch, 1, #batch, #records + 1, records)
    end)
    ssc:start()
    local before = os.time()
    while #records < n and os.time() - before < LIMIT do ssc:awaitTerminationOrTimeout(0.01) end
    ssc:awaitTerminationOrTimeout(0.15)
    return records
  end

  describe("socketTextStream", function()
    it("gives lines, however the pieces come", function()
      local port = serve("on", "e\\ntw", "o", "\\n", "\\n", "three\\nfour\\nfi", "ve\\n", "--hold")
      assert.same({ "one", "two", "", "three", "four", "five" }, received(ssc:socketTextStream("127.0.0.1", port), 6))
    end)

    it("takes \\n, \\r\\n and \\r for ends of lines, also torn apart", function()
      local port = serve("one\\r\\ntwo\\r", "\\nthree\\n", "four\\r", "five\\n", "\\r", "\\n", "six\\n", "--hold")
      assert.same({ "one", "two", "three", "four", "five", "", "six" },
        received(ssc:socketTextStream("localhost", port), 7))
    end)

    it("leaves bytes as they are", function()
      local port = serve("na\\xc3", "\\xafve \\xe2\\x82", "\\xac\\n\\xff\\xfe\\0x\\n", "--hold")
      assert.same({ "na\u{ef}ve \u{20ac}", "\xff\xfe\0x" }, received(ssc:socketTextStream("127.0.0.1", port), 2))
    end)

    it("counts a last line without an end, and connects again", function()
      local port = serve("one\\ntwo", "--next", "three\\n", "--next", "--next", "four\\n", "--hold")
      local lines = received(ssc:socketTextStream("127.0.0.1", port), 4)
      assert.same({ "one", "two", "three", "four" }, lines)
    end)

    it("tells listeners of every failure", function()
      local errors, stopped = {}, 0
      ssc:addStreamingListener {
        onReceiverError = function(event) errors[#errors + 1] = event.lastErrorMessage .. " " .. event.lastError end,
        onReceiverStopped = function() stopped = stopped + 1 end,
      }
      local port = serve("one\\n", "--next", "two\\n", "--hold")
      assert.same({ "one", "two" }, received(ssc:socketTextStream("127.0.0.1", port), 2))
      assert.is_true(#errors + stopped >= 1)
    end)

    it("gives long lines whole", function()
      local port = serve("--times", "30000", "0123456789", "\\nshort\\n", "--hold")
      local lines = received(ssc:socketTextStream("127.0.0.1", port), 2)
      assert.equal(2, #lines)
      assert.equal(("0123456789"):rep(30000), lines[1])
      assert.equal("short", lines[2])
    end)

    it("ends lines at \\n alone, and gives whole ones only, when they are acknowledged", function()
      local directory = support.directory()
      ssc:checkpoint(directory)
      local port = serve("one\\r\\ntw", "o\\r2\\n\\nun", "--hold")
      assert.same({ "one", "two\r2", "" },
        received(ssc:socketTextStream("127.0.0.1", port, { ack = true }):uid("lines"), 3))
      ssc:stop()
      support.remove(directory)
    end)

    it("reads several sockets at once", function()
      local left, right = serve("left\\n", "--hold"), serve("right\\n", "--hold")
      local both = ssc:socketTextStream("127.0.0.1", left):union(ssc:socketTextStream("127.0.0.1", right))
      assert.same({ "left", "right" }, support.sorted(received(both, 2)))
    end)
  end)

  describe("rawSocketStream", function()
    -- What saveAsObjectFile wrote, behind its header: chunks behind their lengths. Its bytes, escaped for serve.
    local function encoded(records)
      local dir = support.directory()
      ssc:context():parallelize(records, 1):saveAsObjectFile(dir .. "/objects")
      local bytes = support.read(dir .. "/objects/part-00000"):match "^RLOBJ1\n(.*)$"
      support.remove(dir)
      local escaped = {}
      for i = 1, #bytes do escaped[i] = ("\\x%02x"):format(bytes:byte(i)) end
      return escaped
    end

    it("gives records of every type, however the pieces come", function()
      local bytes = encoded { "abc", 1, 2.5, rille.tuple("k", true), { 1, a = { "b" } }, rille.null, "\0\xff" }
      local pieces = { "\\0\\0\\0\\0" } -- an empty frame
      for i = 1, #bytes, 7 do pieces[#pieces + 1] = table.concat(bytes, "", i, math.min(i + 6, #bytes)) end
      pieces[#pieces + 1] = "--hold"
      local records = received(ssc:rawSocketStream("127.0.0.1", serve(table.unpack(pieces))), 7)
      assert.same({ "abc", 1, 2.5, rille.tuple("k", true), { 1, a = { "b" } }, rille.null, "\0\xff" }, records)
    end)

    it("reports what is no frame, drops the connection, and reads the next one", function()
      local errors = {}
      ssc:addStreamingListener { onReceiverError = function(event) errors[#errors + 1] = event end }
      local good = table.concat(encoded { "good" })
      local port = serve("\\0\\0\\0\\x03abc", good, "--next", good:sub(1, -5), "--next", good, "--hold")
      assert.same({ "good" }, received(ssc:rawSocketStream("127.0.0.1", port), 1))
      assert.is_true(#errors >= 2)
    end)
  end)

  describe("socketStream", function()
    it("gives what the converter makes of the bytes", function()
      local port = serve("3:a", "bc2:xy", "--next", "1:z", "--hold")
      local stream = ssc:socketStream("127.0.0.1", port, function(read)
        local function exactly(n)
          local text = read(n)
          while text and #text < n do text = text .. assert(read(n - #text)) end
          return text
        end
        return function()
          local digit = exactly(1)
          if digit and exactly(1) then return exactly(tonumber(digit)), 1 end
        end
      end)
      assert.same({ "(abc,1)", "(xy,1)", "(z,1)" }, support.texts(received(stream, 3)))
    end)

    it("reads lines for the converter", function()
      local port = serve("k v\\nlong", "er line\\nend", "--next", "--hold")
      local stream = ssc:socketStream("127.0.0.1", port, function(read) return function() return read "l" end end)
      assert.same({ "k v", "longer line", "end" }, received(stream, 3))
    end)
  end)
end)

describe("receiverStream", function()
  local ssc

  before_each(function()
    ssc = rille.StreamingContext({ master = "local[2]", ["rille.log.level"] = "off" }, 0.05)
  end)

  after_each(function()
    if ssc:getState() ~= "STOPPED" then ssc:stop() end
  end)

  local function received(stream, n)
    local records = {}
    stream:foreachRDD(function(rdd)
      local batch = rdd:collect()
      table.move(batch, 1, #batch, #records + 1, records)
    end)
    ssc:start()
    local before = os.time()
    while #records < n and os.time() - before < LIMIT do ssc:awaitTerminationOrTimeout(0.01) end
    ssc:awaitTerminationOrTimeout(0.15)
    return support.texts(records)
  end

  it("stores one record or several", function()
    local stream = ssc:receiverStream { onStart = function(self)
      self:store("one")
      self:store("two", 2)
      self:store(rille.tuple("three", 3))
      self:store { "four", rille.tuple("five", 5) }
      self:store {}
      local n = 5
      self:store(function()
        n = n + 1
        if n <= 7 then return n, "it" end
      end)
      self:store(ipairs { "eight" })
    end }
    assert.same({ "one", "(two,2)", "(three,3)", "four", "(five,5)", "(6,it)", "(7,it)", "(1,eight)" },
      received(stream, 8))
  end)

  it("may sleep, until it is stopped", function()
    local stream = ssc:receiverStream { onStart = function(self)
      rille.sleep(0.001)
      self:store("slept")
      rille.sleep(1000)
      self:store(self:isStopped() and "stopped" or "awake")
    end }
    assert.same({ "slept" }, received(stream, 1))
    local before = os.time()
    ssc:stop()
    assert.is_true(os.time() - before < 500)
  end)

  it("stores a table that is no array as one record", function()
    local stream = ssc:receiverStream({ onStart = function(self)
      self:store { user = "ada" }
      self:store { "ada", age = 36 }
      self:store { { 1, 2 } }
      self:store({ 3 }, "a value behind it")
    end }):map(function(record) return record.user or record.age or #record end)
    assert.same({ "ada", "36", "2", "1" }, received(stream, 4))
  end)

  it("refuses an array with a hole", function()
    local stream = ssc:receiverStream { onStart = function(self)
      self:store(select(2, pcall(function() self:store { 1, nil, 3 } end)))
    end }
    assert.matches("^spec/lua/sources_spec.lua:%d+: record 2: the first value of a record is nil$",
      received(stream, 1)[1])
  end)

  it("takes its other fields and what it captures along", function()
    local prefix = "p"
    local stream = ssc:receiverStream { words = { "a", "b" }, say = function(self, word) self:store(prefix .. word) end,
      onStart = function(self) for _, word in ipairs(self.words) do self:say(word) end end }
    assert.same({ "pa", "pb" }, received(stream, 2))
  end)

  it("is started again by restart, with what it keeps", function()
    local stream = ssc:receiverStream { starts = 0, onStart = function(self)
      self.starts = self.starts + 1
      self:store("start", self.starts)
      if self.starts < 3 then self:restart("again", 0.01) end
    end }
    assert.same({ "(start,1)", "(start,2)", "(start,3)" }, received(stream, 3))
  end)

  it("reports errors and goes on", function()
    local errors = {}
    ssc:addStreamingListener { onReceiverError = function(event) errors[#errors + 1] = event.lastErrorMessage end }
    local stream = ssc:receiverStream { onStart = function(self)
      self:reportError("half a record", "line 7")
      self:store("still here")
    end }
    assert.same({ "still here" }, received(stream, 1))
    assert.same({ "half a record" }, errors)
  end)

  it("is told to stop, and what it stored before is processed", function()
    local path = os.tmpname()
    local count = 0
    ssc:receiverStream {
      onStart = function(self)
        for n = 1, 1000 do self:store(n) end
        io.open(path, "w"):write("all are stored"):close()
        while not self:isStopped() do rille.sleep(0.001) end
      end,
      onStop = function() io.open(path, "w"):write("stopped"):close() end,
    }:foreachRDD(function(rdd) count = count + rdd:count() end)
    ssc:start()
    local before = os.time()
    while support.read(path) == "" and os.time() - before < LIMIT do ssc:awaitTerminationOrTimeout(0.01) end
    ssc:stop(true, true)
    assert.equal(1000, count)
    assert.equal("stopped", support.read(path))
    os.remove(path)
  end)

  it("is refused when it cannot travel, naming the way", function()
    local file <close> = io.tmpfile()
    ssc:receiverStream { log = file, onStart = function() end }:foreachRDD(function() end)
    assert.matches("sources_spec.lua:%d+: .*receiver.*log.*userdata", support.failure(ssc.start, ssc))
  end)
end)

-- Files: the manual clock is at 0 in the beginning, so a file of 1.5 s is 1.5 s old in Unix time.
describe("from files", function()
  local dir, ssc

  before_each(function()
    dir = support.directory()
    ssc = rille.StreamingContext({ master = "local[2]", clock = "manual", ["rille.log.level"] = "off",
      ["rille.streaming.fileStream.minRememberDuration"] = 5 }, 1)
  end)

  after_each(function()
    if ssc:getState() ~= "STOPPED" then ssc:stop() end
    support.remove(dir)
  end)

  local function touch(path, seconds) assert(os.execute(("touch -d @%g '%s'"):format(seconds, path))) end

  -- A file that appears whole, last changed at a time.
  local function put(name, seconds, text)
    support.write(dir .. "/.new", text)
    touch(dir .. "/.new", seconds)
    assert(os.rename(dir .. "/.new", dir .. "/" .. name))
  end

  local function batches_of(stream)
    local batches = {}
    stream:foreachRDD(function(rdd, time) batches[time // 1000] = support.sorted(rdd:collect()) end)
    ssc:start()
    return batches
  end

  local function advance(n) for _ = 1, n or 1 do ssc:clock():advance(1) end end

  describe("textFileStream", function()
    it("takes new files once, batch by batch", function()
      local batches = batches_of(ssc:textFileStream(dir))
      put("a", 0.5, "a1\na2")
      advance()
      put("b", 1.5, "b1\r\n\n")
      put("c", 2, "c1\n")
      advance(2)
      assert.same({ { "a1", "a2" }, { "", "b1", "c1" }, {} }, batches)
    end)

    it("leaves a file from the future to its batch", function()
      local batches = batches_of(ssc:textFileStream(dir))
      put("later", 2.5, "later")
      advance(3)
      assert.same({ {}, {}, { "later" } }, batches)
    end)

    it("leaves out files that were there before, hidden ones and directories", function()
      put("old", 0, "old")
      local batches = batches_of(ssc:textFileStream(dir))
      put(".hidden", 0.5, "hidden")
      assert(os.execute(("mkdir '%s/directory'"):format(dir)))
      touch(dir .. "/directory", 0.5)
      advance()
      assert.same({ {} }, batches)
    end)

    it("does not read a file again that grew", function()
      local batches = batches_of(ssc:textFileStream(dir))
      put("a", 0.5, "one\n")
      advance()
      put("a", 1.5, "one\ntwo\n")
      advance()
      assert.same({ { "one" }, {} }, batches)
    end)

    it("takes a file that was touched after its time had passed for a new one", function()
      local batches = batches_of(ssc:textFileStream(dir))
      put("a", 0.5, "again\n")
      advance(8)
      touch(dir .. "/a", 8.5)
      advance()
      assert.same({ "again" }, batches[1])
      assert.same({ "again" }, batches[9])
    end)

    it("leaves out a file that comes with a time too long ago", function()
      local batches = batches_of(ssc:textFileStream(dir))
      advance(8)
      put("late", 1, "late\n")
      advance()
      assert.same({}, batches[9])
    end)

    it("watches all directories that fit a pattern, those that come later too", function()
      assert(os.execute(("mkdir '%s/in-1'"):format(dir)))
      local batches = batches_of(ssc:textFileStream(dir .. "/in-*"))
      put("in-1/a", 0.5, "a")
      advance()
      assert(os.execute(("mkdir '%s/in-2' '%s/out'"):format(dir, dir)))
      put("in-2/b", 1.5, "b")
      put("out/c", 1.5, "c")
      advance()
      assert.same({ { "a" }, { "b" } }, batches)
    end)

    it("gives an RDD for batches without files", function()
      local batches = batches_of(ssc:textFileStream(dir):count())
      advance(2)
      assert.same({ { "0" }, { "0" } }, batches)
    end)

    it("tells listeners which files", function()
      local told = {}
      ssc:addStreamingListener { onBatchCompleted = function(event)
        local _, info = next(event.streamIdToInputInfo)
        told[#told + 1] = info.metadata
      end }
      batches_of(ssc:textFileStream(dir))
      put("a", 0.5, "a")
      put("b", 0.5, "b")
      advance(2)
      local a, b = dir .. "/a", dir .. "/b"
      assert.same({ { Description = a .. "\n" .. b, files = { a, b } }, { files = {} } }, told)
    end)
  end)

  describe("fileStream", function()
    it("takes files that the filter takes", function()
      local seen = {}
      local batches = batches_of(ssc:fileStream(dir, { filter = function(path)
        seen[path:match("[^/]+$")] = true
        return path:match("%.csv$") ~= nil
      end }))
      put("a.csv", 0.5, "1,2")
      put("b.txt", 0.5, "no")
      advance()
      assert.same({ { "1,2" } }, batches)
      assert.is_true(seen["b.txt"])
    end)

    it("takes old files too when it is told so", function()
      put("old", 0.001, "old")
      advance(2)
      local batches = batches_of(ssc:fileStream(dir, { newFilesOnly = false }))
      advance()
      assert.same({ "old" }, batches[3])
    end)

    it("leaves out files from before it was made", function()
      put("old", 1, "old")
      advance(2)
      local batches = batches_of(ssc:fileStream(dir))
      put("new", 2.5, "new")
      advance()
      assert.same({ "new" }, batches[3])
    end)
  end)

  describe("binaryRecordsStream", function()
    it("gives records of fixed length", function()
      local batches = batches_of(ssc:binaryRecordsStream(dir, 3))
      put("a", 0.5, "abc\0\n\xff")
      advance()
      assert.same({ { "\0\n\xff", "abc" } }, batches)
    end)

    it("fails the batch of a file of another length, naming it", function()
      local batches = batches_of(ssc:binaryRecordsStream(dir, 3))
      put("bad", 0.5, "abcd")
      advance()
      local message = support.failure(ssc.awaitTerminationOrTimeout, ssc, 0)
      assert.matches("bad", message, 1, true)
      assert.matches("sources_spec.lua:%d+", message)
      put("good", 1.5, "abc")
      advance()
      assert.same({ "abc" }, batches[2])
    end)
  end)
end)
