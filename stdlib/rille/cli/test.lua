--- `rille test`: runs files of tests for jobs.
local control = require "rille.control"
local core = require "rille.core"
local failure = require "rille.harness.failure"
local options = require "rille.cli.options"
local report = require "rille.cli.report"
local site = require "rille.site"
local testing = require "rille.testing"
local world = require "rille.harness.world"

local io = io -- a test may replace the globals

local HELP = [[
usage: rille test [OPTION]... [FILE | DIR]...

Runs the tests in FILEs, and in the files *_test.lua in and below DIRs ("." without any).

  --filter TEXT          only cases that have TEXT in their names
  --tap                  results in the Test Anything Protocol
  --junit FILE           results also as a JUnit file
  --watch                runs again whenever a test, a job or a module of one changes; Ctrl-C ends it
  --master local[N]      number of workers (2)
  --conf KEY=VALUE       a setting; wins over those of the tests and of the jobs
  --properties FILE      settings from a file
  --help                 this text

A test names a job, gives batches for its inputs and says what its outputs should be:

  local t = require "rille.testing"
  t.job { script = "wordcount.lua", args = { "localhost", "9999" } }
  t.case("counts words", function(job)
    job:batch { socketTextStream = { "a b", "b" } }
    job:expect("print", { { "a", 1 }, { "b", 2 } }, { bag = true })
  end)

Exit status: 0 all passed, 1 some did not or there were none, 2 wrong usage.
]]

---@class rille.Collector
---@field make (fun(): rille.testing.Job)?  of the job named last
---@field [integer] { name: string, make: fun(): rille.testing.Job, body: fun(job: rille.testing.Job), where: string }

-- files ---------------------------------------------------------------------------------------------------------------

