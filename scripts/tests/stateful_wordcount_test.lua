local t = require "rille.testing"

t.job { script = "../stateful_wordcount.lua" }

t.case("counts from the beginning", function(job)
  job:batch { socketTextStream = { "a rose is", "a rose" } }
  job:expect("print", { { "a", 2 }, { "is", 1 }, { "rose", 2 } })
  job:batch { socketTextStream = { "is" } }
  job:expect("print", { { "a", 2 }, { "is", 2 }, { "rose", 2 } })
  job:batch {}
  job:expect("print", { { "a", 2 }, { "is", 2 }, { "rose", 2 } })
end)

t.case("keeps the counts as state", function(job)
  job:batch { socketTextStream = { "a a b" } }
  job:expectState("counts", { a = 2, b = 1 })
end)
