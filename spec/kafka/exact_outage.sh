#!/usr/bin/env bash
# A job that copies a topic in transactions, killed again and again while its broker is killed and comes back: readers
# of what is committed have each record once.
. "$(dirname "$0")/../e2e/_lib.sh"
kafka=$RILLE_SOURCE/tools/kafka
cd "$scratch"
export RILLE_KAFKA_DIR=$scratch/broker

wipe() {
  local status=$?
  "$kafka" wipe
  set +e
  (exit "$status")
  finish
}
trap wipe EXIT
slowdown=10

cat >job.lua <<'LUA'
local rille = require "rille"
local ssc = rille.StreamingContext({ appName = "copy", master = "local[2]" }, 0.1)
ssc:checkpoint "ck"
local wanted = tonumber(arg[2])
local lines = rille.kafka.createDirectStream(ssc, { brokers = arg[1], topics = "from",
  ["auto.offset.reset"] = "earliest" })
rille.kafka.saveToKafka(lines, { brokers = arg[1], topic = "to", transactional = true })
lines:count():reduceByWindow(function(a, b) return a + b end, 0.1, 0.1)
  :map(function(n) return "all", n end)
  :updateStateByKey(function(values, sum)
    for _, n in ipairs(values) do sum = (sum or 0) + n end
    return sum
  end)
  :uid "sum"
  :foreachRDD(function(rdd)
    local all = rdd:collectAsMap().all
    if wanted and all and all >= wanted then ssc:stop(true, true) end
  end)
ssc:start()
ssc:awaitTermination()
LUA

cat >read.lua <<'LUA'
local rille = require "rille"
local sc = rille.Context { master = "local[2]" }
local seen, n = {}, 0
local records = rille.kafka.createRDD(sc, { brokers = arg[1], records = "value" },
  { { topic = "to", partition = 0, fromOffset = 0, untilOffset = tonumber(arg[2]) } }):collect()
for _, value in ipairs(records) do
  if seen[value] then error(value .. " is there twice") end
  seen[value], n = true, n + 1
end
print("records", n)
LUA

address=$("$kafka" start --port 0)
tell() {
  printf '%s\n' "$*" | tr ' ' '\t' | "$RILLE_BUILD/spec/kafka_admin" "$address" >answer
  grep -q '^ok' answer || fail "$*: $(<answer)"
}
tell create from 2
tell create to 1
sent=0
for round in 1 2 3 4 5 6; do
  tell fill from 0 $((sent)) 500
  tell fill from 1 $((sent + 500)) 500
  sent=$((sent + 1000))
  rille run job.lua "$address" >job.out 2>job.err &
  job=$!
  children+=("$job")
  sleep "0.$((round + 3))"
  if ((round % 2 == 0)); then
    "$kafka" stop --now
    ((round == 4)) || kill -9 "$job" # the last of them goes through it
    "$kafka" start >/dev/null
    sleep 2
  fi
  kill -9 "$job" 2>/dev/null || :
  wait "$job" || :
done
tell fill from 0 "$sent" 1
sent=$((sent + 1))
rille run job.lua "$address" "$sent" >job.out 2>job.err || fail "the last run failed: $(<job.err)"
tell end to 0
expect_status 0 rille run read.lua "$address" "$(cut -f 2 answer)"
expect_in last.out "^records.$sent\$"
say "killed jobs and brokers: ok"
