--- The code generator of workers: fuses a run of steps into one Lua function a segment.
--
-- A segment's function pulls the records of its input in one loop, and each step's code stands inside the one before it
-- (rille.kinds). The record on its way is kept in local variables wherever it is known how many fields it has. Where a
-- function may return any number of values, what follows becomes a function of its own. Aggregations gather while the
-- loop runs, and give their records to what follows them once it has ended.
--
-- The text depends only on the shape of the chain (kinds, numbers of parameters and results, recognised functions); the
-- functions are arguments of the maker that it compiles to, so the closures of another batch find their code made.

local library, codegen, kinds = ...

local concat, unpack = table.concat, table.unpack

library.max = math.max
library.none = {} -- stands for nil where that would be no entry

local MAX_STEPS = 24 -- in one segment: about 200 nested blocks are allowed
local MAX_WEIGHT = 140 -- and 200 local variables
local MAKERS_KEPT = 128

--- Names of what generated code uses, in the order in which a maker gets them.
local HELPERS = {
  "attempt", "bad", "collect", "drain", "elements", "emit", "emitGroups", "emitKeyed", "emitPairs", "emitRow",
  "emitSlots", "fields", "fieldsRow", "folds", "gather", "goodKey", "groups", "hole", "input", "inputs", "iterator",
  "key", "keys", "max", "more", "none", "pack", "packRow", "packs", "pair", "pairRow", "pairs", "pcall", "plain",
  "read", "returned", "room", "slots", "stateDue", "stateEach", "stateInconsistent", "stateInitial", "stateKeep",
  "stateOpen", "stateRecords", "stateSides", "stateStore", "tokens", "tuple", "value", "words",
}

-- Code ----------------------------------------------------------------------------------------------------------------

--- The loop over the input for the first step.
local function read_input(code)
  local step = code.steps[1]
  if step.takes == "pair" then
    code.consumer = 1
    code:line(1, "for k0, w0 in pairs, op do")
    local record = codegen.fixed({ "k0", "w0" }, 0, true)
    record.pair = true
    code:continue(1, record)
  elseif step.takes == "packed" then
    code:line(1, "for r0 in packs, op do")
    code:continue(1, codegen.fixed({ "r0" }, 0, true))
  elseif step.kind == "flatMap" and step.functions[1].class then
    code:line(1, "for x1 in words(op, class1) do")
    code:continue(2, codegen.fixed({ "x1" }, 1, true))
  else
    code.vars = math.max(code:needs(1), 1)
    local list = codegen.names("c", 0, code.vars)
    code:line(1, "for %s in read, op do", concat(list, ", "))
    code:continue(1, codegen.source(list))
  end
  code:line(1, "end")
end

