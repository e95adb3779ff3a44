#!/usr/bin/env bash
# rille run --supervise with real processes that crash, are killed and are stopped; and what systemd would be told.
. "$(dirname "$0")/_lib.sh"

out=$scratch/last.out err=$scratch/last.err
cd "$scratch"

write() {
  cat >"$scratch/$1"
}

# The process does not run any more; it may still be a zombie of somebody else's.
gone() {
  local state
  state=$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || true
  [[ -z $state || $state == Z ]]
}

# Sets child to the id that the Nth run of the background job NAME tells.
child_of() {
  until_true 10 shown "$1" '^up [0-9]+'
  until_true 10 runs "$1" "$2"
  child=$(sed -n 's/^up //p' "$1.out" | sed -n "$2p")
}

runs() {
  (($(grep -c '^up ' "$1.out") >= $2))
}

write up.lua <<'LUA'
local rille = require "rille"
local ssc = rille.StreamingContext({ master = "local[1]" }, 0.05)
local told = false
ssc:queueStream({}):foreachRDD(function()
  if told then return end
  told = true -- inside awaitTermination, which catches signals
  print("up " .. io.open("/proc/self/stat"):read("n"))
  io.stdout:flush()
end)
ssc:start()
ssc:awaitTermination()
print(ssc:getState())
LUA
write fails.lua <<<'print "run" io.stdout:flush() error "broken"'

# options and statuses ------------------------------------------------------------------------------------------------

expect_status 2 rille run --restarts 3 up.lua
expect_in "$err" '--supervise'
expect_status 2 rille run --supervise --restarts many up.lua
expect_in "$err" "'many'"
expect_status 2 rille run --supervise up.lua --backoff 2s,1s
expect_in "$err" "'2s,1s'"
expect_status 2 rille run --supervise --backoff
expect_status 2 rille run --supervise
expect_status 2 rille run --supervise --conf rille.nothing=1 up.lua

expect_status 0 rille run --supervise --restarts=3 "$jobs/args.lua" one --backoff 1ms 'two words' ''
args='0\t%s\n1\tone\n2\ttwo words\n3\t\nbefore\ttrue\nvarargs\tone\ttwo words\t\n'
printf "$args" "$jobs/args.lua" | diff - "$out" >&2 ||
  fail "arg is not as without --supervise"
expect_status 0 rille run --supervise "$jobs/args.lua" -- --supervise --restarts
expect_in "$out" '^1.--supervise$'
expect_in "$out" '^2.--restarts$'
expect_status 7 rille run --supervise "$jobs/exits.lua" 7
[[ ! -s $err ]] || fail "something is logged of a status that the script gave"
expect_status 2 rille run --supervise "$jobs/exits.lua" 2
[[ ! -s $err ]] || fail "wrong usage is taken for a crash"
say "statuses: ok"

# crashes -------------------------------------------------------------------------------------------------------------

expect_status 1 rille run --supervise --restarts 3 --backoff 10ms fails.lua
(($(grep -c '^run$' "$out") == 4)) || fail "the job was not started four times"
(($(grep -c 'fails\.lua:1: broken' "$err") == 4)) || fail "the job's own messages are missing"
expect_in "$err" 'ended with status 1 after [0-9.]+ s; restart 1 in 0\.010 s'
expect_in "$err" 'restart 2 in 0\.020 s'
expect_in "$err" 'restart 3 in 0\.040 s'
expect_in "$err" 'not started again after 3 restarts'
expect_status 1 rille run --supervise --restarts 0 fails.lua
(($(grep -c '^run$' "$out") == 1)) || fail "the job was started again in spite of --restarts 0"
# A run of the longest pause begins from the first one again; what lies before the window does not count.
expect_status 0 rille run --supervise --restarts 1/1us --backoff 1ms,1ms "$jobs/args.lua"
write fifth.lua <<'LUA'
local file = io.open("runs", "a+")
local n = #file:read("a")
file:write("x"):close()
os.exit(n < 4 and 1 or 0)
LUA
expect_status 0 rille run --supervise --restarts 1/1us --backoff 1ms,1ms fifth.lua
(($(grep -c 'restart [1-4] in 0\.001 s' "$err") == 4)) || fail "a job that needs five runs does not have them"

begin killed rille run --supervise --backoff 10ms up.lua
child_of killed 1
first=$child
kill -KILL "$child"
child_of killed 2
[[ $child != "$first" ]] || fail "the job was not started anew"
gone "$first" || fail "the first run still runs"
[[ ! -e /proc/$first ]] || fail "the first run was left as a zombie"
expect_in killed.err 'signal 9 \(SIGKILL, [A-Za-z]+\) after [0-9.]+ s; restart 1 in 0\.010 s'
kill -TERM "$begun"
expect_end "$begun" 0 15
gone "$child" || fail "the job runs on"
expect_in killed.out '^STOPPED$'
expect_clean killed.err

