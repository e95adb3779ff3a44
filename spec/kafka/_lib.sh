# shellcheck shell=bash
# What the drivers of Kafka share. Sourced, not run; with all of spec/e2e/_lib.sh, in the scratch folder. `brokers` is the
# address of the broker for all tests, or of brokers of the driver's own.
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/_lib.sh"

kafka=$RILLE_SOURCE/tools/kafka
brokers=${RILLE_KAFKA_BROKERS-}
broker_dirs=()
cd "$scratch"
((slowdown >= 3)) || slowdown=3 # brokers take their time

# own_brokers NAME: from now on $kafka is about brokers in $scratch/NAME, which end with the driver.
own_brokers() {
  export RILLE_KAFKA_DIR=$scratch/$1
  broker_dirs+=("$RILLE_KAFKA_DIR")
  trap wipe_brokers EXIT
}

wipe_brokers() {
  local status=$? dir
  for dir in "${broker_dirs[@]}"; do
    RILLE_KAFKA_DIR=$dir "$kafka" wipe
  done
  set +e
  (exit "$status")
  finish
}

# start_brokers ARGS...: of its own, with those arguments of tools/kafka.
start_brokers() {
  own_brokers brokers
  brokers=$("$kafka" start --port 0 "$@")
}

# ask WORDS...: one command of spec/tools/kafka_admin.c; what it says is in `answer`.
ask() {
  local IFS=$'\t'
  answer=$(printf '%s\n' "$*" | "$RILLE_BUILD/spec/kafka_admin" "$brokers")
  [[ $answer == ok$'\t'* ]] || fail "$*: $answer"
  answer=${answer#*$'\t'}
}
