--- Windows against a naive model, over random input, batch durations, windows and slides: batches that are empty, that
--- are missing, windows over windows. A failure names its seed; RILLE_TEST_SEED=n runs that one again.
local core = require "rille.core"
local rille = require "rille"
local model = require "spec.lua.model"

core.setLogLevel "off"

local model_map, model_window = model.map, model.window

-- (key, array of values), keys in order of first sight.
local function grouped(records)
  local groups, known = {}, {}
  for _, record in ipairs(records) do
    local text = tostring(record[1]) .. type(record[1])
    if not known[text] then
      known[text] = rille.tuple(record[1], {})
      groups[#groups + 1] = known[text]
    end
    table.insert(known[text][2], record[2])
  end
  return groups
end

local function concatenated(records)
  local out = {}
  for i, group in ipairs(grouped(records)) do out[i] = rille.tuple(group[1], table.concat(group[2], " ")) end
  return out
end

local function joined(lefts, rights)
  local out = {}
  for _, left in ipairs(lefts) do
    for _, right in ipairs(rights) do
      if left[1] == right[1] then out[#out + 1] = rille.tuple(left[1], left[2], right[2]) end
    end
  end
  return out
end

-- properties: name -> { order, operation(stream, other, d), model(stream, other, d) } ----------------------------------
-- d: durations in batches: w, s, and those of a second window over the first, w2, s2; `seconds` makes them seconds.

local function join_texts(a, b) return a .. " " .. b end

local properties = {
  window = { "list", function(s, _, d) return s:window(d.seconds(d.w), d.seconds(d.s)) end,
    function(s, _, d) return model_window(s, d.w, d.s) end },
  ["window without a slide"] = { "list", function(s, _, d) return s:window(d.seconds(d.w)) end,
    function(s, _, d) return model_window(s, d.w, 1) end },
  ["window over a window"] = { "list",
    function(s, _, d) return s:window(d.seconds(d.w), d.seconds(d.s)):window(d.seconds(d.w2), d.seconds(d.s2)) end,
    function(s, _, d) return model_window(model_window(s, d.w, d.s), d.w2, d.s2) end },
  reduceByKeyAndWindow = { "bag",
    function(s, _, d) return s:reduceByKeyAndWindow(join_texts, d.seconds(d.w), d.seconds(d.s), d.n) end,
    function(s, _, d) return model_map(model_window(s, d.w, d.s), concatenated) end },
  ["reduceByKeyAndWindow over a window"] = { "bag", function(s, _, d)
    return s:window(d.seconds(d.w), d.seconds(d.s)):reduceByKeyAndWindow(join_texts, d.seconds(d.w2), d.seconds(d.s2))
  end, function(s, _, d)
    return model_map(model_window(model_window(s, d.w, d.s), d.w2, d.s2), concatenated)
  end },
  groupByKeyAndWindow = { "bag",
    function(s, _, d) return s:groupByKeyAndWindow(d.seconds(d.w), d.seconds(d.s), d.n) end,
    function(s, _, d) return model_map(model_window(s, d.w, d.s), grouped) end },
  reduceByWindow = { "list", function(s, _, d)
    return s:map(function(_, value) return value end):reduceByWindow(join_texts, d.seconds(d.w), d.seconds(d.s))
  end, function(s, _, d)
    return model_map(model_window(s, d.w, d.s), function(records)
      local texts = {}
      for i, record in ipairs(records) do texts[i] = record[2] end
      return #texts > 0 and { table.concat(texts, " ") } or {}
    end)
  end },
  ["join of windows"] = { "bag", function(s, other, d)
    return s:window(d.seconds(d.w), d.seconds(d.s)):join(other:window(d.seconds(d.w2 // d.s), d.seconds(d.s)))
  end, function(s, other, d)
    local right = model_window(other, d.w2 // d.s, d.s)
    return model_map(model_window(s, d.w, d.s), function(records, t) return joined(records, right.at[t]) end)
  end },
}

describe("windows and a naive model", function()
  for name, property in pairs(properties) do
    it("agree: " .. name, function()
      for _, seed in ipairs(model.seeds()) do
        local want, got, told = model.try(property, seed)
        assert.same(want, got, told)
      end
    end)
  end
end)
