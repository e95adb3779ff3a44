local child = require "spec.lua.child"
local rille = require "rille"
local support = require "spec.lua.support"
local testing = require "rille.testing"

local failure, pairs_of = support.failure, support.pairs_of

describe("sink.lmdb", function()
  local dir, path

  before_each(function()
    dir = support.directory()
    path = dir .. "/out"
  end)
  after_each(function() support.remove(dir) end)

  -- What is there, as "key=value key=value".
  local function stored(options)
    local list = {}
    for key, value in rille.sink.lmdbRead(path, options) do
      list[#list + 1] = ("%s=%s"):format(tostring(key), tostring(value))
    end
    return table.concat(list, " ")
  end

  local function run(batches, options, conf)
    options.path = options.path or path
    testing.run { inputs = { batches }, conf = conf, operation = function(_, s)
      rille.sink.lmdb(s, options)
      return s
    end }
  end

  local function add(old, n) return (old or 0) + n end

  it("puts each batch's records under their keys", function()
    run({ pairs_of("a", 1, "b", 2.5, "a", 3), {}, pairs_of("c", "x", "b", nil) }, {})
    assert.equal("a=3 c=x", stored())
    run({ {}, {}, {}, { rille.tuple(7, 1.0), rille.tuple("t", 1, 2) } }, { format = "binary", db = "more" })
    assert.equal("7=1.0 t=(1,2)", stored { db = "more", format = "binary" })
  end)

  it("leaves out batches that are in already", function()
    for i = 1, 3 do run({ pairs_of("a", 1), pairs_of("a", i) }, { merge = add }) end
    assert.equal("a=2", stored())
    run({ pairs_of("a", 5), pairs_of("a", 5), pairs_of("a", 5) }, { merge = add })
    assert.equal("a=7", stored())
    assert.equal("rille.testing/testInput/data=1 3000", stored { db = "rille" })
  end)

  it("knows its batches by application, uid or name, and database", function()
    run({ pairs_of("a", 1) }, { merge = add })
    run({ pairs_of("a", 1) }, { merge = add }, { appName = "another" })
    run({ pairs_of("a", 1) }, { merge = add, name = "mine" })
    run({ pairs_of("a", 1) }, { merge = add, db = "second" })
    testing.run { inputs = { { pairs_of("a", 1) } }, operation = function(_, s)
      rille.sink.lmdb(s:filter(function() return true end):uid("given"), { path = path, merge = add })
      return s
    end }
    assert.equal("a=4", stored())
    assert.equal("another/testInput/data=1 1000 rille.testing/given/data=1 1000 rille.testing/mine/data=1 1000 " ..
      "rille.testing/testInput/data=1 1000 rille.testing/testInput/second=1 1000", stored { db = "rille" })
  end)

  it("merges in the order of the records, and removes what becomes nil", function()
    local function append(old, x)
      if x == "-" then return nil end
      return (old or "") .. x
    end
    run({ pairs_of("k", "a", "l", "z", "k", "b", "m", "1"), pairs_of("k", "c", "l", "-", "k", "d", "none", "-") },
      { merge = append })
    assert.equal("k=abcd m=1", stored())
  end)

  it("encodes and decodes as it is told", function()
    local options = { encode = rille.json.encode, decode = rille.json.decode, merge = function(old, n)
      old = old or { sum = 0, seen = {} }
      old.sum = old.sum + n
      table.insert(old.seen, n)
      return old
    end }
    run({ pairs_of("a", 1, "a", 2), pairs_of("a", 3) }, options)
    assert.same({ sum = 6, seen = { 1, 2, 3 } }, rille.json.decode((stored():gsub("^a=", ""))))
    run({ { rille.tuple("t", { 1 }) }, pairs_of("t", nil, "u", "s") }, { db = "put", encode = rille.json.encode })
    assert.equal('u="s"', stored { db = "put" })
  end)

  it("keeps the order of batches that run at once", function()
    local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual",
      ["rille.streaming.concurrentJobs"] = 4 }, 1)
    local rdds = {}
    for i = 1, 8 do rdds[i] = ssc:context():parallelize(pairs_of("all", i, "last", i), 2) end
    local slow = ssc:queueStream(rdds):map(function(key, i)
      for _ = 1, (8 - i) * 20000 do i = i + 0 end -- the first take the longest
      return key, i
    end)
    rille.sink.lmdb(slow, { path = path, name = "put" })
    rille.sink.lmdb(slow, { path = path, db = "list", merge = function(old, i) return (old or "") .. "," .. i end })
    ssc:start()
    ssc:clock():advance(8)
    ssc:awaitTerminationOrTimeout(0)
    ssc:stop(true)
    assert.equal("all=8 last=8", stored())
    assert.matches("^all=,1,2,3,4,5,6,7,8 ", stored { db = "list" })
  end)

  it("writes no batch behind one that failed", function()
    local function attempt(bad, on_failure)
      local ssc = rille.StreamingContext({ master = "local[1]", clock = "manual", ["rille.task.maxFailures"] = 1,
        ["rille.streaming.onBatchFailure"] = on_failure or "stop" }, 1)
      local rdds = {}
      for i = 1, 4 do rdds[i] = ssc:context():parallelize(pairs_of("n", i), 1) end
      rille.sink.lmdb(ssc:queueStream(rdds), { path = path, merge = function(old, i)
        if i == bad then error("no luck") end
        return (old or 0) + i
      end })
      ssc:start()
      local ok, why = pcall(function()
        ssc:clock():advance(4)
        ssc:awaitTerminationOrTimeout(0)
      end)
      ssc:stop(true)
      return ok or why
    end
    local why = attempt(2)
    assert.matches("batch 2000 ms: sink.lmdb at .*no luck", why)
    assert.is_nil(why:find "has to come first")
    assert.equal("n=1", stored())
    assert.is_true(attempt())
    assert.equal("n=10", stored())
    support.remove(path)
    assert.is_true(attempt(2, "skip"))
    assert.equal("n=8", stored())
  end)

  it("grows, and does not run functions again for that", function()
    local seen = 0
    testing.run { inputs = { { pairs_of("a", 1) } }, partitions = 1, operation = function(ssc, s)
      local calls = ssc:context():longAccumulator()
      local long = s:flatMap(function(key)
        local list = {}
        for i = 1, 3000 do
          calls:add(1)
          list[i] = rille.tuple(key .. i, ("x"):rep(1000))
        end
        return list
      end)
      rille.sink.lmdb(long, { path = path })
      long:foreachRDD(function() seen = calls:value() end)
      return s
    end }
    assert.equal(3000, seen)
  end)

  it("can be read while the job runs", function()
    local seen = {}
    testing.run { inputs = { { pairs_of("a", 1, "b", 1), pairs_of("a", 1), pairs_of("a", 1) } },
      operation = function(_, s)
        rille.sink.lmdb(s, { path = path, merge = add })
        s:foreachRDD(function()
          for key, n in rille.sink.lmdbRead(path) do
            seen[#seen + 1] = key .. n
            if key == "a" then break end -- the reader ends here
          end
        end)
        return s
      end }
    assert.same({ "a1", "a2", "a3" }, seen)
  end)

  it("says what it cannot write", function()
    local message = failure(run, { { rille.tuple(("k"):rep(600), 1) } }, {})
    assert.matches("sink_spec.lua:%d+: .*the key 'k+%.%.%.': it has 600 bytes; keys of LMDB have 1 to 511", message)
    message = failure(run, { { rille.tuple("k", { 1 }) } }, {})
    assert.matches("the value of the key 'k': it is a table, which has no text form", message)
    path = dir .. "/file"
    support.write(path, ("not a database"):rep(1000))
    message = failure(run, { pairs_of("a", 1) }, {})
    assert.matches("sink_spec.lua:%d+: .*cannot open .*/file: that is no LMDB environment", message)
    message = failure(run, { pairs_of("a", 1) }, { path = path .. "/below" })
    assert.matches("cannot .*/file/below: Not a directory", message)
  end)

  it("refuses what it does not know", function()
    local function declare(...)
      local arguments = { ... }
      return failure(testing.run, { inputs = { {} }, operation = function(_, s)
        rille.sink.lmdb(s, table.unpack(arguments))
        return s
      end })
    end
    assert.matches("sink_spec.lua:%d+: bad argument #2 to 'sink.lmdb' %(option 'path' is missing%)", declare {})
    assert.matches("unknown option 'file'; there are: db, decode, encode", declare { file = "x" })
    assert.matches("option 'format': 'text' or 'binary' expected", declare { path = path, format = "json" })
    assert.matches("option 'decode' is for 'merge'", declare { path = path, decode = rille.json.decode })
    assert.matches("bad argument #1 to 'sink.lmdb' %(DStream expected, got string%)", failure(rille.sink.lmdb, "s", {}))
    local thread = coroutine.create(print)
    assert.matches("sink_spec.lua:%d+: the function given to sink.lmdb captures .*thread",
      declare { path = path, merge = function() return thread end })
  end)

  it("has one output of a stream under one name", function()
    local function declare(first, second)
      testing.run { inputs = { {} }, operation = function(_, s)
        rille.sink.lmdb(s, first)
        rille.sink.lmdb(s, second)
        return s
      end }
    end
    assert.matches("sink.lmdb: .*sink_spec.lua:%d+ writes to database 'data' in .*/out, too; give one of them",
      failure(declare, { path = path }, { path = path, merge = add }))
    declare({ path = path }, { path = path, name = "second" })
    declare({ path = path }, { path = path, db = "second" })
  end)

  it("reads only what there is", function()
    assert.matches("sink_spec.lua:%d+: cannot open .*/out: there is no LMDB environment",
      failure(function() return (rille.sink.lmdbRead(path)) end))
    assert.is_false(support.exists(path))
    run({ pairs_of("a", 1) }, {})
    assert.matches("there is no database 'none' in .*/out",
      failure(function() return (rille.sink.lmdbRead(path, { db = "none" })) end))
    assert.matches("is not in the format 'binary'", failure(function() return stored { format = "binary" } end))
  end)
end)

