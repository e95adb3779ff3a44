--- Windows over a part of the log that a repair could not bring back.
local program = require "spec.lua.program"
local rille = require "rille"
local support = require "spec.lua.support"

local BEGIN <const>, LOST_UNTIL <const>, HEADERS <const>, HEAD <const> = 3, 8, 96, 40 -- types of records; bytes
local WINDOW <const>, LOST <const> = 12, 3

local function add(a, b) return a + b end
local function take_off(a, b) return a - b end
local function some(_, n) return n ~= 0 end

-- What each batch has: "r" is in all of them, "b" in every second one; 10 + number of the batch is the value.
local function records_of(time)
  local records = { rille.tuple("r", 10 + time) }
  if time % 2 == 0 then records[2] = rille.tuple("b", 10 + time) end
  return records
end

local function sum_of(time)
  local r, b = 0, 0
  for t = math.max(1, time - WINDOW + 1), time do
    r = r + 10 + t
    if t % 2 == 0 then b = b + 10 + t end
  end
  return r, b
end

local function by_key(time)
  local r, b = sum_of(time)
  return b > 0 and ("(b,%d) (r,%d)"):format(b, r) or ("(r,%d)"):format(r)
end

local function count_of(time)
  local n = 0
  for t = math.max(1, time - WINDOW + 1), time do n = n + #records_of(t) end
  return n
end

local windows = {
  ["made anew"] = { function(s) return s:reduceByKeyAndWindow(add, WINDOW, 1) end, by_key },
  inverse = { function(s) return s:reduceByKeyAndWindow(add, take_off, WINDOW, 1, 2, some):uid "kept" end, by_key },
  sum = { function(s) return s:reduceByKeyAndWindow("sum", WINDOW, 1):uid "kept" end, by_key },
  countByWindow = { function(s) return s:countByWindow(WINDOW, 1):uid "kept" end,
    function(time) return tostring(count_of(time)) end },
  reduceByWindow = { function(s)
    return s:map(function(_, n) return n end):reduceByWindow(add, take_off, WINDOW, 1):uid "kept"
  end, function(time)
    local r, b = sum_of(time)
    return tostring(r + b)
  end },
  countByValueAndWindow = { function(s)
    return s:map(function(k) return k end):countByValueAndWindow(WINDOW, 1):uid "kept"
  end, function(time)
    local r = math.min(time, WINDOW)
    return count_of(time) > r and ("(b,%d) (r,%d)"):format(count_of(time) - r, r) or ("(r,%d)"):format(r)
  end },
}

-- A job that begins or goes on in `place` for `n` batches: what its window had, by time.
local function run(place, n, make)
  local conf = { appName = "holes", master = "local[2]", clock = "manual", ["rille.checkpoint.applyLag"] = "1" }
  local ssc = rille.StreamingContext(conf, 1)
  ssc:checkpoint(place)
  local handle, seen = ssc:context().handle, {}
  local function compute(time) return handle:parallelize(records_of(time // 1000), 2) end
  make(ssc:input("test", nil, function(site) return ssc.handle:input("Test", compute, site, true) end))
    :foreachRDD(function(rdd, time) seen[time // 1000] = table.concat(support.sorted(rdd:collect()), " ") end)
  ssc:start()
  ssc:clock():advance(n)
  ssc:awaitTerminationOrTimeout(0)
  ssc:stop(true, true)
  return seen
end

-- Changes a byte in the payload of the BEGIN of a batch, or of the last record of another type.
local function lose(place, time, type)
  local found
  local pipe = assert(io.popen(("ls '%s/log/log-'*"):format(place)))
  for path in pipe:lines() do
    local text, at = support.read(path), HEADERS + 1
    while at + HEAD <= #text do
      local length, kind = string.unpack("<I4I4", text, at)
      if kind == 0 then break end
      local zigzag, shift = 0, 0
      for i = at + HEAD, at + HEAD + 9 do
        zigzag, shift = zigzag | (text:byte(i) & 127) << shift, shift + 7
        if text:byte(i) < 128 then break end
      end
      if kind == type and (type ~= BEGIN or zigzag >> 1 == time * 1000) then
        local byte = at + HEAD + length - 1
        found = { path, text:sub(1, byte - 1) .. string.char(text:byte(byte) ~ 64) .. text:sub(byte + 1) }
      end
      at = at + HEAD + length
    end
  end
  pipe:close()
  support.write(table.unpack(assert(found)))
end

local function repair(place)
  local result = program.run_in(".", ("rille inspect '%s' --repair"):format(place))
  assert.equal(0, result.status, result.err)
  return result.out
end

local function in_a_place(body)
  return function()
    local place = support.directory()
    local ok, why = xpcall(body, debug.traceback, place .. "/ck")
    support.remove(place)
    if not ok then error(why, 0) end
  end
end

-- All windows that were given are whole, and from `from` on there is one in each batch.
local function whole(seen, expected, from, to)
  for time, text in pairs(seen) do assert.equal(expected(time), text, "at " .. time) end
  for time = from, to do assert.is_string(seen[time], "at " .. time) end
end

-- Runs the job until its image, if it has one, has the batch that is to be lost; the last batch.
local function run_past(place, make, expected)
  local time, state, imaged = 0
  repeat
    whole(run(place, 2, make), expected, time + 1, time + 2)
    time = time + 2
    state = program.run_in(".", ("rille inspect '%s' --json"):format(place)).out
    imaged = tonumber(state:match '"imageVersion": *(%d+)' or 0)
  until time > LOST and (imaged >= LOST * 1000 or not state:match '"imageVersion"')
  assert.is_true(time < WINDOW)
  return time
end

describe("a repair that loses the beginning of a batch", function()
  for name, window in pairs(windows) do
    it("leaves nothing of it in a window: " .. name, in_a_place(function(place)
      local make, expected = table.unpack(window)
      local time = run_past(place, make, expected)
      lose(place, LOST, BEGIN)
      assert.matches("record %d+ of the log is lost", repair(place))
      if name == "inverse" then -- what the repair has written of it may be damaged, too
        lose(place, LOST, LOST_UNTIL)
        repair(place)
      end
      for _, n in ipairs { 1, 2, LOST + WINDOW } do -- restarts while it is withheld, and behind
        whole(run(place, n, make), expected, math.max(time + 1, LOST + WINDOW), time + n)
        time = time + n
      end
    end))
  end
end)
