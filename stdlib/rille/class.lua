--- Classes without inheritance: a table that is its own metatable.
local core = require "rille.core"

---@param name string shown in messages and by tostring
---@return table class with `__index` set to itself
local function class(name)
  local made = { __name = name }
  made.__index = made
  core.addClass(made)
  return made
end

return class
