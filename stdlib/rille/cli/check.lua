--- `rille check`: loads a job without starting it, and shows what it is made of and what is wrong with it.
local control = require "rille.control"
local core = require "rille.core"
local names = require "rille.harness.names"
local options = require "rille.cli.options"
local site = require "rille.site"
local uid = require "rille.uid"
local world = require "rille.harness.world"

local HELP = [[
usage: rille check [OPTION]... JOB.lua [ARG]...

Loads the job up to ssc:start() and shows its operators with uid and place, and the variables that its functions take
along to the workers, with their sizes. Nothing is received and no batch is run; what the script itself does before
it starts its context is done.

  --strict               warnings count as problems
  --master local[N], --conf KEY=VALUE, --properties FILE
                         as for rille run
  --help                 this text

Problems: the script fails or does not come to ssc:start(), there is no output, a function cannot travel to the
workers, two operators have the same uid. Warnings: a function assigns a variable from outside, an input or another
operator serves no output, an operator keeps state under a derived uid, and whatever the engine warns about.
Exit status: 0 nothing is wrong, 1 there are problems, 2 wrong usage.
]]

-- loading -------------------------------------------------------------------------------------------------------------

---@class rille.Check: rille.Holder
---@field co thread?
---@field ssc rille.StreamingContext?  that was to be started
local Check = {}
Check.__index = Check

function Check:input(_, node, make) return make(node.site) end

--- The job is described in full: here the script ends.
function Check:starting(ssc)
  self.ssc = ssc
  coroutine.yield()
end

function Check:await() coroutine.yield() end

function Check:sleep() end

-- Runs the script up to start. Gives nil, or why there is nothing to show.
local function load_job(self, script, arguments)
  local chunk, why = world.load(script, arguments)
  if not chunk then return why end
  self.co = coroutine.create(chunk)
  local how, trouble = world.resume(self.co, table.unpack(arguments))
  if self.ssc then return nil end
  if how == "error" then return site.traced(self.co, trouble) end
  local ended = how == "exit" or coroutine.status(self.co) == "dead"
  return ("%s: the script %s without ssc:start()"):format(script, ended and "ended" or "waits")
end

-- what is shown -------------------------------------------------------------------------------------------------------

local function shown_bytes(n)
  if n < 10000 then return n .. " bytes" end
  if n < 10000000 then return ("%.1f kB"):format(n / 1000) end
  return ("%.1f MB"):format(n / 1000000)
end

local function shown_variable(variable)
  local size = variable.bytes and shown_bytes(variable.bytes) or "cannot travel"
  return ("      %s %s: %s, %s%s"):format(variable.kind, variable.name, variable.type, size,
    variable.assigned and ", assigned" or "")
end

