# shellcheck shell=bash
# What the end-to-end drivers share. Sourced, not run; the drivers run in the environment of a build tree (build/<preset>/with),
# which sets RILLE_SOURCE, RILLE_BUILD, RILLE_SANITIZE and the paths.
set -euo pipefail

jobs=$RILLE_SOURCE/spec/e2e/jobs
scratch=$(mktemp -d)
children=()

# Sanitized programs are slower: time limits are given for the others.
slowdown=1
[[ -z $RILLE_SANITIZE ]] || slowdown=8

exec {never}<> <(:)

finish() {
  local status=$?
  if ((${#children[@]})); then
    kill -KILL "${children[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
  fi
  rm -rf "$scratch"
  exit "$status"
}
trap finish EXIT

fail() {
  printf 'FAILED: %s\n' "$*" >&2
  local file
  for file in "$scratch"/*.out "$scratch"/*.err; do
    [[ -s $file ]] || continue
    printf -- '--- %s\n' "${file##*/}" >&2
    tail -c 4000 "$file" >&2
  done
  exit 1
}

say() {
  printf '%s\n' "$*"
}

# A short while, to look again.
pause() {
  read -rt 0.03 -u "$never" || true
}

# until_true SECONDS COMMAND...: runs it again and again until it succeeds; fails the driver after the time. That is as an
# idle machine would have it; one that is not gets at least four times as much.
until_true() {
  local limit=$(($1 * (slowdown > 4 ? slowdown : 4) + SECONDS))
  shift
  until "$@"; do
    ((SECONDS <= limit)) || fail "not in time: $*"
    pause
  done
}

# has FILE PATTERN: an extended regular expression in the file.
has() {
  [[ -f $1 ]] && grep -qE -e "$2" "$1"
}

expect_in() {
  has "$@" || fail "no /$2/ in ${1##*/}"
}

expect_not_in() {
  ! has "$@" || fail "unexpected /$2/ in ${1##*/}"
}

# expect_status STATUS COMMAND...: runs it to its end, with its output in $scratch/last.out and last.err.
expect_status() {
  local wanted=$1 status=0
  shift
  timeout -k 5 $((120 * slowdown)) "$@" >"$scratch/last.out" 2>"$scratch/last.err" </dev/null || status=$?
  expect_clean "$scratch/last.err"
  ((status == wanted)) || fail "exit status $status instead of $wanted: $*"
}

# No report of a sanitizer.
expect_clean() {
  expect_not_in "$1" 'Sanitizer|runtime error:'
}

# begin NAME COMMAND...: starts it in the background; its output goes to $scratch/NAME.out and NAME.err; the id is in $begun. (SIGINT
# is the shell's to ignore for background jobs, so it is given its default again.)
begin() {
  local name=$1
  shift
  : >"$scratch/$name.out" # another one's of this name is not to be seen
  env --default-signal=INT,TERM "$@" >"$scratch/$name.out" 2>"$scratch/$name.err" </dev/null &
  begun=$!
  children+=("$begun")
}

ended() {
  ! kill -0 "$1" 2>/dev/null
}

# shown NAME PATTERN: the background process begun last shows it; fails the driver when that has ended instead.
shown() {
  has "$scratch/$1.out" "$2" && return
  ! ended "$begun" || has "$scratch/$1.out" "$2" || fail "$1 ended without showing /$2/"
  return 1
}

# expect_end ID STATUS SECONDS: the background process ends by itself, with that status.
expect_end() {
  local status=0
  until_true "$3" ended "$1"
  wait "$1" || status=$?
  ((status == $2)) || fail "process $1 ended with status $status instead of $2"
}

# begin_feed NAME ARGS...: a rille-feed; its port is in $port.
begin_feed() {
  local name=$1
  shift
  begin "$name" "$RILLE_BUILD/bin/rille-feed" "$@"
  until_true 5 test -s "$scratch/$name.out"
  port=$(<"$scratch/$name.out")
}
