--- rille inspect on directories of jobs that were run: keys of all kinds, and directories that lack a part.
local program = require "spec.lua.program"
local support = require "spec.lua.support"

local KEYS <const> = [[
local rille = require "rille"
local ssc = rille.StreamingContext({ appName = "keys", master = "local[2]" }, 0.2)
ssc:checkpoint "ck"
ssc:fileStream("in", { newFilesOnly = false }):uid "files"
  :flatMap(function()
    return { rille.tuple(42, "int"), rille.tuple("42", "digits"), rille.tuple(1.5, "float"), rille.tuple(true, "yes"),
      rille.tuple(false, "no"), rille.tuple("true", "word"), rille.tuple(rille.null, "nothing"),
      rille.tuple({ 1, "a" }, "array"), rille.tuple({ x = { y = false } }, "table"), rille.tuple({}, "empty"),
      rille.tuple(rille.tuple("x", 1), "tuple"), rille.tuple("{1", "text") }
  end)
  :updateStateByKey(function(values, old) return values[1] or old end):uid "st"
  :foreachRDD(function(rdd) if rdd:count() > 0 then ssc:stop(true, true) end end)
ssc:start()
ssc:awaitTermination()
]]

local STATELESS <const> = [[
local rille = require "rille"
local ssc = rille.StreamingContext({ appName = "stateless", master = "local[2]" }, 0.2)
ssc:checkpoint "ck"
ssc:fileStream("in", { newFilesOnly = false }):foreachRDD(function() ssc:stop(true, true) end)
ssc:start()
ssc:awaitTermination()
]]

local function with_job(text, body)
  local dir = program.project { ["job.lua"] = text, ["in/f"] = "a\n" }
  local ok, why = xpcall(function()
    local result = program.run_in(dir, "rille run job.lua")
    assert.equal(0, result.status, result.err)
    body(dir)
  end, debug.traceback)
  support.remove(dir)
  if not ok then error(why, 0) end
end

local function sh(dir, command) assert(os.execute(("cd '%s' && %s"):format(dir, command))) end

