--- Keyed state and windows that are kept up incrementally, against a naive model, over random input, batch durations,
--- windows and slides. A failure names its seed; RILLE_TEST_SEED=n runs that one again.
local core = require "rille.core"
local model = require "spec.lua.model"
local rille = require "rille"
local testing = require "rille.testing"

core.setLogLevel "off"

local random = math.random

-- "v12" -> 12
local function number(text) return math.tointeger(tonumber(text:sub(2))) end

local function numbers(records)
  local out = {}
  for i, record in ipairs(records) do out[i] = rille.tuple(record[1], number(record[2])) end
  return out
end

local function key_text(key) return math.type(key) == nil and tostring(key) or "n" .. key end

-- Values by key, folded in their order; keys in order of first sight.
local function folded(records, f)
  local list, places = {}, {}
  for _, record in ipairs(records) do
    local text = key_text(record[1])
    local known = places[text]
    if known then
      list[known] = rille.tuple(record[1], f(list[known][2], record[2]))
    else
      list[#list + 1] = rille.tuple(record[1], record[2])
      places[text] = #list
    end
  end
  return list
end

local function add(a, b) return a + b end

-- What a model of one batch after another gives; step(records or nil, t) -> records, or nil for no RDD.
local function in_turn(stream, step)
  local out = { slide = stream.slide, n = stream.n, at = {} }
  for t = stream.slide, stream.n, stream.slide do out.at[t] = step(stream.at[t] or nil, t) end
  return out
end

-- Sums of windows by the rule of the inverse form: a key once seen in a window stays.
local function sums_of_all_seen(stream)
  local seen, order = {}, {}
  return in_turn(stream, function(records)
    for _, record in ipairs(records) do
      local text = key_text(record[1])
      if not seen[text] then
        seen[text] = true
        order[#order + 1] = rille.tuple(record[1], 0)
      end
    end
    local all = table.move(order, 1, #order, 1, {})
    return folded(table.move(records, 1, #records, #all + 1, all), add)
  end)
end

-- State by key, as a list.
local function listed(state)
  local out = {}
  for _, entry in pairs(state) do out[#out + 1] = rille.tuple(entry.key, entry.value) end
  return out
end

local function window_of_numbers(s, d) return model.map(model.window(s, d.w, d.s), numbers) end

local function numbered(s)
  return s:mapValues(function(text) return math.tointeger(tonumber(text:sub(2))) end)
end

-- a state that forgets: it is removed when the sum of all values of a key is a multiple of 3
local function updated(values, state)
  state = state or 0
  for _, v in ipairs(values) do state = state + v end
  if state % 3 == 0 then return nil end
  return state
end

local TIMEOUT <const> = 2 -- batches

local properties = {
  ["reduceByKeyAndWindow with an inverse"] = { "bag", function(s, _, d)
    return numbered(s):reduceByKeyAndWindow(function(a, b) return a + b end, function(a, b) return a - b end,
      d.seconds(d.w), d.seconds(d.s), d.n)
  end, function(s, _, d) return sums_of_all_seen(window_of_numbers(s, d)) end },

  ["reduceByKeyAndWindow with an inverse and a filter"] = { "bag", function(s, _, d)
    return numbered(s):reduceByKeyAndWindow(function(a, b) return a + b end, function(a, b) return a - b end,
      d.seconds(d.w), d.seconds(d.s), d.n, function(_, n) return n ~= 0 end)
  end, function(s, _, d)
    return model.map(window_of_numbers(s, d), function(records) return folded(records, add) end)
  end },

  ["reduceByKeyAndWindow with an inverse that does not commute"] = { "bag", function(s, _, d)
    -- Texts: what entered is put behind, and what left was in front.
    return s:reduceByKeyAndWindow(function(a, b) return a .. b end, function(a, b) return a:sub(#b + 1) end,
      d.seconds(d.w), d.seconds(d.s), d.n, function(_, text) return text ~= "" end)
  end, function(s, _, d)
    return model.map(model.window(s, d.w, d.s), function(records)
      return folded(records, function(a, b) return a .. b end)
    end)
  end },

  ["reduceByWindow with an inverse"] = { "list", function(s, _, d)
    return numbered(s):map(function(_, v) return v end):reduceByWindow(function(a, b) return a + b end,
      function(a, b) return a - b end, d.seconds(d.w), d.seconds(d.s))
  end, function(s, _, d)
    local any = false
    return in_turn(window_of_numbers(s, d), function(records)
      local sum = 0
      for _, record in ipairs(records) do sum = sum + record[2] end
      any = any or #records > 0
      return any and { sum } or {}
    end)
  end },

  countByWindow = { "list", function(s, _, d) return s:countByWindow(d.seconds(d.w), d.seconds(d.s)) end,
    function(s, _, d)
      local any = false
      return in_turn(model.window(s, d.w, d.s), function(records)
        any = any or #records > 0
        return any and { #records } or {}
      end)
    end },

  countByValueAndWindow = { "bag", function(s, _, d)
    return s:map(function(k) return k end):countByValueAndWindow(d.seconds(d.w), d.seconds(d.s), d.n)
  end, function(s, _, d)
    return model.map(model.window(s, d.w, d.s), function(records)
      local ones = {}
      for i, record in ipairs(records) do ones[i] = rille.tuple(record[1], 1) end
      return folded(ones, add)
    end)
  end },

  updateStateByKey = { "bag", function(s, _, d)
    return numbered(s):updateStateByKey(function(values, state)
      state = state or 0
      for _, v in ipairs(values) do state = state + v end
      if state % 3 == 0 then return nil end
      return state
    end, { partitions = d.n })
  end, function(s)
    local state, begun = {}, false
    return in_turn(s, function(records)
      if not records and not begun then return nil end
      begun = true
      local values = {}
      for _, record in ipairs(records and numbers(records) or {}) do
        local text = key_text(record[1])
        values[text] = values[text] or {}
        table.insert(values[text], record[2])
        state[text] = state[text] or { key = record[1] }
      end
      for text, entry in pairs(state) do
        entry.value = updated(values[text] or {}, entry.value)
        if entry.value == nil then state[text] = nil end
      end
      return listed(state)
    end)
  end },

  mapWithState = { "bag", function(s, _, d)
    return numbered(s):mapWithState(rille.StateSpec(function(time, key, value, state)
      if state:isTimingOut() then return "over", key, state:get() end
      local n = (state:get() or 0) + value
      if n % 7 == 0 and state:exists() then state:remove() elseif n % 5 ~= 0 then state:update(n) end
      return key, n, time
    end):timeout(d.seconds(TIMEOUT)):numPartitions(d.n))
  end, function(s, _, d)
    local state = {}
    return in_turn(s, function(records, t)
      local out, time = {}, math.tointeger(d.seconds(t) * 1000)
      for _, record in ipairs(records and numbers(records) or {}) do
        local text = key_text(record[1])
        local entry = state[text]
        local n = (entry and entry.value or 0) + record[2]
        if n % 7 == 0 and entry then
          state[text] = nil
        else
          if n % 5 ~= 0 then
            state[text] = entry or { key = record[1] }
            state[text].value = n
          end
          if state[text] then state[text].touched = t end
        end
        out[#out + 1] = rille.tuple(record[1], n, time)
      end
      for text, entry in pairs(state) do
        if entry.touched < t - TIMEOUT then
          out[#out + 1] = rille.tuple("over", entry.key, entry.value)
          state[text] = nil
        end
      end
      return out
    end)
  end },

  stateSnapshots = { "bag", function(s, _, d)
    return numbered(s):mapWithState(rille.StateSpec(function(_, _, value, state)
      state:update(math.max(state:get() or value, value))
    end):numPartitions(d.n)):stateSnapshots()
  end, function(s)
    local state = {}
    return in_turn(s, function(records)
      for _, record in ipairs(records and numbers(records) or {}) do
        local text = key_text(record[1])
        state[text] = state[text] or { key = record[1], value = record[2] }
        state[text].value = math.max(state[text].value, record[2])
      end
      return listed(state)
    end)
  end },

  ["a window over updateStateByKey"] = { "bag", function(s, _, d)
    return numbered(s):updateStateByKey(function(values, state) return (state or 0) + #values end)
      :window(d.seconds(d.w), d.seconds(d.s))
  end, function(s, _, d)
    local state, begun = {}, false
    return model.window(in_turn(s, function(records)
      if not records and not begun then return nil end
      begun = true
      for _, record in ipairs(records or {}) do
        local text = key_text(record[1])
        state[text] = state[text] or { key = record[1], value = 0 }
        state[text].value = state[text].value + 1
      end
      return listed(state)
    end), d.w, d.s)
  end },
}

describe("keyed state and a naive model", function()
  for name, property in pairs(properties) do
    it("agree: " .. name, function()
      for _, seed in ipairs(model.seeds()) do
        local want, got, told = model.try(property, seed)
        assert.same(want, got, told)
      end
    end)
  end
end)

describe("a window of a known reducer", function()
  local function random_number()
    local n = random(-1000, 1000)
    return ({ function() return n end, function() return n / 7 end, function() return n + 0.0 end,
      function() return n * 1e300 end, function() return math.maxinteger - n end })[random(5)]()
  end

  -- Not known as what they are, by what they do besides.
  local function unknown(f)
    return function(a, b)
      if a == nil then return b end
      return f(a, b)
    end
  end

  local pairs_of_reducers = {
    sum = { function(a, b) return a + b end, unknown(function(a, b) return a + b end) },
    ["sum the other way round"] = { function(a, b) return b + a end, unknown(function(a, b) return b + a end) },
    ["math.max"] = { math.max, unknown(function(a, b) return math.max(a, b) end) },
    ["math.min in a function"] = { function(a, b) return math.min(b, a) end,
      unknown(function(a, b) return math.min(b, a) end) },
    ["the larger one, by comparison"] = { function(a, b) return a > b and a or b end,
      unknown(function(a, b) return a > b and a or b end) },
    ["the smaller one, by if"] = { function(a, b)
      if b <= a then return b end
      return a
    end, unknown(function(a, b)
      if b <= a then return b end
      return a
    end) },
    ["a name: max"] = { "max", unknown(function(a, b) return math.max(a, b) end) },
  }

  local reducers = require "rille.reducers"

  for name, pair in pairs(pairs_of_reducers) do
    it("gives what the plain one gives: " .. name, function()
      assert(reducers.known(pair[1]), "it is not known")
      assert.is_nil(reducers.known(pair[2]))
      for _, seed in ipairs(model.seeds()) do
        math.randomseed(seed)
        local d, batches, key = model.random_durations(), {}, model.pick(model.keys)
        for t = 1, random(14) do
          batches[t] = {}
          for i = 1, random(0, 8) do batches[t][i] = rille.tuple(key(), random_number()) end
          if random(6) == 1 then batches[t] = false end
        end
        local function run(f)
          return testing.run { inputs = { batches }, batch = d.batch, partitions = d.partitions, batches = #batches,
            operation = function(_, s)
              return s:reduceByKeyAndWindow(f, d.seconds(d.w), d.seconds(d.s), d.n)
            end }
        end
        local told = ("RILLE_TEST_SEED=%d: w=%d, s=%d"):format(seed, d.w, d.s)
        assert.same(model.as_texts(run(pair[2]), "bag"), model.as_texts(run(pair[1]), "bag"), told)
      end
    end)
  end

  it("counts", function()
    local batches = { { rille.tuple("a", "x"), rille.tuple("a", "y") }, { rille.tuple("b", 1) } }
    local got = testing.run { inputs = { batches },
      batches = 4, operation = function(_, s) return s:reduceByKeyAndWindow("count", 2) end }
    assert.same({ { "(string a, integer 2)" }, { "(string a, integer 2)", "(string b, integer 1)" },
      { "(string b, integer 1)" }, {} }, model.as_texts(got, "bag"))
  end)

  it("takes strings for max and min, as a comparison does", function()
    local got = testing.run { inputs = { { { rille.tuple("k", "pear") }, { rille.tuple("k", "apple") } } }, batches = 3,
      operation = function(_, s) return s:reduceByKeyAndWindow(function(a, b) return a < b and a or b end, 2) end }
    assert.same({ { "(string k, string pear)" }, { "(string k, string apple)" }, { "(string k, string apple)" } },
      model.as_texts(got, "bag"))
  end)

  it("names key and place where values cannot be reduced", function()
    local ok, message = pcall(testing.run, { inputs = { { { rille.tuple("k", {}) }, { rille.tuple("k", 1) } } },
      operation = function(_, s) return s:reduceByKeyAndWindow(function(a, b) return a + b end, 2) end })
    assert.is_false(ok)
    assert.matches("state_property_spec.lua:%d+: reduceByKeyAndWindow: key k: .* cannot be added", message)
  end)

  it("says which names there are", function()
    local ok, message = pcall(testing.run, { inputs = { {} },
      operation = function(_, s) return s:reduceByKeyAndWindow("mean", 2) end })
    assert.is_false(ok)
    assert.matches("'sum', 'count', 'min' or 'max'", message)
  end)
end)
