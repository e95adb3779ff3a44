#!/usr/bin/env bash
# Kills a job under load, again and again, at random moments, also while it recovers and while it stops. Its lines come
# from a sender over a socket, which sends again what was not acknowledged, and from files that are moved into a folder.
# At the end each line must have been counted once, and every output of every batch be what a model gives
# (kill_check.lua).
#
#   build/release/with spec/crash/kill.sh [--long] [--kills N] [--seed N]
#
# 40 kills, 2,000 with --long or RILLE_LONG=1. What cannot be done here is to kill the machine: what a power cut leaves
# is modelled in test_steps.c and test_log_states.c.
. "$(dirname "$0")/../e2e/_lib.sh"

kills=40 seed=${RILLE_TEST_SEED:-$$}
[[ -z $RILLE_SANITIZE ]] || kills=10
[[ ${RILLE_LONG-0} != 1 ]] || kills=2000
while (($#)); do
  case $1 in
    --long) kills=2000 ;;
    --kills) kills=$2; shift ;;
    --seed) seed=$2; shift ;;
    *) fail "what is '$1'? The usage is written at the top of this script" ;;
  esac
  shift
done
say "$kills kills; again: spec/crash/kill.sh --kills $kills --seed $seed"
RANDOM=$seed

dir=$scratch/world files=0
mkdir -p "$dir/incoming" "$dir/out"

# A file comes at once, as it is renamed.
bring_file() {
  files=$((files + 1))
  local i
  for ((i = 1; i <= 20; i++)); do
    printf 'f%d.%d k%d %d\n' "$files" "$i" $(((files + i) % 100)) "$i"
  done >"$dir/next"
  mv "$dir/next" "$dir/incoming/$files.txt"
}

run_job() {
  "$RILLE_BUILD/bin/rille" run "$RILLE_SOURCE/spec/crash/kill_job.lua" "$port" "$dir" $((RANDOM % 3 + 1)) $((RANDOM % 3 + 1)) \
    >>"$scratch/job.out" 2>>"$scratch/job.err" </dev/null {more}>&- &
  job=$!
  children+=("$job")
}

# Up to MOST ms, now and then with a file on the way.
let_it_run() {
  local ms=$((RANDOM % $1 * slowdown / 2 + 10))
  if ((RANDOM % 3 == 0)); then
    read -rt "0.$(printf %03d $((ms / 2 % 1000)))" -u "$never" || true
    bring_file
    ms=$((ms - ms / 2))
  fi
  read -rt "$((ms / 1000)).$(printf %03d $((ms % 1000)))" -u "$never" || true
}

# Most are killed as they run; some while they stop in order, some are told to stop at once.
end_it() {
  case $((RANDOM % 8)) in
    0)
      kill -TERM "$job"
      read -rt "0.$(printf %03d $((RANDOM % 300)))" -u "$never" || true
      ;;
    1)
      kill -TERM "$job"
      read -rt 0.03 -u "$never" || true # sooner it would count as the same
      kill -TERM "$job" 2>/dev/null || true
      until_true 60 ended "$job"
      ;;
  esac
  kill -KILL "$job" 2>/dev/null || true
  wait "$job" 2>/dev/null || true
  children=("$sender")
}

# What a second signal breaks off says so; there is nothing else to complain of.
has_errors() {
  grep ' ERROR ' "$scratch/job.err" | grep -qv 'stopped at once by a second signal'
}

first_output() {
  ! ended "$job" || fail "the job ended by itself"
  compgen -G "$dir/out/counts-*" >/dev/null
}

mkfifo "$scratch/more"
exec {more}<>"$scratch/more"
"$RILLE_BUILD/spec/acked" 4000 100 lines "$seed" \
  >"$scratch/acked.out" 2>"$scratch/acked.err" <"$scratch/more" {more}>&- &
sender=$!
children+=("$sender")
until_true 5 test -s "$scratch/acked.out"
port=$(<"$scratch/acked.out")

run_job
until_true 60 first_output
for ((i = 1; i <= kills; i++)); do
  if ((RANDOM % 4)); then most=1500; else most=150; fi # the second: while it starts and recovers
  let_it_run $most
  ! ended "$job" || fail "the job ended by itself before kill $i"
  ! ended "$sender" || fail "the sender ended before kill $i"
  end_it
  expect_clean "$scratch/job.err"
  ! has_errors || fail "the job reports an error before kill $i"
  run_job
  ((i % 100)) || say "$i kills"
done

bring_file
exec {more}>&-
expect_end "$sender" 0 120
lines=$(sed -n 2p "$scratch/acked.out")
last=$dir/incoming/$files.txt
# The last file is older than a batch that was worked off, so it is in one.
file_is_in() { grep -qs "^f$files\.1 " "$dir"/out/all-*/part-*; }
until_true 120 file_is_in
kill -TERM "$job"
expect_end "$job" 0 300
rm -f "$last"
slowdown=$((slowdown + kills / 100)) # a world of millions of lines takes its time
expect_status 0 lua5.4 "$RILLE_SOURCE/spec/crash/kill_check.lua" "$dir" "$lines" "$files"
cat "$scratch/last.out"
