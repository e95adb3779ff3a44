local rille = require "rille"
local t = require "rille.testing"

t.job { script = "../kafka_wordcount.lua" }

t.case("counts the words of a batch", function(job)
  job:batch { createDirectStream = { "to be or", "not to be" } }
  job:expect("print", { { "to", 2 }, { "be", 2 }, { "or", 1 }, { "not", 1 } }, { bag = true })
end)

t.case("passes over tombstones", function(job)
  job:batch { createDirectStream = { rille.null, "a" } }
  job:expect("print", { { "a", 1 } })
end)
