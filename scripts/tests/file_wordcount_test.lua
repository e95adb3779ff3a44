-- No directory is read and no file is written: the lines of "new files" are given, what would be saved is compared.
local t = require "rille.testing"

t.job { script = "../file_wordcount.lua", args = { "/no/such/directory", "/no/such/out" } }

t.case("prints and saves the same counts", function(job)
  job:batch { textFileStream = { "x y", "x" } }
  job:expect("print", { { "x", 2 }, { "y", 1 } }, { bag = true })
  job:expect("saveAsTextFiles", { { "x", 2 }, { "y", 1 } }, { bag = true })
end)
