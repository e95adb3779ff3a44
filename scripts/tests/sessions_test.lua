local t = require "rille.testing"

t.job { script = "../sessions.lua" }

t.case("ends a session after the silence, not before", function(job)
  job:batch { socketTextStream = { "ann login", "bob login", "ann look" } }
  job:expect("print", { { "ann", "session begins with login" }, { "bob", "session begins with login" } },
    { bag = true })
  job:batch { socketTextStream = { "bob look" } }
  job:expect("print", {})
  for _ = 1, 4 do
    job:batch {}
    job:expect("print", {})
  end
  job:batch {}
  job:expect("print", { { "ann", "session over: 2 actions in 0.0 s" } })
  job:batch {}
  job:expect("print", { { "bob", "session over: 2 actions in 1.0 s" } })
  job:expectState("sessions", {})
end)

t.case("leaves lines out that say nothing", function(job)
  job:batch { socketTextStream = { "", "ann", "  " } }
  job:expect("print", {})
end)