--- Names of the functions (f2_1: the first of step 2; h2: its handler) and classes that a maker gets.
local function parameter_names(steps)
  local list = { unpack(HELPERS) }
  for i, step in ipairs(steps) do
    for j, f in ipairs(step.functions) do
      list[#list + 1] = ("f%d_%d"):format(i, j)
      if f.class then
        list[#list + 1] = "class" .. i
      end
    end
    if step.handler then
      list[#list + 1] = "h" .. i
    end
  end
  return concat(list, ", ")
end

--- Puts the parts together: the text, and the step of each of its lines.
local function assemble(code)
  local text, lines = {}, {}
  local function add(list)
    for _, entry in ipairs(list) do
      text[#text + 1] = entry[2]
      lines[#text] = entry[1]
    end
  end
  add { { 0, "local " .. parameter_names(code.steps) .. " = ..." } }
  add(code.kept)
  add { { 0, "return function(op, index)" } }
  add(code.declarations)
  add(code.functions)
  add(code.lines)
  add(code.epilogue)
  add { { 0, "end" } }
  return concat(text, "\n"), lines
end

local function generate(steps)
  local code = codegen.new(steps, kinds)
  local begin = kinds[steps[1].kind].begin
  if begin then
    begin(code, 1, steps[1])
  else
    read_input(code)
  end
  return code
end

-- Makers by shape -----------------------------------------------------------------------------------------------------

local function compile(steps)
  local code = generate(steps)
  local text, lines = assemble(code)
  return {
    make = assert(load(text, "=[rille.fused]", "t", {})),
    lines = lines, vars = code.vars, producer = code.producer, consumer = code.consumer,
  }
end

local function shape_of(step)
  local kind = kinds[step.kind]
  local parts = { step.kind, kind.shape and kind.shape(step) or "" }
  parts[#parts + 1] = (step.handler and "h" or "") .. (step.tagged and "t" or "")
  for _, f in ipairs(step.functions) do
    parts[#parts + 1] = f.parameters .. ":" .. f.returns
    parts[#parts + 1] = f.expressions and concat(f.expressions, "\1")
      or f.class and "words" or f.pattern and "gmatch" or ""
  end
  return concat(parts, "\2")
end

local young, old, count = {}, {}, 0

--- The maker for steps of this shape, made now or before.
local function maker(shape, steps)
  local made = young[shape]
  if made then
    return made
  end
  made = old[shape] or compile(steps)
  if count >= MAKERS_KEPT then
    young, old, count = {}, young, 0
  end
  young[shape] = made
  count = count + 1
  return made
end

-- Patterns of one character class and + -------------------------------------------------------------------------------

local classes = {}

local function is_single_class(item)
  return item == "." or item:find("^[^%^%$%*%+%?%.%(%)%[%]%%%-]$")
    or item:find("^%%[acdglpsuwxACDGLPSUWX]$") or item:find("^%%%p$")
    or (item:find("^%[%^?[^%[%]]+%]$") and not item:find("%%%]"))
end

--- The table of a pattern's class, a string of 256 bytes; nil when the pattern is not of that form.
local function class_of(pattern)
  local item = pattern:match("^(.+)%+$")
  if not item or not is_single_class(item) then
    return nil
  end
  local class = classes[item]
  if not class then
    local bytes = {}
    for b = 0, 255 do
      bytes[b + 1] = string.char(b):find("^" .. item .. "$") and "\1" or "\0"
    end
    class = concat(bytes)
    classes[item] = class
  end
  return class
end

-- Plans ---------------------------------------------------------------------------------------------------------------

--- What is known of a function, as far as it may be used.
local function inspect(f, inline)
  local parameters, returns, expressions, scalar, pattern = library.inspect(f)
  local info = { parameters = parameters, returns = returns, pattern = pattern, f = f }
  if inline then
    info.expressions, info.scalar = expressions, scalar
    info.class = pattern and class_of(pattern)
  end
  return info
end

local function describe(step, name, inline)
  local kind, guarded = kinds[name], name ~= step.kind
  local functions = {}
  for j = 1, step.handled and #step - 1 or #step do
    functions[j] = inspect(step[j], inline and not guarded)
  end
  return {
    kind = name, param = step.param, takes = kind.takes, functions = functions, guarded = guarded,
    parameters = kind.parameters or functions[1] and functions[1].parameters,
    tagged = step.tagged, handler = step.handled and step[#step] or nil,
  }
end

--- About how many variables the code of a step has.
local function weight_of(step)
  local weight = 12
  for _, f in ipairs(step.functions) do
    for _, n in ipairs { f.parameters, f.returns } do
      weight = weight + (n > 0 and n <= codegen.MAX_LOCALS and n or 0)
    end
  end
  return weight
end

--- What a maker gets for these steps, in the order of parameter_names.
local function arguments_for(steps)
  local arguments = {}
  for _, name in ipairs(HELPERS) do
    arguments[#arguments + 1] = library[name]
  end
  for _, step in ipairs(steps) do
    for _, f in ipairs(step.functions) do
      arguments[#arguments + 1] = f.f
      arguments[#arguments + 1] = f.class
    end
    arguments[#arguments + 1] = step.handler
  end
  return unpack(arguments)
end

local function segment(first, steps)
  local shapes = {}
  for j, step in ipairs(steps) do
    shapes[j] = shape_of(step)
  end
  local made = maker(concat(shapes, "\3"), steps)
  return {
    first = first, steps = #steps, body = made.make(arguments_for(steps)), lines = made.lines,
    vars = made.vars, producer = made.producer, consumer = made.consumer,
  }
end

--- Cuts a chain of steps ({ kind =, param =, functions... }) into segments: { first, steps, body, lines, vars,
-- producer, consumer }, or { first, native = 1 } for a step that needs no Lua. With `inline`, functions that were
-- recognised are replaced by what they compute.
-- The kinds of rille.guard stand in for those of steps that are guarded; a tagged step ends its segment.
return function(chain, inline)
  local plan, run, weight = {}, {}, 0
  local function cut(i)
    if #run > 0 then
      plan[#plan + 1] = segment(i - #run, run)
    end
    run, weight = {}, 0
  end
  for i, step in ipairs(chain) do
    local name = step.guarded and step.kind .. "!" or step.kind
    local kind = kinds[name]
    if not kind then
      cut(i)
      plan[#plan + 1] = { first = i, native = 1 }
    else
      local described = describe(step, name, inline)
      local w = weight_of(described)
      if kind.begin or #run >= MAX_STEPS or weight + w > MAX_WEIGHT then
        cut(i)
      end
      run[#run + 1] = described
      weight = weight + w
      if step.tagged then
        cut(i + 1)
      end
    end
  end
  cut(#chain + 1)
  return plan
end
