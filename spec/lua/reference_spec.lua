-- The reference says what there is: every public function has its annotation (stdlib/meta), every annotation its
-- function, docs/api.md is made of them, and docs/settings.md and the man page know what the engine knows.
local source = os.getenv "RILLE_SOURCE"
local annotations = dofile(source .. "/tools/annotations.lua")
local support = require "spec.lua.support"

local classes = annotations.read(source, annotations.files(source))

-- Functions of public classes that are not for jobs: what the library's files give each other.
local INTERNAL = {
  ["rille.Context"] = { "is" },
  ["rille.StreamingContext"] = { "is", "input", "check_open", "with_state" },
  ["rille.RDD"] = { "is", "wrap", "head", "save", "capture", "chain", "derive", "defaultPartitions", "run", "evaluate",
    "starts", "fail_empty" },
  ["rille.DStream"] = { "is", "add", "output", "label", "materialise", "transformed", "chain", "derive",
    "defaultPartitions" },
  ["rille.Clock"] = { "of" },
  ["rille.StateSpec"] = { "is" },
  ["rille.State"] = { "of" },
  ["rille.testing.Job"] = { "new", "isFailure", "input", "starting", "await", "sleep" },
}

-- Annotated classes whose functions are made in C.
local IN_C = { ["rille.ReceiverSelf"] = "lua/receiver_self.c", ["rille.Broadcast"] = "lua/broadcast.c",
  ["rille.StateOfKey"] = "lua/stateful.c", ["rille.KafkaProducer"] = "lua/producer_send.c" }

-- Classes whose annotations have another name than "rille." and theirs.
local ANNOTATED_AS = { TestJob = "rille.testing.Job" }

local function is_class(value) return type(value) == "table" and rawget(value, "__name") ~= nil end

-- The library's public tables by the names that their annotations have.
local function public_tables()
  local tables = { ["rille"] = require "rille", ["rille.testing"] = require "rille.testing" }
  for name, value in pairs(tables["rille"]) do
    if type(value) == "table" and not is_class(value) then tables["rille." .. name] = value end
  end
  local list = assert(io.popen(("cd '%s/stdlib' && grep -rlE '= class [(\"]' rille"):format(source)))
  for path in list:lines() do
    local module = require((path:gsub("%.lua$", ""):gsub("/", ".")))
    assert(is_class(module), path)
    tables[ANNOTATED_AS[module.__name] or "rille." .. module.__name] = module
  end
  list:close()
  tables["rille.Accumulator"] = require "rille.core".Accumulator
  return tables
end

local function annotated(class)
  local names = {}
  for _, f in ipairs(class and class.functions or {}) do names[f.name] = f end
  return names
end

local function is_internal(class, name)
  for _, internal in ipairs(INTERNAL[class] or {}) do
    if name == internal then return true end
  end
  return name:find "^_" ~= nil
end

local function sorted(list)
  table.sort(list)
  return list
end

