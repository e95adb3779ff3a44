--- A killed job's checkpoint with one bit of it changed: inspect and a start tell, a repair says what is lost, and
--- behind it state and windows are those of a model, less that. All of it with RILLE_LONG=1, else a few places.
local program = require "spec.lua.program"
local support = require "spec.lua.support"

local LONG <const> = os.getenv "RILLE_LONG" == "1"
local WINDOW <const>, FIRST <const>, AGAIN <const> = 4, 8, 8 -- batches
local IDS <const> = {} -- all records of the job, each another: of a receiver, and one file a batch
for i = 1, 2 * FIRST + 2 do IDS[#IDS + 1] = "r" .. i end
for i = 1, FIRST do IDS[#IDS + 1] = "f" .. i end

-- job.lua first|kill|again N: receives and reads all there is in N batches and is killed, with two records in none yet;
-- runs N batches more and is killed; runs N batches more. What outputs had stands in `out`: name, batch, records.
local JOB <const> = ([==[
local rille = require "rille"
local mode, n = arg[1], tonumber(arg[2])
local function exists(path) return os.rename(path, path) ~= nil end
local function await(path) while not exists(path) do rille.sleep(0.002) end end
local ssc = rille.StreamingContext({ appName = "damaged", master = "local[2]", clock = "manual",
  ["rille.checkpoint.applyLag"] = "1", ["rille.checkpoint.allowDropped"] = os.getenv "DROP" == "1" }, 1)
ssc:checkpoint "ck"
local received = ssc:receiverStream { onStart = function(self)
  if mode ~= "first" then return end
  for i = 1, n + 1 do
    while not os.rename("go-" .. i, "go-" .. i) do rille.sleep(0.002) end
    self:store { "r" .. 2 * i - 1, "r" .. 2 * i }
    assert(io.open("stored-" .. i, "w")):close()
  end
end }:uid "received"
local records = received:union(ssc:fileStream("in", { newFilesOnly = false }):uid "files")
local function put(name, stream)
  stream:foreachRDD(function(rdd, time)
    local texts = {}
    for i, r in ipairs(rdd:collect()) do texts[i] = type(r) == "string" and r or ("%s=%d"):format(r[1], r[2]) end
    table.sort(texts)
    local out = assert(io.open("out", "a"))
    out:write(name, " ", time // 1000, " ", table.concat(texts, " "), "\n")
    out:close()
  end)
end
local function add(a, b) return a + b end
local function take_off(a, b) return a - b end
local pairs_of = records:map(function(id) return id, 1 end)
put("in", records)
put("anew", pairs_of:groupByKeyAndWindow(WINDOW, 1):mapValues(function(ones) return #ones end))
local function some(_, n) return n ~= 0 end
put("inverse", pairs_of:reduceByKeyAndWindow(add, take_off, WINDOW, 1, 2, some):uid "inverse")
put("sum", pairs_of:reduceByKeyAndWindow("sum", WINDOW, 1):uid "sum")
put("state", pairs_of:updateStateByKey(function(ones, old) return (old or 0) + #ones end):uid "state")
ssc:start()
local function kill()
  rille.sleep(0.2) -- for the image to follow, or not
  os.execute "kill -9 $PPID"
end
for i = 1, mode == "first" and n or 0 do
  assert(os.execute(("echo f%d >in/.f && touch -d @%d.5 in/.f && mv in/.f in/f%d"):format(i, i - 1, i)))
  assert(io.open("go-" .. i, "w")):close()
  await("stored-" .. i)
  ssc:clock():advance(1)
end
if mode == "first" then
  assert(io.open("go-" .. n + 1, "w")):close()
  await("stored-" .. n + 1)
  kill()
end
ssc:clock():advance(n)
ssc:awaitTerminationOrTimeout(0)
if mode == "kill" then kill() end
ssc:stop(true, true)
]==]):gsub("WINDOW", tostring(WINDOW))

local function outputs(dir)
  local all = { ["in"] = {}, anew = {}, inverse = {}, sum = {}, state = {} }
  for line in (support.exists(dir .. "/out") and support.read(dir .. "/out") or ""):gmatch "[^\n]+" do
    local name, time, text = line:match "^(%S+) (%d+) (.*)$"
    all[name][tonumber(time)] = text
  end
  return all
end

local function sound(result, what)
  local crashed = result.status >= 124 or result.err:find "Sanitizer" or result.err:find "runtime error"
  assert.is_false(crashed and true or false, what .. result.status .. result.out .. result.err)
  return result
end

-- Of `ids` what a window has, of batches of which `of` tells.
local function window_of(of, time)
  local ids = {}
  for t = math.max(1, time - WINDOW + 1), time do
    for id in (of[t] or ""):gmatch "%S+" do ids[#ids + 1] = id .. "=1" end
  end
  table.sort(ids)
  return table.concat(ids, " ")
end

local function is_part(text, of)
  for id in text:gmatch "%S+" do
    if not (" " .. of .. " "):find(" " .. id .. " ", 1, true) then return false end
  end
  return true
end

-- Each record counted once, unless it is said to be lost or to come twice; windows are whole, and alike.
local function judge(before, after, last, said, what)
  local lost, twice, counts = said:find "lost", said:find "twice", {}
  for id, n in after.state[last]:gmatch "(%S+)=(%d+)" do counts[id] = tonumber(n) end
  for _, id in ipairs(IDS) do
    local n = counts[id] or 0
    assert(n == 1 or (n == 0 and lost) or (n > 1 and twice), ("%s%s was counted %d times"):format(what, id, n))
  end
  for time, ids in pairs(before["in"]) do after["in"][time] = after["in"][time] or ids end
  for time = 1, last do
    local given = after.anew[time] or after.inverse[time] or after.sum[time]
    for _, name in ipairs { "anew", "inverse", "sum" } do
      assert.equal(given, after[name][time], ("%s%s at %d"):format(what, name, time))
    end
    local expected = window_of(after["in"], time)
    if given and not (lost and time < last) then assert.equal(expected, given, ("%sat %d"):format(what, time)) end
    assert(not given or is_part(given, expected), ("%swindow at %d has %s of %s"):format(what, time, given, expected))
  end
  assert.is_string(after.inverse[last], what .. "no window at the end")
end

local function copy_of(dir)
  local to = support.directory()
  assert(os.execute(("cp -a '%s/.' '%s'"):format(dir, to)))
  os.remove(to .. "/out")
  return to
end

local function flip(path, at, bit)
  local text = support.read(path)
  support.write(path, text:sub(1, at - 1) .. string.char(text:byte(at) ~ 1 << bit) .. text:sub(at + 1))
end

-- One changed bit; `same`: what a job gives that goes on with an unharmed copy.
local function try(dir, same, file, at, bit)
  local what = ("bit %d of byte %d of %s: "):format(bit, at, file)
  local damaged = copy_of(dir)
  flip(damaged .. "/ck/" .. file, at, bit)
  sound(program.run_in(damaged, "rille inspect ck"), what)
  local verified = sound(program.run_in(damaged, "rille inspect ck --verify"), what)
  local started = copy_of(damaged)
  local result = sound(program.run_in(started, ("rille run job.lua again %d"):format(AGAIN)), what)
  local is_log = file:find "^log/log"
  if result.status == 0 then
    if verified.status == 0 or is_log then assert.same(same, outputs(started), what) end
  elseif is_log then
    assert.matches("damaged log: ck/log/log%-0000000000000001 at offset %d+", result.err)
  else
    assert.matches("damaged", result.err)
  end
  support.remove(started)
  if verified.status ~= 0 then
    assert.matches("damaged", verified.out)
    local repaired = sound(program.run_in(damaged, "rille inspect ck --repair"), what)
    assert.equal(0, repaired.status, what .. repaired.err)
    local drop = repaired.out:find("allowDropped", 1, true) and 1 or 0
    result = sound(program.run_in(damaged, ("env DROP=%d rille run job.lua again %d"):format(drop, AGAIN)), what)
    assert.equal(0, result.status, what .. repaired.out .. result.err)
    local last = 0
    for time in pairs(same.state) do last = math.max(last, time) end
    judge(outputs(dir), outputs(damaged), last, repaired.out, what .. repaired.out)
  end
  support.remove(damaged)
end

describe("a changed bit in a killed job's", function()
  local dir, same

  setup(function()
    dir = program.project { ["job.lua"] = JOB, ["in/.keep"] = "" }
    program.run_in(dir, ("rille run job.lua first %d"):format(FIRST))
    for _ = 1, 2 do program.run_in(dir, "rille run job.lua kill 1") end
    local unharmed = copy_of(dir)
    local result = program.run_in(unharmed, ("rille run job.lua again %d"):format(AGAIN))
    assert.equal(0, result.status, result.err)
    same = outputs(unharmed)
    judge(outputs(dir), outputs(unharmed), FIRST + 2 + AGAIN, "", "")
    support.remove(unharmed)
  end)

  teardown(function() support.remove(dir) end)

  local function sweep(file, few, step)
    local size = #support.read(dir .. "/ck/" .. file)
    step = LONG and step or size // few
    for at = 1 + step // 2, size, step do try(dir, same, file, at, at * 7 % 8) end
  end

  it("log costs what is said to be lost, and nothing else", function()
    sweep("log/log-0000000000000001", 5, 29)
  end)

  it("floor costs nothing", function() sweep("log/floor", 1, 5) end)

  it("image is told, or met by nobody", function() sweep("state/data.mdb", 2, 631) end)
end)
