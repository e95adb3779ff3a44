-- Nothing is written: what would go into the environment is compared.
local t = require "rille.testing"

t.job { script = "../lmdb_wordcount.lua", args = { "/no/such/directory", "/no/such/environment", "" } }

t.case("hands over what each batch adds", function(job)
  job:batch { textFileStream = { "x y", "x" } }
  job:expect("sink.lmdb", { { "x", 2 }, { "y", 1 } }, { bag = true })
  job:batch { textFileStream = { "y" } }
  job:expect("sink.lmdb", { { "y", 1 } })
end)
