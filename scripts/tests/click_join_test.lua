-- Impressions are kept for 3 s, so a click finds those of its own batch and of the two before.
local t = require "rille.testing"

t.job { script = "../click_join.lua", args = { "ads", 1, 2, 3 } }

t.case("joins clicks with the impressions of the window", function(job)
  job:batch { ["ads:1"] = { "i1 car 1000", "i2 car 1100", "i3 tea 1200" }, ["ads:2"] = { "i1 1250" } }
  job:expect("print", { { "car", 1, 250.0 } })
  job:batch { ["ads:2"] = { "i2 2000", "i3 2200", "i9 2300" } }
  job:expect("print", { { "car", 1, 900.0 }, { "tea", 1, 1000.0 } }, { bag = true })
end)

t.case("meets each click once", function(job)
  job:batch { ["ads:1"] = { "i1 car 0" }, ["ads:2"] = { "i1 10", "i1 30" } }
  job:expect("print", { { "car", 2, 20.0 } })
  job:batch()
  job:expect("print", {})
end)

t.case("does not know impressions that left the window", function(job)
  job:batches { ["ads:1"] = { { "i1 car 0" }, {}, {} } }
  job:batch { ["ads:2"] = { "i1 3500" } }
  job:expect("print", {})
end)

t.case("leaves out lines of other kinds", function(job)
  job:batch { ["ads:1"] = { "i1 car soon", "i1 car 5 6", "" }, ["ads:2"] = { "i1", "i1 x" } }
  job:expect("print", {})
end)
