#!/usr/bin/env bash
# The module in stock lua5.4, each way to end 100 times in processes of their own (under sanitizers too): start and stop, start and end of the main chunk, an error in the
# main chunk while active, os.exit while active with and without closing the state. And 100 contexts one after another in one process.
. "$(dirname "$0")/_lib.sh"

export LUA_PATH="$jobs/?.lua;$LUA_PATH" slowdown scratch jobs

# live HOW STATUS NUMBER: one life; prints what is wrong with it.
live() {
  local how=$1 wanted=$2 log=$scratch/$1-$3 status=0 complaint=
  timeout -k 1 $((60 * slowdown)) lua5.4 "$jobs/life.lua" "$how" >"$log" 2>&1 </dev/null || status=$?
  if [[ $how == error ]]; then
    complaint='on purpose|stack traceback:|^[[:space:]]'
    grep -q 'life.lua:[0-9]*: on purpose' "$log" || printf '%s: the error was not shown\n' "$how"
  fi
  ((status == wanted)) || printf '%s: status %d instead of %d\n' "$how" "$status" "$wanted"
  grep -vE "${complaint:-^$}" "$log" | sed "s/^/$how: /" | head -n 40
  rm -f "$log"
}
export -f live

lives() {
  local started=$SECONDS
  seq 100 | xargs -P 2 -I{} bash -c "live $1 $2 {}" >"$scratch/$1.out" 2>&1
  [[ ! -s $scratch/$1.out ]] || fail "lives that end with $1 ($(grep -c "^$1:" "$scratch/$1.out") lines of complaints)"
  say "100 lives ended with $1: $((SECONDS - started)) s"
}

lives stop 0
lives graceful 0
lives exit 0
lives error 1
lives os_exit 3
lives os_exit_close 3

tolerance=2048
[[ ! $RILLE_SANITIZE ]] || tolerance=0 # a sanitizer keeps freed memory back for itself
expect_status 0 lua5.4 "$jobs/lives.lua" 100 "$tolerance"
[[ ! -s $scratch/last.err ]] || fail "complaints of 100 contexts in one process"
cat "$scratch/last.out"
