--- The code of each kind of step, for the code generator of workers (rille.fuse).
--
-- A kind has:
--   takes     what it takes of a record: "fields" (its function's arguments), "pair" (key and value), "packed" (one
-- value)
--   generate  function(code, i, step, record): the code for one record at step i, and for what follows
--   begin     instead: function(code, i, step) for a step that reads the input itself, and so comes first in its
-- segment
--   shape     function(step): what else its code depends on
--   passes    true: records pass it as they are

local codegen = ...

local concat = table.concat
local call, fixed, inlined, names, raw = codegen.call, codegen.fixed, codegen.inlined, codegen.names, codegen.raw

local MAX_KEYS <const> = 262144 -- that a combining step holds before it passes on what it has
local TRIAL_KEYS <const> = 16384 -- after which it looks whether combining pays
local SKIPPED <const> = 1048576 -- records that pass where it does not

local kinds = {}

-- Steps over records --------------------------------------------------------------------------------------------------

local function arguments_of(code, i, step, record)
  code:prepare(i, record)
  return code:arguments(record, step.parameters)
end

kinds.filter = {
  takes = "fields",
  passes = true,
  generate = function(code, i, step, record)
    local arguments = arguments_of(code, i, step, record)
    local f = step.functions[1]
    local passed = f.expressions and inlined(f.expressions[1], arguments) or call(i, 1, arguments)
    if f.returns == 0 then passed = ("returned(op, %d, %s)"):format(i, passed) end -- it never says which records pass
    code:line(i, "if %s then", passed)
    code:continue(i + 1, record)
    code:line(i, "end")
  end,
}

kinds.map = {
  takes = "fields",
  generate = function(code, i, step, record)
    local arguments = arguments_of(code, i, step, record)
    local f = step.functions[1]
    if f.expressions then
      code:computed(i, f, arguments)
    elseif f.returns == 1 then
      code:line(i, "local v%d = %s", i, call(i, 1, arguments))
      code:continue(i + 1, raw("v" .. i, i))
    elseif f.returns > 1 and f.returns <= codegen.MAX_LOCALS then
      local list = names("v", i, f.returns)
      code:line(i, "local %s = %s", concat(list, ", "), call(i, 1, arguments))
      code:continue(i + 1, fixed(list, i, false))
    else
      code:line(i, "%s", code:rest(i)(call(i, 1, arguments)))
    end
  end,
}

kinds.keyed = {
  takes = "fields",
  generate = function(code, i, step, record)
    local unread = record.form == "raw" and step.parameters == 0 -- packing it finds out what is wrong with it
    local arguments = unread and {} or arguments_of(code, i, step, record)
    code:line(i, "local k%d, w%d = %s, %s", i, i, code:value(i, 1, arguments), code:packed(record))
    code:continue(i + 1, fixed({ "k" .. i, "w" .. i }, i, false))
  end,
}

kinds.foreach = {
  takes = "fields",
  generate = function(code, i, step, record)
    code:line(i, "%s", call(i, 1, arguments_of(code, i, step, record)))
  end,
}

--- Code over what a function returned, an array or an iterator. `rest` gives the code for one element; `key` is what
-- `each` takes before its values, with a comma.
local function over_results(code, i, results, rest, differs, key)
  key = key or ""
  code:define(i, "e" .. i, key .. "...", function()
    code:line(i, "if (...) == nil then return nil end")
    code:line(i, "%s", rest("..."))
    code:line(i, "return (...)")
  end)
  local x = "x" .. i
  code:line(i, "do")
  code:line(i, "local it, s, c, z = %s", results)
  code:line(i, "local n = elements(op, %d, it)", i)
  if differs then
    code:line(i, "if n and plain(it, n) then")
    code:line(i, "for j = 1, n do %s end", rest("it[j]", true))
    code:line(i, "elseif n then")
  else
    code:line(i, "if n then")
  end
  code:line(i, "for j = 1, n do")
  code:line(i, "local %s = it[j]", x)
  code:line(i, "if %s == nil then hole(op, %d, j) end", x, i)
  code:line(i, "%s", rest(x))
  code:line(i, "end")
  code:line(i, "else")
  code:line(i, "local close <close> = z")
  code:line(i, "repeat c = e%d(%sit(s, c)) until c == nil", i, key)
  code:line(i, "end")
  code:line(i, "end")
