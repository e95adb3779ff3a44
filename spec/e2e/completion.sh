#!/usr/bin/env bash
# Completion of rille's command line, as bash calls it; in zsh, that it loads and knows the commands.
. "$(dirname "$0")/_lib.sh"
cd "$scratch"
. "$RILLE_SOURCE/tools/completion/rille.bash"

# Only in a completion there is something to set.
compopt() { :; }

# offer WORD BEFORE: as an interactive bash calls it, which goes on when a command fails.
offer() {
  set +e
  _rille rille "$@"
  set -e
}

# completes "COMMAND LINE" WORD...: with the cursor at its end, exactly these are offered. bash makes words of the line
# at blanks and at "="; the test does the same.
completes() {
  local line=$1 offered wanted
  shift
  read -ra COMP_WORDS <<<"${line//=/ = }"
  [[ $line != *' ' ]] || COMP_WORDS+=('')
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
  [[ $word != = ]] || { COMP_WORDS+=('') && ((++COMP_CWORD)) && word='' before='='; }
  offer "$word" "$before"
  offered=$(printf '%s\n' "${COMPREPLY[@]}" | sort)
  wanted=$(printf '%s\n' "$@" | sort)
  [[ $offered == "$wanted" ]] || fail "'$line' is completed to: ${COMPREPLY[*]}; and not to: $*"
}

mkdir jobs 'two words'
touch words.lua 'a job.lua' data.txt

completes 'rille ' run recover check test inspect backup version help
completes 'rille ve' version
completes 'rille help ' run recover check test inspect backup settings
completes 'rille run ' words.lua 'a job.lua' jobs 'two words'
completes 'rille run w' words.lua
completes 'rille run --' --supervise --restarts --backoff --master --conf --properties --help
completes 'rille run --su' --supervise
completes 'rille run --restarts ' ''
completes 'rille recover ' jobs 'two words'
completes 'rille recover --' --supervise --restarts --backoff --master --conf --properties --help
completes 'rille recover --conf=rille.streaming.block' rille.streaming.blockInterval=
completes 'rille recover --conf rille.streaming.blockInterval=' ''
completes 'rille inspect ' jobs 'two words'
completes 'rille inspect jobs --' --json --key --verify --repair --from --help
completes 'rille inspect jobs --repair --from=' jobs 'two words'
completes 'rille backup jobs ' jobs 'two words'
completes 'rille check --s' --strict
completes 'rille check --strict w' words.lua
completes 'rille test --' --filter --tap --junit --watch --master --conf --properties --help
completes 'rille test j' jobs
completes 'rille run --master ' local 'local[*]' 'local[1]' 'local[2]' 'local[4]' 'local[8]'
completes 'rille run --master=local[4' 'local[4]'
completes 'rille run --conf rille.streaming.block' rille.streaming.blockInterval=
completes 'rille run --conf=rille.streaming.block' rille.streaming.blockInterval=
completes 'rille run --conf rille.streaming.blockInterval=' ''
completes 'rille run --properties d' data.txt
completes 'rille run words.lua d' data.txt
completes 'rille run words.lua --' ''
mapfile -t settings < <(rille help settings | sed 's/ .*/=/')
((${#settings[@]} > 10)) || fail "rille help settings says little"
completes 'rille test --conf ' "${settings[@]}"
say "bash: ok"

# What is offered is what the commands' help names.
for command in run check test inspect backup; do
  COMP_WORDS=(rille "$command" --) COMP_CWORD=2
  offer -- "$command"
  offered=$(printf '%s\n' "${COMPREPLY[@]}" | sort)
  named=$(rille help "$command" | grep -oE -- '(^|[ ,])--[a-z]+' | tr -d ' ,' | sort -u)
  [[ $offered == "$named" ]] || fail "rille $command: completion offers ${offered//$'\n'/ }; help names ${named//$'\n'/ }"
  while read -r option; do
    grep -qE -- "[ '*]$option[=[]" "$RILLE_SOURCE/tools/completion/_rille" || fail "_rille does not know $option"
  done <<<"$named"
done
say "all options: ok"

if command -v zsh >/dev/null; then
  cp "$RILLE_SOURCE/tools/completion/_rille" .
  expect_status 0 zsh -f -c 'fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -d "$PWD/dump"; print -- $_comps[rille]'
  expect_in last.out '^_rille$'
  expect_status 0 zsh -n _rille
  say "zsh: ok"
else
  say "zsh: not here"
fi
