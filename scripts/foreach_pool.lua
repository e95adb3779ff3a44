-- Writes results out over connections that live in the workers: foreachPartition and rille.once.
--
--   rille run scripts/foreach_pool.lua [HOST [PORT [DIRECTORY [SECONDS]]]]
--
-- Counts the words of the text on HOST:PORT (localhost:9999) and appends the counts to files in DIRECTORY ("."). The
-- "connection" here is a file, one a worker, opened once and kept between batches; a database handle would sit in the
-- same place.
local rille = require "rille"

local host = arg[1] or "localhost"
local port = tonumber(arg[2] or 9999)
local directory = arg[3] or "."
local batch = tonumber(arg[4] or 1)

local ssc = rille.StreamingContext({ appName = "ForeachPool" }, batch)

local function open()
  local name = os.tmpname():match("[^/]+$")
  return assert(io.open(("%s/counts-%s.tsv"):format(directory, name), "a"))
end

ssc:socketTextStream(host, port)
  :flatMap(function(line) return line:gmatch("%S+") end)
  :map(function(word) return word, 1 end)
  :reduceByKey(function(a, b) return a + b end)
  :foreachRDD(function(rdd, time)
    rdd:foreachPartition(function(records)
      local file
      for word, n in records do
        file = file or rille.once("counts", open)
        file:write(time, "\t", word, "\t", n, "\n")
      end
      if file then file:flush() end
    end)
  end)

ssc:start()
ssc:awaitTermination()
