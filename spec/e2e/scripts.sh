#!/usr/bin/env bash
# Each script of scripts/ against a feed or files; what it prints or writes is checked, and that Ctrl-C ends it well.
. "$(dirname "$0")/_lib.sh"

scripts=$RILLE_SOURCE/scripts
cd "$scratch"

# interrupt NAME [PATTERN]: the script ends with status 0 upon SIGINT, without a complaint but lines with the pattern.
interrupt() {
  kill -INT "$begun"
  expect_end "$begun" 0 15
  expect_clean "$1.err"
  ! grep -vE "${2:-^$}" "$1.err" >&2 || fail "$1 complained"
}

# in_one_batch FILE LINE...: all lines are there between two "Time:" lines.
in_one_batch() {
  local file=$1
  shift
  LINES_WANTED=$(printf '%s\n' "$@") awk '
    function over(  i) { if (n > 0) { for (i in wanted) if (!(i in seen)) return; found = 1 } }
    BEGIN { n = split(ENVIRON["LINES_WANTED"], list, "\n"); for (i in list) wanted[list[i]] }
    /^Time: / { over(); delete seen }
    { seen[$0] }
    END { over(); exit !found }' "$file"
}

printf 'a rose is a rose\nis a rose\n' >poem

begin_feed poem_feed --file poem --rate 0 --hold
begin network rille run "$scripts/network_wordcount.lua" 127.0.0.1 "$port" 0.2
until_true 10 in_one_batch network.out '(a,3)' '(rose,3)' '(is,2)'
interrupt network
expect_in network.out '^-------------------------------------------$'
expect_in network.out '^Time: [0-9]+ ms$'
say "network_wordcount: ok"

mkdir incoming
begin files rille run "$scripts/file_wordcount.lua" incoming "$scratch/counts" 0.2
until_true 10 shown files '^Time: '
cp poem incoming/.poem
mv incoming/.poem incoming/poem
until_true 10 in_one_batch files.out '(a,3)' '(rose,3)' '(is,2)'
interrupt files
cat counts-*.txt/part-* | sort >saved
printf '(a,3)\n(is,2)\n(rose,3)\n' | diff - saved >&2 || fail "file_wordcount saved something else"
for dir in counts-*.txt; do
  [[ -f $dir/_SUCCESS ]] || fail "$dir is not complete"
done
say "file_wordcount: ok"

expect_status 0 rille run "$scripts/queue_stream.lua" 3 0.2
for digit in 0 1 2 3 4 5 6 7 8 9; do
  (($(grep -c "^($digit,100)\$" last.out) == 3)) || fail "queue_stream: digit $digit"
done
say "queue_stream: ok"

# Again and again, as a batch may end between two of them.
begin receiver rille run "$scripts/custom_receiver.lua" 'while printf "tick\ntock\ntick\n"; do sleep 1; done' 0.2
until_true 10 in_one_batch receiver.out '(tick,2)' '(tock,1)'
kill -INT "$begun"
# onStart still reads from the command: it is left behind, and said so at most.
expect_end "$begun" 0 30
expect_clean receiver.err
say "custom_receiver: ok"

# The pairs of one batch meet. Both feeds begin when the job connects; should a batch end right between, the job is started again.
printf 'ann /home\nbob /shop\nann /home\nno pair here\n' >views
printf 'ann FI\n' >logins
begin_feed views_feed --file views --rate 0 --hold
views=$port
begin_feed logins_feed --file logins --rate 0 --hold
for attempt in 1 2 3 4 5; do
  begin join rille run "$scripts/join_streams.lua" 127.0.0.1 "$views" "$port" 0.5
  until_true 10 shown join '\(\(/shop,\?\),1\)'
  interrupt join
  ! in_one_batch join.out '((/home,FI),2)' '((/shop,?),1)' || break
  ((attempt < 5)) || fail "join_streams: the pairs did not meet"
done
say "join_streams: ok"

begin_feed top_feed --file poem --rate 0 --hold
begin top rille run "$scripts/top_k.lua" 2 127.0.0.1 "$port" 0.2
until_true 10 shown top '^\.\.\.$'
interrupt top
grep -B 2 -A 1 '^(rose,3)$' top.out | grep -A 2 '^(a,3)$' >ranked || fail "top_k: a before rose"
expect_not_in top.out '^\(is,2\)$'
say "top_k: ok"

