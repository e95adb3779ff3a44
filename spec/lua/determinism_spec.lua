-- A batch that is run twice gives the same bytes: order of records, math.random, saved files; for any number of workers.
local support = require "spec.lua.support"
local testing = require "rille.testing"

-- Words without a pattern, the same in every run.
local function words(n)
  local list, state = {}, 42
  for i = 1, n do
    state = (state * 1103515245 + 12345) % 2 ^ 31
    list[i] = ("w%d"):format(state // 65536 % 50)
  end
  return list
end

local BATCHES = { words(3000), {}, words(50), words(1) }

-- What `operation` gives for the batches, with n workers: every batch's partitions, as text.
local function run(n, operation, conf)
  local settings = { master = ("local[%d]"):format(n), ["rille.default.parallelism"] = 3 }
  for key, value in pairs(conf or {}) do settings[key] = value end
  local batches = testing.run {
    inputs = { BATCHES }, partitions = 7, conf = settings,
    operation = function(_, stream) return operation(stream):glom() end,
  }
  local texts = {}
  for i, partitions in ipairs(batches) do
    for k, partition in ipairs(partitions) do partitions[k] = table.concat(support.texts(partition), " ") end
    texts[i] = table.concat(partitions, "\n")
  end
  return texts
end

local function same_with_any_workers(operation, conf)
  local first = run(1, operation, conf)
  assert.equal(#BATCHES, #first)
  assert.same(first, run(1, operation, conf))
  for _, n in ipairs { 2, 5 } do assert.same(first, run(n, operation, conf)) end
  return first
end

describe("a batch that is run again is the same", function()
  local function pair(word) return word, 1 end

  it("after narrow operations", function()
    same_with_any_workers(function(stream)
      return stream:map(function(w) return w, #w end):filter(function(_, n) return n == 3 end)
        :flatMap(function(w, n) return { w, n } end)
    end)
  end)

  it("after an aggregation", function()
    same_with_any_workers(function(stream) return stream:map(pair):reduceByKey(function(a, b) return a + b end) end)
    same_with_any_workers(function(stream) return stream:countByValue(5) end)
  end)

  it("after one that depends on the order", function()
    same_with_any_workers(function(stream)
      return stream:mapPartitions(function(records)
        local n = 0
        return function()
          local w = records()
          n = n + 1
          if w then return w:sub(1, 2), w .. ":" .. n end
        end
      end):reduceByKey(function(a, b) return a .. b end)
    end)
    same_with_any_workers(function(stream)
      return stream:map(function(w) return w:sub(1, 2), w end):groupByKey()
        :mapValues(function(list) return table.concat(list, "+") end)
    end)
  end)

  it("after joins, round robin and sorting", function()
    same_with_any_workers(function(stream)
      local counts = stream:map(pair):reduceByKey(function(a, b) return a + b end)
      return counts:fullOuterJoin(counts:filter(function(_, n) return n % 2 == 0 end), 4)
    end)
    same_with_any_workers(function(stream) return stream:repartition(4) end)
    same_with_any_workers(function(stream)
      return stream:transform(function(rdd) return rdd:sortBy(function(w) return w:sub(1, 2) end, false, 3) end)
    end)
  end)

  it("with math.random", function()
    local first = same_with_any_workers(function(stream)
      return stream:map(function(w) return w .. math.random(1 << 30) end)
    end)
    local seen = {}
    for number in first[1]:gmatch "w%d+" do seen[#seen + 1] = number end
    assert.equal(3000, #seen)
    -- The partitions draw numbers of their own.
    local firsts = {}
    for line in first[1]:gmatch "[^\n]+" do firsts[line:match("^w%d+"):sub(-6)] = true end
    local n = 0
    for _ in pairs(firsts) do n = n + 1 end
    assert.is_true(n > 1)
  end)

  it("with math.random, although a task was tried again", function()
    local dir = support.directory()
    local function operation(fails)
      return function(stream)
        return stream:map(function(w)
          local number = math.random(1 << 30)
          local marker = dir .. "/failed"
          if fails and w == "w7" then
            local file = io.open(marker)
            if not file then
              io.open(marker, "w"):close()
              error "only once"
            end
            file:close()
          end
          return w .. number
        end)
      end
    end
    local quiet = { ["rille.log.level"] = "off" }
    assert.same(run(2, operation(false), quiet), run(2, operation(true), quiet))
    assert.is_true(support.exists(dir .. "/failed"))
    support.remove(dir)
  end)

  it("with tables as keys, however they were made", function()
    same_with_any_workers(function(stream)
      return stream:map(function(w)
        local key = {}
        for _, name in ipairs(w > "w3" and { "a", "b", "c" } or { "c", "a", "b" }) do key[name] = w:sub(1, 2) end
        return key, 1
      end):reduceByKey(function(a, b) return a + b end):map(function(key, n) return key.a .. key.b .. key.c, n end)
    end)
  end)

  it("in saved files", function()
    local dir = support.directory()
    for _, n in ipairs { 1, 2 } do
      testing.run {
        inputs = { BATCHES }, partitions = 4,
        conf = { master = ("local[%d]"):format(n), ["rille.default.parallelism"] = 3 },
        operation = function(_, stream)
          local counts = stream:map(pair):reduceByKey(function(a, b) return a + b end)
          counts:saveAsTextFiles(dir .. "/" .. n .. "/text")
          counts:saveAsObjectFiles(dir .. "/" .. n .. "/objects")
          return counts
        end,
      }
    end
    assert.is_true(os.execute(("diff -r '%s/1' '%s/2' >&2"):format(dir, dir)))
    assert.is_true(support.exists(dir .. "/1/text-1000/part-00002"))
    support.remove(dir)
  end)
end)
