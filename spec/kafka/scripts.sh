#!/usr/bin/env bash
# The scripts that go from Kafka to Kafka, and the one that sends alerts to it.
. "$(dirname "$0")/_lib.sh"
scripts=$RILLE_SOURCE/scripts
name=scripts-$$-$RANDOM

cat >show.lua <<'LUA'
local rille = require "rille"
local sc = rille.Context { master = "local[1]" }
local records = rille.kafka.createRDD(sc, { brokers = arg[1] },
  { { topic = arg[2], partition = 0, fromOffset = 0, untilOffset = tonumber(arg[3]) } }):collect()
for _, record in ipairs(records) do print(record[1], record[2]) end
LUA

# show TOPIC: what is committed in it, into `shown`.
show() {
  ask end "$1" 0
  rille run show.lua "$brokers" "$1" "$answer" >shown 2>show.err || fail "show $1: $(<show.err)"
}
shows() { show "$1" && diff <(printf '%s\n' "${@:2}") shown >/dev/null; }

start_job() {
  rille run "$@" >job.out 2>job.err &
  job=$!
  children+=("$job")
}

ask create "$name-payments" 1
ask create "$name-totals" 1
pays() { start_job "$scripts/kafka_to_kafka.lua" "$brokers" "$name-payments" "$name-totals" checkpoint 0.2; }
ask put "$name-payments" 0 ann 5
ask put "$name-payments" 0 bob 1
pays
until_true 60 shows "$name-totals" $'ann\t5' $'bob\t1'
kill -KILL "$job"
wait "$job" || :
ask put "$name-payments" 0 ann 2
pays
until_true 60 shows "$name-totals" $'ann\t5' $'bob\t1' $'ann\t7'
kill -INT "$job"
wait "$job" || fail "kafka_to_kafka: $(<job.err)"
ask committed kafka_to_kafka "$name-payments" 0
((answer == 3)) || fail "kafka_to_kafka committed $answer"
say "kafka_to_kafka: ok"

ask create "$name-clicks" 1
ask create "$name-named" 1
printf 'ann Ann Lee\n' >users.txt
start_job "$scripts/kafka_enrich.lua" "$brokers" "$name-clicks" "$name-named" users.txt 0.2
ask put "$name-clicks" 0 ann home
ask put "$name-clicks" 0 bob home
until_true 60 shows "$name-named" $'ann\tAnn Lee home' $'bob\tsomebody home'
printf 'ann Ann Lee\nbob Bob Ray\n' >users.new && mv users.new users.txt
until_true 60 has job.out '^2 users$'
ask put "$name-clicks" 0 bob cart
until_true 60 shows "$name-named" $'ann\tAnn Lee home' $'bob\tsomebody home' $'bob\tBob Ray cart'
kill -INT "$job"
wait "$job" || fail "kafka_enrich: $(<job.err)"
say "kafka_enrich: ok"

ask create "$name-logs" 1
ask create "$name-alerts" 1
start_job "$scripts/kafka_alerts.lua" "$brokers" "$name-logs" "$name-alerts" 0.2 60 3
# alerted: one line more, and an alert is there. (The job reads what comes after it has begun.)
alerted() {
  ask put "$name-logs" 0 k 'web ERROR no route'
  ask put "$name-logs" 0 k 'db INFO started'
  show "$name-alerts"
  grep -qE $'^web\t[0-9]+ errors in 60 s, the last: no route$' shown
}
until_true 60 alerted
! grep -qv '^web' shown || fail "alerts to others: $(<shown)"
! grep -qE $'\t[012] errors' shown || fail "alerts to too few: $(<shown)"
kill -INT "$job"
wait "$job" || fail "kafka_alerts: $(<job.err)"
say "kafka_alerts: ok"
