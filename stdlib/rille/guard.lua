--- Steps whose bad records are diverted (onError, rille.task.maxBadRecords): for a kind of step the kind with "!"
-- behind its name, which calls the job's functions protected. What a call raises, and a key that cannot be one, goes to
-- `bad` with the record; a tagged step also emits it, behind `false`, and its other records behind `true`.
--
-- Only the job's functions are called protected, and nothing is emitted before one has returned: so a record counts
-- either as bad or as good.

local library, codegen, kinds = ...

local concat = table.concat
local fixed, names, raw = codegen.fixed, codegen.names, codegen.raw

library.pcall = pcall

-- All that the function of a flatMap gives, as a list and its length, each element as one value.
local function keep(list, n, ...)
  if (...) == nil then return nil end
  list[n] = library.value(...)
  return (...)
end

function library.drain(f, ...)
  local it, s, c, z = f(...)
  if type(it) == "table" and getmetatable(it) ~= "rille.tuple" then
    local n = #it
    for j = 1, n do
      if it[j] == nil then error(("the array that the function returned has nil at index %d"):format(j), 0) end
    end
    return it, n
  elseif type(it) ~= "function" then
    error(("the function returned %s; it must return an array (an empty one for no records) or an iterator")
      :format(it == nil and "nil" or "a " .. type(it)), 0)
  end
  local _ <close> = z
  local list, n = {}, 0
  repeat
    c = keep(list, n + 1, it(s, c))
    n = n + 1
  until c == nil
  return list, n - 1
end

-- Code ----------------------------------------------------------------------------------------------------------------

local function list_of(...)
  return concat({ ... }, ", ")
end

--- A protected call of function j of step i by "pcall", or by "attempt": one value, whatever is returned.
local function protected(how, i, j, arguments)
  return ("%s(%s)"):format(how, list_of(("f%d_%d"):format(i, j), table.unpack(arguments)))
end

--- A line for a bad record: what was raised, and the values of the record.
local function divert(code, i, why, values)
  local step = code.steps[i]
  local handler = step.handler and "h" .. i or "nil"
  local text = ("bad(op, %d, %s, %s, %s, %s)"):format(i, step.tagged, handler, why, values)
  code:line(i, "%s", step.tagged and ("emit(op, false, %s)"):format(text) or text)
end

local function arguments_of(code, i, step, record)
  code:prepare(i, record)
  return code:arguments(record, step.parameters)
end

kinds["filter!"] = {
  takes = "fields",
  passes = true,
  generate = function(code, i, step, record)
    local arguments = arguments_of(code, i, step, record)
    code:line(i, "local ok%d, v%d = %s", i, i, protected("pcall", i, 1, arguments))
    code:line(i, "if not ok%d then", i)
    divert(code, i, "v" .. i, code:fields(record))
    code:line(i, "elseif v%d then", i)
    code:continue(i + 1, record)
    code:line(i, "end")
  end,
}

