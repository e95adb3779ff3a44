-- The body of foreachRDD opens files in the workers. In the first case a function of the test takes its place; in the
-- second it runs, in a directory of the test's own.
local t = require "rille.testing"

t.job { script = "../foreach_pool.lua" }

t.case("counts words", function(job)
  local totals = {}
  job:replace("foreachRDD", function(rdd, time)
    totals[time] = rdd:map(function(_, n) return n end):reduce(function(a, b) return a + b end)
  end)
  job:batch { socketTextStream = { "a b a" } }
  job:expect("foreachRDD", { { "a", 2 }, { "b", 1 } }, { bag = true })
  assert(totals[1000] == 3)
end)

local name = os.tmpname()
os.remove(name)

t.job { script = "../foreach_pool.lua", args = { "localhost", 9999, name } }

t.case("appends the counts to files", function(job)
  assert(os.execute("mkdir " .. name))
  job:batch { socketTextStream = { "a b a" } }
  job:stop()
  local pipe = assert(io.popen(("sort %s/*.tsv; rm -r %s"):format(name, name)))
  local text = pipe:read "a"
  pipe:close()
  assert(text == "1000\ta\t2\n1000\tb\t1\n", text)
end)
