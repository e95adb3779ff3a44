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
expect_status 0 "$kafka" topic lines
expect_status 0 "$kafka" topic many.parts_ 3
expect_status 1 "$kafka" topic lines
expect_in last.err "topic lines: Topic 'lines' already exists"
brokers=$address
printf 'a line\n' | rille run "$RILLE_SOURCE/scripts/kafka_send.lua" "$address" lines >sent || fail "nothing was sent"
[[ $(<sent) == "1 records are in lines" ]] || fail "sent: $(<sent)"
ask end lines 0
((answer == 1)) || fail "lines has $answer records"
ask end many.parts_ 2
expect_status 0 "$kafka" stop
expect_status 1 "$kafka" topic others
expect_in last.err 'no broker runs in '
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

modes=$(stat -c %a "$RILLE_KAFKA_DIR"/*.key "$RILLE_KAFKA_DIR/broker.pem" | sort -u)
[[ $modes == 600 ]] || fail "keys can be read by all"
touch "$RILLE_KAFKA_DIR/mine"
expect_status 0 "$kafka" wipe
[[ $(ls -A "$RILLE_KAFKA_DIR") == mine ]] || fail "wipe took more than its own, or less"
mkdir -p foreign/1
touch foreign/1/file
RILLE_KAFKA_DIR=foreign expect_status 1 "$kafka" start --port 0
expect_in last.err 'foreign has other things in it \(1\): give a folder of its own in RILLE_KAFKA_DIR'
echo "mine, too" >foreign/options
RILLE_KAFKA_DIR=foreign expect_status 1 "$kafka" start --port 0
RILLE_KAFKA_DIR=foreign expect_status 0 "$kafka" wipe
[[ -f foreign/1/file && -f foreign/options ]] || fail "wipe removed what it did not make"
say "other people's folders: ok"

expect_status 2 "$kafka" start --brokers 2
expect_status 2 "$kafka" begin
expect_status 2 "$kafka" topic
expect_status 2 "$kafka" topic a/b
expect_status 2 "$kafka" topic a 0
expect_status 2 "$kafka" start --port 099999
expect_status 0 "$kafka" --help
expect_in last.out 'the authority to trust is in RILLE_KAFKA_DIR/ca.pem$'
expect_status 2 "$kafka"
say "wrong arguments: ok"