kinds["map!"] = {
  takes = "fields",
  generate = function(code, i, step, record)
    local arguments = arguments_of(code, i, step, record)
    local n = step.functions[1].returns
    local counted = n >= 1 and n <= codegen.MAX_LOCALS
    local list = counted and n > 1 and names("v", i, n) or { "v" .. i }
    local how = counted and "pcall" or "attempt"
    code:line(i, "local ok%d, %s = %s", i, concat(list, ", "), protected(how, i, 1, arguments))
    code:line(i, "if not ok%d or %s == nil then", i, list[1])
    divert(code, i, list[1], code:fields(record))
    code:line(i, "else")
    code:continue(i + 1, #list > 1 and fixed(list, i, true) or raw(list[1], i))
    code:line(i, "end")
  end,
}

kinds["keyed!"] = {
  takes = "fields",
  generate = function(code, i, step, record)
    local arguments = arguments_of(code, i, step, record)
    code:line(i, "local ok%d, k%d = %s", i, i, protected("attempt", i, 1, arguments))
    code:line(i, "if not ok%d or k%d == nil then", i, i)
    divert(code, i, "k" .. i, code:fields(record))
    code:line(i, "else")
    code:line(i, "local w%d = %s", i, code:packed(record))
    code:continue(i + 1, fixed({ "k" .. i, "w" .. i }, i, true))
    code:line(i, "end")
  end,
}

kinds["foreach!"] = {
  takes = "fields",
  generate = function(code, i, step, record)
    local arguments = arguments_of(code, i, step, record)
    code:line(i, "local ok%d, v%d = %s", i, i, protected("pcall", i, 1, arguments))
    code:line(i, "if not ok%d then", i)
    divert(code, i, "v" .. i, code:fields(record))
    code:line(i, "end")
  end,
}

--- The elements that the function of a flatMap gave; `rest` gives the code for one, `fields` are those of its record.
local function over_elements(code, i, arguments, fields, rest)
  local call = list_of(("f%d_1"):format(i), table.unpack(arguments))
  code:line(i, "local ok%d, l%d, m%d = pcall(drain, %s)", i, i, i, call)
  code:line(i, "if not ok%d then", i)
  divert(code, i, "l" .. i, fields)
  code:line(i, "else")
  code:line(i, "for j = 1, m%d do %s end", i, rest(("l%d[j]"):format(i)))
  code:line(i, "end")
end

kinds["flatMap!"] = {
  takes = "fields",
  generate = function(code, i, step, record)
    local arguments = arguments_of(code, i, step, record)
    over_elements(code, i, arguments, code:fields(record), (code:rest(i)))
  end,
}

kinds["mapValues!"] = {
  takes = "pair",
  generate = function(code, i, _, record)
    local k, v = code:pair(i, record)
    code:line(i, "local ok%d, v%d = %s", i, i, protected("attempt", i, 1, { v }))
    code:line(i, "if not ok%d then", i)
    divert(code, i, "v" .. i, k .. ", " .. v)
    code:line(i, "else")
    code:continue(i + 1, fixed({ k, "v" .. i }, i, true))
    code:line(i, "end")
  end,
}

kinds["flatMapValues!"] = {
  takes = "pair",
  generate = function(code, i, _, record)
    local k, v = code:pair(i, record)
    code:define(i, "s" .. i, ("k%d, w%d"):format(i, i), function()
      code:continue(i + 1, fixed({ "k" .. i, "w" .. i }, i, true))
    end)
    over_elements(code, i, { v }, k .. ", " .. v, function(element)
      return ("s%d(%s, %s)"):format(i, k, element)
    end)
  end,
}

kinds["reduce!"] = {
  takes = "packed",
  generate = function(code, i, _, record)
    local acc, any, p = "acc" .. i, "any" .. i, "p" .. i
    code:declare(i, "local %s, %s", acc, any)
    code:line(i, "local %s = %s", p, code:packed(record))
    code:line(i, "if %s then", any)
    code:line(i, "local ok%d, v%d = %s", i, i, protected("attempt", i, 1, { acc, p }))
    code:line(i, "if ok%d then %s = v%d else", i, acc, i)
    divert(code, i, "v" .. i, p)
    code:line(i, "end")
    code:line(i, "else")
    code:line(i, "%s, %s = %s, true", acc, any, p)
    code:line(i, "end")
    code:afterwards(i, "if %s then r%d() end", any, i)
    code:define(i, "r" .. i, "", function()
      code:continue(i + 1, raw(acc, i))
    end)
  end,
}

--- In front of an exchange by key.
kinds["goodKeys!"] = {
  takes = "fields",
  parameters = 1,
  passes = true,
  generate = function(code, i, step, record)
    local arguments = arguments_of(code, i, step, record)
    code:line(i, "local g%d, why%d = goodKey(op, %d, %s)", i, i, i, arguments[1])
    code:line(i, "if g%d == nil then", i)
    divert(code, i, "why" .. i, code:fields(record))
    code:line(i, "else")
    code:continue(i + 1, record)
    code:line(i, "end")
  end,
}

-- Aggregation by key --------------------------------------------------------------------------------------------------

--- Looks up the good key of k; a bad one ends the function.
local function check_key(code, i)
  code:line(i, "local g, why = goodKey(op, %d, k, interned%d)", i, i)
  code:line(i, "if g == nil then")
  divert(code, i, "why", "k, v")
  code:line(i, "return")
  code:line(i, "end")
end

--- As in rille.kinds, all of it in a function: `first` and `merge` add the code that gives the value x of a new key,
-- and that of a key whose value is c.
local function gather(code, i, record, first, merge, limit)
  codegen.declare_groups(code, i, { "vals" .. i })
  code:define(i, "add" .. i, "k, v", function()
    check_key(code, i)
    code:line(i, "local c, x = vals%d[g]", i)
    code:line(i, "if c ~= nil then")
    merge()
    code:line(i, "else")
    if limit then code:line(i, "if n%d >= %d then flush%d() end", i, limit, i) end
    first()
    code:line(i, "n%d = n%d + 1", i, i)
    code:line(i, "keys%d[n%d] = g", i, i)
    code:line(i, "end")
    code:line(i, "if x == nil then x = none end")
    code:line(i, "vals%d[g] = x", i)
  end)
  local k, v = code:pair(i, record)
  code:line(i, "add%d(%s, %s)", i, k, v)
end

--- x becomes what function j gives; when it raises, (k, v) is a bad record.
local function compute(code, i, j, arguments)
  code:line(i, "local ok, result = %s", protected("attempt", i, j, arguments))
  code:line(i, "if not ok then")
  divert(code, i, "result", "k, v")
  code:line(i, "return")
  code:line(i, "end")
  code:line(i, "x = result")
end

local function aggregation(code, i, step, record, limit)
  local last = #step.functions
  gather(code, i, record, function()
    if last == 1 then return code:line(i, "x = v") end
    compute(code, i, 1, { "v" })
  end, function()
    code:line(i, "if c == none then c = nil end")
    compute(code, i, last, { "c", "v" })
  end, limit)
end

kinds["combine!"] = {
  takes = "pair",
  shape = kinds.combine.shape,
  generate = function(code, i, step, record)
    aggregation(code, i, step, record, step.param > 0 and step.param or codegen.MAX_KEYS)
  end,
}

kinds["aggregate!"] = { takes = "pair", generate = aggregation }
kinds["merge!"] = { takes = "pair", generate = aggregation }

local ABSENT = '"a value is nil, and an array cannot hold nil; use rille.null for it"'

local function refuse_absent(code, i)
  code:line(i, "if v == nil then")
  divert(code, i, ABSENT, "k, v")
  code:line(i, "return")
  code:line(i, "end")
end

kinds["group!"] = {
  takes = "pair",
  generate = function(code, i, _, record)
    gather(code, i, record, function()
      refuse_absent(code, i)
      code:line(i, "x = { v }")
    end, function()
      refuse_absent(code, i)
      code:line(i, "x = c")
      code:line(i, "x[#x + 1] = v")
    end)
  end,
}

kinds["cogroup!"] = {
  shape = kinds.cogroup.shape,
  begin = function(code, i, step)
    local sides = math.max(step.param, 2)
    local lists = {}
    for side = 1, sides do lists[side] = ("vals%d[%d]"):format(i, side) end
    codegen.declare_groups(code, i, lists)
    code:define(i, "add" .. i, "side, k, v", function()
      refuse_absent(code, i)
      check_key(code, i)
      code:line(i, "local t = vals%d[side][g]", i)
      code:line(i, "if not t then")
      code:line(i, "n%d = n%d + 1", i, i)
      code:line(i, "keys%d[n%d] = g", i, i)
      code:line(i, "for j = 1, %d do vals%d[j][g] = {} end", sides, i)
      code:line(i, "t = vals%d[side][g]", i)
      code:line(i, "end")
      code:line(i, "t[#t + 1] = v")
    end)
    code.consumer = i
    code:line(i, "for side = 1, %d do vals%d[side] = {} end", sides, i)
    code:line(i, "for side = 1, %d do", sides)
    code:line(i, "input(op, side)")
    code:line(i, "for k, v in pairs, op do add%d(side, k, v) end", i)
    code:line(i, "end")
  end,
}