-- Batches of the same times run again from the first one, as after a recovery, until all are done. In the batch that it
-- is told, the job starts what kills it a little later.
local CRASHING = [[
local rille = require "rille"
local dir, last, delay = arg[1], tonumber(arg[2]), arg[3]
local ssc = rille.StreamingContext({ appName = "Crashing", master = "local[2]", clock = "manual",
  ["rille.streaming.concurrentJobs"] = 2 }, 1)
local rdds = {}
for i = 1, 30 do
  local records = {}
  for k = 1, 40 do records[k] = rille.tuple("key" .. k % 20, i) end
  rdds[i] = ssc:context():parallelize(records, 2)
end
local stream = ssc:queueStream(rdds)
stream:foreachRDD(function(_, time)
  if time ~= last * 1000 then return end
  local own = io.open("/proc/self/stat"):read "n"
  os.execute(("{ sleep %s; kill -9 %d; } &"):format(delay, own))
end)
rille.sink.lmdb(stream, { path = dir .. "/lmdb", merge = function(old, i) return (old or 0) + i end })
stream:saveAsTextFiles(dir .. "/files/batch", "txt")
ssc:start()
for _ = 1, 15 do ssc:clock():advance(2) end
ssc:awaitTerminationOrTimeout(0)
if last < 0 then print "all are done" end
while last > 0 do rille.sleep(1) end -- the end comes
]]

