local t = require "rille.testing"

t.job { script = "../recoverable_wordcount.lua" }

t.case("counts words from the beginning of time", function(job)
  job:batch { socketTextStream = { "to be or", "not to be" } }
  job:expectState("counts", { to = 2, be = 2, ["or"] = 1, ["not"] = 1 })
  job:batch { socketTextStream = { "be" } }
  job:expect("foreachRDD", { { "to", 2 }, { "be", 3 }, { "or", 1 }, { "not", 1 } }, { bag = true })
end)
