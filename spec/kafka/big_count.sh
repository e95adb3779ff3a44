#!/usr/bin/env bash
# A keyed count from topic to topic in transactions (scripts/kafka_to_kafka.lua), undisturbed; killed again and again;
# killed, and its broker killed under it. Readers of what is committed must have the total of each key after each of its
# records, once and in order, and the job's state the last ones.
#
#   spec/kafka/_run spec/kafka/big_count.sh [--records N] [--kills N] [--seed N] [plain|killed|broker|cluster]...
#
# 200,000 records and 3 kills; with RILLE_LONG=1 10,000,000 and 20, and the same with three brokers (cluster) of which
# each is killed.
. "$(dirname "$0")/_lib.sh"

records=200000 kills=3 steps=25 batch_ms=100 seed=${RILLE_TEST_SEED:-$$} modes=()
[[ -z $RILLE_SANITIZE ]] || records=40000
[[ ${RILLE_LONG-0} != 1 ]] || records=10000000 kills=20 steps=100 batch_ms=500
while (($#)); do
  case $1 in
    --records) records=$2; shift ;;
    --kills) kills=$2; shift ;;
    --seed) seed=$2; shift ;;
    plain | killed | broker | cluster) modes+=("$1") ;;
    *) fail "what is '$1'? The usage is written at the top of this script" ;;
  esac
  shift
done
if ((${#modes[@]} == 0)); then
  modes=(plain killed broker)
  [[ ${RILLE_LONG-0} != 1 ]] || modes+=(cluster)
fi
say "$records records, $kills kills; again: spec/kafka/big_count.sh --records $records --kills $kills --seed $seed"
keys=1000 partitions=4 unique=$$-$seed
rate=$((records * 1000 / (steps * partitions * batch_ms)))
slowdown=$((slowdown * (1 + records / 1000000)))

# Record i has the key "k<i mod keys>" and the amount i, and those of a key are in one partition, in order: so is their
# output, and each total tells which record made it.
cat >check.lua <<'LUA'
local rille = require "rille"
local sc = rille.Context { master = "local[2]" }
local records, keys, ranges = tonumber(arg[3]), tonumber(arg[4]), {}
for i = 5, #arg do
  ranges[i - 4] = { topic = arg[2], partition = i - 5, fromOffset = 0, untilOffset = tonumber(arg[i]) }
end
local counts = rille.kafka.createRDD(sc, { brokers = arg[1] }, ranges):mapPartitions(function(totals)
  local record, sum, count = {}, {}, {}
  for key, total in totals do
    local i = record[key] or tonumber(key:sub(2))
    sum[key] = (sum[key] or 0) + i
    if total ~= tostring(sum[key]) then error(("%s: %s, and not %d at record %d"):format(key, total, sum[key], i)) end
    record[key], count[key] = i + keys, (count[key] or 0) + 1
  end
  return pairs(count)
end):collect()
local seen, n = {}, 0
for _, pair in ipairs(counts) do
  local key, count = pair[1], pair[2]
  local wanted = (records - 1 - tonumber(key:sub(2))) // keys + 1
  if seen[key] then error(key .. " is in two partitions") end
  if count ~= wanted then error(("%s: %d records of %d"):format(key, count, wanted)) end
  seen[key], n = true, n + count
end
print("records", n, #counts)
LUA

run_job() {
  look
  rille run --conf "rille.streaming.kafka.maxRatePerPartition=$rate" \
    "$RILLE_SOURCE/scripts/kafka_to_kafka.lua" "$brokers" "$from" "$to" "$mode.ck" "0.$batch_ms" >>job.out 2>>job.err &
  job=$!
  children=("$job")
}

# From now on, the job has to commit something.
look() {
  ask ends "$to" $partitions
  seen=$answer
}

# passed N: the job has committed something since the last look, and about N records in all.
passed() {
  ! ended "$job" || fail "the job ended by itself"
  ask ends "$to" $partitions
  ((answer > seen && answer >= $1))
}

# The records come in parts: one, and one more before each hit, so that there is always something to do.
bring_part() {
  ask spread "$from" $partitions $keys "$sent" $((part < records - sent ? part : records - sent))
  sent=$((sent < records - part ? sent + part : records))
}

# Until somewhere in the part before the last, and from there for up to two batches.
let_it_run() {
  until_true 60 passed $((sent - part + (RANDOM * 32768 + RANDOM) % (part * 3 / 4)))
  bring_part
  read -rt "0.$(printf %03d $((RANDOM % (2 * batch_ms))))" -u "$never" || true
}

kill_job() {
  local status=0
  kill -KILL "$job" || fail "there is no job to kill"
  wait "$job" 2>/dev/null || status=$?
  ((status == 137)) || fail "the job had ended, with status $status"
  rille inspect "$mode.ck" >left.out
  expect_in left.out '^pending +[0-9]+ batch'
  killed=$((killed + 1))
  has left.out '^pending +0 ' || within=$((within + 1))
}

kill_broker() {
  "$kafka" stop --now "$@"
  downs=$((downs + 1))
}

# hit I: the job, its broker, or first one and then the other; there is one that runs at the end.
hit() {
  case $mode:$(($1 % 3)) in
    killed:* | broker:0)
      kill_job
      run_job
      ;;
    broker:1)
      kill_broker
      "$kafka" start >/dev/null
      ;;
    broker:2)
      kill_broker
      kill_job
      "$kafka" start >/dev/null
      run_job
      ;;
    cluster:*)
      ask insync 3
      kill_broker "$1"
      look
      until_true 60 passed 0 # by the two others
      if (($1 == 2)); then
        kill_job
        run_job
        until_true 60 passed 0
      fi
      "$kafka" start >/dev/null
      ;;
  esac
}