local function words_of(text, pattern)
  local words, seen = {}, {}
  for word in text:gmatch(pattern) do
    if not seen[word] then words[#words + 1] = word end
    seen[word] = true
  end
  return sorted(words)
end

local function output_of(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read "a"
  return pipe:close() == true, text
end

describe("the annotations", function()
  local tables = public_tables()

  it("are there for every public function", function()
    local missing = {}
    for class, members in pairs(tables) do
      local known = annotated(classes[class])
      for name, value in pairs(members) do
        if type(value) == "function" and not known[name] and not is_internal(class, name) then
          missing[#missing + 1] = class .. ": " .. name
        end
      end
    end
    assert.same({}, sorted(missing))
  end)

  it("are there for every value of require \"rille\"", function()
    local missing, fields = {}, {}
    for _, field in ipairs(classes["rille"].fields) do fields[field.name] = true end
    for name, value in pairs(tables["rille"]) do
      if type(value) ~= "function" and not fields[name] then missing[#missing + 1] = name end
    end
    assert.same({}, sorted(missing))
  end)

  it("are of functions that there are", function()
    local unknown = {}
    for _, class in ipairs(classes) do
      local made_in_c = IN_C[class.name] and support.read(source .. "/" .. IN_C[class.name])
      for _, f in ipairs(class.functions) do
        local there
        if made_in_c then
          there = made_in_c:find(('{"%s", '):format(f.name), 1, true)
        else
          there = tables[class.name] and type(tables[class.name][f.name]) == "function"
        end
        if not there then unknown[#unknown + 1] = ("%s: %s"):format(f.where, f.call) end
      end
    end
    assert.same({}, sorted(unknown))
  end)

  it("are not also of functions that count as internal", function()
    for class, names in pairs(INTERNAL) do
      local known = annotated(classes[class])
      for _, name in ipairs(names) do assert.is_nil(known[name], class .. ": " .. name) end
    end
  end)
end)

describe("reading annotations", function()
  local function read(text)
    local folder = support.directory()
    support.write(folder .. "/meta.lua", text)
    local ok, result = pcall(annotations.read, folder, { "meta.lua" })
    support.remove(folder)
    return ok, result
  end

  it("takes types apart from texts", function()
    local _, read_classes = read [[
---@class T
---@field [string] { a: integer, b: string }? a table
local T = {}

--- Text.
---@param f fun(a: any, ...: any): any[]|function, integer? gives two
---@param n "one"|"two"|nil # which
---@return table<string, integer[]> counts by name
function T:f(f, n) end
]]
    local f = read_classes["T"].functions[1]
    assert.same({ { name = "[string]", type = "{ a: integer, b: string }?", text = "a table" } },
      read_classes["T"].fields)
    assert.same({ "Text." }, f.text)
    assert.same({
      { name = "f", type = "fun(a: any, ...: any): any[]|function, integer?", text = "gives two" },
      { name = "n", type = '"one"|"two"|nil', text = "which" },
    }, f.params)
    assert.same({ { type = "table<string, integer[]>", text = "counts by name" } }, f.returns)
    assert.equal("T:f(f, n)", f.call)
  end)

  it("refuses a parameter that is not annotated", function()
    local ok, why = read "---@class T\nlocal T = {}\n---@param a any\nfunction T.f(a, b) end\n"
    assert.is_false(ok)
    assert.matches("meta.lua:4: parameter 2 is 'b', its annotation is of 'none'", why, 1, true)
  end)

  it("refuses what it does not know", function()
    local ok, why = read "---@clas T\n"
    assert.is_false(ok)
    assert.matches("meta.lua:1: unknown annotation @clas", why, 1, true)
  end)
end)

describe("docs/api.md", function()
  it("is what tools/docs makes of the annotations", function()
    local ok, text = output_of(("lua5.4 '%s/tools/docs.lua' '%s' --check"):format(source, source))
    assert.is_true(ok, text)
  end)
end)

describe("the events of listeners", function()
  local rille = require "rille"

  local function fields_of(class)
    local names = {}
    for _, field in ipairs(classes["rille." .. class].fields) do names[field.name] = true end
    return names
  end

  -- All fields that events of these kinds have had, by class.
  local function listen()
    local had = { BatchEvent = {}, InputInfo = {}, OutputEvent = {}, ReceiverEvent = {} }
    local function note(class, event)
      for name in pairs(event) do had[class][name] = true end
      for _, input in pairs(event.streamIdToInputInfo or {}) do note("InputInfo", input) end
      for _, output in pairs(event.outputOperationInfos or {}) do note("OutputEvent", output) end
    end
    local listener = {}
    for _, field in ipairs(classes["rille.StreamingListener"].fields) do
      local class = field.type:match "rille%.(%w+)"
      if class then listener[field.name] = function(event) note(class, event) end end
    end
    return listener, had
  end

  it("have the fields that are annotated, and no others", function()
    local listener, had = listen()
    local ssc = rille.StreamingContext({ master = "local[1]", clock = "manual", ["rille.log.level"] = "off" }, 1)
    ssc:addStreamingListener(listener)
    ssc:receiverStream { onStart = function() end }:foreachRDD(function() error "no output" end)
    ssc:start()
    while not next(had.ReceiverEvent) do ssc:awaitTerminationOrTimeout(0.01) end
    ssc:clock():advance(1)
    pcall(ssc.awaitTerminationOrTimeout, ssc, 60)
    ssc:stop(true, false)
    for class, names in pairs(had) do assert.same(fields_of(class), names, class) end
  end)
end)

describe("the settings of `rille help settings`", function()
  local _, listing = output_of "rille help settings"
  local keys = words_of("\n" .. listing, "\n(rille%.[%w.]+)  ")

  it("are all there are, with default and meaning", function()
    local table_in_c = support.read(source .. "/core/run/conf.c"):match "rl_conf_keys%[%] = (%b{})"
    assert.same(words_of(table_in_c, '{"(rille%.[%w.]+)", RL_CONF'), keys)
    for line in listing:gmatch "[^\n]+" do assert.matches("^rille%.[%w.]+ +[^ ]+.* +%l", line) end
  end)

  it("are those of docs/settings.md", function()
    assert.same(keys, words_of(support.read(source .. "/docs/settings.md"), "\n| `(rille%.[%w.]+)`"))
  end)
end)

describe("the man page", function()
  local page = support.read(source .. "/docs/man/rille.1"):gsub("\\%-", "-")

  it("has every command", function()
    local _, help = output_of "rille help"
    for command in help:gmatch "\n  rille (%l+)" do assert.matches("\n%.It Cm " .. command, page) end
  end)

  it("has every option of every command", function()
    for _, command in ipairs { "run", "check", "test" } do
      local _, help = output_of("rille help " .. command)
      local found = 0
      for option in help:gmatch "[^%w%-]%-%-(%l+)" do
        found = found + 1
        assert.matches("%.It Fl %-" .. option, page, 1, command)
      end
      assert.is_true(found > 3, command)
    end
  end)

  it("is well formed", function()
    if not output_of "command -v man" or not output_of "command -v groff" then return pending "no man here" end
    local _, text = output_of(("man --warnings -l '%s/docs/man/rille.1' >/dev/null"):format(source))
    assert.equal("", text)
  end)
end)
