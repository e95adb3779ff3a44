#!/usr/bin/env bash
# The rille program: commands and usage, exit statuses, arg, settings, and what signals do.
. "$(dirname "$0")/_lib.sh"

out=$scratch/last.out err=$scratch/last.err
cd "$scratch"

write() {
  cat >"$scratch/$1"
}

# commands ------------------------------------------------------------------------------------------------------------

expect_status 0 rille version
version=$(sed -n 's/^#define RILLE_VERSION "\(.*\)".*/\1/p' "$RILLE_SOURCE/core/base/version.h")
expect_in "$out" "^rille ${version//./\\.}( |$)"
expect_status 0 rille --help
expect_in "$out" 'rille run'
expect_status 0 rille run --help
expect_in "$out" '--conf'
expect_status 2 rille
expect_in "$err" 'usage|--help'
expect_status 2 rille frobnicate
expect_in "$err" 'frobnicate'
expect_status 2 rille run
expect_status 2 rille run --frobnicate "$jobs/args.lua"
expect_in "$err" 'frobnicate'
expect_status 2 rille run "$jobs/args.lua" --master
expect_status 2 rille run "$jobs/args.lua" --conf
expect_status 2 rille run "$jobs/args.lua" --conf no.equals.sign
say "commands: ok"

# scripts -------------------------------------------------------------------------------------------------------------

expect_status 0 rille run "$jobs/args.lua" one 'two words' ''
printf '0\t%s\n1\tone\n2\ttwo words\n3\t\nbefore\ttrue\nvarargs\tone\ttwo words\t\n' "$jobs/args.lua" | diff - "$out" >&2 ||
  fail "arg is not as in stock Lua"
expect_status 0 rille run "$jobs/args.lua" -- --master -x
expect_in "$out" '^[12].--master$'

expect_status 1 rille run nowhere.lua
expect_in "$err" 'nowhere\.lua'
write syntax.lua <<<$'local x = 1\nlocal y = = 2'
expect_status 1 rille run syntax.lua
expect_in "$err" "syntax\.lua:2: .*near '='"
write raises.lua <<<$'local function f()\n  error("broken")\nend\nf()'
expect_status 1 rille run raises.lua
expect_in "$err" 'raises\.lua:2: broken'
expect_in "$err" 'raises\.lua:4:'

expect_status 7 rille run "$jobs/exits.lua" 7
say "scripts: ok"

write fails.lua <<'LUA'
local rille = require "rille"
local ssc = rille.StreamingContext({ master = "local[1]" }, 0.05)
ssc:queueStream({ { 1 } }):map(function(x)
  error("no luck with " .. x)
end):foreachRDD(function(rdd) rdd:collect() end)
ssc:start()
ssc:awaitTermination()
LUA
expect_status 1 rille run fails.lua --conf rille.task.maxFailures=1
expect_in "$err" 'fails\.lua:4: no luck with 1'
say "job failure: ok"

# settings ------------------------------------------------------------------------------------------------------------

expect_status 0 rille run "$jobs/settings.lua" --master 'local[3]'
expect_in "$out" '3 workers.*3$'
expect_status 0 rille run --master 'local[3]' --conf rille.default.parallelism=5 "$jobs/settings.lua"
expect_in "$out" '3 workers.*5$'
expect_status 0 rille run "$jobs/settings.lua" --conf spark.default.parallelism=6 --conf=rille.master='local[1]'
expect_in "$out" '1 workers?.*6$'
write job.properties <<<$'# settings\nrille.default.parallelism 9\nrille.master=local[2]'
expect_status 0 rille run "$jobs/settings.lua" --properties job.properties
expect_in "$out" '2 workers.*9$'
expect_status 0 rille run "$jobs/settings.lua" --properties job.properties --conf rille.default.parallelism=4
expect_in "$out" '2 workers.*4$'
expect_status 0 rille run "$jobs/settings.lua" --conf spark.executor.memory=1g
expect_in "$err" 'spark\.executor\.memory'

