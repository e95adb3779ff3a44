#!/usr/bin/env bash
# A job whose disk is full: it waits, and stops when it is asked to, also in its start; nothing is lost. The disk is one in
# memory, in a namespace of its own: who may not mount there leaves this out.
if [[ -z ${RILLE_MOUNTS-} ]]; then
  unshare -m true 2>/dev/null || exit 77
  RILLE_MOUNTS=1 exec unshare -m bash "$0"
fi
. "$(dirname "$0")/_lib.sh"

cd "$scratch"
mkdir small in
mount -t tmpfs -o size=2m none small 2>/dev/null || exit 77
trap 'status=$?; umount -l "$scratch/small"; (exit $status); finish' EXIT

cat >job.lua <<'LUA'
local rille = require "rille"
local ssc = rille.StreamingContext({ appName = "full", master = "local[2]" }, 0.1)
ssc:checkpoint "small/checkpoint"
ssc:fileStream("in", { newFilesOnly = false }):uid "lines"
  :map(function(line) return line, 1 end)
  :updateStateByKey(function(new, old) return (old or 0) + #new end):uid "count"
  :foreachRDD(function(rdd)
    for _, record in ipairs(rdd:collect()) do print(record[1] .. " " .. record[2]) end
    io.stdout:flush()
  end)
ssc:start()
ssc:awaitTermination()
LUA

# start NAME: every record begins a segment, so that none fits into what is left of a page.
start() {
  begin "$1" rille run --conf rille.streaming.driver.writeAheadLog.rollingInterval=1ms \
    --conf rille.streaming.gracefulStopTimeout=2s job.lua
}

fill() {
  dd if=/dev/zero of=small/fill bs=4k status=none 2>/dev/null || true
}

echo word >in/first
start full
until_true 30 shown full '^word 1$'
fill
until_true 30 has "$scratch/full.err" 'the disk is full .*; nothing is acknowledged until there is room'
kill -TERM "$begun"
expect_end "$begun" 1 60
expect_in "$scratch/full.err" 'the graceful stop was cut short .* in the log as far as that could be written'
expect_in "$scratch/full.err" '^rille: write-ahead log .*: the disk is full, and the log ends without its records [0-9]+ to '
expect_not_in "$scratch/full.err" 'there is room on the disk again'
say "a stop on a full disk: ok"

for signal in INT TERM; do
  fill
  start waiting
  until_true 30 has "$scratch/waiting.err" 'the disk is full'
  kill "-$signal" "$begun"
  expect_end "$begun" 1 60
  expect_in "$scratch/waiting.err" '^rille: job.lua:[0-9]+: small/checkpoint: stopped by a signal while the start waited'
done
say "a signal in a start on a full disk: ok"

fill
start again
until_true 30 has "$scratch/again.err" 'the disk is full'
rm small/fill
until_true 30 has "$scratch/again.err" 'there is room on the disk again, and it goes on'
echo word >in/.second
mv in/.second in/second
until_true 30 shown again '^word 2$'
kill -TERM "$begun"
expect_end "$begun" 0 60
say "room again: ok"
