#!/usr/bin/env bash
# tools/kafka: a broker and its data from start to wipe; three of them that live on without one; TLS.
. "$(dirname "$0")/_lib.sh"
if [[ ! $RILLE_BUILD -ef $RILLE_SOURCE/build/release ]]; then
  say "skipped: one tree's run is enough"
  exit 77
fi

own_brokers one
expect_status 3 "$kafka" status
expect_status 0 "$kafka" start --port 0
expect_in last.out '^127\.0\.0\.1:[0-9]+$'
address=$(<last.out)
(exec 3<>"/dev/tcp/127.0.0.1/${address##*:}") || fail "nothing answers at $address"
expect_status 0 "$kafka" status
expect_in last.out "^1 of 1 running: Apache Kafka [0-9.]+ at $address, in "
expect_status 1 "$kafka" start --brokers 3
expect_in last.err 'leave the options out, or wipe first'
expect_status 0 "$kafka" stop
expect_status 3 "$kafka" status
[[ -d $scratch/one/1/data ]] || fail "stop removed the data"
expect_status 0 "$kafka" start
[[ $(<last.out) == "$address" ]] || fail "it came back at another address"
expect_status 0 "$kafka" wipe
[[ ! -e $scratch/one ]] || fail "wipe left something"
expect_status 3 "$kafka" status
say "one broker: ok"

own_brokers three
expect_status 0 "$kafka" start --brokers 3 --port 0 --tls
IFS=, read -ra addresses <last.out
((${#addresses[@]} == 3)) || fail "three addresses are expected, not: ${addresses[*]}"
expect_status 0 "$kafka" stop --now 2
expect_status 1 "$kafka" status
expect_in last.out '^2 of 3 running'
expect_status 0 "$kafka" start
expect_status 0 "$kafka" status
tls=$((${addresses[0]##*:} + 20))
expect_status 0 openssl s_client -connect "127.0.0.1:$tls" -CAfile "$RILLE_KAFKA_DIR/ca.pem" -verify_return_error \
  -verify_ip 127.0.0.1
say "three brokers: ok"

expect_status 2 "$kafka" start --brokers 2
expect_status 2 "$kafka" begin
expect_status 2 "$kafka"
say "wrong arguments: ok"
