--- What a durable job does about the time in which it did not run: batches that were missed, keys whose time is over,
--- clocks that went back, windows that look further than the log is kept.
local core = require "rille.core"
local program = require "spec.lua.program"
local rille = require "rille"
local support = require "spec.lua.support"

local SKIPPED <const> = 30 -- batches, by a clock that jumps

-- Starts a job that begins or goes on in `place` for `n` batches; make(pairs) gives a stream, whose batches are returned:
-- { { time =, text = } ... }. records[second] are those of the input.
local function run(place, n, records, make, settings)
  local conf = { appName = "catching up", master = "local[2]", clock = "manual",
    ["rille.streaming.manualClock.jump"] = SKIPPED .. "s" }
  for k, v in pairs(settings or {}) do conf["rille.streaming." .. k] = v end
  local ssc = rille.StreamingContext(conf, 1)
  ssc:checkpoint(place)
  local handle, seen = ssc:context().handle, {}
  local function compute(time) return handle:parallelize(records[time // 1000] or {}, 2) end
  make(ssc:input("test", nil, function(site) return ssc.handle:input("Test", compute, site, true) end))
    :foreachRDD(function(rdd, time)
      seen[#seen + 1] = { time = time // 1000, text = table.concat(support.sorted(rdd:collect()), " ") }
    end)
  ssc:start()
  ssc:clock():advance(n)
  ssc:awaitTerminationOrTimeout(0)
  ssc.handle:abandon()
  ssc.sc.handle:stop()
  return seen
end

local function times(seen)
  local list = {}
  for i, batch in ipairs(seen) do list[i] = batch.time end
  return list
end

local function in_a_place(body)
  return function()
    core.setLogLevel "off"
    local place = support.directory()
    local ok, why = xpcall(body, debug.traceback, place .. "/ck")
    core.setLogLevel "warn"
    support.remove(place)
    if not ok then error(why, 0) end
  end
end

describe("time in which a job did not run", function()
  local function same(s) return s:map(function(k, v) return k, v end) end

  -- The clock stands SKIPPED seconds behind the last batch when the job starts again: that many batches are missed.
  for how, expected in pairs {
    all = { 28, 29, 30, 31, 32, 33, 34 }, merge = { 33, 34 }, skip = { 34 },
  } do
    it("is caught up with within its bounds: " .. how, in_a_place(function(place)
      local settings = { catchUp = how, catchUpLimit = 6 }
      assert.same({ 1, 2, 3 }, times(run(place, 3, {}, same, settings)))
      assert.same(expected, times(run(place, 1, {}, same, settings)))
      assert.same(how == "all" and 7 or #expected, #times(run(place, 1, {}, same, settings)))
    end))
  end

  -- Each key says once that its time is over, as it would have done in a job that ran on.
  for how in pairs { all = 1, merge = 1, skip = 1 } do
    it("counts for keys that time out: " .. how, in_a_place(function(place)
      local records = { { rille.tuple("a", 1) }, { rille.tuple("b", 1) }, {}, [SKIPPED + 4] = { rille.tuple("b", 1) } }
      local function timed(s)
        return s:mapWithState(rille.StateSpec(function(_, key, value, state)
          if state:isTimingOut() then return key .. " is gone" end
          state:update((state:get() or 0) + value)
          return key .. " " .. state:get()
        end):timeout(10))
      end
      local settings, all = { catchUp = how }, {}
      for _, n in ipairs { 3, 2 } do
        for _, batch in ipairs(run(place, n, records, timed, settings)) do
          if batch.text ~= "" then all[#all + 1] = batch.text end
        end
      end
      -- b comes in the very batch in which its time is found to be over, where none was run before.
      local text = table.concat(all, ", ")
      local _, gone = text:gsub("a is gone", "")
      assert.equal(1, gone, text)
      if how ~= "skip" then assert.matches("b is gone.*b 1$", text) else assert.matches("b %d", text) end
    end))
  end

  it("is no part of a window that reaches back over it", in_a_place(function(place)
    local function one(key) return { rille.tuple(key, 1) } end
    local records = { one "a", one "b", one "c", [34] = one "d" }
    local function windowed(s) return s:window(32, 1) end
    run(place, 3, records, windowed, { catchUp = "skip" })
    local seen = run(place, 2, records, windowed, { catchUp = "skip" })
    assert.same({ 34, 35 }, times(seen))
    assert.same({ "(c,1) (d,1)", "(d,1)" }, { seen[1].text, seen[2].text })
  end))

  -- A part of a window is not taken for the whole: until the log has all of it there is none.
  it("and records that the log has no more are no part of a longer window", in_a_place(function(place)
    local records, settings = {}, { ["driver.writeAheadLog.rollingInterval"] = "1us",
      ["manualClock.jump"] = "0s" }
    for i = 1, 40 do records[i] = { "r", "r" } end
    local function windows(n) return function(s) return s:map(function(r) return r end):window(n, 1):count() end end
    run(place, 20, records, windows(2), settings)
    assert.is_false(support.exists(place .. "/log/log-0000000000000001"))
    for _, batch in ipairs(run(place, 1, records, windows(2), settings)) do assert.equal("4", batch.text) end
    local seen = run(place, 9, records, windows(14), settings)
    assert.is_true(#seen > 0 and #seen < 9, #seen)
    for _, batch in ipairs(seen) do assert.equal("28", batch.text, "at " .. batch.time) end
    seen = run(place, 2, records, windows(14), settings)
    assert.same({ 31, 32 }, times(seen))
    for _, batch in ipairs(seen) do assert.equal("28", batch.text, "at " .. batch.time) end
  end))

  local function add(a, b) return a + b end
  local kept_up = {
    inverse = function(s, n)
      return s:reduceByKeyAndWindow(add, function(a, b) return a - b end, n, 1, 2, function(_, v) return v ~= 0 end)
        :uid "inverse"
    end,
    known = function(s, n) return s:reduceByKeyAndWindow("sum", n, 1):uid "known" end,
  }
  local trimmed_at_once = { ["driver.writeAheadLog.rollingInterval"] = "0.001s", ["manualClock.jump"] = "0s" }

  for name, window in pairs(kept_up) do
    it("nor of one that is kept up by what enters and leaves: " .. name, in_a_place(function(place)
      local records, text = {}, {}
      for i = 1, 60 do records[i] = { rille.tuple("r", 1), rille.tuple("k" .. i % 3, 1) } end
      run(place, 20, records, same, trimmed_at_once)
      for _, n in ipairs { 4, 1, 1, 20 } do -- restarts while it is withheld, and behind
        for _, batch in ipairs(run(place, n, records, function(s) return window(s, 12) end, trimmed_at_once)) do
          text[batch.time] = batch.text
        end
      end
      assert.equal("(k0,4) (k1,4) (k2,4) (r,12)", text[46])
      for time, all in pairs(text) do assert.equal(text[46], all, "at " .. time) end
    end))
  end

  -- Side by side with one that is made anew each time: a batch has all of them or none.
  local function three_windows(s)
    return s:window(4, 1):reduceByKey(add):fullOuterJoin(kept_up.inverse(s, 4)):fullOuterJoin(kept_up.known(s, 4))
  end

  -- What was in the window when they were taken out of the job was not there to leave it when they came back.
  it("and begin anew when what should leave them is gone", in_a_place(function(place)
    local records = {}
    for i = 1, 60 do
      records[i] = { rille.tuple(i <= 8 and "old" or "new", 1), rille.tuple("both", i <= 8 and 100 or 1) }
    end
    run(place, 8, records, three_windows, trimmed_at_once)
    run(place, 20, records, same, trimmed_at_once)
    local text = {}
    for _, n in ipairs { 1, 1, 3, 1, 5 } do
      for _, batch in ipairs(run(place, n, records, three_windows, trimmed_at_once)) do
        text[batch.time] = batch.text
      end
    end
    assert.equal("(both,(4,4),4) (new,(4,4),4)", text[39])
    for time, all in pairs(text) do assert.equal(text[39], all, "at " .. time) end
  end))

  -- The first start ends before its first batch; when the second one comes, its grid has not begun yet.
  it("does not begin before the job's zero time, when the clock went back", function()
    local dir = program.project { ["job.lua"] = [[
      local rille = require "rille"
      local ssc = rille.StreamingContext({ master = "local[1]", clock = arg[1] }, 0.2)
      ssc:checkpoint "ck"
      local times = {}
      ssc:receiverStream({ onStart = function(self)
        if arg[1] == "system" then self:store "it" end
      end }):foreachRDD(function(rdd, time)
        times[#times + 1] = time
        if rdd:count() > 0 then
          print(rdd:count(), #times, time > tonumber(arg[2]))
          ssc:stop(true, false)
        end
      end)
      if arg[1] == "manual" then ssc:clock():advance(tonumber(arg[2]) / 1000) end
      ssc:start()
      if arg[1] == "manual" then os.exit(0) end
      if rille.time.now() >= tonumber(arg[2]) then os.exit(3) end -- it began too late to show anything
      ssc:awaitTermination()
    ]] }
    local zero, second
    local ahead = 3 -- s
    repeat -- until both are started before the zero time, on however busy a machine
      zero = (os.time() + ahead) * 1000
      assert(os.execute(("rm -rf '%s/ck'"):format(dir)))
      local first = program.run_in(dir, "rille run job.lua manual " .. zero)
      assert.equal(0, first.status, first.err)
      second = program.run_in(dir, "rille run job.lua system " .. zero)
      ahead = 2 * ahead
    until second.status ~= 3 or ahead > 200
    assert.equal(0, second.status, second.err)
    assert.equal("1\t1\ttrue\n", second.out)
    assert.matches("the clock went back", second.err)
    support.remove(dir)
  end)
end)
