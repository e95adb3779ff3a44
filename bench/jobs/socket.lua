-- The word count over a loopback TCP stream, on two workers.
--
--   rille run bench/jobs/socket.lua PORT WORDS [DIR]
--
-- Counts what the peer sends until WORDS words have been counted, and prints "SECONDS WORDS CPU": from start() to the
-- end of the batch with the last word, and the CPU seconds of the process. With DIR the job is durable there.
local rille = require "rille"
local clock = require "bench.clock"

local port, expected = math.tointeger(arg[1]), math.tointeger(arg[2])
local counted, start, seconds = 0, nil, nil

local ssc = rille.StreamingContext({ appName = "bench-socket", master = "local[2]" }, 0.05)
if arg[3] then ssc:checkpoint(arg[3]) end
ssc:socketTextStream("127.0.0.1", port)
  :flatMap(function(line) return line:gmatch("%S+") end)
  :map(function(word) return word, 1 end)
  :reduceByKey(function(a, b) return a + b end)
  :foreachRDD(function(counts)
    local sums = counts:mapPartitions(function(it)
      local sum = 0
      for _, n in it do sum = sum + n end
      return { sum }
    end)
    for _, sum in ipairs(sums:collect()) do counted = counted + sum end
    seconds = clock() - start
  end)

start = clock()
ssc:start()
while counted < expected do ssc:awaitTerminationOrTimeout(0.01) end
print(("%.6f %d %.6f"):format(seconds, counted, os.clock()))
ssc:stop(true, false)
