--- A job that is stopped between two batches and started again on its checkpoint directory gives what one that was never
--- stopped gives: windows, inverse windows, state with and without timeouts, snapshots, windows over them, at every place
--- a stop can be. A failure names its seed; RILLE_TEST_SEED=n runs that one again.
local core = require "rille.core"
local rille = require "rille"
local testing = require "rille.testing"
local support = require "spec.lua.support"

core.setLogLevel "off"

local BATCHES <const> = 8

local function add(a, b) return a + b end

local function sum_of(values, state)
  state = state or 0
  for _, v in ipairs(values) do state = state + v end
  return state <= 40 and state or nil -- keys go, too
end

local function running(_, key, value, state)
  if state:isTimingOut() then return key, "gone", state:get() end
  state:update((state:get() or 0) + value)
  return key, state:get()
end

local operations = {
  window = function(_, s) return s:window(3, 1) end,
  ["window with a slide"] = function(_, s) return s:map(function(k, v) return k, v * 2 end):window(4, 2) end,
  ["known reducer"] = function(_, s) return s:reduceByKeyAndWindow(function(a, b) return a + b end, 3, 1) end,
  ["plain reducer"] = function(_, s) return s:reduceByKeyAndWindow(math.max, 4, 2) end,
  ["inverse reducer"] = function(_, s)
    return s:reduceByKeyAndWindow(add, function(a, b) return a - b end, 3, 1, 3, function(_, n) return n ~= 0 end)
  end,
  countByWindow = function(_, s) return s:countByWindow(3, 1) end,
  countByValueAndWindow = function(_, s) return s:countByValueAndWindow(4, 2) end,
  updateStateByKey = function(_, s) return s:updateStateByKey(sum_of):uid "sums" end,
  ["window of states"] = function(_, s) return s:updateStateByKey(sum_of):window(3, 1) end,
  mapWithState = function(_, s) return s:mapWithState(rille.StateSpec(running):timeout(2)) end,
  ["window of mapped records"] = function(_, s) return s:mapWithState(rille.StateSpec(running)):window(3, 1) end,
  ["window of snapshots"] = function(_, s)
    return s:mapWithState(rille.StateSpec(running)):stateSnapshots():window(2, 1)
  end,
  ["state over a window"] = function(_, s) return s:window(2, 1):updateStateByKey(sum_of) end,
}

local function random_input()
  local input = {}
  for b = 1, BATCHES do
    local batch = {}
    for i = 1, math.random(0, 6) do batch[i] = rille.tuple("k" .. math.random(4), math.random(9)) end
    input[b] = batch
  end
  return input
end

local function texts(batches)
  local out = {}
  for i, batch in ipairs(batches) do out[i] = table.concat(support.sorted(batch), " ") end
  return out
end

describe("a job started again", function()
  local seed = tonumber(os.getenv "RILLE_TEST_SEED") or os.time()

  for name, operation in pairs(operations) do
    it(("gives what one without a stop gives: %s (seed %d)"):format(name, seed), function()
      math.randomseed(seed)
      local input, directory = random_input(), support.directory()
      local function run(batches, checkpoint)
        return texts(testing.run {
          inputs = { input }, operation = operation, batches = batches, checkpoint = checkpoint,
        })
      end
      local whole = run(BATCHES)
      for cut = 1, BATCHES - 1 do
        local place = directory .. "/" .. cut
        local parts = run(cut, place)
        local rest = run(BATCHES - cut, place)
        table.move(rest, 1, #rest, #parts + 1, parts)
        assert.same(whole, parts, "stopped after batch " .. cut)
      end
      support.remove(directory)
    end)
  end

  it("goes on batch by batch, started anew for each", function()
    math.randomseed(seed)
    local input, directory = random_input(), support.directory()
    local function operation(_, s) return s:updateStateByKey(sum_of):window(3, 1) end
    local parts = {}
    for _ = 1, BATCHES do
      local place = directory .. "/one"
      local one = testing.run { inputs = { input }, operation = operation, batches = 1, checkpoint = place }
      table.move(texts(one), 1, #one, #parts + 1, parts)
    end
    assert.same(texts(testing.run { inputs = { input }, operation = operation, batches = BATCHES }), parts)
    support.remove(directory)
  end)
end)
