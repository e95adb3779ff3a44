#!/usr/bin/env bash
# 36,000 batches on the manual clock through a keyed job: every result right, memory flat (2 MiB tolerated), under a
# minute. And 5,000 through state and windows of every kind.
. "$(dirname "$0")/_lib.sh"

export LUA_PATH="$jobs/?.lua;$LUA_PATH"
if [[ $RILLE_SANITIZE ]]; then
  # A sanitizer keeps freed memory back for itself: results only. The one for threads also keeps each call stack it has seen, and Lua's
  # jumps make ever new ones.
  batches=3600
  [[ $RILLE_SANITIZE != thread ]] || batches=600
  expect_status 0 rille run "$jobs/many_batches.lua" "$batches" 0
else
  started=$SECONDS
  expect_status 0 rille run "$jobs/many_batches.lua" 36000 2048
  ((SECONDS - started < 60)) || fail "took $((SECONDS - started)) s"
fi
cat "$scratch/last.out"

if [[ $RILLE_SANITIZE ]]; then
  expect_status 0 rille run "$jobs/many_states.lua" $((batches / 6)) 0
else
  expect_status 0 rille run "$jobs/many_states.lua" 5000 3072
fi
cat "$scratch/last.out"
