-- Operations whose own closures name modules of the library: these travel to workers by name and must be found there
-- without any LUA_PATH, as in an installed program. Prints "ok" at the end.
local rille = require "rille"
local sc = rille.Context { master = "local[2]" }
local numbers = sc:range(1, 11)
local pairs_ = sc:parallelize({ rille.tuple("a", 1), rille.tuple("b", 2), rille.tuple("a", 3) }, 2)
local function add(a, b) return a + b end

local function expect(name, got, want)
  if tostring(got) ~= tostring(want) then error(("%s: %s, not %s"):format(name, tostring(got), tostring(want))) end
end

expect("takeOrdered", #numbers:takeOrdered(3), 3)
expect("top", numbers:top(2)[1], 10)
expect("max", numbers:max(), 10)
expect("fold", numbers:fold(0, add), 55)
expect("treeReduce", numbers:treeReduce(add), 55)
expect("stats", numbers:stats().count, 10)
expect("histogram", #select(2, numbers:histogram(2)), 2)
expect("zipWithIndex", numbers:zipWithIndex():count(), 10)
expect("cartesian", numbers:cartesian(numbers):count(), 100)
expect("sample", numbers:sample(false, 0.5, 42):count(), numbers:sample(false, 0.5, 42):count())
expect("takeSample", #numbers:takeSample(false, 3, 1), 3)
expect("subtract", numbers:subtract(sc:range(3, 8)):count(), 5)
expect("intersection", numbers:intersection(sc:range(3, 8)):count(), 5)
expect("sortWith", numbers:sortWith(function(a, b) return a > b end):first(), 10)
expect("foldByKey", pairs_:foldByKey(0, add):count(), 2)
expect("aggregateByKey", pairs_:aggregateByKey(0, add, add):count(), 2)
expect("lookup", #pairs_:lookup("a"), 2)
expect("countByKey", pairs_:countByKey().a, 2)
local table_ = sc:broadcast { k = "v" }
local sum = sc:accumulator(0, add)
expect("broadcast", numbers:map(function(x) sum:add(x) return table_:value().k end):distinct():first(), "v")
expect("accumulator", sum:value(), 55)
print "ok"
