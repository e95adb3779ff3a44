#!/usr/bin/env bash
# The script in the checkpoint: jobs that are killed go on from what was recorded of their script, or with the script of
# today; accumulators come back with them.
. "$(dirname "$0")/_lib.sh"

out=$scratch/last.out err=$scratch/last.err
cd "$scratch"
mkdir in lib

write() {
  cat >"$scratch/$1"
}

# feed TEXT: a line for the job, as a file.
number=0
feed() {
  number=$((number + 1))
  printf '%s\n' "$1" >".line"
  mv .line "in/$number"
}

# kill_job NAME: as a crash would end it.
kill_job() {
  kill -KILL "$begun"
  wait "$begun" 2>/dev/null || true
  expect_clean "$1.err"
}

# counts NAME TEXT: the job's last line shows these counts.
counts() {
  until_true 60 shown "$1" "$2\$"
}

write lib/words.lua <<'LUA'
local words = {}
function words.split(line) return line:gmatch("%S+") end
return words
LUA

# Prints the counts of all words, the number of lines, and its own arguments and setting.
write job.lua <<'LUA'
#!/usr/bin/env rille
local rille = require "rille"
local words = require "words"
local ADDED = 1

local function add(new, old)
  local n = old or 0
  for _ = 1, #new do n = n + ADDED end
  return n
end

local function setup()
  local ssc = rille.StreamingContext({ appName = "recovered" }, 0.2)
  local lines = ssc:context():longAccumulator("lines")
  local seen = ssc:context():longAccumulator()
  ssc:textFileStream(arg[2])
    :map(function(line)
      lines:add(1)
      return line
    end)
    :flatMap(words.split)
    :map(function(word) return word, 1 end)
    :updateStateByKey(add):uid("counts")
    :foreachRDD(function(rdd)
      seen:add(0)
      local shown = {}
      for i, record in ipairs(rdd:collect()) do shown[i] = ("%s=%d"):format(record[1], record[2]) end
      table.sort(shown)
      print(("%s %s: %s; %d lines"):format(arg[1], arg[3] or "", table.concat(shown, " "), lines:value()))
      io.stdout:flush()
    end)
  return ssc
end

local ssc = rille.StreamingContext.getOrCreate(arg[1], setup)
ssc:start()
ssc:awaitTermination()
LUA

# a job without its script ---------------------------------------------------------------------------------------------

export LUA_PATH="$scratch/lib/?.lua;$LUA_PATH"
begin first rille run --master 'local[2]' --conf spark.ssl.keyPassword=hush --conf spark.ui.port=4711 job.lua ck in today
until_true 60 shown first 'ck today: '
feed 'a b a'
counts first 'ck today: a=2 b=1; 1 lines'
feed 'b'
counts first 'ck today: a=2 b=2; 2 lines'
kill_job first
# Settings of the command line are kept, but for secrets.
expect_in ck/state/data.mdb 'lines:add\(1\)'
expect_in ck/state/data.mdb 'spark.ui.port'
expect_not_in ck/state/data.mdb 'hush'

mkdir away
mv job.lua lib away
begin second rille recover ck
feed 'c'
counts second 'ck today: a=2 b=2 c=1; 3 lines'
kill_job second
expect_in second.err 'spark.ssl.keyPassword was given on the command line and is not kept in checkpoints'

# What was recovered was recorded again.
begin third rille recover --master 'local[1]' ck
feed 'c'
counts third 'ck today: a=2 b=2 c=2; 4 lines'
kill -TERM "$begun"
expect_end "$begun" 0 60
expect_clean third.err

# Its arguments may be others.
begin fourth rille recover ck ck in else
feed 'd'
counts fourth 'ck else: a=2 b=2 c=2 d=1; 5 lines'
kill_job fourth
# The directory may be called by another name than the script's.
mkdir elsewhere
ln -s ../in elsewhere/in
cd elsewhere
begin moved rille recover --supervise ../ck
cd ..
feed 'd'
counts moved 'ck else: a=2 b=2 c=2 d=2; 6 lines'
kill -TERM "$begun"
expect_end "$begun" 0 60
[[ ! -e elsewhere/ck ]] || fail "a checkpoint was begun where the script says"

# Arguments that lead it to another directory are refused.
expect_status 1 rille recover ck ck2 in
expect_in "$err" 'the job in ck is to be recovered, but the script has its checkpoint in ck2'
[[ ! -e ck2 ]] || fail "another job was begun"
say "without the script: ok"

# the script of today --------------------------------------------------------------------------------------------------

