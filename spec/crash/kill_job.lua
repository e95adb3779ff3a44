-- The job that kill.sh kills: lines from an acknowledging sender and from files, state, windows, and outputs that can
-- be told apart by batch. kill_check.lua compares what it left.
--
--   rille run kill_job.lua PORT DIRECTORY WORKERS CONCURRENT
local rille = require "rille"

local port, directory = tonumber(arg[1]), arg[2]
local BATCH <const> = 0.2

local ssc = rille.StreamingContext({
  appName = "Killed",
  master = ("local[%s]"):format(arg[3]), -- as many partitions; another number at each start
  ["rille.streaming.concurrentJobs"] = arg[4],
  ["rille.streaming.stopGracefullyOnShutdown"] = true,
  ["rille.streaming.gracefulStopTimeout"] = "300s",
  ["rille.streaming.receiverRestartDelay"] = "50ms",
  ["rille.streaming.receiver.writeAheadLog.rollingInterval"] = "500ms", -- so segments come and go
  ["rille.checkpoint.applyLag"] = "1m",
}, BATCH)
ssc:checkpoint(directory .. "/checkpoint")

local function add(a, b) return a + b end

local all = ssc:socketTextStream("127.0.0.1", port, { ack = true }):uid "lines"
  :union(ssc:textFileStream(directory .. "/incoming"):uid "files")
local records = all:map(function(line)
  local key, value = line:match "^%S+ (%S+) (%d+)$"
  return key, math.tointeger(value)
end)

all:saveAsTextFiles(directory .. "/out/all")

-- One text for each output and batch. The same batch again must bring the same text.
local function keyed(name, stream)
  stream:foreachRDD(function(rdd, time)
    local lines = {}
    for _, record in ipairs(rdd:map(function(key, value) return ("%s %s"):format(key, value) end):collect()) do
      lines[#lines + 1] = record
    end
    table.sort(lines)
    lines[#lines + 1] = ""
    local text, path = table.concat(lines, "\n"), ("%s/out/%s-%d"):format(directory, name, time)
    local before = io.open(path, "rb")
    if before and before:read "a" ~= text then
      os.rename(path, path .. ".differs")
    end
    if before then before:close() end
    local file = assert(io.open(path .. ".new", "wb"))
    assert(file:write(text))
    assert(file:close())
    assert(os.rename(path .. ".new", path))
  end)
end

keyed("counts", records:updateStateByKey(function(values, state)
  local n, sum = 0, 0
  if state then n, sum = state:match "^(%d+)/(%d+)$" end
  for _, value in ipairs(values) do
    n, sum = n + 1, sum + value
  end
  return ("%d/%d"):format(n, sum)
end):uid "counts")
keyed("window", records:reduceByKeyAndWindow(add, 5 * BATCH, BATCH))
keyed("inverse", records:reduceByKeyAndWindow(add, function(a, b) return a - b end, 5 * BATCH, BATCH):uid "inverse")

ssc:start()
ssc:awaitTermination()
