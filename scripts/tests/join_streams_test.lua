-- Two inputs: each by its address.
local t = require "rille.testing"

t.job { script = "../join_streams.lua", args = { "shop", 1, 2 } }

t.case("joins views with the logins of the same batch", function(job)
  job:batch { ["shop:1"] = { "ann /home", "bob /home", "ann /cart" }, ["shop:2"] = { "ann NO" } }
  job:expect("print", {
    { { "/home", "NO" }, 1 }, { { "/home", "?" }, 1 }, { { "/cart", "NO" }, 1 },
  }, { bag = true })
end)

t.case("forgets logins of earlier batches", function(job)
  job:batch { ["shop:2"] = { "ann NO" } }
  job:batch { ["shop:1"] = { "ann /home" } }
  job:expectBatches("print", { {}, { { { "/home", "?" }, 1 } } })
end)

t.case("leaves out lines that are not two words", function(job)
  job:batch { ["shop:1"] = { "ann", "bob /a /b", "" } }
  job:expect("print", {})
end)
