--- Code of one segment as it is generated: its parts, and what is known of the record at a point of it. Used by
-- rille.kinds and rille.fuse.
--
-- What is known of a record:
--   source: it is the input's current row; `names` has its first fields.
--   fixed:  its fields are `names` (variables or constants). `checked`: the first is known not to be nil. `partial`:
-- there may be more, which nobody
--           before the next record asks for. `pair`: it came as key and value.
--   raw:    it is what a function returned, the values of `text` ("..." or a variable): a single tuple is still to be
-- spread. `names`: its first fields,
--           where they were needed.
-- `producer` is the step whose function returned it. Names carry the number of the step that made them, so none hides
-- another.

local concat, unpack = table.concat, table.unpack

local MAX_LOCALS = 40 -- fields of one record kept in variables

local codegen = { MAX_LOCALS = MAX_LOCALS }

function codegen.source(names)
  return { form = "source", names = names, producer = 0, checked = true }
end

function codegen.fixed(names, producer, checked)
  return { form = "fixed", names = names, producer = producer, checked = checked }
end

function codegen.raw(text, producer)
  return { form = "raw", text = text, producer = producer }
end

--- n names for values of step i.
function codegen.names(prefix, i, n)
  local list = {}
  for j = 1, n do
    list[j] = prefix .. i .. "_" .. j
  end
  return list
end

--- The call of function j of step i.
function codegen.call(i, j, arguments)
  return ("f%d_%d(%s)"):format(i, j, concat(arguments, ", "))
end

--- The expression of a recognised function, with its parameters replaced.
local function inlined(expression, arguments)
  local text = expression:gsub("%$(%d+)", function(p)
    local argument = arguments[tonumber(p)] or "nil"
    return argument:match("^[%a_][%w_]*$") and argument or "(" .. argument .. ")"
  end)
  return text
end
codegen.inlined = inlined

--- Does a function of so many parameters get its arguments from variables?
local function is_counted(parameters)
  return parameters >= 0 and parameters <= MAX_LOCALS
end

-- The segment ---------------------------------------------------------------------------------------------------------

local Code = {}
Code.__index = Code

