--- The graph that a checkpoint has recorded: what inspect shows of it, and which state a changed job may go on with.
local json = require "rille.json"
local program = require "spec.lua.program"
local support = require "spec.lua.support"

-- KIND is the operator under the uid "st"; it ends when that has keys, and at once with none.
local JOB <const> = [==[
local rille = require "rille"
local kind, window = os.getenv "KIND", tonumber(os.getenv "WINDOW" or 1)
local ssc = rille.StreamingContext({ appName = "graph", master = "local[2]" }, 0.2)
ssc:checkpoint "ck"
local pairs_of = ssc:fileStream("in", { newFilesOnly = false }):uid "files":map(function(word) return word, 1 end)
local function add(a, b) return a + b end
local function take_off(a, b) return a - b end
local made = {
  update = function() return pairs_of:updateStateByKey(function(ones, n) return (n or 0) + #ones end) end,
  map = function()
    local timeout = tonumber(os.getenv "TIMEOUT")
    local spec = rille.StateSpec(function(_, k, v, state)
      if v then state:update((state:get() or 0) + v) end
      return k, state:get()
    end)
    return pairs_of:mapWithState(timeout and spec:timeout(timeout) or spec)
  end,
  inverse = function() return pairs_of:reduceByKeyAndWindow(add, take_off, window, 0.2) end,
  slower = function() return pairs_of:reduceByKeyAndWindow(add, take_off, window, 0.4) end,
  sum = function() return pairs_of:reduceByKeyAndWindow("sum", window, 0.2) end,
  max = function() return pairs_of:reduceByKeyAndWindow("max", window, 0.2) end,
  values = function() return pairs_of:countByValueAndWindow(window, 0.2) end,
  plain = function() return pairs_of:groupByKeyAndWindow(window, 0.2) end,
}
if kind == "none" then
  pairs_of:foreachRDD(function() ssc:stop(true, true) end)
else
  local stream = made[kind]()
  if not os.getenv "UNNAMED" then stream:uid(os.getenv "NAME" or "st") end
  local out = kind == "map" and stream:stateSnapshots() or stream
  out:foreachRDD(function(rdd)
    if rdd:count() == 0 then return end
    for _, r in ipairs(rdd:collect()) do print(r) end
    ssc:stop(true, true)
  end)
end
ssc:start()
ssc:awaitTermination()
]==]

local function start(dir, setting) return program.run_in(dir, ("env %s rille run job.lua"):format(setting)) end

-- A directory in which the job has run so; without its state where `unmade`.
local function with_job(setting, body)
  local dir = program.project { ["job.lua"] = JOB, ["in/f"] = "a\n" }
  local ok, why = xpcall(function()
    local result = start(dir, setting)
    assert.equal(0, result.status, result.err)
    body(dir, result)
  end, debug.traceback)
  support.remove(dir)
  if not ok then error(why, 0) end
end

local function refused(dir, setting, was, is)
  local result = start(dir, setting)
  assert.equal(1, result.status, result.err)
  local _, lines = result.err:gsub("rille: ", "")
  assert.equal(1, lines)
  assert.matches(("ck: the state of 'st' is that of %s, and at job.lua:"):format(was), result.err, 1, true)
  assert.matches((" there is %s now, which cannot go on with it; give that operator another uid"):format(is),
    result.err, 1, true)
end

local function accepted(dir, setting)
  local result = start(dir, setting)
  assert.equal(0, result.status, result.err)
  return result
end

describe("the graph of a durable job", function()
  it("refuses a window of another length or slide, whatever was tried in between", function()
    with_job("KIND=inverse WINDOW=60", function(dir)
      local was = "reduceByKeyAndWindow (inverse window of 60 s, every 0.2 s)"
      for _ = 1, 2 do
        refused(dir, "KIND=inverse WINDOW=40", was, "reduceByKeyAndWindow (inverse window of 40 s, every 0.2 s)")
      end
      refused(dir, "KIND=slower WINDOW=60", was, "reduceByKeyAndWindow (inverse window of 60 s, every 0.4 s)")
      accepted(dir, "KIND=none") -- what nobody takes is kept, and what it is
      refused(dir, "KIND=inverse WINDOW=80", was, "reduceByKeyAndWindow (inverse window of 80 s, every 0.2 s)")
      assert.matches("(a,1)", accepted(dir, "KIND=inverse WINDOW=60").out, 1, true)
      assert.matches("(a,1)", accepted(dir, "KIND=inverse WINDOW=40 NAME=other").out, 1, true)
    end)
  end)

  it("refuses a window of another reducer or of another operation", function()
    with_job("KIND=sum WINDOW=60", function(dir)
      local was = "reduceByKeyAndWindow (sum window of 60 s, every 0.2 s)"
      refused(dir, "KIND=sum WINDOW=30", was, "reduceByKeyAndWindow (sum window of 30 s, every 0.2 s)")
      refused(dir, "KIND=max WINDOW=60", was, "reduceByKeyAndWindow (max window of 60 s, every 0.2 s)")
      refused(dir, "KIND=inverse WINDOW=60", was, "reduceByKeyAndWindow (inverse window of 60 s, every 0.2 s)")
      refused(dir, "KIND=values WINDOW=60", was, "countByValueAndWindow (inverse window of 60 s, every 0.2 s)")
      refused(dir, "KIND=update", was, "updateStateByKey (values)")
      accepted(dir, "KIND=sum WINDOW=60")
    end)
  end)

  it("lets values by key be taken over by who keeps values by key only", function()
    with_job("KIND=update", function(dir)
      refused(dir, "KIND=inverse", "updateStateByKey (values)",
        "reduceByKeyAndWindow (inverse window of 1 s, every 0.2 s)")
      support.write(dir .. "/in/g", "a\n")
      assert.matches("(a,", accepted(dir, "KIND=map").out, 1, true)
      refused(dir, "KIND=sum", "mapWithState (values)", "reduceByKeyAndWindow (sum window of 1 s, every 0.2 s)")
      assert.matches("(a,", accepted(dir, "KIND=update").out, 1, true)
    end)
  end)

  it("lets timeouts change, and refuses those that state was made without", function()
    with_job("KIND=map TIMEOUT=100", function(dir)
      accepted(dir, "KIND=map TIMEOUT=200")
      accepted(dir, "KIND=map")
    end)
    with_job("KIND=map", function(dir)
      local result = start(dir, "KIND=map TIMEOUT=100")
      assert.equal(1, result.status)
      assert.matches("the state of 'st' was made without timeouts; .-: give that operator another uid", result.err)
    end)
  end)

  it("lets windows that keep nothing change", function()
    with_job("KIND=plain WINDOW=40", function(dir)
      for _, setting in ipairs { "WINDOW=20", "WINDOW=60" } do
        local result = start(dir, "KIND=plain " .. setting)
        assert.equal(0, result.status, result.err)
      end
    end)
  end)

  -- Without the record beside the state, that in the log counts; without both, nobody knows.
  it("is in the log as well, for when the state is damaged or lost", function()
    local was = "reduceByKeyAndWindow (inverse window of 60 s, every 0.2 s)"
    local shorter = "reduceByKeyAndWindow (inverse window of 40 s, every 0.2 s)"
    with_job("KIND=inverse WINDOW=60", function(dir)
      local image = dir .. "/ck/state/data.mdb"
      support.write(image, (support.read(image):gsub("inverse window", "inverse Window")))
      local shown = program.run_in(dir, "rille inspect ck")
      assert.equal(1, shown.status)
      assert.matches("damage     the state in ck/state: the note 'job' (graph) is damaged", shown.out, 1, true)
      local result = start(dir, "KIND=inverse WINDOW=40")
      assert.equal(1, result.status)
      assert.matches(("the state of 'st' is that of %s"):format(was), result.err, 1, true)
      result = accepted(dir, "KIND=inverse WINDOW=60")
      assert.matches("note 'job' %(graph%) .- is damaged: .-: the graph is taken from the log", result.err)
      assert.equal(0, program.run_in(dir, "rille inspect ck --verify").status)
      refused(dir, "KIND=inverse WINDOW=40", was, shorter)
      assert(os.execute(("cd '%s/ck/state' && head -c 5000 data.mdb >cut && mv cut data.mdb"):format(dir)))
      assert.equal(0, program.run_in(dir, "rille inspect ck --repair").status)
      result = start(dir, "KIND=inverse WINDOW=40")
      assert.equal(1, result.status)
      assert.matches(("the state of 'st' is that of %s"):format(was), result.err, 1, true)
      accepted(dir, "KIND=inverse WINDOW=60")
      refused(dir, "KIND=inverse WINDOW=40", was, shorter)
    end)
  end)

  it("is not known when both are lost, and that is said", function()
    with_job("KIND=inverse WINDOW=60", function(dir)
      local path = dir .. "/ck/log/log-0000000000000001"
      local log = support.read(path)
      support.write(path, log:sub(1, 140) .. string.char(log:byte(141) ~ 1) .. log:sub(142)) -- START
      assert(os.execute(("rm -r '%s/ck/state'"):format(dir)))
      assert.equal(0, program.run_in(dir, "rille inspect ck --repair").status)
      local result = accepted(dir, "KIND=inverse WINDOW=60")
      local _, lines = result.err:gsub("whether its state was made by operators like today's is not known", "")
      local again = result.err:find "batch.- not complete: run again" -- of those no state was left
      assert.equal(again and 0 or 1, lines, result.err)
      result = accepted(dir, "KIND=inverse WINDOW=60")
      assert.not_matches("is not known", result.err)
    end)
  end)

  -- What leaves a window is computed by today's functions: with others it would not be what entered.
  it("lets functions in front of a window change, which is made anew then", function()
    with_job("KIND=inverse WINDOW=60", function(dir)
      support.write(dir .. "/job.lua", (JOB:gsub("return word, 1 end", "return word, 10 end")))
      assert.matches("(a,10)", accepted(dir, "KIND=inverse WINDOW=60").out, 1, true)
      assert.matches("(a,10)", accepted(dir, "KIND=inverse WINDOW=60").out, 1, true)
      support.write(dir .. "/job.lua", JOB)
      assert.matches("(a,1)", accepted(dir, "KIND=inverse WINDOW=60").out, 1, true)
    end)
    with_job("KIND=update", function(dir) -- values by key are what they were made to be
      support.write(dir .. "/job.lua", (JOB:gsub("return word, 1 end", "return word, 10 end")))
      support.write(dir .. "/in/g", "a\n")
      assert.matches("(a,", accepted(dir, "KIND=update").out, 1, true)
    end)
  end)

  it("is shown by inspect", function()
    with_job("KIND=values WINDOW=60", function(dir)
      local shown = program.run_in(dir, "rille inspect ck")
      assert.equal(0, shown.status, shown.err)
      assert.matches("\ngraph      files: File stream %[0%] at job.lua:5\n" ..
        "             files/map: map at job.lua:5\n" ..
        "               st: countByValueAndWindow at job.lua:%d+, of 60 s, every 0.2 s; keeps state " ..
        "%(inverse window%)\n" ..
        "                 %-> foreachRDD at job.lua:%d+\n", shown.out)
      local graph = json.decode(program.run_in(dir, "rille inspect ck --json").out).graph
      assert.equal(3, #graph)
      local last = graph[3]
      assert.same({ "st", "countByValueAndWindow", "inverse window", 60, 0.2 },
        { last.uid, last.operation, last.state, last.window, last.slide })
      assert.same({ "files/map" }, last.parents)
      assert.matches("^st/foreachRDD.*%)$", last.outputs[1].key)
    end)
  end)

  it("warns of state under a uid that nobody gave", function()
    with_job("KIND=update UNNAMED=1", function(_, result)
      local _, lines = result.err:gsub("job.lua:%d+: updateStateByKey keeps its state under the derived uid " ..
        "'files/map/updateStateByKey'", "")
      assert.equal(1, lines, result.err)
    end)
    with_job("KIND=update", function(_, result) assert.not_matches("derived uid", result.err) end)
  end)
end)
