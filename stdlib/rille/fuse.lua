--- The code generator of workers: fuses a run of steps into one Lua function a segment.
--
-- A segment's function pulls the records of its input in one loop, and each step's code stands inside the one before it. The record on its way is kept in
-- local variables wherever it is known how many fields it has. Where a function may return any number of values, what follows becomes a function of its
-- own (`...`). Aggregations gather while the loop runs, and give their records to what follows them once it has ended.
--
-- The text depends only on the shape of the chain (kinds, numbers of parameters and results); the functions are arguments of the maker that it
-- compiles to, so the closures of another batch find their code made.

local library = ...

local concat, unpack = table.concat, table.unpack

local MAX_STEPS = 24 -- in one segment: Lua allows 200 local variables in a function, and about as many nested blocks
local MAX_LOCALS = 40 -- fields of one record kept in variables
local MAX_KEYS = 262144 -- a combining step holds before it passes on what it has
local MAKERS_KEPT = 128

-- Records --------------------------------------------------------------------------------------------------------------
--
-- What is known of the record at a point of the code:
--   source: it is the input's current row; `names` has its first fields.
--   fixed:  its fields are `names`. `checked`: the first is known not to be nil.
--   raw:    it is what a function returned, the values of `text` ("..." or a variable): a single tuple is still to be spread. `names`: its first fields,
--           where they were needed.
-- `producer` is the step whose function returned it.

local function source(names)
  return { form = "source", names = names, producer = 0, checked = true }
end

local function fixed(names, producer, checked)
  return { form = "fixed", names = names, producer = producer, checked = checked }
end

local function raw(text, producer)
  return { form = "raw", text = text, producer = producer }
end

local function names(prefix, i, n)
  local list = {}
  for j = 1, n do
    list[j] = prefix .. i .. "_" .. j
  end
  return list
end

-- The generator --------------------------------------------------------------------------------------------------------

local Code = {}
Code.__index = Code

