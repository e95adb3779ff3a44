-- A receiver written in Lua: the lines that a shell command prints, counted in every batch.
--
--   rille run scripts/custom_receiver.lua [COMMAND [SECONDS]]
--
-- Without COMMAND it watches the load of this machine. A batch is 1 second unless SECONDS says otherwise.
local rille = require "rille"

local command = arg[1] or "while cat /proc/loadavg; do sleep 0.2; done"
local batch = tonumber(arg[2] or 1)

local ssc = rille.StreamingContext({ appName = "CustomReceiver" }, batch)

-- onStart runs on a thread and in a Lua state of its own; what else is in the table travels there with it.
local lines = ssc:receiverStream {
  name = "CommandReceiver",
  command = command,
  onStart = function(self)
    local pipe = assert(io.popen(self.command))
    for line in pipe:lines() do
      if self:isStopped() then break end
      self:store(line)
    end
    pipe:close()
    if not self:isStopped() then self:restart("the command ended") end
  end,
  onStop = function() end,
}

lines:countByValue():print()

ssc:start()
ssc:awaitTermination()