expect_status 2 rille run "$jobs/settings.lua" --conf rille.default.paralelism=4
expect_in "$err" "rille\.default\.paralelism.*did you mean 'rille\.default\.parallelism'"
expect_status 2 rille run "$jobs/settings.lua" --conf rille.default.parallelism=many
expect_in "$err" 'rille\.default\.parallelism'
expect_status 2 rille run "$jobs/settings.lua" --master 'cluster[2]'
expect_in "$err" 'cluster\[2\]'
expect_status 2 rille run "$jobs/settings.lua" --properties nowhere.properties
expect_in "$err" 'nowhere\.properties'
write bad.properties <<<$'# settings\nrille.nothing = 1'
expect_status 2 rille run "$jobs/settings.lua" --properties bad.properties
expect_in "$err" 'bad\.properties:2.*rille\.nothing'
say "settings: ok"

# signals -------------------------------------------------------------------------------------------------------------

mkfifo gate gate.done

# begin_receiving SECONDS OPTION...: until a thousand records were received, right behind a tick; SECONDS from one to the next.
begin_receiving() {
  begin receiving rille run "${@:2}" "$jobs/stop.lua" received gate "$1"
  until_true 10 shown receiving '^ready$'
  echo go >gate
  read -r _ <gate.done
}

for signal in INT TERM; do
  begin_receiving 1.5
  kill -"$signal" "$begun"
  expect_end "$begun" 0 15
  expect_in receiving.out '^processed 1000, STOPPED$'
  expect_clean receiving.err
done
say "graceful stop: ok"

begin_receiving 6 --conf rille.streaming.stopGracefullyOnShutdown=false
kill -TERM "$begun"
expect_end "$begun" 0 5
expect_in receiving.out '^processed 0, STOPPED$'

begin slow rille run "$jobs/stop.lua" slow
until_true 10 shown slow '^ready$'
kill -TERM "$begun"
expect_end "$begun" 0 15
expect_in slow.out '^processed 1, STOPPED$'
say "a batch under way is worked off: ok"

# Sooner than 20 ms behind the first, the second would be taken for the same one.
begin second rille run "$jobs/stop.lua" stuck --conf rille.log.level=info
until_true 10 shown second '^ready$'
kill -INT "$begun"
until_true 10 has second.err 'a second signal stops at once'
pause
kill -INT "$begun"
status=0
until_true 5 ended "$begun"
wait "$begun" || status=$?
((status != 0)) || fail "a job that was cut off ended with status 0"
expect_clean second.err

# The thread sanitizer holds a signal back while no system call is made. Nothing tells that the first signal has come, and on
# a busy machine that may take a while.
for where in output transform; do
  [[ $RILLE_SANITIZE != thread ]] || continue
  begin caught rille run "$jobs/stop.lua" "$where"
  until_true 10 shown caught '^ready$'
  kill -INT "$begun"
  sleep 1
  kill -INT "$begun"
  expect_end "$begun" 1 5
  expect_in caught.err 'stopped at once by a second signal'
done
say "a second signal: ok"

begin limit rille run "$jobs/stop.lua" stuck --conf rille.streaming.gracefulStopTimeout=300ms
until_true 10 shown limit '^ready$'
kill -TERM "$begun"
until_true 10 ended "$begun"
expect_in limit.err 'gracefulStopTimeout'
expect_clean limit.err

begin held rille run "$jobs/stop.lua" held held.gate --conf rille.streaming.gracefulStopTimeout=100ms
until_true 10 shown held '^ready$'
kill -TERM "$begun"
sleep 2 # the limit is counted from where the signal comes, which a busy machine may put off
touch held.gate
expect_end "$begun" 0 10
expect_in held.err 'cut short after 0.1 s'
expect_not_in held.out '^late$'
say "limit of a graceful stop: ok"

begin failing rille run "$jobs/stop.lua" failing failing.gate --conf rille.streaming.onBatchFailure=skip \
  --conf rille.streaming.gracefulStopTimeout=60s
until_true 10 shown failing '^ready$'
kill -TERM "$begun"
sleep 0.5
touch failing.gate
expect_end "$begun" 0 30
expect_in failing.out '^late$'
expect_in failing.out 'STOPPED$'
say "failures are skipped in a graceful stop, too: ok"

begin asked rille run "$jobs/stop.lua" asked asked.gate
until_true 10 shown asked '^ready$'
kill -TERM "$begun"
sleep 0.5
touch asked.gate
expect_end "$begun" 0 30
expect_in asked.out 'STOPPED$'
expect_clean asked.err
say "a signal while the script stops the job: ok"