end

--- The loop over the words of a text where the function was recognised as text:gmatch(pattern); nil where it may be
-- something else.
local function word_loop(i, f, record, arguments)
  if f.class then
    return ("tokens(%s, class%d)"):format(arguments[1], i)
  elseif f.pattern and record.form == "source" then
    return call(i, 1, arguments) -- no value of a record but a string has such a method
  end
end

kinds.flatMap = {
  takes = "fields",
  generate = function(code, i, step, record)
    local arguments = arguments_of(code, i, step, record)
    local loop = word_loop(i, step.functions[1], record, arguments)
    if loop then
      code:line(i, "for x%d in %s do", i, loop)
      code:continue(i + 1, fixed({ "x" .. i }, i, true))
      code:line(i, "end")
    else
      over_results(code, i, call(i, 1, arguments), code:rest(i))
    end
  end,
}

kinds.mapValues = {
  takes = "pair",
  generate = function(code, i, _, record)
    local k, v = code:pair(i, record)
    code:line(i, "local v%d = %s", i, code:value(i, 1, { v }))
    code:continue(i + 1, fixed({ k, "v" .. i }, i, true))
  end,
}

kinds.flatMapValues = {
  takes = "pair",
  generate = function(code, i, _, record)
    local k, v = code:pair(i, record)
    code:define(i, "s" .. i, ("k%d, w%d"):format(i, i), function()
      code:continue(i + 1, fixed({ "k" .. i, "w" .. i }, i, true))
    end)
    code:line(i, "local key = %s", k)
    over_results(code, i, call(i, 1, { v }), function(values)
      return ("s%d(key, value(%s))"):format(i, values)
    end, false, "key, ")
  end,
}

--- (key, lefts, rights) to a record for each combination. `left` and `right` tell whether an empty side counts as one
-- absent value.
local function join(left, right)
  local function loop(code, i, side, absent)
    code:line(i, absent and "for j%s = 1, max(#%s, 1) do" or "for j%s = 1, #%s do", side, side)
    code:line(i, "local %s%d = %s[j%s]", side, i, side, side)
  end
  return {
    takes = "fields",
    parameters = 3,
    generate = function(code, i, step, record)
      local arguments = arguments_of(code, i, step, record)
      code:line(i, "local k%d, lefts, rights = %s", i, concat(arguments, ", "))
      loop(code, i, "lefts", left)
      loop(code, i, "rights", right)
      code:continue(i + 1, fixed({ "k" .. i, "lefts" .. i, "rights" .. i }, i, true))
      code:line(i, "end")
      code:line(i, "end")
    end,
  }
end

kinds.joinInner = join(false, false)
kinds.joinLeft = join(false, true)
kinds.joinRight = join(true, false)
kinds.joinFull = join(true, true)

-- Steps over a whole partition ----------------------------------------------------------------------------------------

kinds.reduce = {
  takes = "packed",
  generate = function(code, i, _, record)
    local acc, any, p = "acc" .. i, "any" .. i, "p" .. i
    code:declare(i, "local %s, %s", acc, any)
    code:line(i, "local %s = %s", p, code:packed(record))
    code:line(i, "if %s then", any)
    code:line(i, "%s = %s", acc, code:value(i, 1, { acc, p }))
    code:line(i, "else")
    code:line(i, "%s, %s = %s, true", acc, any, p)
    code:line(i, "end")
    code:afterwards(i, "if %s then r%d() end", any, i)
    code:define(i, "r" .. i, "", function()
      code:continue(i + 1, raw(acc, i))
    end)
  end,
}

kinds.glom = {
  takes = "packed",
  generate = function(code, i, _, record)
    code:declare(i, "local list%d, n%d = {}, 0", i, i)
    code:line(i, "n%d = n%d + 1", i, i)
    code:line(i, "list%d[n%d] = %s", i, i, code:packed(record))
    code:afterwards(i, "r%d()", i)
    code:define(i, "r" .. i, "", function()
      code:continue(i + 1, fixed({ "list" .. i }, i, true))
    end)
  end,
}

