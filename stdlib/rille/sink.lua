--- rille.sink: outputs that write each batch exactly once, and what reads them again.
local check = require "rille.check"
local core = require "rille.core"
local DStream = require "rille.dstream"
local in_order = require "rille.in_order"
local RDD = require "rille.rdd"
local site = require "rille.site"
local steps = require "rille.steps"

local sink = {}

local NAME <const> = "sink.lmdb"
local DB <const> = "data"

local OPTIONS = {
  path = "text", db = "text", name = "text", format = "format", mapSize = "positive", encode = "function",
  decode = "function", merge = "function",
}

-- These run on workers.

local function encoder(encode)
  return function(key, value)
    if value ~= nil then value = encode(value) end
    return key, value
  end
end

-- (key, the batch's values in their order, what is there) -> (key, what is to be there)
local function merger(merge, encode, decode)
  return function(key, values, old)
    if decode and old ~= nil then old = decode(old) end
    for _, value in ipairs(values) do old = merge(old, value) end
    if encode and old ~= nil then old = encode(old) end
    return key, old
  end
end

-- The batch goes through an exchange into one partition: so it is worked out, and lies in memory or on disk, before the
-- transaction begins, and is still there when the task is to be run again.
local function plan_of(options, handle)
  local writer = { kind = "narrow", native = handle and handle:writer() }
  if not options.merge then
    local plan = { steps.as_pairs() }
    if options.encode then plan[2] = steps.narrow("map", encoder(options.encode)) end
    plan[#plan + 1] = steps.round_robin(1)
    plan[#plan + 1] = writer
    return plan
  end
  return {
    steps.as_pairs(), steps.by_key(steps.step "group", 1), { kind = "narrow", native = handle and handle:old() },
    steps.narrow("map", merger(options.merge, options.encode, options.decode)), writer,
  }
end

local function check_options(stream, options)
  if not DStream.is(stream) then check.bad(1, NAME, "DStream", stream) end
  options = check.options(2, NAME, OPTIONS, options)
  if not options.path then check.fail(("bad argument #2 to '%s' (option 'path' is missing)"):format(NAME)) end
  if options.decode and not options.merge then
    check.fail(("bad argument #2 to '%s' (option 'decode' is for 'merge', which is missing)"):format(NAME))
  end
  options.db, options.format = options.db or DB, options.format or "text"
  return options
end

-- Two outputs under one name would take each other's batches for their own.
local function check_alone(stream, options)
  for _, output in ipairs(stream.owner.outputs) do
    local other = output.lmdb
    if other and other.path == options.path and other.db == options.db and
      (other.name or output.stream) == (options.name or stream) then
      check.fail(("%s: %s writes to database '%s' in %s, too; give one of them another option 'name'")
        :format(NAME, output.site or "another output", options.db, options.path))
    end
  end
end

-- At the start: the environment is there, the functions are made.
local function open(owner, options, name, where)
  local output = ("%s/%s/%s"):format(owner.sc.handle:conf "rille.app.name", name, options.db)
  local handle = core.lmdbSink { path = options.path, db = options.db, output = output, format = options.format,
    map = options.mapSize }
  local made = steps.make(plan_of(options, handle), NAME, where, name .. "/" .. NAME)
  return { handle = handle, made = made, what = where and NAME .. " at " .. where or NAME, path = options.path,
    skips = owner.sc.handle:conf "rille.streaming.onBatchFailure" == "skip" }
end

local function log_repeated(writer, time, newest)
  if writer.told then return end
  writer.told = true
  core.log("warn", ("%s: batch %d ms is in %s already and is left out, as all are up to %d ms"):format(writer.what,
    time, writer.path, newest))
end

local function write(writer, rdd, time)
  local newest = writer.handle:newest()
  if newest and time <= newest then return log_repeated(writer, time, newest) end
  rdd:capture()
  local context = rdd.owner.handle
  local target = RDD.chain(rdd.owner, writer.made, { rdd.handle })
  repeat context:run(target, "run", { time = time, what = writer.what }) until not writer.handle:again()
end

--- Puts the records of every batch into an LMDB environment, exactly once.
---@param stream rille.DStream
---@param options rille.LmdbOptions
function sink.lmdb(stream, options)
  options = check_options(stream, options)
  check_alone(stream, options)
  stream.owner:check_open()
  local where = site.here()
  steps.make(plan_of(options), NAME, where) -- functions that cannot travel are refused here
  local writer
  local function prepare(own)
    local ok, result = pcall(open, stream.owner, options, options.name or own, where)
    if not ok then error(site.located(where, result), 0) end
    writer = result
    return writer.made.fns
  end
  local body = in_order(stream.owner.sc.handle, function() return writer.skips end, function() return writer.what end,
    function(rdd, time) write(writer, rdd, time) end)
  DStream.output(stream, { name = NAME, body = body, prepare = prepare, lmdb = options,
    identity = ("%s/%s/%s"):format(options.path, options.db, options.name or "") })
end

local READ_OPTIONS = { db = "text", format = "format" }

--- What is in a database, in the order of its keys: `for key, value in rille.sink.lmdbRead(path) do`.
---@param path string
---@param options { db: string?, format: "text"|"binary"? }?
function sink.lmdbRead(path, options)
  check.argument(1, "sink.lmdbRead", "text", path)
  options = check.options(2, "sink.lmdbRead", READ_OPTIONS, options)
  return site.call(core.lmdbRead, path, options.db or DB, options.format)
end

return sink
