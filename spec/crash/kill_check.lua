-- Compares what kill_job.lua left with a model: every line counted once, every output of every batch exact.
--
--   lua5.4 kill_check.lua DIRECTORY LINES FILES
--
-- LINES: how many the sender had; FILES: how many files, each with the lines that kill.sh writes.
local directory, lines, files = arg[1], tonumber(arg[2]), tonumber(arg[3])
local BATCH <const> = 200 -- ms
local WINDOW <const> = 5  -- batches
local FILE_LINES <const> = 20

local complaints = 0

local function complain(...)
  complaints = complaints + 1
  if complaints <= 20 then io.stderr:write(string.format(...), "\n") end
end

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return text
end

local function list(path)
  local pipe, names = assert(io.popen(("ls '%s'"):format(path))), {}
  for name in pipe:lines() do names[#names + 1] = name end
  pipe:close()
  return names
end

local function batch_times()
  local times = {}
  for _, name in ipairs(list(directory .. "/out")) do
    local time = name:match "^all%-(%d+)$"
    if time then times[#times + 1] = math.tointeger(time) end
    if name:find "differs" then complain("%s: the batch gave something else when it was run again", name) end
  end
  table.sort(times)
  return times
end

-- What came in a batch, in the order of its parts.
local function batch_lines(time)
  local folder, found = ("%s/out/all-%d"):format(directory, time), {}
  if not read(folder .. "/_SUCCESS") then complain("%s has no _SUCCESS", folder) end
  for _, name in ipairs(list(folder)) do
    local text = name:find "^part%-" and read(folder .. "/" .. name) or ""
    for line in text:gmatch "[^\n]+" do found[#found + 1] = line end
  end
  return found
end

local function text_of(values)
  local out = {}
  for key, value in pairs(values) do out[#out + 1] = ("%s %s"):format(key, value) end
  table.sort(out)
  out[#out + 1] = ""
  return table.concat(out, "\n")
end

local function expect(name, time, values)
  local path = ("%s/out/%s-%d"):format(directory, name, time)
  local text, wanted = read(path), text_of(values)
  if not text then complain("%s is missing", path)
  elseif text ~= wanted then complain("%s is not what the model gives:\n%s-- but --\n%s", path, text, wanted) end
end

local seen, last_line, counts, recent = {}, 0, {}, {}

local function note(line, time, batch)
  local id, key, value = line:match "^(%S+) (%S+) (%d+)$"
  if not id then return complain("batch %d has a line that nobody sent: %s", time, line) end
  if seen[id] then complain("line %s is in batch %d and in batch %d", id, seen[id], time) end
  seen[id] = time
  if not id:find "^f" then
    local number = math.tointeger(id)
    if number ~= last_line + 1 then complain("batch %d: line %s comes behind line %d", time, id, last_line) end
    last_line = number
  end
  local count = counts[key] or { 0, 0 }
  counts[key] = { count[1] + 1, count[2] + math.tointeger(value) }
  batch[key] = (batch[key] or 0) + math.tointeger(value)
end

local function check_batch(time)
  local batch = {}
  for _, line in ipairs(batch_lines(time)) do note(line, time, batch) end
  recent[#recent + 1] = batch
  if #recent > WINDOW then table.remove(recent, 1) end
  local state, window = {}, {}
  for key, count in pairs(counts) do state[key] = ("%d/%d"):format(count[1], count[2]) end
  for _, one in ipairs(recent) do
    for key, value in pairs(one) do window[key] = (window[key] or 0) + value end
  end
  expect("counts", time, state)
  expect("window", time, window)
  for key in pairs(counts) do window[key] = window[key] or 0 end -- without a filter a key stays in an inverse window
  expect("inverse", time, window)
end

local times = batch_times()
for i, time in ipairs(times) do
  if i > 1 and time ~= times[i - 1] + BATCH then complain("no batch between %d and %d", times[i - 1], time) end
  check_batch(time)
end
for number = 1, lines do
  if not seen[tostring(number)] then complain("LOST: line %d is in no batch", number) end
end
for file = 1, files do
  for i = 1, FILE_LINES do
    local id = ("f%d.%d"):format(file, i)
    if not seen[id] then complain("LOST: line %s of a file is in no batch", id) end
  end
end
if last_line > lines then complain("there are %d lines, and %d were sent", last_line, lines) end
if complaints > 0 then
  io.stderr:write(("%d complaints\n"):format(complaints))
  os.exit(1)
end
print(("%d batches, %d lines, %d files: each line once, every output exact"):format(#times, lines, files))
