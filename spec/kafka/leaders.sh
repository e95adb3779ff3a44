#!/usr/bin/env bash
# Three brokers, one of which is killed, then another: partitions change their leaders while a job reads them and records
# come, and each is counted once.
. "$(dirname "$0")/_lib.sh"

# Counts by the last digit of the value; ends, and prints the counts, when there are so many.
cat >job.lua <<'LUA'
local rille = require "rille"
local ssc = rille.StreamingContext({ master = "local[2]" }, 0.2)
local wanted, sum, counts = tonumber(arg[2]), 0, {}
rille.kafka.createDirectStream(ssc, { brokers = arg[1], topics = "t", records = "value",
    ["auto.offset.reset"] = "earliest" })
  :map(function(value) return value:sub(-1), 1 end)
  :reduceByKey(function(a, b) return a + b end)
  :foreachRDD(function(rdd)
    for _, pair in ipairs(rdd:collect()) do
      counts[pair[1]] = (counts[pair[1]] or 0) + pair[2]
      sum = sum + pair[2]
    end
    print("records", sum)
    io.stdout:flush()
    if sum >= wanted then ssc:stop() end
  end)
ssc:start()
ssc:awaitTermination()
for digit = 0, 9 do print("digit", digit, counts[tostring(digit)]) end
LUA

start_brokers --brokers 3
fill() {
  local partition
  for partition in 0 1 2; do
    ask fill t "$partition" "$1" 1000
  done
}

ask create t 3
fill 0
rille run job.lua "$brokers" 9000 >job.out 2>job.err &
children+=($!)
until_true 60 has job.out '^records.3000$'
"$kafka" stop --now 2
fill 1000
until_true 60 has job.out '^records.6000$'
"$kafka" start >/dev/null
"$kafka" stop --now 3
fill 2000
wait "${children[0]}" || fail "the job failed"
for digit in 0 1 2 3 4 5 6 7 8 9; do
  grep -qx "digit.$digit.900" job.out || fail "digit $digit: $(grep "^digit.$digit" job.out)"
done
say "leaders that change: ok"