begin last rille run --supervise --restarts 0 up.lua
child_of last 1
kill -KILL "$child"
expect_end "$begun" 137 10
say "crashes: ok"

# stopping ------------------------------------------------------------------------------------------------------------

for signal in INT TERM HUP; do
  begin stopped rille run --supervise up.lua
  child_of stopped 1
  kill -"$signal" "$begun"
  expect_end "$begun" 0 15
  expect_in stopped.out '^STOPPED$'
  [[ ! -s stopped.err ]] || fail "a stop is no crash"
done

begin hung env --ignore-signal=HUP rille run --supervise up.lua
child_of hung 1
kill -HUP "$begun"
kill -TERM "$begun"
expect_end "$begun" 0 15

# Sooner than 20 ms behind the first, the second would be taken for the same one.
begin second rille run --supervise "$jobs/stop.lua" stuck --conf rille.log.level=info
until_true 10 shown second '^ready$'
kill -INT "$begun"
until_true 10 has second.err 'a second signal stops at once'
pause
kill -INT "$begun"
expect_end "$begun" 1 20
expect_not_in second.err 'restart'

begin pausing rille run --supervise --backoff 1h fails.lua
until_true 10 has pausing.err 'restart 1 in 3600'
kill -TERM "$begun"
expect_end "$begun" 1 10
say "stopping: ok"

begin orphaned rille run --supervise up.lua
child_of orphaned 1
kill -KILL "$begun"
until_true 10 gone "$child"
say "the job dies with its parent: ok"

# what the job finds --------------------------------------------------------------------------------------------------

write surroundings.lua <<'LUA'
for line in io.lines("/proc/self/status") do
  if line:find "^SigBlk" or line:find "^SigIgn" or line:find "^SigPnd" then print(line) end
end
print(io.read("a"))
io.stdout:flush()
local id = io.open("/proc/self/stat"):read("n")
local shell = io.popen("read -r _; ls /proc/" .. id .. "/fd | wc -l", "w") -- only once the pipe is as it stays
shell:write("\n")
shell:close()
LUA
echo in | rille run surroundings.lua | cat >plain.txt
echo in | rille run --supervise surroundings.lua | cat >supervised.txt
diff plain.txt supervised.txt >&2 || fail "a supervised job finds other files or signals"
expect_in plain.txt '^in$'
say "surroundings: ok"

namespace=(unshare --user --map-root-user --pid --fork --mount-proc)
if "${namespace[@]}" true 2>/dev/null; then
  write orphans.lua <<'LUA'
assert(io.open("/proc/self/stat"):read("n") ~= 1)
os.execute("(exec sh -c 'echo $$ >orphan.new; mv orphan.new orphan') &")
local file
repeat file = io.open("orphan") until file
local id = file:read("n")
while io.open("/proc/" .. id .. "/status") do end
print "reaped"
LUA
  expect_status 0 "${namespace[@]}" "$RILLE_BUILD/bin/rille" run --supervise orphans.lua
  expect_in "$out" '^reaped$'
  say "process 1: ok"
else
  say "process 1: not tried (no namespaces here)"
fi

# a service of systemd ------------------------------------------------------------------------------------------------

begin manager "$RILLE_BUILD/spec/notified" "$scratch/notify"
until_true 5 shown manager '^listening$'

told() {
  (($(grep -c -x -e "$1" manager.out) >= $2))
}

begin service env NOTIFY_SOCKET="$scratch/notify" WATCHDOG_USEC=100000 rille run up.lua
until_true 10 told READY=1 1
until_true 10 told WATCHDOG=1 3
expect_not_in manager.out '^STOPPING'
kill -TERM "$begun"
expect_end "$begun" 0 15
until_true 10 told STOPPING=1 1
expect_clean service.err

# Supervised, the job itself is watched, and each run says that it is ready.
begin service sh -c 'WATCHDOG_PID=$$ exec "$@"' sh env NOTIFY_SOCKET="$scratch/notify" WATCHDOG_USEC=100000 \
  rille run --supervise --backoff 10ms up.lua
pings=$(grep -c WATCHDOG=1 manager.out)
child_of service 1
until_true 10 told WATCHDOG=1 $((pings + 2))
kill -KILL "$child"
until_true 10 told READY=1 3
kill -TERM "$begun"
expect_end "$begun" 0 15
say "notifications: ok"

unit=$RILLE_BUILD/rille@.service
[[ -s $unit ]] || fail "no unit in the build tree"
if command -v systemd-analyze >/dev/null && [[ -z $RILLE_SANITIZE ]]; then
  mkdir units
  sed "s|^ExecStart=[^ ]*|ExecStart=$RILLE_BUILD/bin/rille|" "$unit" >units/rille@.service
  systemd-analyze verify --man=no "$scratch/units/rille@.service" >verify.out 2>&1 || true
  expect_not_in verify.out 'rille@'
  say "unit: ok"
fi