--- Code for `steps`: { kind, takes, parameters, functions = { what is known of each }, and of rille.guard: guarded,
-- tagged, handler }. `kinds` generate the code of a
-- step.
function codegen.new(steps, kinds)
  return setmetatable({
    steps = steps, kinds = kinds, lines = {}, kept = {}, declarations = {}, functions = {}, epilogue = {},
    vars = 1, producer = 0, consumer = 0, tagged = steps[#steps].tagged,
  }, Code)
end

--- Adds a line for step i.
function Code:line(i, text, ...)
  local lines = self.lines
  lines[#lines + 1] = { i, select("#", ...) > 0 and text:format(...) or text }
end

--- Declares variables of the whole segment.
function Code:declare(i, text, ...)
  self.declarations[#self.declarations + 1] = { i, text:format(...) }
end

--- Declares variables that keep their values from task to task, as long as the worker keeps the segment.
function Code:keep(i, text, ...)
  self.kept[#self.kept + 1] = { i, text:format(...) }
end

--- Adds a line that runs once, behind the loop over the input.
function Code:afterwards(i, text, ...)
  self.epilogue[#self.epilogue + 1] = { i, text:format(...) }
end

--- Defines a function of the segment; `body` generates its code. Functions that it calls come before it.
function Code:define(i, name, parameters, body)
  local outer = self.lines
  self.lines = {}
  self:line(i, "local function %s(%s)", name, parameters)
  body()
  self:line(i, "end")
  table.move(self.lines, 1, #self.lines, #self.functions + 1, self.functions)
  self.lines = outer
end

-- Records -------------------------------------------------------------------------------------------------------------

--- What the functions from step i up to the next that makes a new record take: how many fields at most, and whether one
-- of them needs the whole record.
function Code:needs(i)
  local most, whole = 0, false
  local step = self.steps[i]
  while step and step.takes == "fields" do
    local n = step.parameters
    if not is_counted(n) then
      whole = true
    elseif n > most then
      most = n
    end
    whole = whole or step.guarded -- a bad record is shown as it was
    if not self.kinds[step.kind].passes then
      return most, whole or step.kind == "keyed"
    end
    i = i + 1
    step = self.steps[i]
  end
  return most, true
end

--- Makes sure that the record's fields are at hand for step i, which takes them.
function Code:prepare(i, record)
  if record.form == "raw" and not record.names then
    record.names = codegen.names("a", i, math.max(self:needs(i), 1))
    self:line(i, "local %s = fields(op, %d, %s)", concat(record.names, ", "), record.producer, record.text)
  elseif record.form == "fixed" and not record.checked then
    self:line(i, "if %s == nil then fields(op, %d) end", record.names[1], record.producer)
    record.checked = true
  end
end

--- The arguments for a function of so many parameters, as a list of expressions.
function Code:arguments(record, parameters)
  if is_counted(parameters) then
    return { unpack(record.names, 1, math.min(parameters, #record.names)) }
  end
  return record.form == "fixed" and record.names or { self:fields(record) }
end

--- All its fields, as arguments.
function Code:fields(record)
  if record.form == "source" then
    return "fieldsRow(op)"
  elseif record.form == "raw" then
    return ("fields(op, %d, %s)"):format(record.producer, record.text)
  end
  return concat(record.names, ", ")
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

--- Key and value for step i: two expressions.
function Code:pair(i, record)
  local list = record.names
  if record.pair or (record.form == "fixed" and #list == 2) then
    self:prepare(i, record)
    return list[1], list[2]
  end
  local k, v = "k" .. i, "w" .. i
  if record.form == "source" then
    self.consumer = i
    self:line(i, "local %s, %s = pairRow(op)", k, v)
  elseif record.form == "raw" or #list == 1 then
    self:line(i, "local %s, %s = pair(op, %d, %d, %s)", k, v, i, record.producer, record.text or list[1])
  else
    self:prepare(i, record)
    self:line(i, "local %s, %s = %s, tuple(%s)", k, v, list[1], concat(list, ", ", 2))
  end
  return k, v
end

-- What becomes of results ---------------------------------------------------------------------------------------------

--- What function j of step i returns, as one value: several become a tuple; nothing at all is an error.
function Code:value(i, j, arguments)
  local f = self.steps[i].functions[j]
  if f.expressions and #f.expressions == 1 then
    return inlined(f.expressions[1], arguments)
  end
  local text = codegen.call(i, j, arguments)
  return f.returns == 1 and text or ("returned(op, %d, %s)"):format(i, text)
end

--- Is what step i makes emitted as it is?
function Code:ends(i)
  return not self.steps[i + 1] and not self.tagged
end

--- Generates the steps from i on for a record; behind the last it is emitted.
function Code:continue(i, record)
  local step = self.steps[i]
  if step then
    return self.kinds[step.kind].generate(self, i, step, record)
  end
  self.producer = record.producer
  if self.tagged then
    if record.form == "fixed" then
      self:prepare(i, record)
    end
    self:line(i - 1, "emit(op, true, %s)", self:fields(record))
  elseif record.form == "source" then
    self:line(i - 1, "emitRow(op)")
  else
    self:line(i - 1, "emit(op, %s)", record.form == "raw" and record.text or concat(record.names, ", "))
  end
end

--- Where the record that step i makes is not known: makes what follows a function. Returns one that gives the call of
-- it with the values of the record (`plain`: a single value that is neither nil nor a table), and whether it makes a
-- difference to know that.
function Code:rest(i)
  if not self.steps[i + 1] then
    self.producer = i
    if self.tagged then
      return function(values)
        return ("emit(op, true, fields(op, %d, %s))"):format(i, values)
      end, false
    end
    return function(values)
      return ("emit(op, %s)"):format(values)
    end, false
  end
  local most, whole = self:needs(i + 1)
  local name = "s" .. i
  local record = codegen.raw("...", i)
  if not whole then
    record = codegen.fixed(codegen.names("a", i, math.max(most, 1)), i, true)
  end
  self:define(i, name, whole and "..." or concat(record.names, ", "), function()
    self:continue(i + 1, record)
  end)
  return function(values, plain)
    if whole or plain then
      return ("%s(%s)"):format(name, values)
    end
    return ("%s(fields(op, %d, %s))"):format(name, i, values)
  end, not whole
end

--- An expression that may be used as it is, any number of times.
local function is_simple(text)
  return text:find("^[%a_][%w_]*$") or text:find("^%-?%d[%w%.%+%-]*$") or text:find('^"[\\%d]*"$')
end

--- Goes on with the results of step i, worked out here from the expressions of its function.
function Code:computed(i, f, arguments)
  local list, variables, texts = {}, {}, {}
  for j, expression in ipairs(f.expressions) do
    local text = inlined(expression, arguments)
    list[j] = text
    if not is_simple(text) then
      list[j] = ("v%d_%d"):format(i, j)
      variables[#variables + 1] = list[j]
      texts[#texts + 1] = text
    end
  end
  if #variables > 0 then
    self:line(i, "local %s = %s", concat(variables, ", "), concat(texts, ", "))
  end
  if #list == 1 and not f.scalar then
    return self:continue(i + 1, codegen.raw(list[1], i))
  end
  self:continue(i + 1, codegen.fixed(list, i, f.scalar))
end

return codegen
