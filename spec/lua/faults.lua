--- For specs of bad input and faults.
local faults = {}

-- Settings of a job that is quiet about what a case does to it.
function faults.settings(more)
  local conf = { master = "local[2]", clock = "manual", ["rille.log.level"] = "off", ["rille.task.maxFailures"] = 2 }
  for key, value in pairs(more or {}) do conf[key] = value end
  return conf
end

function faults.count_of(text, pattern)
  return select(2, text:gsub(pattern, ""))
end

return faults
