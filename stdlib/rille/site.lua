--- Call sites: the place in the job that a call into the library comes from.
local site = {}

-- The library is what lies beside this file, or what was loaded out of the program itself.
local embedded = "@[rille]/"
local folder = debug.getinfo(1, "S").source:match("^@.*/") or embedded

local function is_library(source)
  return source:sub(1, #folder) == folder or source:sub(1, #embedded) == embedded
end

--- Did the job give this function? (What the library adds of its own is in Lua.)
---@param f function
---@return boolean
function site.of_job(f)
  local info = debug.getinfo(f, "S")
  return info.what == "C" or not is_library(info.source)
end

-- Where a function of the job begins; nil for those of others.
local function definition(f)
  local info = debug.getinfo(f, "S")
  if info.what == "C" or is_library(info.source) then return nil end
  return info.short_src .. ":" .. info.linedefined
end

--- `return stream:map(f)` is a tail call: the frame it stands in is gone when the library looks. Then the beginning of
--- f, mostly on the same line, says more than a frame further out. To tell such calls, the library itself makes no tail
--- calls on its way here with f. Likewise in a chain over several lines: Lua gives all its calls the line it begins on,
--- and a function written further down in the chain tells which call it is.
---@param f function? that the job hands over in this call
---@return string? site "job.lua:12": the innermost frame outside of the library; nil when this coroutine has none
function site.here(f)
  local level, tail_called = 2, false
  while true do
    local info = debug.getinfo(level, "Slt")
    if info and (info.what == "C" or is_library(info.source)) then
      tail_called = tail_called or info.istailcall
    else
      local outer = info and info.short_src .. ":" .. info.currentline
      local own = f and definition(f)
      if own and info and not tail_called then
        local of_f = debug.getinfo(f, "S")
        if of_f.source ~= info.source or of_f.linedefined <= info.currentline then own = nil end
      end
      return own or outer
    end
    level = level + 1
  end
end

--- The folder of the file whose code called into the library.
---@return string
function site.folder()
  local level = 2
  while true do
    local info = debug.getinfo(level, "S")
    if not info then return "." end
    if info.what ~= "C" and not is_library(info.source) then
      local folder_of_file = info.source:match "^@(.*)/[^/]*$"
      return folder_of_file == "" and "/" or folder_of_file or "."
    end
    level = level + 1
  end
end

--- What a coroutine was left by, with the frames of the job that are on its stack.
---@param co thread
---@param why any
---@param level integer? the frame to begin with
---@return string
function site.traced(co, why, level)
  local lines = { tostring(why) }
  level = level or 0
  local info = debug.getinfo(co, level, "Sln")
  while info do
    if info.what ~= "C" and not is_library(info.source) then
      local named = info.what == "main" and "main chunk" or info.name and ("function '%s'"):format(info.name) or
        ("function <%s:%d>"):format(info.short_src, info.linedefined)
      lines[#lines + 1] = ("  %s:%d: in %s"):format(info.short_src, info.currentline, named)
    end
    level = level + 1
    info = debug.getinfo(co, level, "Sln")
  end
  return table.concat(lines, "\n")
end

---@param where string?
---@param message any
---@return any message with the place in front, unless its first line names it or begins with another
function site.located(where, message)
  if not where or type(message) ~= "string" then return message end
  local line = message:match("^[^\n]*")
  if line:find(where .. ":", 1, true) or line:find("^[^:]+%.lua:%d+: ") then return message end
  return where .. ": " .. message
end

local function results(ok, ...)
  if ok then return ... end
  error(site.located(site.here(), (...)), 0)
end

--- Calls a primitive on behalf of the job: what it raises names the job's line.
---@param f function
---@return any ... what f returns
function site.call(f, ...)
  return results(pcall(f, ...))
end

return site
