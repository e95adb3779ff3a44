local rille = require "rille"
local t = require "rille.testing"

local users = os.tmpname()

local function write(text)
  local file <close> = assert(io.open(users, "w"))
  assert(file:write(text))
end

t.job { script = "../kafka_enrich.lua", args = { "127.0.0.1:19092", "clicks", "named_clicks", users } }

t.case("joins clicks with the table as it is in the batch", function(job)
  write "ann Ann Lee\n"
  job:batch { createDirectStream = { rille.tuple("ann", "home"), rille.tuple("bob", "cart") } }
  job:expect("saveToKafka", { { "ann", "Ann Lee home" }, { "bob", "somebody cart" } })
  write "ann Ann Lee\nbob Bob Ray\n"
  job:batch { createDirectStream = { rille.tuple("bob") } }
  job:expect("saveToKafka", { { "bob", "Bob Ray nothing" } })
  os.remove(users)
end)
