#!/usr/bin/env bash
# The acknowledging line protocol between scripts/ack_sender.lua and a job, both killed again and again: every line is
# counted once. And the sender alone, with this shell in the place of the job.
. "$(dirname "$0")/_lib.sh"

lua5.4 -e 'require "socket"' 2>/dev/null || exit 77
cd "$scratch"

# begin_sender NAME ARGS...: its port is in $port, its process in $sender. With $input, its standard input is a FIFO of
# that name, whose other end is descriptor 9; other children must not have that.
begin_sender() {
  local name=$1
  shift
  begin "$name" bash -c 'exec "$@" <"$0"' "${input:-/dev/null}" lua5.4 "$RILLE_SOURCE/scripts/ack_sender.lua" "$@"
  sender=$begun
  [[ -z ${input:-} ]] || exec 9>"$input"
  until_true 20 test -s "$name.out"
  port=$(<"$name.out")
}

begin_job() {
  begin "$1" rille run "$jobs/acknowledged.lua" "$port" "$scratch/checkpoint"
}

# interrupt NAME: the job begun last ends well upon SIGINT.
interrupt() {
  kill -INT "$begun"
  expect_end "$begun" 0 30
  expect_clean "$1.err"
}

kill_hard() {
  kill -KILL "$1"
  wait "$1" 2>/dev/null || true
}

# The job is killed at moments that its own progress gives and at such that nothing gives; now and then the sender
# before, so that the job connects again.
a_while() {
  local i
  for ((i = RANDOM % 20; i > 0; i--)); do pause; done
}

lines=250000
[[ -z $RILLE_SANITIZE ]] || lines=100000
seq "$lines" >numbers
begin_sender sender 0 --state unacknowledged --file numbers
for round in 1 2 3 4 5 6 7 8; do
  begin_job "job$round"
  job=$begun
  ((round % 2 == 0)) || until_true 60 shown "job$round" '^[1-9][0-9]* lines,'
  ((round == 1)) || a_while
  if ((round % 3 == 0)) && ! ended "$sender"; then
    kill_hard "$sender"
    begin_sender "sender$round" "$port" --state unacknowledged --file numbers
    a_while
  fi
  kill_hard "$job"
  expect_clean "job$round.err"
done
expect_in sender.err 'the connection has ended' # the first job was killed while it had more to do
begin_job last
expect_end "$sender" 0 120
until_true 120 shown last "^$lines lines,"
interrupt last
begin_job after # what the state is, looked at once more
until_true 60 shown after ' lines, '
interrupt after
for file in job?.out last.out after.out; do
  expect_not_in "$file" ' lines, [1-9]'
done
expect_in after.out "^$lines lines, 0 not once"
say "kill -9 of the job and of the sender: every line once"

# The script that docs/fault-tolerance.md begins with. Its sender has a file as its standard input.
seq 20000 >words
begin fed bash -c 'exec lua5.4 "$0" 0 <words' "$RILLE_SOURCE/scripts/ack_sender.lua"
sender=$begun
until_true 20 test -s fed.out
port=$(<fed.out)
words() { begin "$1" rille run "$RILLE_SOURCE/scripts/recoverable_wordcount.lua" 127.0.0.1 "$port" counted 0.1; }
words words1
until_true 60 shown words1 ': [1-9][0-9]* words'
kill_hard "$begun"
words words2
expect_end "$sender" 0 60
until_true 60 shown words2 ': 20000 words, 20000 different'
expect_not_in words2.out ': 20[0-9][0-9][1-9] words'
interrupt words2
say "recoverable_wordcount: ok"

# Lines of standard input, as they come.
mkfifo typed
input=typed begin_sender typed_sender 0
begin typing rille run "$jobs/acknowledged.lua" "$port" "$scratch/checkpoint_typed" 9>&-
printf 'here\nwe\n' >&9
until_true 60 shown typing '^2 lines, 0 not once'
printf 'go\nagain' >&9
exec 9>&-
expect_end "$sender" 0 60
until_true 60 shown typing '^4 lines, 0 not once'
expect_in typed_sender.err 'all 4 lines are acknowledged'
interrupt typing
say "standard input: ok"

# What cannot be is said at once.
for wrong in 65536 99999 100000000000000000000; do
  ! lua5.4 "$RILLE_SOURCE/scripts/ack_sender.lua" "$wrong" >wrong.out 2>wrong.err || fail "a sender on port $wrong"
  expect_in wrong.err "there is no port $wrong"
done
! lua5.4 "$RILLE_SOURCE/scripts/ack_sender.lua" 0 --state no/such/place >wrong.out 2>wrong.err || fail "a state nowhere"
expect_in wrong.err 'cannot write no/such/place.new: No such file or directory'
say "wrong arguments: ok"

# The shell is the job from here on. connect POSITION [NAME]
connect() {
  exec {job}<>"/dev/tcp/127.0.0.1/$port"
  printf 'RILLE-ACK 1 %d %s\n' "$1" "${2:-the lines}" >&"$job"
}

disconnect() {
  exec {job}>&-
}

# expect_lines LINE...: these are the next.
expect_lines() {
  local wanted line
  for wanted; do
    IFS= read -rt $((60 * slowdown)) -u "$job" line || fail "the sender did not send '$wanted'"
    [[ $line == "$wanted" ]] || fail "the sender sent '$line' instead of '$wanted'"
  done
}

expect_end_of_connection() {
  ! IFS= read -rt $((60 * slowdown)) -u "$job" line || fail "the sender sent '$line'"
}

# begin_kept NAME LINES: a sender with a state, whose input does not end yet.
begin_kept() {
  exec 9>&-
  mkfifo "$1.in"
  input=$1.in begin_sender "$1" 0 --state kept
  printf '%b' "$2" >&9
}

begin_kept first 'a\n\nc d\n'
connect 0
expect_lines a '' 'c d'
disconnect
connect 0 # nothing was acknowledged
expect_lines a '' 'c d'
printf 'ACK 1\n' >&"$job"
disconnect
connect 1
expect_lines '' 'c d'
kill_hard "$sender"
disconnect
begin_kept second 'e\n'
exec 9>&-
connect 1 # what was not acknowledged is in the file, what is new behind it
expect_lines '' 'c d' e
printf 'AC' >&"$job"
printf 'K 3\nACK 4\n' >&"$job"
expect_end "$sender" 0 60
disconnect
say "the sender's state: ok"

begin_kept another 'f\n'
connect 4 'other lines'
expect_end_of_connection
disconnect
expect_in another.err 'the stream other lines asks for the lines of the lines'
connect 9
expect_end "$sender" 1 60
expect_in another.err 'the job has 9 lines; only [45] were ever sent'
disconnect
begin_kept behind ''
connect 2
expect_end "$sender" 1 60
expect_in behind.err 'the job has 2 lines only; those up to 4 are not kept any more'
disconnect
begin_sender plain 0 --file numbers
exec {job}<>"/dev/tcp/127.0.0.1/$port"
printf 'HTTP/1.1 400 Bad Request\n' >&"$job"
expect_end_of_connection
disconnect
expect_in plain.err 'this is no job that acknowledges lines'
connect $((lines + 1))
expect_end "$sender" 1 60
expect_in plain.err "the job has $((lines + 1)) lines, and numbers only $lines"
say "positions that cannot be: ok"
