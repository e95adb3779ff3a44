#!/usr/bin/env bash
# rille inspect and rille backup on checkpoint directories of real jobs: running, killed, copied, damaged, repaired.
. "$(dirname "$0")/_lib.sh"

out=$scratch/last.out err=$scratch/last.err
cd "$scratch"

cat >total.lua <<'LUA'
local rille = require "rille"
local ssc = rille.StreamingContext({ appName = "total", master = "local[2]" }, 0.1)
ssc:checkpoint(arg[1])
ssc:socketTextStream("127.0.0.1", tonumber(arg[2])):uid("lines")
  :map(function() return "total", 1 end)
  :updateStateByKey(function(new, old) return (old or 0) + #new end):uid("count")
  :foreachRDD(function(rdd)
    for _, record in ipairs(rdd:collect()) do print("total " .. record[2]) end
    io.stdout:flush()
  end)
ssc:start()
ssc:awaitTermination()
LUA

cat >field.lua <<'LUA'
local json = require("rille").json
local value = json.decode(io.read("a"))
for name in arg[1]:gmatch("[^.]+") do value = value[tonumber(name) or name] end
print(value)
LUA

# start NAME DIR: the job in the background, until it has shown a total.
start() {
  begin "$1" rille run total.lua "$2" "$port"
  job=$begun
  until_true 20 shown "$1" '^total [1-9]'
}

# field PATH: of the JSON object in $out.
field() {
  rille run field.lua "$1" <"$out"
}

# The value of the only key.
total() {
  expect_status 0 rille inspect "$1" --key count total
  cat "$out"
}

# expect_total DIR [LOST]: a run that is asked to stop at once works off what there is; then all that ever was received
# is counted, but for what is lost.
expect_total() {
  begin "drain" rille run total.lua "$1" 1
  until_true 60 shown drain '^total [1-9]' # it runs, and minds the signal
  kill -TERM "$begun"
  expect_end "$begun" 0 60
  expect_status 0 rille inspect "$1" --json
  [[ $(field pending) == *table* || -n $(field job.app) ]] || fail "no JSON object"
  local position counted
  position=$(field inputs.1.position)
  counted=$(total "$1")
  ((counted + ${2:-0} == position)) || fail "$1: $counted counted, ${2:-0} lost, of $position"
  ((counted > 0)) || fail "$1: nothing was counted"
}

# flip FILE OFFSET
flip() {
  local byte
  byte=$(od -An -tu1 -j "$2" -N 1 "$1")
  printf "\\x$(printf %02x $((byte ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# usage ---------------------------------------------------------------------------------------------------------------

expect_status 2 rille inspect
expect_status 2 rille inspect a b
expect_status 2 rille inspect a --nothing
expect_in "$err" 'unknown option --nothing'
expect_status 2 rille inspect a --verify --repair
expect_status 2 rille inspect a --from b
expect_status 2 rille inspect a --key count
expect_status 2 rille backup a
expect_status 0 rille inspect --help
expect_in "$out" '--repair'
expect_status 0 rille help backup
expect_in "$out" 'DIR TO'
mkdir empty
expect_status 1 rille inspect empty
expect_in "$err" 'is no checkpoint directory'
expect_status 1 rille backup empty copy
expect_status 1 rille inspect nowhere
expect_in "$err" 'nowhere is no checkpoint directory: there is no directory of that name'
say "usage: ok"

# a running job -------------------------------------------------------------------------------------------------------

begin_feed feed --rate 1000 --hold
start first job
expect_status 0 rille inspect job
expect_in "$out" '^job +total \(Rille'
expect_in "$out" "running: process $job"
expect_in "$out" 'lines: position [0-9]+'
expect_in "$out" 'count: .*in the log up to 20'
expect_in "$out" '^graph +lines: .* at total.lua:4$'
expect_in "$out" '^ +count: updateStateByKey at total.lua:6; keeps state \(values\)$'
expect_status 0 rille inspect job --json
[[ $(field job.app) == total && $(field process) == "$job" ]] || fail "what --json tells of the job"
[[ $(field state.operators.1.uid) == count ]] || fail "what --json tells of the state"
[[ $(field graph.3.uid) == count && $(field graph.3.parents.1) == lines/map ]] || fail "what --json tells of the graph"
expect_status 0 rille inspect job --key count total
expect_in "$out" '^[1-9][0-9]*$'
expect_status 1 rille inspect job --key count nothing
expect_in "$err" 'no value of that key'
expect_status 1 rille inspect job --key nobody total
expect_in "$err" "operator 'nobody'"
expect_status 0 rille inspect job --key count '"total"' --json
[[ $(field key) == total && $(field found) == true ]] || fail "what --json tells of a value"
expect_status 0 rille inspect job --verify
expect_in "$out" '; no damage'
expect_status 1 rille inspect job --repair
expect_in "$err" "job/log is in use by another process \($job\): stop the job first"
expect_status 1 rille run total.lua job 1
expect_in "$err" "write-ahead log job/log: another process \($job\) has it open"
expect_status 1 rille recover job
expect_in "$err" "job/state is in use by another process \($job\)"
expect_status 0 rille backup job copy
expect_in "$out" '^copy: log: '
expect_status 1 rille backup job copy
expect_in "$err" 'there is something in copy already'
[[ $(stat -c %a copy) == 700 && $(stat -c %a copy/log/log-* | sort -u) == 600 ]] || fail "others may read the copy"
ln -s job link
expect_status 1 rille backup job link/new/copy
expect_in "$err" 'link/new/copy is job itself, or in it'
[[ ! -e job/new ]] || fail "a copy in what is copied"
expect_status 0 rille inspect copy --verify
at_copy=$(total copy)
say "a running job: ok"

# killed, and from the copy -------------------------------------------------------------------------------------------

# Enough changes of state to damage one and have others behind it.
has_changes() {
  (($(LC_ALL=C grep -abo $'\005count' job/log/log-* | wc -l) >= 14))
}
until_true 20 has_changes
kill -KILL "$job"
{ wait "$job" || true; } 2>/dev/null
expect_status 0 rille inspect job
expect_not_in "$out" 'running: process'
expect_status 0 rille inspect job --verify
expect_status 0 rille inspect job --repair
expect_in "$out" '^nothing is damaged$'
[[ ! -e job/quarantine ]] || fail "a quarantine of nothing"
[[ $(stat -c %a job/log/* job/state/* | sort -u) == 600 ]] || fail "others may read the job's files"
# For its user alone. (The program of this tree may lie where others cannot read it.)
if ((EUID == 0)) && [[ -z $RILLE_SANITIZE ]]; then
  chmod 711 "$scratch"
  cp "$(command -v rille)" program
  chmod 755 program
  nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  for words in "inspect job" "inspect job --verify" "backup job copy2" "recover job"; do
    # shellcheck disable=SC2086
    expect_status 1 "${nobody[@]}" ./program $words
    expect_in "$err" '^rille: cannot open job: Permission denied \(as user .+\)'
  done
fi
cp -a job killed
expect_total job
expect_total copy
(($(total copy) >= at_copy)) || fail "the copy went backwards"
say "killed, and from the copy: ok"

# files ---------------------------------------------------------------------------------------------------------------

cat >files.lua <<'LUA'
local rille = require "rille"
local ssc = rille.StreamingContext({ appName = "files", master = "local[2]" }, 0.1)
local kill = not io.open "died"
ssc:checkpoint "files"
ssc:fileStream("in", { newFilesOnly = false }):uid "lines"
  :map(function(line)
    if kill then os.execute "touch died; kill -9 $PPID" end
    return line, 1
  end)
  :updateStateByKey(function(new, old) return (old or 0) + #new end):uid "count"
  :foreachRDD(function(rdd, time)
    if rdd:count() > 0 then print "counted" ssc:stop(true, false) end
    if io.open "second" and time > tonumber(io.open "second":read "a") then ssc:stop(true, false) end
  end)
ssc:start()
ssc:awaitTermination()
LUA
mkdir in
echo word >in/part.txt
expect_status 137 rille run files.lua
expect_status 0 rille inspect files
expect_in "$out" '^ +lines: 1 file, last look: batch 20'
expect_in "$out" '^ +in/part.txt: 5 bytes$'
expect_status 0 rille inspect files --json
[[ $(field pending.1.inputs.1.files.1.path) == in/part.txt ]] || fail "what --json tells of a batch's files"
[[ $(field inputs.1.files.1.bytes) == 5 ]] || fail "what --json tells of the last batch's files"
mv in/part.txt part.txt
expect_status 1 rille run files.lua
expect_in "$err" 'batch [0-9]+ ms: cannot open in/part.txt: No such file or directory; .*files.lua:5: put it back'
expect_in "$err" 'rille.streaming.onBatchFailure = skip, which leaves the batch out'
cp -a files skipped
date +%s000 >second
expect_status 0 rille run --conf rille.streaming.onBatchFailure=skip files.lua
expect_in "$err" 'batch [0-9]+ ms is left out'
rm -r files second
mv skipped files
mv part.txt in/part.txt
expect_status 0 rille run files.lua
expect_in "$out" '^counted$'
say "files of a batch: ok"

# damage --------------------------------------------------------------------------------------------------------------

for part in 3 5 8; do
  rm -rf job
  cp -a killed job
  segment=$(printf '%s\n' job/log/log-* | head -n 1)
  offset=$(($(stat -c %s "$segment") * part / 10))
  flip "$segment" "$offset"
  expect_status 1 rille inspect job --verify
  expect_in "$out" "damaged log: $segment at offset [0-9]+"
  expect_status 1 rille inspect job --verify --json
  [[ $(field found.1.file) == "$segment" ]] || fail "--verify --json names $(field found.1.file)"
  (($(field found.1.offset) <= offset)) || fail "--verify --json names offset $(field found.1.offset)"
  expect_status 1 rille run total.lua job 1
  expect_in "$err" 'damaged log'
  expect_status 0 rille inspect job --repair
  expect_in "$out" 'moved to job/quarantine/.*/log$'
  lost=$(sed -nE "s/^input 'lines': ([0-9]+) records are lost.*/\1/p" "$out" | paste -sd+)
  expect_status 0 rille inspect job --verify
  expect_total job $((${lost:-0}))
done
say "a damaged log: ok"

# A batch of which only its beginning is lost: what it had goes into the next one, if the image does not have it, and its
# input goes on where it was.
cat >begins.lua <<'LUA'
local log, at = io.open(arg[1], "rb"):read "a", 97 -- behind two headers
while at + 40 <= #log do
  local length, type = ("<I4I4"):unpack(log, at)
  if type == 3 and length > 25 then print(at - 1) end -- with blocks
  at = at + 40 + length
end
LUA
rm -rf job
cp -a killed job
segment=$(printf '%s\n' job/log/log-* | head -n 1)
flip "$segment" "$(rille run begins.lua "$segment" | tail -n 2 | head -n 1)"
expect_status 0 rille inspect job --repair
expect_in "$out" '(batch [0-9]+ is lost: blocks that it had go into|are taken for what lost batches had)'
expect_total job
say "a lost beginning of a batch: ok"

# Of a segment's two headers one is enough; both are told.
for offset in 20 70; do
  rm -rf job
  cp -a killed job
  segment=$(printf '%s\n' job/log/log-* | tail -n 1)
  flip "$segment" "$offset"
  expect_status 1 rille run total.lua job 1
  expect_in "$err" "damaged log: $segment at offset $((offset / 48 * 48)): wrong checksum of the header"
  expect_status 0 rille inspect job --repair
  expect_not_in "$out" 'lost'
  expect_total job
done
say "a damaged header: ok"

# A change that a batch made, without an image that has it: the batch and those behind it are run again, their outputs
# are not.
rm -rf job
cp -a killed job
rm -r job/state
segment=$(printf '%s\n' job/log/log-* | head -n 1)
offset=$(LC_ALL=C grep -abo $'\005count' "$segment" | sed -n 7p)
flip "$segment" "${offset%%:*}"
expect_status 0 rille inspect job --repair
expect_in "$out" 'changes of state are lost from batch [0-9]+ on'
expect_not_in "$out" 'records are lost'
expect_total job
say "lost changes of state: ok"

damage_state() {
  head -c 20000 /dev/urandom | dd of=job/state/data.mdb bs=1 seek=9000 conv=notrunc status=none
}

rm -rf job
cp -a killed job
damage_state
expect_status 1 rille inspect job --verify
expect_in "$out" 'damaged state: job/state'
expect_status 0 rille inspect job --repair
expect_in "$out" 'moved to job/quarantine/.*/state$'
expect_total job
say "a damaged state, made of the log: ok"

rm -rf job copy
cp -a killed job
expect_status 0 rille backup job copy
damage_state
expect_status 0 rille inspect job --repair --from copy
expect_in "$out" "the state is the backup's"
expect_total job
say "a damaged state, made of a backup: ok"

# whose backup --------------------------------------------------------------------------------------------------------

mkdir other
expect_status 1 rille inspect job --repair --from other
expect_in "$err" 'other is no checkpoint directory'
start other other # it minds the signal from then on
kill -TERM "$begun"
expect_end "$begun" 0 60
expect_status 1 rille inspect job --repair --from other
expect_in "$err" 'other is no backup of this job: that one began at'
damage_state
expect_status 1 rille inspect job --repair --from other
expect_in "$err" 'other is no backup of this job: that one began at'
say "another job's backup: ok"