--- Adds a line of code for step i.
function Code:line(i, text, ...)
  local lines = self.lines
  lines[#lines + 1] = { i, select("#", ...) > 0 and text:format(...) or text }
end

--- Declares variables of the whole segment.
function Code:declare(i, text, ...)
  self.declarations[#self.declarations + 1] = { i, text:format(...) }
end

--- Defines a function of the segment; `body` generates its code. Functions it needs come before it.
function Code:define(i, name, parameters, body)
  local outer = self.lines
  self.lines = {}
  self:line(i, "local function %s(%s)", name, parameters)
  body()
  self:line(i, "end")
  table.move(self.lines, 1, #self.lines, #self.functions + 1, self.functions)
  self.lines = outer
end

--- The call of function j of step i.
local function call(i, j, arguments)
  return ("f%d_%d(%s)"):format(i, j, arguments)
end

--- An expression of a recognised function, with its parameters replaced.
local function inlined(expression, arguments)
  return "(" .. expression:gsub("%$(%d+)", function(p)
    local argument = arguments[tonumber(p)] or "nil"
    return argument:match("^[%a_][%w_]*$") and argument or "(" .. argument .. ")"
  end) .. ")"
end

--- The call of function j of step i as one value: several results become a tuple.
function Code:value(i, j, arguments)
  local f = self.steps[i].functions[j]
  if f.expressions and #f.expressions == 1 then
    return inlined(f.expressions[1], arguments)
  end
  local text = call(i, j, concat(arguments, ", "))
  if f.returns == 1 then
    return text
  end
  return "value(" .. text .. ")"
end

--- How many fields the functions from step i on take, up to the next that makes a new record; nil: any number.
function Code:fields_needed(i)
  local most = 0
  local step = self.steps[i]
  while step and step.takes == "fields" do
    local n = step.functions[1] and step.functions[1].parameters or step.parameters
    if n >= 0 and n <= MAX_LOCALS and n > most then
      most = n
    end
    if step.kind ~= "filter" then
      break
    end
    i = i + 1
    step = self.steps[i]
  end
  return most
end

--- Makes sure that fields are at hand for step i, which takes them.
function Code:prepare(i, record)
  if record.form == "raw" and not record.names then
    record.names = names("a", i, math.max(self:fields_needed(i), 1))
    self:line(i, "local %s = fields(op, %d, %s)", concat(record.names, ", "), record.producer, record.text)
  elseif record.form == "fixed" and not record.checked then
    self:line(i, "if %s == nil then fields(op, %d) end", record.names[1], record.producer)
    record.checked = true
  end
end

--- The fields of the record that a function of so many parameters needs, as a list of expressions.
function Code:arguments(record, parameters)
  if parameters >= 0 and parameters <= MAX_LOCALS then
    return { unpack(record.names, 1, math.min(parameters, #record.names)) }
  elseif record.form == "source" then
    return { "fieldsRow(op)" }
  elseif record.form == "raw" then
    return { ("fields(op, %d, %s)"):format(record.producer, record.text) }
  end
  return record.names
end

--- The record as one value.
function Code:packed(record)
  if record.form == "source" then
    return "packRow(op)"
  elseif record.form == "raw" then
    return ("pack(op, %d, %s)"):format(record.producer, record.text)
  elseif #record.names == 1 then
    return record.names[1]
  end
  return "tuple(" .. concat(record.names, ", ") .. ")"
end

--- Key and value for step i, as two names.
function Code:pair(i, record)
  if record.pair then
    return record.names[1], record.names[2]
  end
  local k, v = "k" .. i, "w" .. i
  if record.form == "source" then
    self.consumer = i
    self:line(i, "local %s, %s = pairRow(op)", k, v)
  elseif record.form == "raw" or #record.names == 1 then
    self:line(i, "local %s, %s = pair(op, %d, %d, %s)", k, v, i, record.producer, record.text or record.names[1])
  else
    self:prepare(i, record)
    if #record.names == 2 then
      return record.names[1], record.names[2]
    end
    self:line(i, "local %s, %s = %s, tuple(%s)", k, v, record.names[1], concat(record.names, ", ", 2))
  end
  return k, v
end

local kinds = {}

--- Generates the steps from i on for a record.
function Code:steps_from(i, record)
  local step = self.steps[i]
  if step then
    return kinds[step.kind].generate(self, i, step, record)
  end
  i = i - 1
  self.producer = record.producer
  if record.form == "source" then
    self:line(i, "emitRow(op)")
  else
    self:line(i, "emit(op, %s)", record.form == "raw" and record.text or concat(record.names, ", "))
  end
end

--- What becomes of the results `expressions` of step i, each worked out here.
function Code:computed(i, step, expressions, arguments)
  local list = names("v", i, #expressions)
  local texts = {}
  for j, expression in ipairs(expressions) do
    texts[j] = inlined(expression, arguments)
  end
  self:line(i, "local %s = %s", concat(list, ", "), concat(texts, ", "))
  if #list == 1 and not step.functions[1].scalar then
    return self:steps_from(i + 1, raw(list[1], i))
  end
  self:steps_from(i + 1, fixed(list, i, false))
end

-- Steps over records ---------------------------------------------------------------------------------------------------

kinds.filter = {
  takes = "fields",
  generate = function(code, i, step, record)
    code:prepare(i, record)
    local f = step.functions[1]
    local arguments = code:arguments(record, f.parameters)
    if f.expressions then
      code:line(i, "if %s then", inlined(f.expressions[1], arguments))
    else
      code:line(i, "if %s then", call(i, 1, concat(arguments, ", ")))
    end
    code:steps_from(i + 1, record)
    code:line(i, "end")
  end,
}

kinds.map = {
  takes = "fields",
  generate = function(code, i, step, record)
    code:prepare(i, record)
    local f = step.functions[1]
    local arguments = code:arguments(record, f.parameters)
    if f.expressions then
      return code:computed(i, step, f.expressions, arguments)
    end
    local text = call(i, 1, concat(arguments, ", "))
    if f.returns == 1 then
      code:line(i, "local v%d = %s", i, text)
      code:steps_from(i + 1, raw("v" .. i, i))
    elseif f.returns > 1 and f.returns <= MAX_LOCALS then
      local list = names("v", i, f.returns)
      code:line(i, "local %s = %s", concat(list, ", "), text)
      code:steps_from(i + 1, fixed(list, i, false))
    else
      code:define(i, "s" .. i, "...", function()
        code:steps_from(i + 1, raw("...", i))
      end)
      code:line(i, "s%d(%s)", i, text)
    end
  end,
}

kinds.keyed = {
  takes = "fields",
  generate = function(code, i, step, record)
    code:prepare(i, record)
    code:line(i, "local k%d = %s", i, code:value(i, 1, code:arguments(record, step.functions[1].parameters)))
    code:line(i, "local w%d = %s", i, code:packed(record))
    code:steps_from(i + 1, fixed({ "k" .. i, "w" .. i }, i, false))
  end,
}

kinds.foreach = {
  takes = "fields",
  generate = function(code, i, step, record)
    code:prepare(i, record)
    code:line(i, "%s", call(i, 1, concat(code:arguments(record, step.functions[1].parameters), ", ")))
  end,
}

--- Code over what a function returned, an array or an iterator: `each` is called with every element, behind `first`.
local function over_results(code, i, results, first)
  code:line(i, "local it, s, c, z = %s", results)
  code:line(i, "local n = elements(op, %d, it)", i)
  code:line(i, "if n then")
  code:line(i, "for j = 1, n do")
  code:line(i, "local x = it[j]")
  code:line(i, "if x == nil then hole(op, %d, j) end", i)
  code:line(i, "e%d(%sx)", i, first)
  code:line(i, "end")
  code:line(i, "else")
  code:line(i, "local close <close> = z")
  code:line(i, "repeat c = e%d(%sit(s, c)) until c == nil", i, first)
  code:line(i, "end")
end

--- Defines `each` for step i: it gives one element to what follows, and returns its first value, nil at the end.
local function define_each(code, i, parameters, body)
  code:define(i, "e" .. i, parameters, function()
    code:line(i, "if (...) == nil then return nil end")
    body()
    code:line(i, "return (...)")
  end)
end

local function each_is_record(code, i)
  define_each(code, i, "...", function()
    code:steps_from(i + 1, raw("...", i))
  end)
end

kinds.flatMap = {
  takes = "fields",
  generate = function(code, i, step, record)
    code:prepare(i, record)
    local f = step.functions[1]
    local arguments = concat(code:arguments(record, f.parameters), ", ")
    if f.pattern then
      local loop = f.class and "tokens(%s, class%d)" or "gmatch(%s, class%d)"
      code:line(i, "for x%d in " .. loop .. " do", i, arguments, i)
      code:steps_from(i + 1, fixed({ "x" .. i }, i, true))
      code:line(i, "end")
      return
    end
    each_is_record(code, i)
    code:line(i, "do")
    over_results(code, i, call(i, 1, arguments), "")
    code:line(i, "end")
  end,
}

kinds.mapValues = {
  takes = "pair",
  generate = function(code, i, _, record)
    local k, v = code:pair(i, record)
    code:line(i, "local v%d = %s", i, code:value(i, 1, { v }))
    code:steps_from(i + 1, fixed({ k, "v" .. i }, i, true))
  end,
}

kinds.flatMapValues = {
  takes = "pair",
  generate = function(code, i, _, record)
    local k, v = code:pair(i, record)
    define_each(code, i, "k, ...", function()
      code:line(i, "local w%d = value(...)", i)
      code:steps_from(i + 1, fixed({ "k", "w" .. i }, i, true))
    end)
    code:line(i, "do")
    over_results(code, i, call(i, 1, v), k .. ", ")
    code:line(i, "end")
  end,
}

-- Joins: (key, lefts, rights) to a record for each combination -----------------------------------------------------------

--- `left` and `right` tell whether an empty side counts as one absent value.
local function join(left, right)
  return {
    takes = "fields",
    parameters = 3,
    generate = function(code, i, _, record)
      code:prepare(i, record)
      local key, lefts, rights = unpack(record.names)
      local function loop(variable, list, absent)
        local count = absent and "math.max(#" .. list .. ", 1)" or "#" .. list
        code:line(i, "for j%s%d = 1, %s do", variable, i, count)
        code:line(i, "local %s%d = %s[j%s%d]", variable, i, list, variable, i)
      end
      loop("l", lefts, left)
      loop("r", rights, right)
      code:steps_from(i + 1, fixed({ key, "l" .. i, "r" .. i }, i, true))
      code:line(i, "end")
      code:line(i, "end")
    end,
  }
end

kinds.joinInner = join(false, false)
kinds.joinLeft = join(false, true)
kinds.joinRight = join(true, false)
kinds.joinFull = join(true, true)

-- Steps over a whole partition -------------------------------------------------------------------------------------------

--- What follows step i runs once, behind the loop, with the record that `generate` makes code for.
local function afterwards(code, i, condition, record)
  code.epilogue[#code.epilogue + 1] = { i, condition .. "r" .. i .. "()" .. (condition ~= "" and " end" or "") }
  code:define(i, "r" .. i, "", function()
    code:steps_from(i + 1, record)
  end)
end

kinds.reduce = {
  takes = "packed",
  generate = function(code, i, _, record)
    code:declare(i, "local acc%d, any%d", i, i)
    local p = "p" .. i
    code:line(i, "local %s = %s", p, code:packed(record))
    code:line(i, "if any%d then", i)
    code:line(i, "acc%d = %s", i, code:value(i, 1, { "acc" .. i, p }))
    code:line(i, "else")
    code:line(i, "acc%d, any%d = %s, true", i, i, p)
    code:line(i, "end")
    afterwards(code, i, ("if any%d then "):format(i), raw("acc" .. i, i))
  end,
}

kinds.glom = {
  takes = "packed",
  generate = function(code, i, _, record)
    code:declare(i, "local list%d, n%d = {}, 0", i, i)
    code:line(i, "n%d = n%d + 1", i, i)
    code:line(i, "list%d[n%d] = %s", i, i, code:packed(record))
    afterwards(code, i, "", fixed({ "list" .. i }, i, true))
  end,
}

-- Aggregation by key -------------------------------------------------------------------------------------------------------
--
-- slot: key -> index; keys and vals by index, in the order of first sight. So a record costs one look-up, nil is a value as any other. A key that is not in slot goes
-- through `key`, which refuses nil and NaN and gives tables of equal content one object (in `interned`).

--- Declares the tables of step i and the function that gives them to what follows.
local function declare_groups(code, i, fields)
  code:declare(i, "local slot%d, keys%d, vals%d, interned%d, n%d = {}, {}, {}, {}, 0", i, i, i, i, i)
  code.epilogue[#code.epilogue + 1] = { i, ("flush%d()"):format(i) }
  code:define(i, "flush" .. i, "", function()
    code:line(i, "for i = 1, n%d do", i)
    local list = { "k" .. i }
    code:line(i, "local k%d = keys%d[i]", i, i)
    for j, field in ipairs(fields) do
      list[j + 1] = ("g%d_%d"):format(i, j)
      code:line(i, "local %s = %s[i]", list[j + 1], field)
    end
    code:steps_from(i + 1, fixed(list, i, true))
    code:line(i, "end")
    code:line(i, "slot%d, keys%d, vals%d, interned%d, n%d = {}, {}, {}, {}, 0", i, i, i, i, i)
  end)
end

--- Code for one (key, value): `first` is the expression of a new key's value, `merge` the code for a known one.
local function gather(code, i, record, first, merge, limit)
  declare_groups(code, i, { "vals" .. i })
  code:define(i, "add" .. i, "k, v", function()
    code:line(i, "k = key(op, %d, k, interned%d)", i, i)
    code:line(i, "local i = slot%d[k]", i)
    code:line(i, "if i then")
    code:line(i, merge("i", "v"))
    code:line(i, "return")
    code:line(i, "end")
    if limit then
      code:line(i, "if n%d >= %d then flush%d() end", i, limit, i)
    end
    code:line(i, "local x = %s", first("v"))
    code:line(i, "n%d = n%d + 1", i, i)
    code:line(i, "slot%d[k], keys%d[n%d], vals%d[n%d] = n%d, k, x", i, i, i, i, i, i)
  end)
  local k, v = code:pair(i, record)
  code:line(i, "local i%d = slot%d[%s]", i, i, k)
  code:line(i, "if i%d then", i)
  code:line(i, merge("i" .. i, v))
  code:line(i, "else")
  code:line(i, "add%d(%s, %s)", i, k, v)
  code:line(i, "end")
end

--- Aggregation with functions { create, merge } or { merge }.
local function aggregation(code, i, step, record, limit)
  local last = #step.functions
  gather(code, i, record, function(v)
    return last == 2 and code:value(i, 1, { v }) or v
  end, function(index, v)
    local place = ("vals%d[%s]"):format(i, index)
    return place .. " = " .. code:value(i, last, { place, v })
  end, limit)
end

kinds.combine = {
  takes = "pair",
  shape = function(step)
    return step.param
  end,
  generate = function(code, i, step, record)
    aggregation(code, i, step, record, step.param > 0 and step.param or MAX_KEYS)
  end,
}

kinds.aggregate = { takes = "pair", generate = aggregation }
kinds.merge = { takes = "pair", generate = aggregation }

kinds.group = {
  takes = "pair",
  generate = function(code, i, _, record)
    gather(code, i, record, function(v)
      code:line(i, "if %s == nil then absent(op, %d, k) end", v, i)
      return "{ " .. v .. " }"
    end, function(index, v)
      return ("if %s == nil then absent(op, %d, keys%d[%s]) end local t = vals%d[%s] t[#t + 1] = %s"):format(v, i, i, index, i, index, v)
    end)
  end,
}

-- Steps that read the input themselves -----------------------------------------------------------------------------------

kinds.cogroup = {
  shape = function(step)
    return step.param
  end,
  begin = function(code, i, step)
    local sides = math.max(step.param, 2)
    local fields, empty = {}, {}
    for side = 1, sides do
      fields[side] = ("vals%d[%d]"):format(i, side)
      empty[side] = ("vals%d[%d][n%d] = {}"):format(i, side, i)
    end
    declare_groups(code, i, fields)
    code:define(i, "add" .. i, "k", function()
      code:line(i, "k = key(op, %d, k, interned%d)", i, i)
      code:line(i, "local i = slot%d[k]", i)
      code:line(i, "if i then return i end")
      code:line(i, "n%d = n%d + 1", i, i)
      code:line(i, "slot%d[k], keys%d[n%d] = n%d, k", i, i, i, i)
      code:line(i, "%s", concat(empty, " "))
      code:line(i, "return n%d", i)
    end)
    code.consumer = i
    code:line(i, "for side = 1, %d do vals%d[side] = {} end", sides, i)
    code:line(i, "for side = 1, %d do", sides)
    code:line(i, "input(op, side)")
    code:line(i, "local lists = vals%d[side]", i)
    code:line(i, "for k, v in pairs, op do")
    code:line(i, "local t = lists[slot%d[k] or add%d(k)]", i, i)
    code:line(i, "if v == nil then absent(op, %d, k) end", i)
    code:line(i, "t[#t + 1] = v")
    code:line(i, "end")
    code:line(i, "end")
  end,
}

local function over_partition(arguments)
  return {
    begin = function(code, i)
      each_is_record(code, i)
      over_results(code, i, call(i, 1, arguments), "")
    end,
  }
end

kinds.mapPartitions = over_partition("iterator(op)")
kinds.mapPartitionsWithIndex = over_partition("index, iterator(op)")

kinds.foreachPartition = {
  begin = function(code, i)
    code:line(i, call(i, 1, "iterator(op)"))
  end,
}

-- Segments -----------------------------------------------------------------------------------------------------------------

--- The loop over the input for the first step.
local function read_input(code)
  local step = code.steps[1]
  if step.takes == "pair" then
    code.consumer = 1
    code:line(1, "for k, v in pairs, op do")
    local record = fixed({ "k", "v" }, 0, true)
    record.pair = true
    code:steps_from(1, record)
  elseif step.takes == "packed" then
    code:line(1, "for r in packs, op do")
    code:steps_from(1, fixed({ "r" }, 0, true))
  elseif step.kind == "flatMap" and step.functions[1].class then
    code:line(1, "for x in words(op, class1) do")
    code:steps_from(2, fixed({ "x" }, 1, true))
  else
    code.vars = math.max(code:fields_needed(1), 1)
    local list = names("c", 1, code.vars)
    code:line(1, "for %s in read, op do", concat(list, ", "))
    code:steps_from(1, source(list))
  end
  code:line(1, "end")
end

local HELPERS = {
  "absent", "elements", "emit", "emitRow", "fields", "fieldsRow", "hole", "input", "iterator", "key", "pack", "packRow", "packs", "pair", "pairRow",
  "pairs", "read", "tokens", "tuple", "value", "words",
}

--- Puts the parts together: the text, and the step of each of its lines.
local function assemble(code, parameters)
  local text, lines = {}, {}
  local function add(list)
    for _, entry in ipairs(list) do
      text[#text + 1] = entry[2]
      lines[#text] = entry[1]
    end
  end
  add {
    { 0, "local " .. concat(HELPERS, ", ") .. ", math, gmatch" .. parameters .. " = ..." },
    { 0, "return function(op, index)" },
  }
  add(code.declarations)
  add(code.functions)
  add(code.lines)
  add(code.epilogue)
  add { { 0, "end" } }
  return concat(text, "\n"), lines
end

local function parameter_names(steps)
  local list = { "" }
  for i, step in ipairs(steps) do
    for j = 1, #step.functions do
      list[#list + 1] = ("f%d_%d"):format(i, j)
    end
    if step.functions[1] and step.functions[1].pattern then
      list[#list + 1] = "class" .. i
    end
  end
  return concat(list, ", ")
end

local function generate(steps)
  local code = setmetatable({
    steps = steps, lines = {}, declarations = {}, functions = {}, epilogue = {}, vars = 1, producer = 0, consumer = 0,
  }, Code)
  local begin = kinds[steps[1].kind].begin
  if begin then
    begin(code, 1, steps[1])
  else
    read_input(code)
  end
  local text, lines = assemble(code, parameter_names(steps))
  return { text = text, lines = lines, vars = code.vars, producer = code.producer, consumer = code.consumer }
end

-- Makers by shape ------------------------------------------------------------------------------------------------------------

local young, old, count = {}, {}, 0

local function compile(steps)
  local made = generate(steps)
  made.make = assert(load(made.text, "=[rille.fused]", "t", {}))
  made.text = nil
  return made
end

local function maker(shape, steps)
  local made = young[shape] or old[shape] or compile(steps)
  if not young[shape] then
    if count >= MAKERS_KEPT then
      young, old, count = {}, young, 0
    end
    young[shape] = made
    count = count + 1
  end
  return made
end

local function shape_of(step)
  local kind = kinds[step.kind]
  local parts = { step.kind, kind.shape and kind.shape(step) or "" }
  for _, f in ipairs(step.functions) do
    parts[#parts + 1] = f.parameters .. ":" .. f.returns
    parts[#parts + 1] = f.expressions and concat(f.expressions, "\1") .. (f.scalar and "\2" or "") or f.pattern and (f.class and "words" or "gmatch") or ""
  end
  return concat(parts, "\3")
end

-- Patterns of one character class and + ---------------------------------------------------------------------------------------

local classes = setmetatable({}, { __mode = "v" })

local function is_single_class(item)
  return item:find("^[^%^%$%*%+%?%.%(%)%[%]%%%-]$") or item == "." or item:find("^%%[acdglpsuwxACDGLPSUWX]$") or item:find("^%%%p$")
    or (item:find("^%[%^?[^%[%]]+%]$") and not item:find("%%%]"))
end

--- The table of a pattern's class, a string of 256 bytes; nil when it is not of that form.
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

-- Plans ------------------------------------------------------------------------------------------------------------------------

--- What is known of a function, as far as it may be used.
local function inspect(f, inline)
  local parameters, returns, expressions, scalar, pattern = library.inspect(f)
  local info = { parameters = parameters, returns = returns }
  if inline then
    info.expressions, info.scalar, info.pattern = expressions, scalar, pattern
    info.class = pattern and class_of(pattern)
  end
  return info
end

local function describe(step, inline)
  local functions = {}
  for j, f in ipairs(step) do
    functions[j] = inspect(f, inline)
  end
  local kind = kinds[step.kind]
  return { kind = step.kind, param = step.param, takes = kind.takes, parameters = kind.parameters, functions = functions }
end

local function segment(steps, first, last, inline)
  local described, shapes, arguments = {}, {}, {}
  for _, name in ipairs(HELPERS) do
    arguments[#arguments + 1] = library[name]
  end
  arguments[#arguments + 1] = math
  arguments[#arguments + 1] = string.gmatch
  for i = first, last do
    local step = describe(steps[i], inline)
    described[#described + 1] = step
    shapes[#shapes + 1] = shape_of(step)
    for _, f in ipairs(steps[i]) do
      arguments[#arguments + 1] = f
    end
    local info = step.functions[1]
    if info and info.pattern then
      arguments[#arguments + 1] = info.class or info.pattern
    end
  end
  local made = maker(concat(shapes, "\4"), described)
  return {
    first = first, steps = last - first + 1, body = made.make(unpack(arguments)), lines = made.lines,
    vars = made.vars, producer = made.producer, consumer = made.consumer,
  }
end

--- Cuts a chain of steps ({ kind =, param =, functions... }) into segments: { first, steps, body, lines, vars, producer, consumer }, or { first, native = 1 } for
-- a step that needs no Lua. With `inline`, functions that were recognised are replaced by what they compute.
return function(steps, inline)
  local plan, first = {}, 1
  while first <= #steps do
    local last = first
    if not kinds[steps[first].kind] then
      plan[#plan + 1] = { first = first, native = 1 }
    else
      while last < #steps and last - first + 1 < MAX_STEPS do
        local next = kinds[steps[last + 1].kind]
        if not next or next.begin then
          break
        end
        last = last + 1
      end
      plan[#plan + 1] = segment(steps, first, last, inline)
    end
    first = last + 1
  end
  return plan
end
