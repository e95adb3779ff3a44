-- A queue that the job fills itself is left to it; rille.sleep in the script goes by the test's clock.
local t = require "rille.testing"

t.job { script = "../queue_stream.lua", args = { 3 } }

local function digits(n)
  local list = {}
  for digit = 0, 9 do list[#list + 1] = { digit, n } end
  return list
end

t.case("counts last digits, a batch for each RDD", function(job)
  job:advance(3)
  job:expectBatches("print", { digits(100), digits(100), digits(100) }, { bag = true })
end)

t.case("takes what the test gives instead", function(job)
  job:batch { queueStream = { 1, 11, 22 } }
  job:expect("print", { { 1, 2 }, { 2, 1 } }, { bag = true })
end)

t.case("stops by itself", function(job)
  job:advance(5)
  assert(job:context():getState() == "STOPPED")
end)