-- Aggregation by key --------------------------------------------------------------------------------------------------
--
-- On the sending side, in tables: vals: key -> value; keys in the order of first sight. So a record costs one look-up.
-- A nil value stands there as `none`. A key that is not in vals goes through `key`, which refuses nil and NaN and gives
-- tables of equal content one object (kept in `interned`). The tables have room for what the task before had in them.

--- Declares the tables of step i, and the function that gives what they hold to what follows: the key and, of each
-- table, the value.
local function declare_groups(code, i, tables)
  local reset = ("keys%d, vals%d, interned%d, n%d = {}, {}, {}, 0"):format(i, i, i, i)
  code:keep(i, "local last%d = 0", i)
  code:declare(i, "local keys%d, vals%d = room(last%d)", i, i, i)
  code:declare(i, "local interned%d, n%d = {}, 0", i, i)
  code:afterwards(i, "last%d = n%d", i, i)
  code:afterwards(i, "flush%d()", i)
  code:define(i, "flush" .. i, "", function()
    if #tables == 1 and code:ends(i) then
      code.producer = i
      code:line(i, "repeat until emitPairs(op, none, %s, keys%d, n%d)", tables[1], i, i)
      return code:line(i, reset)
    end
    local fields = { "k" .. i }
    code:line(i, "for i = 1, n%d do", i)
    code:line(i, "local k%d = keys%d[i]", i, i)
    for j, from in ipairs(tables) do
      local g = ("g%d_%d"):format(i, j)
      fields[j + 1] = g
      code:line(i, "local %s = %s[k%d]", g, from, i)
      code:line(i, "if %s == none then %s = nil end", g, g)
    end
    code:continue(i + 1, fixed(fields, i, true))
    code:line(i, "end")
    code:line(i, reset)
  end)
end

codegen.declare_groups, codegen.MAX_KEYS = declare_groups, MAX_KEYS -- for rille.guard

--- Is it arithmetic of both parameters, which gives a number or fails, as it does with `none`?
local function is_arithmetic(f)
  local expression = f.expressions and #f.expressions == 1 and f.expressions[1] or ""
  return expression:find("^%(%(%$[12]%) [%+%-%*/] %(%$[12]%)%)$")
end

--- Code for a known key of an aggregation: v is added to the value in `place` (an expression), which is c; `fetch`: it
-- is still to be read.
local function merge(code, i, step, place, v, fetch)
  local last = #step.functions
  local merged = code:value(i, last, { "c", v })
  if merged == "c" then return end
  if fetch then code:line(i, "local c = %s", place) end
  if is_arithmetic(step.functions[last]) then
    return code:line(i, "%s = %s", place, merged)
  end
  code:line(i, "if c == none then c = nil end")
  code:line(i, "c = %s", merged)
  code:line(i, "if c == nil then c = none end")
  code:line(i, "%s = c", place)
end