all_committed() {
  local partition sum=0
  ! ended "$job" || fail "the job ended by itself"
  ask ends "$to" $partitions
  ((answer >= records)) || return
  for ((partition = 0; partition < partitions; partition++)); do
    ask committed kafka_to_kafka "$from" $partition
    sum=$((sum + answer))
  done
  ((sum == records))
}

check_output() {
  local partition ends=()
  for ((partition = 0; partition < partitions; partition++)); do
    ask settled "$to" $partition
    ends+=("$answer")
  done
  expect_status 0 rille run check.lua "$brokers" "$to" "$records" $keys "${ends[@]}"
  expect_in last.out "^records.$records.$keys\$"
}

check_state() {
  local key n
  for key in 0 7 $((keys - 1)); do
    n=$(((records - 1 - key) / keys + 1))
    expect_status 0 rille inspect "$mode.ck" --key totals "k$key"
    expect_in last.out "^$((key * n + keys * n * (n - 1) / 2))\$"
  done
}

# The number of batches that the job had, also those without records.
count_batches() {
  rille inspect "$mode.ck" --json | sed -n 's/^ *"\(zeroTime\|lastComplete\)": \([0-9]*\),/\2/p' >times
  printf '%s\n' $((($(sed -n 2p times) - $(sed -n 1p times)) / batch_ms))
}

run_mode() {
  local i hits=0 from=$1-from-$unique to=$1-to-$unique started=$SECONDS
  mode=$1 sent=0 killed=0 within=0 downs=0
  case $mode in
    killed | broker) hits=$kills ;;
    cluster) hits=3 ;;
  esac
  part=$((records / (hits + 1) + 1))
  ask create "$from" $partitions
  ask create "$to" $partitions
  bring_part
  run_job
  for ((i = 1; i <= hits; i++)); do
    let_it_run
    hit $i
  done
  until_true 120 all_committed
  kill -TERM "$job"
  expect_end "$job" 0 60
  expect_clean job.err
  ((killed == 0 || within > 0)) || fail "no kill came within a batch"
  check_output
  check_state
  say "$mode: ok: $records records of $keys keys in $(count_batches) batches; $killed kills, $within of them within a" \
    "batch; $downs of brokers; $((SECONDS - started)) s"
}

for mode in "${modes[@]}"; do
  case $mode in
    broker) start_brokers ;;
    cluster) start_brokers --brokers 3 ;;
  esac
  run_mode "$mode"
done
