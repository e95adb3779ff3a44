--- How a test speaks of the parts of a job: inputs, outputs and functions by uid, by operation, or by number.
local check = require "rille.check"
local site = require "rille.site"

local names = {}

local function inputs(ssc)
  local list = {}
  for _, node in ipairs(ssc.nodes) do
    if #node.parents == 0 then list[#list + 1] = node end
  end
  return list
end

--- "'lines' (job.lua:3)"
---@param node rille.DStream
---@param uids table<table, string>
---@return string
function names.input(node, uids) return ("'%s' (%s)"):format(uids[node], node.site or "?") end

--- "print of 'counts' (job.lua:7)"
---@param output rille.Output
---@param uids table<table, string>
---@return string
function names.output(output, uids)
  return ("%s of '%s' (%s)"):format(output.name, uids[output.stream], output.site or "?")
end

local function listed(list, describe, uids)
  local lines = {}
  for i, entry in ipairs(list) do lines[i] = ("\n  %d  %s"):format(i, describe(entry, uids)) end
  return table.concat(lines)
end

-- The entry that one of `ways` finds. A way gives what an entry is called; the first way that knows the name decides.
local function find(what, list, describe, uids, name, ways)
  if math.type(name) == "integer" and list[name] then return list[name] end
  for _, way in ipairs(ways) do
    local found = {}
    for _, entry in ipairs(list) do
      if way(entry) == name then found[#found + 1] = entry end
    end
    if #found == 1 then return found[1] end
    if #found > 1 then
      check.fail(("the job has several %ss '%s'; say which by uid or number:%s"):format(what, name,
        listed(list, describe, uids)))
    end
  end
  check.fail(#list == 0 and ("the job has no %s"):format(what) or
    ("the job has no %s '%s'; there are:%s"):format(what, tostring(name), listed(list, describe, uids)))
end

---@param ssc rille.StreamingContext
---@param uids table<table, string>
---@param name string|integer uid, operation, detail ("localhost:9999") or number
---@return rille.DStream
function names.find_input(ssc, uids, name)
  return find("input", inputs(ssc), names.input, uids, name, {
    function(node) return uids[node] end,
    function(node) return node.operation end,
    function(node) return node.detail end,
  })
end

-- Which one among the outputs of its operation, as "print#2".
local function numbered(outputs)
  local counts, labels = {}, {}
  for _, output in ipairs(outputs) do
    counts[output.name] = (counts[output.name] or 0) + 1
    labels[output] = output.name .. "#" .. counts[output.name]
  end
  return labels
end

local function ways_to_outputs(outputs, uids)
  local labels = numbered(outputs)
  return {
    function(output) return uids[output.stream] .. "/" .. output.name end,
    function(output) return uids[output.stream] end,
    function(output) return output.name end,
    function(output) return labels[output] end,
  }
end

---@param ssc rille.StreamingContext
---@param uids table<table, string>
---@param name string|integer|nil nil: the only one
---@return rille.Output
function names.find_output(ssc, uids, name)
  local outputs = ssc.outputs
  if name == nil and #outputs == 1 then return outputs[1] end
  if name == nil then
    check.fail("the job has several outputs; say which:" .. listed(outputs, names.output, uids))
  end
  return find("output", outputs, names.output, uids, name, ways_to_outputs(outputs, uids))
end

-- Streams that an array of streams depends on, themselves included.
local function upstream(streams)
  local seen, open = {}, table.move(streams, 1, #streams, 1, {})
  while #open > 0 do
    local node = table.remove(open)
    if not seen[node] then
      seen[node] = true
      table.move(node.parents, 1, #node.parents, #open + 1, open)
    end
  end
  return seen
end

--- The streams that outputs depend on.
---@param ssc rille.StreamingContext
---@return table<rille.DStream, boolean>
function names.used(ssc)
  local streams = {}
  for i, output in ipairs(ssc.outputs) do streams[i] = output.stream end
  return upstream(streams)
end

---@param ssc rille.StreamingContext
---@param node rille.DStream
---@return boolean
function names.is_used(ssc, node) return names.used(ssc)[node] == true end

--- The inputs that a stream depends on.
---@param ssc rille.StreamingContext
---@param stream rille.DStream
---@return rille.DStream[]
function names.inputs_of(ssc, stream)
  local seen, list = upstream { stream }, {}
  for _, node in ipairs(inputs(ssc)) do
    if seen[node] then list[#list + 1] = node end
  end
  return list
end

--- The job's functions in an operator, each once, in the order in which they were given.
---@param node rille.DStream
---@return function[]
function names.functions(node)
  local functions, seen = {}, {}
  for _, part in ipairs(node.plan or {}) do
    for _, step in ipairs { part.mapFn or { functions = {} }, part.fn or { functions = {} } } do
      for _, f in ipairs(step.functions) do
        if site.of_job(f) and not seen[f] then functions[#functions + 1], seen[f] = f, true end
      end
    end
  end
  return functions
end

local function replace_in_plan(node, old, new)
  local by_old = {}
  for i, f in ipairs(old) do by_old[f] = new[i] end
  for _, part in ipairs(node.plan) do
    for _, step in ipairs { part.mapFn or { functions = {} }, part.fn or { functions = {} } } do
      for i, f in ipairs(step.functions) do step.functions[i] = by_old[f] or f end
    end
  end
end

-- The operator of this uid that has functions of the job.
local function operator(ssc, uids, name)
  for _, node in ipairs(ssc.nodes) do
    if uids[node] == name and (node.f or #names.functions(node) > 0) then return node end
  end
end

local function check_number(name, wanted, given)
  if wanted ~= given then
    check.fail(("replace: '%s' has %d function%s, %d given"):format(name, wanted, wanted == 1 and "" or "s", given))
  end
end

--- Replaces the functions of an operator or the body of an output.
---@param ssc rille.StreamingContext
---@param uids table<table, string>
---@param name string
---@param functions function[]
function names.replace(ssc, uids, name, functions)
  local node = operator(ssc, uids, name)
  if node and node.f then
    check_number(name, 1, #functions)
    node.f = functions[1]
  elseif node then
    local old = names.functions(node)
    check_number(name, #old, #functions)
    replace_in_plan(node, old, functions)
  else
    local output = names.find_output(ssc, uids, name)
    check_number(name, 1, #functions)
    output.body, output.f = functions[1], functions[1]
  end
end

return names
