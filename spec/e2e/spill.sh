#!/usr/bin/env bash
# Several times more data than the budget through everything that gathers records: as without a limit, in bounded memory.
. "$(dirname "$0")/_lib.sh"

# The limit, how much data in MiB, and what may be resident: as 400 MB are to a limit of 256m.
limit=48m megabytes=60 most=75
if [[ $RILLE_SANITIZE ]]; then
  megabytes=30 # results only: a sanitizer keeps memory for itself
elif [[ ${RILLE_LONG-0} == 1 ]]; then
  limit=256m megabytes=1500 most=400
fi

export RILLE_SPILL_DIR=$scratch

# run_job OPERATION LIMIT: its result in $result, what it took in $spilled and $resident.
run_job() {
  local status=0
  timeout -k 5 $((600 * slowdown)) rille run "$jobs/spill.lua" "$1" "$2" "$megabytes" >"$scratch/last.out" 2>"$scratch/last.err" </dev/null ||
    status=$?
  expect_clean "$scratch/last.err"
  ((status == 0)) || fail "exit status $status: spill.lua $*"
  result=$(<"$scratch/last.out")
  [[ $(<"$scratch/last.err") =~ spilled\ ([0-9]+)\ MiB,\ resident\ ([0-9]+)\ MiB ]] || fail "what $1 took is not said"
  spilled=${BASH_REMATCH[1]} resident=${BASH_REMATCH[2]}
}

for operation in groupByKey sortByKey join distinct reduceByKey window; do
  run_job "$operation" none
  expected=$result unlimited=$resident
  run_job "$operation" "$limit"
  [[ $result == "$expected" ]] || fail "$operation: '$result' with $limit, '$expected' without a limit"
  say "$operation of $megabytes MiB with $limit: spilled $spilled MiB, resident $resident MiB (without a limit: $unlimited MiB)"
  if [[ ! $RILLE_SANITIZE ]]; then
    ((spilled > 0)) || fail "$operation spilled nothing"
    ((resident < most)) || fail "$operation: $resident MiB were resident, more than $most"
  fi
  leftover=("$scratch"/rille-spill-*)
  [[ ! -e ${leftover[0]} ]] || fail "$operation left ${leftover[0]}"
done
