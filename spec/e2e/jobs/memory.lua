--- Resident memory of this process, in KiB, after a full collection.
return function()
  collectgarbage()
  collectgarbage()
  local file = assert(io.open("/proc/self/statm"))
  local resident = tonumber(file:read("a"):match("^%d+ (%d+)"))
  file:close()
  return resident * 4 -- pages of 4 KiB
end