local function add_directory(list, dir)
  local files, directories = core.entries(dir)
  if not files then return directories end
  local prefix = dir == "." and "" or dir:gsub("/*$", "/")
  table.sort(files)
  table.sort(directories)
  for _, name in ipairs(files) do
    if name:find "_test%.lua$" then list[#list + 1] = prefix .. name end
  end
  for _, name in ipairs(directories) do
    local wrong = not name:find "^%." and add_directory(list, prefix .. name)
    if wrong then return wrong end
  end
end

-- The files to run, or nil and what is wrong.
local function find_files(paths)
  local list = {}
  for _, path in ipairs(#paths > 0 and paths or { "." }) do
    local kind, wrong = core.stamp(path), nil
    if not kind then return nil, path .. " is not there" end
    if kind == "directory" then wrong = add_directory(list, path) else list[#list + 1] = path end
    if wrong then return nil, wrong end
  end
  return list
end

-- running -------------------------------------------------------------------------------------------------------------

-- What a call raised: a failure as it is, else text with the frames of the test.
local function handler(why)
  if failure.is(why) then return why end
  local text = tostring(why)
  return text:find("\n", 1, true) and text or site.traced(coroutine.running(), text, 2)
end

local function outcome_of(ok, why)
  if ok then return "passed" end
  return failure.is(why) and "failed" or "error", tostring(why)
end

-- What the engine warned of; its errors are raised anyway.
local function warnings_of(log)
  local lines = {}
  for line in log:gmatch "%S+ %S+ (WARN  [^\n]*)" do lines[#lines + 1] = "\n" .. line end
  return table.concat(lines)
end

local function run_case(file, case)
  local began = core.monotonic()
  local job = case.make()
  core.keepLog(true)
  local ok, why = xpcall(case.body, handler, job)
  local closed, trouble = pcall(job.close, job)
  if ok and not closed then ok, why = false, trouble end
  local outcome, message = outcome_of(ok, why)
  local log = core.keepLog(false)
  if message then message = message .. warnings_of(log) end
  return { file = file, name = case.name, seconds = core.monotonic() - began, outcome = outcome, message = message }
end

-- Has a file in hand while it is loaded: one that starts a context is no test, and would run for ever.
---@type rille.Holder
local loading = {}

function loading:input(_, node, make) return make(node.site) end

function loading:starting()
  error("this file starts a streaming context: it is a job, not a test; name it in a test's t.job (docs/testing.md)", 0)
end

loading.await, loading.sleep = loading.starting, loading.starting

-- The cases of a file; what it raises is an error of a case that bears the file's name.
local function collect(file)
  local cases = {}
  testing.collector = cases
  local chunk, why = loadfile(file, "t")
  local ok = chunk ~= nil
  control.holder = loading
  if chunk then ok, why = xpcall(chunk, handler) end
  control.holder, testing.collector = nil, nil
  if ok and #cases == 0 then ok, why = false, file .. ": there is no t.case in this file" end
  return cases, not ok and { file = file, name = "(loading the file)", seconds = 0, outcome = "error",
    message = tostring(why) } or nil
end

local function run_file(file, filter, add)
  local kept = world.keep()
  world.files[file] = true
  local cases, trouble = collect(file)
  if trouble then add(trouble) end
  for _, case in ipairs(cases) do
    if not trouble and (not filter or case.name:find(filter, 1, true)) then add(run_case(file, case)) end
  end
  kept:give_back()
end

local function write_junit(path, results)
  local done, file, why = false, io.open(path, "wb")
  if file then
    done, why = file:write(report.junit(results))
    if done then done, why = file:close() end
  end
  if not done then io.stderr:write(("rille: the JUnit file cannot be written: %s\n"):format(why)) end
  return done
end

-- All files once; the exit status.
local function run_all(used, paths)
  local files, wrong = find_files(paths)
  if not files then return options.wrong_usage("test", wrong) end
  local results, began = {}, core.monotonic()
  local reporter = (used.tap and report.tap or report.human)(io.stdout)
  local status = 0
  local function add(result)
    results[#results + 1] = result
    reporter.add(result)
    if result.outcome ~= "passed" then status = 1 end
  end
  for _, file in ipairs(files) do run_file(file, used.filter, add) end
  reporter.finish(results, core.monotonic() - began)
  if #results == 0 then
    io.stderr:write "rille: there was nothing to test: no case in files *_test.lua\n"
    status = 1
  end
  if used.junit and not write_junit(used.junit, results) then status = 1 end
  return status
end

-- watching ------------------------------------------------------------------------------------------------------------

local POLL_MS = 250

local function stamps(paths)
  for _, file in ipairs(find_files(paths) or {}) do world.files[file] = true end
  local found = {}
  for file in pairs(world.files) do
    local _, stamp = core.stamp(file)
    found[file] = stamp or "gone"
  end
  return found
end

local function changed(before, now)
  for file, stamp in pairs(now) do
    if before[file] ~= stamp then return file end
  end
end

local function watch(used, paths)
  while true do
    local before = stamps(paths)
    local status = run_all(used, paths)
    if status == 2 then return status end
    -- Files that were not known before the run count from now on, the others from before it.
    for file, stamp in pairs(stamps(paths)) do before[file] = before[file] or stamp end
    io.stdout:write "-- waiting for changes; Ctrl-C ends --\n"
    io.stdout:flush()
    local file
    repeat
      core.sleep(POLL_MS)
      file = changed(before, stamps(paths))
    until file
    io.stdout:write(("-- %s changed --\n"):format(file))
  end
end

---@param ... string the words behind `rille test`
---@return integer status
return function(...)
  local used, rest = options.parse({ ... },
    { help = "flag", tap = "flag", junit = "value", watch = "flag", filter = "value" }, false)
  if not used then return options.wrong_usage("test", rest) end
  if used.help then
    io.stdout:write(HELP)
    return 0
  end
  for key, value in pairs(used.settings) do core.overrides[key] = value end
  core.properties = used.properties
  if used.watch then return watch(used, rest) end
  return run_all(used, rest)
end
