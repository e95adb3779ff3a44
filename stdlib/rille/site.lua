--- Call sites: the place in the job that a call into the library comes from.
local site = {}

-- The library is what lies beside this file, or what was loaded out of the program itself.
local embedded = "@[rille]/"
local folder = debug.getinfo(1, "S").source:match("^@.*/") or embedded

local function is_library(source)
  return source:sub(1, #folder) == folder or source:sub(1, #embedded) == embedded
end

---@return string? site "job.lua:12": the innermost frame outside of the library; nil when this coroutine has none
function site.here()
  local level = 2
  while true do
    local info = debug.getinfo(level, "Sl")
    if not info then return nil end
    if info.what ~= "C" and not is_library(info.source) then
      return info.short_src .. ":" .. info.currentline
    end
    level = level + 1
  end
end

---@param where string?
---@param message any
---@return any message with the place in front, unless it begins with it
function site.located(where, message)
  if not where or type(message) ~= "string" or message:sub(1, #where + 1) == where .. ":" then return message end
  return where .. ": " .. message
end

local function results(where, ok, ...)
  if ok then return ... end
  error(site.located(where, (...)), 0)
end

--- Calls a primitive on behalf of the job: what it raises names the job's line.
---@param f function
---@return any ... what f returns
function site.call(f, ...)
  return results(site.here(), pcall(f, ...))
end

return site