-- Adds what a function, or another value that goes to a thread of its own, takes along.
local function add_captured(self, value, role, where)
  local variables, bytes, why = core.captured(value, role, where)
  if not bytes then self.problems[#self.problems + 1] = why end
  self.lines[#self.lines + 1] = ("    %s: %s"):format(role, bytes and shown_bytes(bytes) or "cannot travel")
  for _, variable in ipairs(variables) do self.lines[#self.lines + 1] = shown_variable(variable) end
end

local function shown_parents(node)
  local numbers = {}
  for i, parent in ipairs(node.parents) do numbers[i] = parent.number end
  return #numbers > 0 and " <- " .. table.concat(numbers, ", ") or ""
end

local function add_operator(self, node, own)
  self.lines[#self.lines + 1] = ("  %d %s%s  %s"):format(node.number, node.operation, shown_parents(node),
    node.site or "?")
  self.lines[#self.lines + 1] = ("    uid %s%s"):format(own, node.given and "" or " (derived)")
  if node.has_state then self.lines[#self.lines + 1] = "    keeps state" end
  local role = ("the function given to %s"):format(node.operation)
  for _, f in ipairs(names.functions(node)) do add_captured(self, f, role, node.site) end
  if node.f then self.lines[#self.lines + 1] = "    its function runs in the job's own state" end
  if node.ships then
    role = type(node.ships) == "table" and "the receiver given to " or "the function given to "
    add_captured(self, node.ships, role .. node.operation, node.site)
  end
end

local function add_graph(self, ssc)
  local sc = ssc:context().handle
  self.lines[#self.lines + 1] = ("%s on %s, batches of %g s"):format(sc:conf "rille.app.name", sc:conf "rille.master",
    ssc.batch_ms / 1000)
  local ok, uids = pcall(uid.all, ssc.nodes)
  if not ok then self.problems[#self.problems + 1] = uids end
  self.lines[#self.lines + 1] = "operators"
  for _, node in ipairs(ssc.nodes) do add_operator(self, node, ok and uids[node] or node.given or "?") end
  self.lines[#self.lines + 1] = "outputs"
  for _, output in ipairs(ssc.outputs) do
    self.lines[#self.lines + 1] = ("  %s <- %d  %s"):format(output.name, output.stream.number, output.site or "?")
  end
end

-- what is wrong -------------------------------------------------------------------------------------------------------

local function look_for_unused(self, ssc)
  if #ssc.outputs == 0 then
    self.problems[#self.problems + 1] = "the job has no output, so there is nothing to run; add print, foreachRDD " ..
      "or saveAsTextFiles"
    return
  end
  local used, has_children = names.used(ssc), {}
  for _, node in ipairs(ssc.nodes) do
    for _, parent in ipairs(node.parents) do has_children[parent] = true end
  end
  for _, node in ipairs(ssc.nodes) do
    if not used[node] and #node.parents == 0 then
      self.warnings[#self.warnings + 1] = ("%s: no output depends on the input %s"):format(node.site or "?",
        node.operation)
    elseif not used[node] and not has_children[node] then
      self.warnings[#self.warnings + 1] = ("%s: the result of %s is not used"):format(node.site or "?", node.operation)
    end
  end
end

-- State belongs to a uid: a derived one is another as soon as an operation above is.
local function look_for_unnamed_state(self, ssc)
  local used = names.used(ssc)
  for _, node in ipairs(ssc.nodes) do
    if node.has_state and not node.given and used[node] then
      self.warnings[#self.warnings + 1] = ("%s: unnamed state: %s keeps its state under a derived uid, which " ..
        "changes with the operations above it; name it, as in :uid(\"%s\")"):format(node.site or "?", node.operation,
        node.operation:find "Window" and "counts" or "sessions")
    end
  end
end

-- The engine's warnings, without their time.
local function add_logged(self, text)
  local seen = {}
  for level, message in text:gmatch "%S+ %S+ (%u+) +([^\n]*)\n" do
    local list = level == "ERROR" and self.problems or level == "WARN" and self.warnings
    if list and not seen[message] then list[#list + 1], seen[message] = message, true end
  end
end

local function print_list(title, list)
  for _, message in ipairs(list) do io.stdout:write(("%s: %s\n"):format(title, message)) end
end

-- the command ---------------------------------------------------------------------------------------------------------

local function examine(self, script, arguments)
  core.keepLog(true)
  control.holder = self
  local ok, why = pcall(load_job, self, script, arguments)
  if ok and self.ssc then ok, why = pcall(add_graph, self, self.ssc) end
  if not ok or why then self.problems[#self.problems + 1] = why end
  control.holder = nil
  add_logged(self, core.keepLog(false))
  if not self.ssc then return end
  look_for_unused(self, self.ssc)
  look_for_unnamed_state(self, self.ssc)
end

---@param ... string the words behind `rille check`
---@return integer status
return function(...)
  local used, rest = options.parse({ ... }, { help = "flag", strict = "flag" }, true)
  if not used then return options.wrong_usage("check", rest) end
  if used.help then
    io.stdout:write(HELP)
    return 0
  end
  local script = table.remove(rest, 1)
  if not script then return options.wrong_usage("check", "which job? Give a Lua script") end
  for key, value in pairs(used.settings) do core.overrides[key] = value end
  core.properties = used.properties
  local self = setmetatable({ lines = {}, problems = {}, warnings = {} }, Check)
  examine(self, script, rest)
  if #self.lines > 0 then io.stdout:write(table.concat(self.lines, "\n"), "\n") end
  print_list("warning", self.warnings)
  print_list("problem", self.problems)
  io.stdout:write(("%s: %d problem%s, %d warning%s\n"):format(script, #self.problems, #self.problems == 1 and "" or "s",
    #self.warnings, #self.warnings == 1 and "" or "s"))
  return (#self.problems > 0 or (used.strict and #self.warnings > 0)) and 1 or 0
end
