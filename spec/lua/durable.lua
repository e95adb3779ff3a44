--- For specs of durable jobs as processes: one job, run in a directory of its own, again and again.
local program = require "spec.lua.program"
local support = require "spec.lua.support"

local durable = {}

-- A job over files in ./in, with the words of all of them as state. Each output writes a line "NAME TIME COUNTS"; what
-- else a case needs is put in at "-- here".
local JOB <const> = [==[
local rille = require "rille"
local conf = { appName = "recovery", master = "local[2]" }
for k, v in string.gmatch(arg[1] or "", "(%S+)=(%S+)") do conf[k] = v end
local ssc = rille.StreamingContext(conf, tonumber(arg[2] or 0.2))
ssc:checkpoint "ck"
local function exists(name)
  local f = io.open(name)
  return f and f:close()
end
-- True only the first time in the life of the job.
local function once(name)
  if exists(name) then return false end
  io.open(name, "w"):close()
  return true
end
local function die() os.execute "kill -9 $PPID" rille.sleep(60) end
local counts = ssc:fileStream("in", { newFilesOnly = false })
  :flatMap(function(line) return line:gmatch "%S+" end)
  :map(function(word) return word, 1 end)
  :updateStateByKey(function(values, n)
    n = n or 0
    for _, v in ipairs(values) do n = n + v end
    return n
  end)
  :uid "counts"
local function tell(name, rdd, time)
  local texts = {}
  for _, r in ipairs(rdd:collect()) do texts[#texts + 1] = tostring(r) end
  table.sort(texts)
  local out = io.open("out", "a")
  out:write(name, " ", time, " ", table.concat(texts, " "), "\n")
  out:close()
end
local function stop_at(wanted)
  return function(rdd) if rdd:count() >= wanted then ssc:stop(true, true) end end
end
-- here
ssc:start()
ssc:awaitTermination()
]==]

function durable.job(text) return (JOB:gsub("%-%- here", function() return text end)) end

-- A directory with the job, and the folder that it reads.
function durable.project(text)
  local dir = program.project { ["job.lua"] = durable.job(text) }
  assert(os.execute(("mkdir '%s/in'"):format(dir)))
  return dir
end

local files = 0
-- A new file with these words.
function durable.words(dir, text)
  files = files + 1
  support.write(("%s/.new"):format(dir), text .. "\n")
  assert(os.execute(("touch '%s/.new' && mv '%s/.new' '%s/in/f%d'"):format(dir, dir, dir, files)))
end

function durable.run(dir, settings, more)
  return program.run_in(dir, ("rille run job.lua '%s' %s"):format(settings or "", more or ""))
end

-- Lines of ./out by name, in order: { time =, counts = }.
function durable.told(dir, name)
  local list = {}
  local file = io.open(dir .. "/out")
  for line in file and file:lines() or function() end do
    local who, time, counts = line:match "^(%S+) (%d+) ?(.*)$"
    if who == name then list[#list + 1] = { time = tonumber(time), counts = counts } end
  end
  if file then file:close() end
  return list
end

function durable.last(dir, name)
  local list = durable.told(dir, name)
  return list[#list] and list[#list].counts
end

-- Those with other counts than the line before.
function durable.changes(dir, name)
  local list, seen = {}, nil
  for _, line in ipairs(durable.told(dir, name)) do
    if line.counts ~= seen and line.counts ~= "" then list[#list + 1] = line.counts end
    seen = line.counts
  end
  return list
end

-- The body of a case: body(dir) with the directory of a job that has this text.
function durable.in_project(text, body)
  return function()
    local dir = durable.project(text)
    local ok, why = xpcall(body, debug.traceback, dir)
    support.remove(dir)
    if not ok then error(why, 0) end
  end
end

return durable
