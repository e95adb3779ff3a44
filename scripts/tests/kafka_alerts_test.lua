-- The producer sends nothing here; what it would be given is what reaches foreachRDD. Batches are of 1 s, the window of 10 s.
local rille = require "rille"
local t = require "rille.testing"

t.job { script = "../kafka_alerts.lua" }

t.case("alerts to a service with three errors in the window", function(job)
  job:batch { createDirectStream = { "web ERROR no route", "web INFO started", "db ERROR disk full", "nonsense" } }
  job:expect("foreachRDD", {})
  job:batch { createDirectStream = { "web ERROR timeout", rille.null } }
  job:expect("foreachRDD", {})
  job:batch { createDirectStream = { "web ERROR no route to db", "db WARN slow" } }
  job:expect("foreachRDD", { { "web", { n = 3, last = "no route to db" } } })
end)

t.case("goes on for as long as that holds", function(job)
  job:batch { createDirectStream = { "web ERROR a", "web ERROR b", "web ERROR c" } }
  job:advance(9)
  job:expect("foreachRDD", { { "web", { n = 3, last = "c" } } })
  job:advance(1)
  job:expect("foreachRDD", {})
end)
