#!/usr/bin/env bash
# TLS: settings pass through; a broker whose certificate is not trusted is refused, with a reason.
. "$(dirname "$0")/_lib.sh"

cat >job.lua <<'LUA'
local rille = require "rille"
local sc = rille.Context { master = "local[2]", ["rille.streaming.kafka.consumer.poll"] = "10s" }
local options = { brokers = arg[1], ["security.protocol"] = "ssl", ["ssl.ca.location"] = arg[2] }
local ssc = rille.StreamingContext(sc, 0.2)
options.topics, options["auto.offset.reset"] = "t", "earliest"
rille.kafka.createDirectStream(ssc, options):foreachRDD(function(rdd)
  if rdd:isEmpty() then return end
  print("records", rdd:count())
  ssc:stop()
end)
ssc:start()
ssc:awaitTermination()
LUA

start_brokers --tls
ask create t 1
ask fill t 0 0 100
tls=127.0.0.1:$((${brokers##*:} + 20))
expect_status 0 rille run job.lua "$tls" "$RILLE_KAFKA_DIR/ca.pem"
expect_in last.out '^records.100$'
say "a trusted broker: ok"

openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj "/CN=somebody else" -keyout other.key -out other.pem 2>/dev/null
expect_status 1 rille run job.lua "$tls" "$scratch/other.pem"
expect_in last.err "Kafka at $tls: .*certificate"
expect_status 1 rille run job.lua "$tls" "$scratch/nowhere.pem"
expect_in last.err 'no Kafka client can be made with these settings: ssl.ca.location failed'
say "an untrusted broker: ok"
