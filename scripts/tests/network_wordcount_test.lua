-- The first test to read: a batch of lines in, counts out.
local t = require "rille.testing"

t.job { script = "../network_wordcount.lua" }

t.case("counts the words of a batch", function(job)
  job:batch { socketTextStream = { "to be or", "not to be" } }
  job:expect("print", { { "to", 2 }, { "be", 2 }, { "or", 1 }, { "not", 1 } }, { bag = true })
end)

t.case("begins anew in every batch", {
  inputs = { socketTextStream = { { "a b a" }, {}, { "a" } } },
  outputs = { print = { { { "a", 2 }, { "b", 1 } }, {}, { { "a", 1 } } } },
  bag = true,
})

t.case("has no words in empty lines", function(job)
  job:batch { socketTextStream = { "", "  \t " } }
  job:expect("print", {})
end)
