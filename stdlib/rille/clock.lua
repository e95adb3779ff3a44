--- The clock of a streaming context, as ssc:clock() gives it.
local class = require "rille.class"
local check = require "rille.check"
local site = require "rille.site"

---@class rille.Clock
---@field package handle rille.core.Streaming
local Clock = class "Clock"

---@param handle rille.core.Streaming
---@return rille.Clock
function Clock.of(handle) return setmetatable({ handle = handle }, Clock) end

function Clock:__tostring()
  return ("Clock(%s, %d ms)"):format(self.handle:isManual() and "manual" or "system", self.handle:time())
end

function Clock:now()
  check.self(Clock, "now", self)
  return self.handle:time()
end

function Clock:advance(seconds)
  check.self(Clock, "advance", self)
  local ms = check.argument(1, "advance", "duration", seconds)
  if not self.handle:isManual() then
    check.fail "illegal state: the system clock can not be advanced; set conf.clock = \"manual\""
  end
  site.call(self.handle.advance, self.handle, ms)
end

return Clock
