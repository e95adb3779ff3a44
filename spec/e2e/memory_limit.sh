#!/usr/bin/env bash
# rille.memory.limit=256m, over more than there is room for: results are those of a run without limit, resident memory stays
# under 400 MB, and nothing is left on the disk. 300 MB of records; 4 GB with --long. Then lines of a socket that are remembered.
. "$(dirname "$0")/_lib.sh"

megabytes=300 lines=3000000 most=409600
[[ ${RILLE_LONG-0} != 1 ]] || megabytes=4000
[[ -z $RILLE_SANITIZE ]] || megabytes=24 lines=100000
mkdir "$scratch/spill"

# run NAME COMMAND...
run() {
  local name=$1
  shift
  timeout -k 5 $((280 * slowdown)) "$@" >"$scratch/$name.out" 2>"$scratch/$name.err" </dev/null || fail "$name ended with status $?"
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

run records_unlimited rille run "$jobs/memory_limit.lua" "$megabytes" 0 "$scratch/spill"
run records rille run "$jobs/memory_limit.lua" "$megabytes" 256m "$scratch/spill"
bounded records
same records records_unlimited

begin_feed feed --rate 0 --lines "$lines" --clients 2 --hold
run received_unlimited rille run "$jobs/memory_received.lua" "$port" "$lines" 0 "$scratch/spill"
run received rille run "$jobs/memory_received.lua" "$port" "$lines" 256m "$scratch/spill"
bounded received
same received received_unlimited
expect_in "$scratch/received.out" "are there.$lines"