describe("outputs of a job that is killed again and again", function()
  it("have every batch exactly once", function()
    local dir = support.directory()
    math.randomseed(20261126)
    for _ = 1, 12 do
      local args = { dir, tostring(math.random(30)), ("%.4f"):format(math.random() * 0.03) }
      local result = child.run(CRASHING, { args = args })
      assert.same({ 137 }, { result.status, result.err:match "[^\n]* ERROR [^\n]*" })
    end
    assert.equal("all are done\n", child.run(CRASHING, { args = { dir, "-1", "0" } }).out)
    local keys = 0
    for key, sum in rille.sink.lmdbRead(dir .. "/lmdb") do
      assert.same({ key, 2 * 30 * 31 // 2 }, { key, sum })
      keys = keys + 1
    end
    assert.equal(20, keys)
    for i = 1, 30 do
      local batch = ("%s/files/batch-%d.txt/"):format(dir, i * 1000)
      local _, lines = (support.read(batch .. "part-00000") .. support.read(batch .. "part-00001"))
        :gsub("%(key%d+," .. i .. "%)\n", "")
      assert.equal(40, lines)
      assert.is_true(support.exists(batch .. "_SUCCESS"))
    end
    local left = io.popen(("find '%s/files' -name '.part*' | wc -l"):format(dir))
    assert.equal("0", left:read "l")
    left:close()
    support.remove(dir)
  end)
end)

-- No file may grow beyond some kilobytes: as on a disk that is full.
local FULL = [[
local rille = require "rille"
local ssc = rille.StreamingContext({ appName = "Full", master = "local[2]", clock = "manual" }, 1)
local long = ssc:queueStream { ssc:context():parallelize({ ("x"):rep(200000) }, 1) }
if arg[2] == "files" then
  long:saveAsTextFiles(arg[1] .. "/out")
else
  rille.sink.lmdb(long:map(function(x) return "key", x end), { path = arg[1] .. "/out-1000" })
end
ssc:start()
ssc:clock():advance(1)
ssc:awaitTermination()
]]

describe("outputs on a full disk", function()
  local function errors_of(kind)
    local dir = support.directory()
    local result = child.run(FULL, { args = { dir, kind }, before = "trap '' XFSZ; ulimit -f 100" })
    assert.is_false(support.exists(dir .. "/out-1000/_SUCCESS"))
    support.remove(dir)
    assert.equal(1, result.status)
    local lines = {}
    for line in result.err:gmatch "[^\n]* ERROR ([^\n]*)" do lines[#lines + 1] = line:gsub(dir, "DIR", 1) end
    return lines
  end

  it("end the job with one error that names the file", function()
    assert.same({ "batch 1000 ms: saveAsTextFiles at job.lua:5: cannot write DIR/out-1000/part-00000: File too large" },
      errors_of "files")
    local lines = errors_of "lmdb"
    assert.matches("^batch 1000 ms: sink.lmdb at job.lua:7: cannot write to DIR/out%-1000: ", lines[1])
    assert.is_nil(lines[2])
  end)
end)

-- A durable job over files; it ends when as many words are counted as it is told. `delay`: when it is killed.
local RECOVERING = [[
local rille = require "rille"
local dir, wanted, delay = arg[1], tonumber(arg[2]), arg[3]
if delay then os.execute(("{ sleep %s; kill -9 %d; } &"):format(delay, io.open("/proc/self/stat"):read "n")) end
local ssc = rille.StreamingContext({ appName = "Recovering", master = "local[2]" }, 0.02)
ssc:checkpoint(dir .. "/checkpoint")
local words = ssc:fileStream(dir .. "/in", { newFilesOnly = false }):map(function(word) return word, 1 end)
rille.sink.lmdb(words:uid "words", { path = dir .. "/out", merge = function(old, n) return (old or 0) + n end })
ssc:start()
local counted, over
repeat
  over = ssc:awaitTerminationOrTimeout(0.02)
  counted = 0
  local there, all, state, first, closing = pcall(rille.sink.lmdbRead, dir .. "/out")
  if there then
    for _, n in all, state, first, closing do counted = counted + n end
  end
until over or counted >= wanted
ssc:stop(true, true)
print("counted", counted)
]]

describe("a durable job that is killed again and again", function()
  it("has every record in LMDB exactly once", function()
    local dir = support.directory()
    assert(os.execute(("mkdir '%s/in' '%s/new'"):format(dir, dir)))
    math.randomseed(42)
    local files, lives = 0, 8
    for life = 1, lives + 1 do
      for _ = 1, 4 do
        files = files + 1
        local name = "file" .. files
        support.write(dir .. "/new/" .. name, ("one\ntwo\ntwo\n"):rep(10))
        assert(os.rename(dir .. "/new/" .. name, dir .. "/in/" .. name))
      end
      local wanted = life <= lives and math.maxinteger or files * 30
      local delay = life <= lives and ("%.3f"):format(0.05 + math.random() * 0.3) or nil
      local result = child.run(RECOVERING, { args = { dir, tostring(wanted), delay } })
      if life <= lives then
        assert.same({ 137 }, { result.status, result.err:match "[^\n]* ERROR [^\n]*" })
      else
        assert.same({ "counted\t" .. files * 30 .. "\n", 0 }, { result.out, result.status })
      end
    end
    local counts = {}
    for word, n in rille.sink.lmdbRead(dir .. "/out") do counts[word] = n end
    assert.same({ one = files * 10, two = files * 20 }, counts)
    support.remove(dir)
  end)
end)