begin_feed pool_feed --file poem --rate 0 --hold
mkdir pool
begin pool rille run "$scripts/foreach_pool.lua" 127.0.0.1 "$port" "$scratch/pool" 0.2
pool_has() { [[ $(cat pool/counts-*.tsv 2>/dev/null | cut -f 2- | sort) == $'a\t3\nis\t2\nrose\t3' ]]; }
until_true 10 pool_has
interrupt pool
(($(find pool -name 'counts-*.tsv' | wc -l) <= $(nproc))) || fail "foreach_pool: more connections than workers"
say "foreach_pool: ok"

# forgotten FILE LINE: the line was there, and later a batch without it.
forgotten() {
  awk -v line="$2" '
    /^Time: / { if (seen && !now) found = 1; now = 0 }
    $0 == line { seen = now = 1 }
    END { exit !found }' "$1"
}

begin_feed window_feed --file poem --rate 0 --hold
begin windowed rille run "$scripts/windowed_wordcount.lua" 127.0.0.1 "$port" 0.8 0.4 0.2
until_true 10 forgotten windowed.out '(rose,3)'
interrupt windowed
in_one_batch windowed.out '(a,3)' '(rose,3)' '(is,2)' || fail "windowed_wordcount: the words of a window"
say "windowed_wordcount: ok"

# Clicks come for as long as it takes; the impressions, which come once, stay in the window.
printf 'i1 car 1000\ni2 tea 1000\nneither\n' >impressions
for ((i = 0; i < 1000; i++)); do printf 'i1 1500\ni2 3000\ni3 9000\n'; done >clicks
begin_feed impressions_feed --file impressions --rate 0 --hold
impressions=$port
begin_feed clicks_feed --file clicks --rate 100 --hold
begin clicks rille run "$scripts/click_join.lua" 127.0.0.1 "$impressions" "$port" 60 0.2
until_true 10 shown clicks '^\(car,[0-9]+,500\.0\)$'
until_true 10 shown clicks '^\(tea,[0-9]+,2000\.0\)$'
interrupt clicks
say "click_join: ok"

# Counts go on in batches without words.
begin_feed state_feed --file poem --rate 0 --hold
begin stateful rille run "$scripts/stateful_wordcount.lua" 127.0.0.1 "$port" 0.2
until_true 10 in_one_batch stateful.out '(a,3)' '(is,2)' '(rose,3)'
counted=$(grep -c '^(rose,3)$' stateful.out)
later() { (($(grep -c '^(rose,3)$' stateful.out) > counted + 2)); }
until_true 10 later
interrupt stateful 'WARN  the state of updateStateByKey at .*stateful_wordcount.lua:[0-9]+ ends with this process'
expect_in stateful.out '^different words: 3$'
say "stateful_wordcount: ok"

# Each user comes once: a session begins, and is over when its silence is.
printf 'ann buys\nann pays\nbob looks\nnonsense\n' >actions
begin_feed actions_feed --file actions --rate 0 --hold
begin sessions rille run "$scripts/sessions.lua" 127.0.0.1 "$port" 0.2 0.6
until_true 10 shown sessions '^\(ann,session over: 2 actions in [0-9.]+ s\)$'
until_true 10 shown sessions '^\(bob,session over: 1 actions in 0\.0 s\)$'
interrupt sessions 'WARN  the state of mapWithState at .*sessions.lua:[0-9]+ ends with this process'
expect_in sessions.out '^\(ann,session begins with buys\)$'
(($(grep -c 'session over' sessions.out) == 2)) || fail "sessions: a session ended twice"
say "sessions: ok"

# The words of a file that came while the job was dead are counted as well, and none twice.
mkdir words
lmdb_job() { begin "$1" rille run "$scripts/lmdb_wordcount.lua" words "$scratch/counts.mdb" "$scratch/counts.checkpoint" 0.2; }
lmdb_counts() { rille run "$scripts/lmdb_wordcount.lua" --show "$scratch/counts.mdb" >counted 2>/dev/null; diff - counted >/dev/null; }
lmdb_job lmdb
until_true 60 test -d counts.mdb
cp poem words/.one && mv words/.one words/one
first_counted() { printf 'a\t3\nis\t2\nrose\t3\n' | lmdb_counts; }
until_true 60 first_counted
kill -KILL "$begun"
expect_end "$begun" 137 60
cp poem words/.two && mv words/.two words/two
lmdb_job lmdb_again
second_counted() { printf 'a\t6\nis\t4\nrose\t6\n' | lmdb_counts; }
until_true 60 second_counted
interrupt lmdb_again 'WARN  (.*is in .*counts.mdb already|[0-9]+ batch(es were| was) (missed since|not complete: run again))'
second_counted || fail "lmdb_wordcount: the counts moved on"
say "lmdb_wordcount: ok"
