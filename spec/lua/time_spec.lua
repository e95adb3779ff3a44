-- rille.time: points in time as milliseconds, in UTC.
local rille = require "rille"
local support = require "spec.lua.support"

local time, failure = rille.time, support.failure

describe("rille.time", function()
  it("parses ISO 8601", function()
    for text, ms in pairs {
      ["1970-01-01"] = 0,
      ["1970-01-01T00:00Z"] = 0,
      ["1970-01-01T00:00:01"] = 1000,
      ["1969-12-31T23:59:59.999Z"] = -1,
      ["2024-02-29T12:30:15.5Z"] = 1709209815500,
      ["2024-02-29 12:30:15,25z"] = 1709209815250,
      ["2024-02-29t12:30:15.123456789Z"] = 1709209815123,
      ["2024-02-29T12:30:15+01:30"] = 1709204415000,
      ["2024-02-29T12:30:15-0130"] = 1709215215000,
      ["2024-02-29T12:30:15+02"] = 1709202615000,
      ["2016-12-31T23:59:60Z"] = 1483228800000,
      ["0000-01-01"] = -62167219200000,
      ["9999-12-31T23:59:59.999Z"] = 253402300799999,
    } do
      assert.equal(ms, time.parse(text), text)
    end
  end)

  it("refuses what is no time, with the byte", function()
    for text, at in pairs {
      [""] = 1, ["x"] = 1, ["2023-02-29"] = 11, ["2100-02-29"] = 11, ["2024-13-01"] = 11, ["2024-00-01"] = 11,
      ["2024-1-01"] = 7,
      ["2024-01-01T"] = 12, ["2024-01-01T24:00"] = 17, ["2024-01-01T10:60"] = 17, ["2024-01-01T10:00:61"] = 20,
      ["2024-01-01T10:00:00."] = 21, ["2024-01-01T10:00:00Zx"] = 21, ["2024-01-01T10:00:00+1"] = 22,
      ["2024-01-01T10:00:00+25:00"] = 26, ["2024-01-01T10:00:00\0"] = 20, ["2024-01-01\0"] = 11,
    } do
      assert.matches("time_spec.lua:%d+: rille.time.parse: .* at byte " .. at .. "$",
        failure(function() return time.parse(text) end))
    end
  end)

  it("formats, in ISO 8601 unless told otherwise", function()
    assert.equal("2024-02-29T12:30:15.005Z", time.format(1709209815005))
    assert.equal("1969-12-31T23:59:59.999Z", time.format(-1))
    assert.equal("29/02/2024 12h30 15s 005 060 4 %", time.format(1709209815005, "%d/%m/%Y %Hh%M %Ss %L %j %u %%"))
    assert.equal("", time.format(0, ""))
    assert.equal("1 7", time.format(time.parse "2024-01-01", "%u") .. " " .. time.format(time.parse "2024-01-07", "%u"))
    assert.matches("unknown part %%Q", failure(time.format, 0, "%Q"))
    assert.matches("ends in a single %%", failure(time.format, 0, "x%"))
    assert.matches("outside of the years", failure(time.format, math.maxinteger))
  end)

  it("goes forth and back over all days", function()
    local day = 86400000
    for ms = -62167219200000, 253402300799999, 397 * day + 12345 do
      assert.equal(ms, time.parse(time.format(ms)))
    end
    for ms = 0, 20000 * day, day do
      assert.equal(os.date("!%Y-%m-%d %j", ms // 1000), time.format(ms, "%Y-%m-%d %j"))
    end
  end)

  it("finds the beginning of a window", function()
    assert.equal(12000, time.floor(12345, 1))
    assert.equal(12000, time.floor(12345, 0.5))
    assert.equal(12340, time.floor(12345, 0.01))
    assert.equal(-10000, time.floor(-1, 10))
    assert.equal(0, time.floor(0, 3600))
    for _, seconds in ipairs { 0, -1, 0.0001, 0 / 0, 1 / 0 } do
      assert.matches("bad argument #2", failure(function() return time.floor(0, seconds) end))
    end
    assert.matches("bad argument #1", failure(function() return time.floor(math.mininteger, 7) end))
  end)

  it("tells the time", function()
    -- os.time reads the kernel's coarse clock, which may still be in the second before: ask the fine one.
    local function wall_clock()
      local date <close> = assert(io.popen("date +%s%3N"))
      return assert(date:read("n"))
    end
    local before = wall_clock()
    local now = time.now()
    local after = wall_clock()
    assert.equal("integer", math.type(now))
    assert.is_true(before <= now and now <= after)
  end)

  it("is there in workers", function()
    local sc = rille.Context { master = "local[2]" }
    local floor = time.floor
    assert.same({ "1970-01-01T00:00:10.000Z" }, sc:parallelize({ "1970-01-01T00:00:17" }, 1):map(function(text)
      return rille.time.format(floor(time.parse(text), 10))
    end):collect())
    sc:stop()
  end)
end)
