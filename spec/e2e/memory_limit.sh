#!/usr/bin/env bash
# rille.memory.limit=256m, over more than there is room for: results are those of a run with plenty, resident memory stays
# under 400 MB, and nothing is left on the disk. 300 MB of records, persisted and grouped, and through a window; 4 GB with
# --long. Then lines of a socket that are remembered.
. "$(dirname "$0")/_lib.sh"

megabytes=300 lines=3000000 most=409600 plenty=0
[[ ${RILLE_LONG-0} != 1 ]] || megabytes=4000 plenty=12g
[[ -z $RILLE_SANITIZE ]] || megabytes=24 lines=100000
mkdir "$scratch/spill"

# run NAME COMMAND...
run() {
  local name=$1
  shift
  timeout -k 5 $((600 * slowdown)) "$@" >"$scratch/$name.out" 2>"$scratch/$name.err" </dev/null || fail "$name ended with status $?"
  expect_clean "$scratch/$name.err"
  say "$name: $(tail -n 1 "$scratch/$name.err")"
}

same() {
  cmp -s "$scratch/$1.out" "$scratch/$2.out" || fail "$1 and $2 differ"
}

# A sanitizer has memory of its own.
bounded() {
  local peak
  peak=$(sed -n 's/^peak \([0-9]*\) KiB.*/\1/p' "$scratch/$1.err")
  [[ $RILLE_SANITIZE ]] || ((peak < most)) || fail "$1: $peak KiB were resident, more than $most"
  [[ $RILLE_SANITIZE ]] || expect_in "$scratch/$1.err" 'spilled [1-9]'
  [[ -z $(ls -A "$scratch/spill") ]] || fail "$1 left something on the disk"
}

for job in limit window; do
  run "$job.plenty" rille run "$jobs/memory_$job.lua" "$megabytes" "$plenty" "$scratch/spill"
  run "$job" rille run "$jobs/memory_$job.lua" "$megabytes" 256m "$scratch/spill"
  bounded "$job"
  same "$job" "$job.plenty"
done

begin_feed feed --rate 0 --lines "$lines" --clients 2 --hold
run received.plenty rille run "$jobs/memory_received.lua" "$port" "$lines" "$plenty" "$scratch/spill"
run received rille run "$jobs/memory_received.lua" "$port" "$lines" 256m "$scratch/spill"
bounded received
same received received.plenty
expect_in "$scratch/received.out" "are there.$lines"

run held rille run "$jobs/memory_held.lua" "$scratch/spill"
expect_in "$scratch/held.out" '^stopped$'
expect_not_in "$scratch/held.err" 'trying again'
