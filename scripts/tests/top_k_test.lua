-- Order matters here, so the records are compared in order; print shows K of them.
local t = require "rille.testing"

t.job { script = "../top_k.lua", args = { 2 } }

t.case("prints the most frequent words first", function(job)
  job:batch { socketTextStream = { "a b c c", "c b a b d" } }
  job:expect("print", { { "b", 3 }, { "c", 3 } })
end)

t.case("takes words without regard to case and signs", function(job)
  job:batch { socketTextStream = { "The end, the END." } }
  job:expect("print", { { "end", 2 }, { "the", 2 } })
end)
