#!/usr/bin/env bash
# Batches of 20 ms on the real clock from a TCP socket, for 60 s (10 s under sanitizers, or SOAK_SECONDS): no record lost, no batch time left out, no
# drift, memory flat (3 MiB tolerated).
. "$(dirname "$0")/_lib.sh"

export LUA_PATH="$jobs/?.lua;$LUA_PATH"
seconds=60 rate=4000 tolerance=3072
if [[ $RILLE_SANITIZE ]]; then
  seconds=10 rate=500 tolerance=0 # a sanitizer keeps freed memory back for itself
fi
seconds=${SOAK_SECONDS:-$seconds}
lines=$((rate * (seconds - 2)))

# The same seed gives the same lines: once for the words that there must be, once for the job.
begin_feed all --rate 0 --lines "$lines" --clients 1
exec {all}<>"/dev/tcp/127.0.0.1/$port"
tr ' ' '\n' <&"$all" >"$scratch/words"
exec {all}<&-
sort "$scratch/words" | uniq -c >"$scratch/counts"
printf '%d lines\n' "$lines" >>"$scratch/counts"

begin_feed paced --rate "$rate" --lines "$lines" --hold
limit=$((seconds + 30 * slowdown))
timeout -k 5 "$limit" rille run "$jobs/soak.lua" "$port" "$seconds" "$scratch/counts" "$tolerance" \
  >"$scratch/job.out" 2>"$scratch/job.err" || fail "the job ended with status $?"
expect_clean "$scratch/job.err"
[[ ! -s $scratch/job.err ]] || fail "the job complained"
cat "$scratch/job.out"
