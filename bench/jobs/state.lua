-- mapWithState over many keys, of which few are touched in a batch.
--
--   rille run bench/jobs/state.lua KEYS TOUCHED [DIR]
--
-- With DIR the job is durable there.
--
-- Loads KEYS keys, then for each line on standard input runs batches that touch TOUCHED random ones, and prints
-- "SECONDS TOUCHED": the median time of a batch, from its generation to the end of its output. For the line "memory" it
-- prints the bytes of resident memory that are anonymous, and those mapped from files.
local rille = require "rille"
local clock = require "bench.clock"

local KEYS <const>, TOUCHED <const> = math.tointeger(arg[1]), math.tointeger(arg[2])
local LOADED_AT_ONCE <const> = 500000
local BATCHES <const>, WARM_UP <const> = 15, 3
local PAUSE <const> = 0.25 -- between batches, as there is in a job that keeps up: what the last one changed goes to the image

local ssc = rille.StreamingContext({ appName = "bench-state", master = "local[2]", clock = "manual" }, 1)
local sc = ssc:context()
if arg[3] then ssc:checkpoint(arg[3]) end

-- The queue is filled as batches ask for it.
local queue = {}
local touched
ssc:queueStream(queue)
  :mapWithState(rille.StateSpec(function(_, user, n, state)
    state:update((state:get() or 0) + n)
    return user, state:get()
  end))
  :uid("counts")
  :foreachRDD(function(rdd) touched = rdd:count() end)
ssc:start()

local function user(i) return ("user-%09d"):format(i), 1 end

local function run_batch(rdd)
  queue[1] = rdd
  local start = clock()
  ssc:clock():advance(1)
  return clock() - start
end

for from = 0, KEYS - 1, LOADED_AT_ONCE do
  run_batch(sc:range(from, math.min(from + LOADED_AT_ONCE, KEYS), 1, 2):map(user))
end

local function random_keys()
  local list = {}
  for i = 1, TOUCHED do list[i] = rille.tuple(user(math.random(0, math.max(KEYS, 1) - 1))) end
  return sc:parallelize(list, 2)
end

local function resident(what)
  for line in io.lines "/proc/self/status" do
    local kib = line:match("^" .. what .. ":%s+(%d+) kB")
    if kib then return math.tointeger(kib) * 1024 end
  end
end

local function measure()
  local seconds = {}
  for i = 1, WARM_UP + BATCHES do
    local rdd = random_keys()
    rille.sleep(PAUSE)
    seconds[#seconds + 1] = i > WARM_UP and run_batch(rdd) or run_batch(rdd) and nil
  end
  table.sort(seconds)
  return seconds[(#seconds + 1) // 2]
end

for line in io.lines() do
  if line == "memory" then
    collectgarbage()
    rille.sleep(1) -- what is on its way into the image arrives
    print(("%d %d"):format(resident "RssAnon", resident "RssFile"))
  else
    print(("%.6f %d"):format(measure(), touched))
  end
  io.stdout:flush()
end
ssc:stop(true, false)
