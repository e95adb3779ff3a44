#!/usr/bin/env bash
# What a person types: tools/run alone, tools/run JOB.lua, eval "$(tools/env)"; and rille-feed. Of the release tree; skipped for others.
. "$(dirname "$0")/_lib.sh"

if [[ ! $RILLE_BUILD -ef $RILLE_SOURCE/build/release ]]; then
  say "skipped: tools/ is about build/release"
  exit 77
fi
tools=$RILLE_SOURCE/tools
cd "$scratch"
# What tools/ is given by a person's shell, not by build/<preset>/with.
unset LUA_PATH LUA_CPATH

begin run "$tools/run"
until_true 60 shown run '^\([a-z]+,[0-9]+\)$'
until_true 10 shown run '^Time: '
feed=$(pgrep -P "$begun" -x rille-feed) || fail "no feed is running"
expect_in run.err "127\.0\.0\.1:[0-9]+"
kill -INT "$begun"
expect_end "$begun" 0 15
until_true 5 ended "$feed"
say "tools/run: ok"

started=$(date +%s%N)
expect_status 3 "$tools/run" "$jobs/exits.lua" 3
((($(date +%s%N) - started) / 1000000 < 2000)) || fail "a second start of tools/run took two seconds or more"
say "tools/run JOB.lua: ok"

# In a shell of its own: rille, lua5.4 and busted find this tree, from any directory.
cat >env.sh <<'SH'
set -eu
eval "$("$1/env")"
[ "$(command -v rille)" -ef "$2/bin/rille" ]
rille version >/dev/null
lua5.4 -e 'local rille = require "rille"
  local sc = rille.Context { master = "local[1]" }
  assert(sc:parallelize({ 1, 2, 3 }):count() == 3)
  for name in pairs(_G) do assert(name ~= "rille") end'
printf 'describe("the module", function() it("is found", function() assert.is_table(require "rille") end) end)\n' >found_spec.lua
busted found_spec.lua >/dev/null
before=$PATH
eval "$("$1/env")"
[ "$PATH" = "$before" ]
SH
PATH=${PATH#"$RILLE_BUILD/bin:"} expect_status 0 bash env.sh "$tools" "$RILLE_BUILD"
say "tools/env: ok"

begin_feed first
expect_status 1 "$RILLE_BUILD/bin/rille-feed" "$port"
expect_in last.err "cannot listen on 127\.0\.0\.1:$port"
expect_status 2 "$RILLE_BUILD/bin/rille-feed" --rate fast
say "rille-feed: ok"

bench=$RILLE_SOURCE/bench/run
expect_status 0 "$bench" --help
expect_in last.out '^bench/run \[NAME\.\.\.\]'
[[ ! -s last.err ]] || fail "help is no error: $(<last.err)"
names=$(sed -n '/^local ORDER/,/^}/p' "$RILLE_SOURCE/bench/run.lua" | grep -o '"[a-z]*"' | tr -d '"' | paste -sd ' ')
expect_status 2 "$bench" batch nonsense
[[ $(<last.err) == "bench/run: there is no benchmark or option 'nonsense'; the benchmarks are: $names "* ]] ||
  fail "not told: $(<last.err)"
(($(wc -l <last.err) == 1)) || fail "more than a line: $(<last.err)"
expect_status 2 "$bench" --pairs many
say "bench/run: ok"
