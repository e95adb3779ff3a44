-- A receiver is not started under test; its records are given. One batch shows how a false stands for no RDD at all.
local t = require "rille.testing"

t.job { script = "../custom_receiver.lua" }

t.case("counts lines", {
  inputs = { CommandReceiver = { { "up", "up", "down" }, false } },
  outputs = { print = { { { "up", 2 }, { "down", 1 } }, false } },
  bag = true,
})
