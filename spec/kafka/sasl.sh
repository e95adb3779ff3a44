#!/usr/bin/env bash
# TLS and SASL/PLAIN for all that asks, reads as a member of a group, and writes in transactions; a wrong password is told,
# and not shown.
. "$(dirname "$0")/_lib.sh"

cat >job.lua <<'LUA'
local rille = require "rille"
local ssc = rille.StreamingContext({ appName = "sasl", master = "local[2]", ["rille.task.maxSeconds"] = "10s",
  ["rille.task.maxFailures"] = 1 }, 0.2)
local function options(more)
  more.brokers, more["security.protocol"], more["ssl.ca.location"] = arg[1], "sasl_ssl", arg[2]
  more["sasl.mechanism"], more["sasl.username"], more["sasl.password"] = "PLAIN", "rille", arg[3]
  return more
end
local stream = rille.kafka.createStream(ssc, options { topics = "from", group = "g", ["auto.offset.reset"] = "earliest" })
local direct = rille.kafka.createDirectStream(ssc, options { topics = "from", ["auto.offset.reset"] = "earliest" })
local both, count = stream:union(direct), 0
rille.kafka.saveToKafka(both, options { topic = "to", transactional = true })
both:foreachRDD(function(rdd)
  count = count + rdd:count()
  if count == 200 then
    print("records", count)
    ssc:stop(true, true)
  end
end)
ssc:start()
ssc:awaitTermination()
LUA

start_brokers --tls
ask create from 1
ask create to 1
ask fill from 0 0 100
sasl=127.0.0.1:$((${brokers##*:} + 25))
expect_status 0 rille run job.lua "$sasl" "$RILLE_KAFKA_DIR/ca.pem" moonlight
expect_in last.out '^records.200$'
ask end to 0
((answer > 200)) || fail "not all was written: up to offset $answer" # marks of transactions have offsets, too
say "the right password: ok"

expect_status 1 rille run job.lua "$sasl" "$RILLE_KAFKA_DIR/ca.pem" sunlight
expect_in last.err "Kafka at $sasl: .*[Aa]uthentication failed"
! grep -q sunlight last.err last.out || fail "the password is shown"
say "a wrong password: ok"

# A broker that refuses, among several: it is told of once at most, and nobody says that all are gone and back.
cat >group.lua <<'LUA'
local rille = require "rille"
local ssc = rille.StreamingContext({ appName = "several", master = "local[2]" }, 0.2)
local count = 0
rille.kafka.createStream(ssc, { brokers = arg[1], ["security.protocol"] = "sasl_ssl", ["ssl.ca.location"] = arg[2],
  ["sasl.mechanism"] = "PLAIN", ["sasl.username"] = "rille", ["sasl.password"] = "moonlight", topics = "from",
  group = "several", ["auto.offset.reset"] = "earliest" }):foreachRDD(function(rdd) count = count + rdd:count() end)
ssc:start()
while count < 100 and not ssc:awaitTerminationOrTimeout(0.2) do end
ssc:awaitTerminationOrTimeout(4) -- librdkafka tries again meanwhile
ssc:stop(true, true)
print("records", count)
LUA
expect_status 0 rille run group.lua "${brokers##*,},$sasl" "$RILLE_KAFKA_DIR/ca.pem"
expect_in last.out '^records.100$'
! grep -qE 'no broker of Kafka|answer again' last.err || fail "one broker is taken for all: $(cat last.err)"
(($(grep -c 'refuses this client, others do not' last.err) <= 1)) || fail "told more than once: $(cat last.err)"
say "a broker of several that refuses: ok"

# What comes from the environment is not in the checkpoint, and is read there again by `rille recover`.
cat >kept.lua <<'LUA'
local rille = require "rille"
local brokers, ca, password = arg[1], arg[2], os.getenv "KAFKA_PASSWORD"
local function setup()
  local ssc = rille.StreamingContext({ appName = "kept", master = "local[2]" }, 0.2)
  local count = ssc:context():longAccumulator "count"
  rille.kafka.createDirectStream(ssc, { brokers = brokers, topics = "from", ["auto.offset.reset"] = "earliest",
    ["security.protocol"] = "sasl_ssl", ["ssl.ca.location"] = ca, ["sasl.mechanism"] = "PLAIN",
    ["sasl.username"] = "rille", ["sasl.password"] = password }):uid "from":foreachRDD(function(rdd)
    count:add(rdd:count())
    if count:value() % 100 == 0 and count:value() > 0 then
      print("records", count:value())
      ssc:stop(true, true)
    end
  end)
  return ssc
end
local ssc = rille.StreamingContext.getOrCreate("kept", setup)
ssc:start()
ssc:awaitTermination()
LUA
export KAFKA_PASSWORD=moonlight
expect_status 0 rille run kept.lua "$sasl" "$RILLE_KAFKA_DIR/ca.pem"
expect_in last.out '^records.100$'
expect_in last.err "recorded without the variable 'password' \(the value of sasl.password\)"
! grep -raq moonlight kept || fail "the password is in the checkpoint"
expect_status 0 rille recover kept
expect_in last.out '^records.100$'
! grep -raq moonlight kept || fail "the password is in the checkpoint"
rille inspect --json kept >inspected
! grep -q moonlight inspected || fail "rille inspect shows the password"
say "a password of the environment: ok"