describe("rille inspect", function()
  it("finds keys of every kind", function()
    with_job(KEYS, function(dir)
      for key, value in pairs { ["42"] = "int", ['"42"'] = "digits", ["1.5"] = "float", ["true"] = "yes",
        ["false"] = "no", ['"true"'] = "word", ["null"] = "nothing", ["rille.null"] = "nothing", ['{1, "a"}'] = "array",
        ["{x = {y = false}}"] = "table", ["{}"] = "empty", ['tuple("x", 1)'] = "tuple",
        ['rille.tuple("x", 1)'] = "tuple", ["{1"] = "text" } do
        local result = program.run_in(dir, ("rille inspect ck --key st '%s'"):format(key))
        assert.equal(0, result.status, key .. ": " .. result.err)
        assert.equal(value .. "\n", result.out)
      end
      local result = program.run_in(dir, "rille inspect ck --key st '{2}'")
      assert.equal(1, result.status)
      assert.matches("has no value of that key", result.err)
      result = program.run_in(dir, "rille inspect ck --key st '{print}'") -- there is no such name: an empty table
      assert.equal("empty\n", result.out)
    end)
  end)

  it("tells of a log that is missing, or that its image is ahead of", function()
    with_job(KEYS, function(dir)
      assert.equal(0, program.run_in(dir, "rille backup ck backup").status)
      sh(dir, "rm -r ck/log")
      for _ = 1, 2 do
        for _, option in ipairs { "", "--verify", "--json" } do
          local result = program.run_in(dir, "rille inspect ck " .. option)
          assert.equal(1, result.status, option)
          assert.matches("damaged log: ck/log: .-allowDropped = true", result.out)
        end
        local result = program.run_in(dir, "rille run job.lua") -- it makes a log
        assert.equal(1, result.status)
        assert.matches("ck: the state .-, and its log is missing; .-allowDropped = true", result.err)
      end
      local result = program.run_in(dir, "rille inspect ck --repair")
      assert.equal(1, result.status)
      assert.matches("nothing can be rebuilt", result.err)
      assert.equal(0, program.run_in(dir, "rille inspect ck --repair --from backup").status)
      assert.equal(0, program.run_in(dir, "rille inspect ck --verify").status)
      assert.equal("yes\n", program.run_in(dir, "rille inspect ck --key st true").out)
    end)
    with_job(STATELESS, function(dir)
      assert.equal(0, program.run_in(dir, "rille inspect ck --verify").status)
      sh(dir, "rm -r ck/log")
      local result = program.run_in(dir, "rille inspect ck --verify")
      assert.equal(1, result.status)
      assert.matches("damaged log: ck/log: there is none, and there is a state", result.out)
    end)
  end)

  it("tells of a log of another job", function()
    with_job(KEYS, function(dir)
      sh(dir, "mv ck first")
      assert.equal(0, program.run_in(dir, "rille run job.lua").status)
      sh(dir, "rm -r first/log && mv ck/log first && rm -r ck && mv first ck")
      for _, option in ipairs { "", "--verify", "--json" } do
        local result = program.run_in(dir, "rille inspect ck " .. option)
        assert.equal(1, result.status, option)
        assert.matches("damaged log: ck/log: .- job that began later, .- do not belong together", result.out)
      end
      local result = program.run_in(dir, "rille run job.lua")
      assert.equal(1, result.status)
      assert.matches("ck: .- job that began later, .- do not belong together; .-allowDropped = true", result.err)
      sh(dir, "touch in/g")
      local go_on = "rille run job.lua --conf rille.checkpoint.allowDropped=true"
      assert.equal(0, program.run_in(dir, go_on).status)
    end)
  end)

  it("knows a start that ended before it had made a state", function()
    with_job(STATELESS, function(dir)
      sh(dir, "rm -r ck && mkdir before")
      local limited = program.run_in(dir, "bash -c 'ulimit -v 1000000; rille run job.lua'")
      if not limited.err:find("cannot open the state", 1, true) then return end -- a sanitizer, or it died elsewhere
      assert.equal(1, limited.status)
      assert.matches("it is mapped, which takes 1024 MB of address space at least: allow .- %(ulimit %-v", limited.err)
      local result = program.run_in(dir, "rille inspect ck")
      assert.equal(0, result.status, result.err)
      assert.matches("there is no image yet", result.out)
      assert.equal(0, program.run_in(dir, "rille inspect ck --verify").status)
      result = program.run_in(dir, "rille run job.lua")
      assert.equal(0, result.status, result.err)
    end)
  end)

  -- Batches on a manual clock, each with a file of its number, in windows of two; ARG of them.
  local WINDOW <const> = [[
    local rille = require "rille"
    local ssc = rille.StreamingContext({ appName = "window", master = "local[1]", clock = "manual" }, 1)
    ssc:checkpoint "ck"
    ssc:textFileStream("in"):uid "files":window(2, 1):foreachRDD(function(rdd, time)
      print(time // 1000, table.concat(rdd:collect(), " "))
    end)
    ssc:start()
    ssc:clock():advance(tonumber(arg[1]))
    ssc:stop(true, false)
  ]]

  it("repairs a log so that no file is read again but those of a batch that is lost", function()
    local dir = program.project { ["job.lua"] = WINDOW, ["in/.hidden"] = "" }
    for i = 1, 3 do
      support.write(("%s/in/file-%d"):format(dir, i), ("%d\n"):format(i))
      sh(dir, ("touch -d @%d in/file-%d"):format(i, i))
    end
    local first = program.run_in(dir, "rille run job.lua 3")
    assert.equal("1\t1\n2\t1 2\n3\t2 3\n", first.out, first.err)
    local log = assert(io.popen(("ls '%s'/ck/log/log-*"):format(dir))):read()
    local bytes = support.read(log)
    local at = assert(bytes:find("in/file-3", 1, true)) -- in the BEGIN of the third batch, and nowhere else
    assert.is_nil(bytes:find("in/file-3", at + 1, true))
    support.write(log, bytes:sub(1, at - 1) .. "XX" .. bytes:sub(at + 2))
    local repaired = program.run_in(dir, "rille inspect ck --repair")
    assert.equal(0, repaired.status, repaired.err)
    assert.matches("input 'files': its newest place may be lost", repaired.out)
    local second = program.run_in(dir, "rille run job.lua 3")
    -- What the lost batch read is read again, by the first; no window has part of what it looks back at.
    assert.equal("5\t3\n6\t\n", second.out, second.err)
    support.remove(dir)
  end)
end)
