--- A direct stream of its own for a spec, whose batches run when they are told to.
local kafka = require "spec.kafka.support"
local rille = require "rille"

local job = {}

-- Seconds. A batch waits no longer than this for the broker to tell what there is, and then takes nothing.
local BATCH <const> = 10

-- run(n) gives the records of n batches; `ranges` are those of the last; after(ranges) is called behind each.
local function start(options, conf)
  local settings = { master = "local[2]", clock = "manual" }
  for key, value in pairs(conf or {}) do settings[key] = value end
  local self = { ssc = rille.StreamingContext(settings, BATCH), ranges = {} }
  options.brokers = kafka.brokers
  options.records = options.records or "value"
  options["topic.metadata.refresh.interval.ms"] = 10
  self.stream = rille.kafka.createDirectStream(self.ssc, options)
  local got = {}
  self.stream:foreachRDD(function(rdd)
    self.ranges = rdd:offsetRanges()
    local records = rdd:collect()
    table.move(records, 1, #records, #got + 1, got)
    if self.after then self.after(self.ranges) end
  end)
  self.ssc:start()
  function self.run(n)
    self.ssc:clock():advance((n or 1) * BATCH)
    local records = got
    got = {}
    return records
  end
  function self.stop() self.ssc:stop() end
  return self
end

--- Calls body(job) with the job running, and stops it.
---@param options table of createDirectStream; records are values unless they say otherwise
---@param conf table?
---@param body fun(job: table)
function job.with(options, conf, body)
  local j = start(options, conf)
  local ok, why = pcall(body, j)
  j.stop()
  if not ok then error(why, 0) end
end

--- Batches until there are n records.
function job.until_records(j, n)
  local all = {}
  repeat
    local records = j.run()
    table.move(records, 1, #records, #all + 1, all)
  until #all >= n
  return all
end

return job
