# shellcheck shell=bash
# Completion of rille's command line in bash. Needs nothing of bash-completion.

# Words that begin with $1.
_rille_words() {
  mapfile -t COMPREPLY < <(compgen -W "$2" -- "$1")
}

# Directories and files that begin with $1; of the files those that end in $2.
_rille_files() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(
    compgen -d -- "$1"
    compgen -f -X "!*$2" -- "$1" | while IFS= read -r file; do [[ -d $file ]] || printf '%s\n' "$file"; done
  )
}

_rille_directories() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -d -- "$1")
}

# The settings' names, each with "=" behind it.
_rille_settings() {
  compopt -o nospace 2>/dev/null
  _rille_words "$1" "$("${COMP_WORDS[0]}" help settings 2>/dev/null | sed 's/ .*/=/')"
}

# Is there a script before the word that is completed? Behind it everything belongs to that.
_rille_has_script() {
  local i
  for ((i = 2; i < COMP_CWORD; i++)); do
    [[ ${COMP_WORDS[i]} == *.lua ]] && return
  done
  return 1
}

_rille() {
  local word=$2 before=$3 command=${COMP_WORDS[1]} settings='--master --conf --properties --help'
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    _rille_words "$word" 'run recover check test inspect backup version help'
    return
  fi
  # "=" is a word of its own to bash: --conf=KEY is three.
  [[ $before != = ]] || before=${COMP_WORDS[COMP_CWORD - 2]}=

  case $command:${before%=}:$word in
    *:--master:*) _rille_words "$word" 'local local[*] local[1] local[2] local[4] local[8]' ;;
    *:--conf:*) _rille_settings "$word" ;;
    *:--properties:* | *:--junit:*) _rille_files "$word" '' ;;
    *:--filter:*) ;;
    help:*) _rille_words "$word" 'run recover check test inspect backup settings' ;;
    run:--restarts:* | run:--backoff:* | recover:--restarts:* | recover:--backoff:*) ;;
    recover:*:-*) _rille_words "$word" "--supervise --restarts --backoff $settings" ;;
    recover:*) [[ $before == *= ]] || _rille_directories "$word" ;; # or the value of a setting
    inspect:--key:*) ;;
    inspect:*:-*) _rille_words "$word" '--json --key --verify --repair --from --help' ;;
    backup:*:-*) _rille_words "$word" '--help' ;;
    inspect:* | backup:*) _rille_directories "$word" ;;
    test:*:-*) _rille_words "$word" "--filter --tap --junit --watch $settings" ;;
    test:*) _rille_files "$word" .lua ;;
    run:* | check:*)
      if [[ $before == *= ]]; then
        return # the value of a setting
      elif _rille_has_script; then
        _rille_files "$word" ''
      elif [[ $word == -* ]]; then
        case $command in
          run) settings="--supervise --restarts --backoff $settings" ;;
          check) settings="--strict $settings" ;;
        esac
        _rille_words "$word" "$settings"
      else
        _rille_files "$word" .lua
      fi
      ;;
  esac
}

complete -F _rille rille
