local rille = require "rille"
local t = require "rille.testing"

t.job { script = "../kafka_to_kafka.lua" }

t.case("sends each user's total with each payment", function(job)
  job:batch { createDirectStream = { rille.tuple("ann", "5"), rille.tuple("bob", "1"), rille.tuple("ann", "2") } }
  job:expect("saveToKafka", { { "ann", 5 }, { "bob", 1 }, { "ann", 7 } }, { bag = true })
  job:batch { createDirectStream = { rille.tuple("bob", "much"), rille.tuple("bob") } }
  job:expect("saveToKafka", { { "bob", 1 }, { "bob", 1 } })
  job:expectState("totals", { ann = 7, bob = 1 })
end)