mv away/lib .
sed 's/^local ADDED = 1/local ADDED = 100/' away/job.lua >job.lua
begin fifth rille run job.lua ck in today
feed 'd'
counts fifth 'ck today: a=2 b=2 c=2 d=102; 7 lines'
kill_job fifth
say "a changed script: ok"

# the recorded function ------------------------------------------------------------------------------------------------

rm -r lib
write other.lua <<'LUA'
local rille = require "rille"
local function broken() error "the database is down" end
local ssc = rille.StreamingContext.getOrCreate(arg[1], arg[2] and broken or nil)
ssc:start()
ssc:awaitTermination()
LUA
begin sixth rille run other.lua ck
feed 'e'
counts sixth 'ck today: a=2 b=2 c=2 d=102 e=100; 8 lines'
kill_job sixth
expect_in sixth.err "other.lua:3: getOrCreate: no function was given; the function recorded in 'ck' is used"

begin seventh rille run other.lua ck break
feed 'e'
counts seventh 'ck today: a=2 b=2 c=2 d=102 e=200; 9 lines'
kill_job seventh
expect_in seventh.err "other.lua:2: the database is down.*; the function recorded in 'ck' is used"
say "the recorded function: ok"

# nothing is counted twice ---------------------------------------------------------------------------------------------

# Lines are counted by state, by an accumulator in the functions above it, by one in an output's tasks, and by one in the
# script itself; between them lies work that a kill can fall into.
write exact.lua <<'LUA'
local rille = require "rille"
local function setup()
  local ssc = rille.StreamingContext({ master = "local[2]" }, 0.1)
  local sc = ssc:context()
  local above, within, driver = sc:longAccumulator(), sc:longAccumulator("within"), sc:longAccumulator()
  local function rest() local x = 0 for i = 1, 3000000 do x = x + i end return x end
  local lines = ssc:textFileStream("numbers")
  lines:map(function(line)
      above:add(1)
      return line % 3, 0
    end)
    :updateStateByKey(function(new, old) return (old or 0) + #new end):uid("state")
    :foreachRDD(function(rdd)
      local total = 0
      rest()
      for _, record in ipairs(rdd:collect()) do total = total + record[2] end
      print(("%d %d %d %d"):format(total, above:value(), within:value(), driver:value()))
      io.stdout:flush()
    end)
  lines:foreachRDD(function(rdd)
    driver:add(rdd:count())
    rest()
    rdd:foreach(function() within:add(1) end)
    rest()
  end)
  return ssc
end
local ssc = rille.StreamingContext.getOrCreate("ck-exact", setup)
ssc:start()
ssc:awaitTermination()
LUA
mkdir numbers

total=0
put() {
  local i
  for ((i = 0; i < 5; i++)); do printf '%d\n' $((total += 1)); done >.numbers
  mv .numbers "numbers/$total"
}

for ((round = 1; round <= 12; round++)); do
  begin exact rille run exact.lua
  until_true 60 shown exact '^[0-9]+ '
  for ((k = RANDOM % 6; k >= 0; k--)); do
    put
    read -rt "0.$((RANDOM % 90 + 10))" -u "$never" || true
  done
  kill_job exact
done
begin exact rille run exact.lua
until_true 60 shown exact "^$total "
put
until_true 60 shown exact "^$total "
kill -TERM "$begun"
expect_end "$begun" 0 60
# The second output of a batch is done behind the first, which printed; all of it is in what a next process finds.
begin exact rille run exact.lua
until_true 60 shown exact "^$total $total $total $total\$"
kill_job exact
say "nothing counted twice: ok"

# what it takes --------------------------------------------------------------------------------------------------------

expect_status 1 rille recover nowhere
expect_in "$err" 'there is no checkpoint in nowhere'
[[ ! -e nowhere ]] || fail "looking for a checkpoint has made a directory"
expect_status 2 rille recover
expect_in "$err" 'Give its checkpoint directory'
expect_status 2 rille recover --frobnicate ck
expect_in "$err" "Try 'rille recover --help'"
expect_status 0 rille recover --help
expect_in "$out" 'rille recover'
expect_status 1 rille run other.lua nothing break
expect_in "$err" 'other.lua:2: the database is down'
expect_status 1 rille run other.lua nothing
expect_in "$err" "there is no checkpoint in 'nothing'"

write unfit.lua <<'LUA'
local rille = require "rille"
local file = io.tmpfile()
local ssc = rille.StreamingContext({ master = "local[1]" }, 0.1)
ssc:checkpoint("ck2")
ssc:textFileStream("in"):foreachRDD(function(rdd) file:write(rdd:count()) end)
ssc:start()
LUA
expect_status 1 rille run unfit.lua
expect_in "$err" "unfit.lua:5: the function given to foreachRDD captures 'file' \(userdata"
say "refusals: ok"
