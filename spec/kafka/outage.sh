#!/usr/bin/env bash
# A broker that is killed and comes back while a job reads from it: one warning when it goes, one when it is back, and no
# record is lost or counted twice.
. "$(dirname "$0")/_lib.sh"

cat >job.lua <<'LUA'
local rille = require "rille"
local ssc = rille.StreamingContext({ master = "local[2]" }, 0.2)
local sum, wanted = 0, tonumber(arg[2])
rille.kafka.createDirectStream(ssc, { brokers = arg[1], topics = "t", ["auto.offset.reset"] = "earliest" })
  :foreachRDD(function(rdd)
    local n = rdd:count()
    sum = sum + n
    if n > 0 then
      print("records", sum)
      io.stdout:flush()
    end
    if sum >= wanted then ssc:stop() end
  end)
ssc:start()
ssc:awaitTermination()
LUA

start_brokers
ask create t 2
ask fill t 0 0 1000
rille run job.lua "$brokers" 3000 >job.out 2>job.err &
children+=($!)
until_true 60 has job.out '^records.1000$'

"$kafka" stop --now
until_true 60 has job.err 'WARN +Kafka stream \[0\] at job.lua:4: '
"$kafka" start >/dev/null
until_true 60 has job.err 'all partitions answer again'
ask fill t 1 0 1000
ask fill t 0 1000 1000
wait "${children[0]}" || fail "the job failed"
tail -n 1 job.out | grep -qx 'records.3000' || fail "it counted: $(tail -n 1 job.out)"
[[ $(grep -c 'Kafka stream' job.err) == 2 ]] || fail "not two warnings"
say "a broker that comes back: ok"