--- The variable x gets the value of a new key.
local function create(code, i, step, v)
  code:line(i, "local x = %s", #step.functions == 2 and code:value(i, 1, { v }) or v)
end

local function param_of(step)
  return step.param
end

--- Passes a record on as it is.
local function pass(code, i, step, k, v)
  code:line(i, "skip%d = skip%d - 1", i, i)
  if code:ends(i) and #step.functions == 1 then
    return code:line(i, "emitKeyed(op, %d, %s, %s)", i, k, v)
  end
  code:line(i, "local k = key(op, %d, %s, interned%d)", i, k, i)
  create(code, i, step, v)
  code:continue(i + 1, fixed({ "k", "x" }, i, true))
end

--- The function for keys that are not in vals. Where hardly any came again, the next records are to pass.
local function combine_new(code, i, step)
  local limit = step.param > 0 and step.param or MAX_KEYS
  code:define(i, "add" .. i, "k, v", function()
    code:line(i, "k = key(op, %d, k, interned%d)", i, i)
    code:line(i, "local c = vals%d[k]", i)
    code:line(i, "if c ~= nil then")
    merge(code, i, step, ("vals%d[k]"):format(i), "v")
    code:line(i, "return")
    code:line(i, "end")
    create(code, i, step, "v")
    code:line(i, "if x == nil then x = none end")
    code:line(i, "n%d = n%d + 1", i, i)
    code:line(i, "keys%d[n%d], vals%d[k] = k, x", i, i, i)
    code:line(i, "if n%d == %d or n%d == %d then", i, math.min(limit, TRIAL_KEYS), i, limit)
    code:line(i, "if again%d * 4 < n%d then skip%d = %d end", i, i, i, SKIPPED)
    code:line(i, "if skip%d > 0 or n%d == %d then flush%d() again%d = 0 end", i, i, limit, i, i)
    code:line(i, "end")
  end)
end

kinds.combine = {
  takes = "pair",
  shape = param_of,
  generate = function(code, i, step, record)
    declare_groups(code, i, { "vals" .. i })
    code:declare(i, "local again%d, skip%d = 0, 0", i, i)
    combine_new(code, i, step)
    local k, v = code:pair(i, record)
    code:line(i, "if skip%d > 0 then", i)
    pass(code, i, step, k, v)
    code:line(i, "else")
    code:line(i, "local c = vals%d[%s]", i, k)
    code:line(i, "if c ~= nil then")
    code:line(i, "again%d = again%d + 1", i, i)
    merge(code, i, step, ("vals%d[%s]"):format(i, k), v)
    code:line(i, "else")
    code:line(i, "add%d(%s, %s)", i, k, v)
    code:line(i, "end")
    code:line(i, "end")
  end,
}

-- On the receiving side the input is read here, and the keys are numbered (lua/keyed.c). When there are very many of
-- them, further ones come in later rounds.

local aggregation = {
  begin = function(code, i, step)
    code.consumer = i
    code:declare(i, "local vals%d, n%d", i, i)
    code:line(i, "repeat")
    code:line(i, "vals%d, n%d = {}, 0", i, i)
    code:line(i, "for n, v in folds, op do")
    code:line(i, "if n > n%d then", i)
    create(code, i, step, "v")
    code:line(i, "if x == nil then x = none end")
    code:line(i, "vals%d[n], n%d = x, n", i, i)
    code:line(i, "else")
    merge(code, i, step, ("vals%d[n]"):format(i), "v", true)
    code:line(i, "end")
    code:line(i, "end")
    if code:ends(i) then
      code.producer = i
      code:line(i, "repeat until emitSlots(op, none, vals%d)", i)
      return code:line(i, "until not more(op)")
    end
    code:line(i, "for n, k%d in keys, op do", i)
    code:line(i, "local g%d = vals%d[n]", i, i)
    code:line(i, "if g%d == none then g%d = nil end", i, i)
    code:continue(i + 1, fixed({ "k" .. i, "g" .. i }, i, true))
    code:line(i, "end")
    code:line(i, "until not more(op)")
  end,
}

kinds.aggregate = aggregation
kinds.merge = aggregation

--- (key, arrays of the values of each side)
local function grouping(sides_of)
  return {
    shape = param_of,
    begin = function(code, i, step)
      local sides = sides_of(step)
      code.consumer = i
      code:line(i, "for side = 1, %d do", sides)
      code:line(i, "input(op, side)")
      code:line(i, "while collect(op, side) do end")
      code:line(i, "end")
      if code:ends(i) then
        code.producer = i
        return code:line(i, "repeat until emitGroups(op)")
      end
      local fields = { "k" .. i, table.unpack(names("g", i, sides)) }
      code:line(i, "for %s in groups, op do", concat(fields, ", "))
      code:continue(i + 1, fixed(fields, i, true))
      code:line(i, "end")
    end,
  }
end

kinds.group = grouping(function() return 1 end)
kinds.cogroup = grouping(function(step) return math.max(step.param, 2) end)

-- Keyed state (lua/stateful.c) ------------------------------------------------------------------------------------------
--
-- `param` is what the step is told besides: a set of these bits.

local WITH_TIME <const>, TIMED <const> = 1, 2

--- Opens the state, and takes in what it begins with where that comes as a second input.
local function open_state(code, i, timed)
  code.consumer = i
  code:line(i, "local state, time = stateOpen(op, %s)", tostring(timed))
  code:line(i, "if inputs(op) > 1 then")
  code:line(i, "input(op, 2)")
  code:line(i, "while stateInitial(op) do end")
  code:line(i, "end")
  code:line(i, "input(op, 1)")
end

--- The state becomes what the function makes of all new values of a key.
kinds.updateState = {
  shape = param_of,
  begin = function(code, i, step)
    open_state(code, i, false)
    code:line(i, "while gather(op, 1) do end")
    code:line(i, "for k, values, s in stateEach, op do")
    local arguments = step.param & WITH_TIME ~= 0 and { "time", "k", "values", "s" } or { "values", "s" }
    code:line(i, "stateKeep(op, value(%s))", call(i, 1, arguments))
    code:line(i, "end")
  end,
}

--- The function sees record by record, and gives what comes of it; `step.timeout` is in param, in ms above the bits.
kinds.mapWithState = {
  shape = param_of,
  begin = function(code, i, step)
    local timed = step.param & TIMED ~= 0
    local rest = code:rest(i)
    code:define(i, "m" .. i, "...", function()
      code:line(i, "if (...) == nil then return end")
      code:line(i, "%s", rest("..."))
    end)
    open_state(code, i, timed)
    code:line(i, "for k, v in stateRecords, op do")
    code:line(i, "m%d(%s)", i, call(i, 1, { "time", "k", "v", "state" }))
    code:line(i, "end")
    if timed then
      code:line(i, "while true do")
      code:line(i, "local k = stateDue(op, time - %d)", step.param >> 2)
      code:line(i, "if k == nil then break end")
      code:line(i, "m%d(%s)", i, call(i, 1, { "time", "k", "nil", "state" }))
      code:line(i, "end")
    end
    code:line(i, "stateStore(op)")
  end,
}

--- Folds the values of each key of one side into a table by number.
local function fold_side(code, i, side, into)
  code:line(i, "input(op, %d)", side)
  code:line(i, "for n, v in slots, op do")
  code:line(i, "if v == nil then v = none end")
  code:line(i, "local c = %s[n]", into)
  code:line(i, "if c == nil then")
  code:line(i, "%s[n] = v", into)
  code:line(i, "else")
  code:line(i, "if c == none then c = nil end")
  code:line(i, "if v == none then v = nil end")
  code:line(i, "c = %s", code:value(i, 1, { "c", "v" }))
  code:line(i, "if c == nil then c = none end")
  code:line(i, "%s[n] = c", into)
  code:line(i, "end")
  code:line(i, "end")
end

--- The reduced value of a window: what left is taken off, what entered is added (section 7.3 of the reference).
kinds.inverseWindow = {
  begin = function(code, i, step)
    code.consumer = i
    code:line(i, "stateOpen(op, false)")
    code:line(i, "local left, entered = {}, {}")
    fold_side(code, i, 1, "left")
    fold_side(code, i, 2, "entered")
    code:line(i, "for n, k, c, has in stateSides, op do")
    code:line(i, "local old, new = left[n], entered[n]")
    code:line(i, "if not has then")
    code:line(i, "if new == nil then stateInconsistent(op) end")
    code:line(i, "c = new")
    code:line(i, "if c == none then c = nil end")
    code:line(i, "else")
    code:line(i, "if old ~= nil then")
    code:line(i, "if old == none then old = nil end")
    code:line(i, "c = %s", code:value(i, 2, { "c", "old" }))
    code:line(i, "end")
    code:line(i, "if new ~= nil then")
    code:line(i, "if new == none then new = nil end")
    code:line(i, "c = %s", code:value(i, 1, { "c", "new" }))
    code:line(i, "end")
    code:line(i, "end")
    if step.functions[3] then
      local f = step.functions[3]
      code:line(i, "if not (%s) then c = nil end", f.expressions and inlined(f.expressions[1], { "k", "c" })
        or call(i, 3, { "k", "c" }))
    end
    code:line(i, "stateKeep(op, c)")
    code:line(i, "end")
  end,
}

-- Steps that read the input themselves --------------------------------------------------------------------------------

local function over_partition(...)
  local arguments = { ... }
  return {
    begin = function(code, i)
      over_results(code, i, call(i, 1, arguments), code:rest(i))
    end,
  }
end

kinds.mapPartitions = over_partition("iterator(op)")
kinds.mapPartitionsWithIndex = over_partition("index", "iterator(op)")

kinds.foreachPartition = {
  begin = function(code, i)
    code:line(i, "%s", call(i, 1, { "iterator(op)" }))
  end,
}

return kinds
