-- A window of 4 s that slides by 2 s: no output in the batches between.
local t = require "rille.testing"

t.job { script = "../windowed_wordcount.lua", args = { "localhost", 9999, 4, 2 } }

t.case("counts the words of the window, the most frequent first", {
  inputs = { socketTextStream = { { "a b a" }, { "b b b c" }, {}, { "a a a" } } },
  outputs = {
    print = { false, { { "b", 4 }, { "a", 2 }, { "c", 1 } }, false, { { "a", 5 }, { "b", 4 }, { "c", 1 } } },
  },
})

t.case("forgets words that left the window", function(job)
  job:batches { socketTextStream = { { "old" }, { "older" }, { "new" }, {}, {} } }
  job:batch()
  job:expect("print", { { "new", 1 } })
  job:advance(2)
  job:expect("print", {})
end)
