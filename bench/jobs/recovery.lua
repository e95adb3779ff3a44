-- How soon a durable job is back, by the size of its state.
--
--   rille run bench/jobs/recovery.lua DIR KEYS load    makes the state of KEYS keys and ends when it is in the image
--   rille run bench/jobs/recovery.lua DIR KEYS first   goes on with one batch that touches 100 random keys, and prints
--                                                      the monotonic clock at its end
local rille = require "rille"
local clock = require "bench.clock"

local DIR <const>, KEYS <const>, MODE <const> = arg[1], math.tointeger(arg[2]), arg[3]
local LOADED_AT_ONCE <const>, TOUCHED <const> = 50000, 100

local ssc = rille.StreamingContext({ appName = "bench-recovery", master = "local[2]", clock = "manual" }, 1)
local sc = ssc:context()
ssc:checkpoint(DIR)

local function user(i) return ("user-%09d"):format(i), 1 end

local function loaded(batch)
  local from = (batch - 1) * LOADED_AT_ONCE
  return sc:range(from, math.min(from + LOADED_AT_ONCE, KEYS), 1, 2):map(user)
end

local function touched()
  local list = {}
  for i = 1, TOUCHED do list[i] = rille.tuple(user(math.random(0, KEYS - 1))) end
  return sc:parallelize(list, 2)
end

-- An input that may be asked again, which a queue may not.
local function compute(time)
  local rdd = MODE == "load" and loaded(time // 1000) or touched()
  rdd:capture()
  return rdd.handle
end

local records
ssc:input("benchInput", nil, function(where) return ssc.handle:input("Bench input", compute, where, true) end)
  :mapWithState(rille.StateSpec(function(_, name, n, state)
    state:update((state:get() or 0) + n)
    return name, state:get()
  end))
  :uid("counts")
  :foreachRDD(function(rdd) records = rdd:count() end)
ssc:start()

local batches = MODE == "load" and (KEYS + LOADED_AT_ONCE - 1) // LOADED_AT_ONCE or 1
for _ = 1, batches do ssc:clock():advance(1) end
if MODE == "load" then
  rille.sleep(3) -- what is on its way into the image arrives
  assert(records, "nothing was loaded")
  print(records)
else
  assert(records == TOUCHED)
  print(("%.6f"):format(clock()))
end
io.stdout:flush()
ssc:stop(true, MODE == "load")
