# shellcheck shell=bash
# What the commands in tools/, bench/ and .ci/ share: packages, configuring, building. Sourced, not run.
#
# A clone on a bare Debian 12 machine becomes a built tree with: rille_packages build; rille_build release TARGET...
# Both are quick when there is nothing to do.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# What is needed, and why.
packages_build=(
  gcc             # the compiler
  libc6-dev       # the C library's headers
  cmake           # configures the build (3.25, as in Debian 12, for the presets)
  ninja-build     # runs the build
  pkgconf         # finds the libraries below
  liblua5.4-dev   # the language of jobs: headers, and the library for the rille program
  libuv1-dev      # sockets and timers of the io thread
  libxxhash-dev   # hashing of keys, checksums
  liblmdb-dev     # the state store's image (docs/decisions/010)
  liblz4-dev      # compression of serialised and spilled blocks
  libjansson-dev  # rille.json (docs/decisions/008)
  librdkafka-dev  # Kafka (docs/decisions/019)
)
packages_test=(
  lua5.4          # stock Lua: loads the module, runs busted and the benchmarks' baseline
  lua-busted      # specs in Lua
  lua-socket      # scripts/ack_sender.lua listens (docs/decisions/017)
  libcmocka-dev   # tests in C
  procps          # pgrep, in end-to-end drivers
)
packages_kafka=(
  openjdk-17-jre-headless # runs the broker of tools/kafka
  maven           # fetches it
  openssl         # certificates for its TLS listener
)
packages_package=(
  dpkg-dev        # which packages the programs depend on
  file            # tells programs from other files, for it
)
packages_ci=(
  clang           # second compiler: its warnings, and libFuzzer
  libclang-rt-14-dev # the sanitizers' and libFuzzer's runtime for clang
  clang-tidy      # static analysis
  lua-check       # luacheck: static analysis of the Lua files
)

fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

say() {
  printf '%s\n' "$*" >&2
}

# rille_missing PACKAGE...: those that are not installed, a line each.
rille_missing() {
  local installed package
  installed=" $(dpkg-query -W -f='${db:Status-Abbrev}:${Package} ' "$@" 2>/dev/null || true)"
  for package; do
    [[ $installed == *" ii :$package "* ]] || printf '%s\n' "$package"
  done
}

# rille_packages GROUP...: installs what is missing of packages_GROUP.
rille_packages() {
  local group wanted=() missing=() sudo=()
  for group; do
    declare -n list=packages_$group
    wanted+=("${list[@]}")
  done
  if ! command -v dpkg-query >/dev/null; then
    say "Not a Debian system; the packages needed are called there: ${wanted[*]}"
    return
  fi
  mapfile -t missing < <(rille_missing "${wanted[@]}")
  ((${#missing[@]})) || return 0

  if ((EUID != 0)); then
    command -v sudo >/dev/null || fail "missing packages; as root: apt-get install ${missing[*]}"
    sudo=(sudo)
  fi
  say "Installing Debian packages: ${missing[*]}"
  rille_quietly packages "${sudo[@]}" apt-get update
  rille_quietly packages "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}"
}

# rille_quietly NAME COMMAND...: runs it with its output in build/NAME.log, shown only when it fails.
rille_quietly() {
  local log=$root/build/$1.log
  shift
  mkdir -p "$root/build"
  "$@" </dev/null >"$log" 2>&1 && return
  cat "$log" >&2
  fail "failed: $*"
}

# rille_build PRESET [TARGET...]: configures build/PRESET where that is to do, and builds the targets (default: all).
rille_build() {
  local preset=$1 dir=$root/build/$1 fresh=()
  shift
  if ! grep -qsxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$dir/CMakeCache.txt"; then
    fresh=(--fresh) # a first build, or the clone was moved
  elif [[ /var/lib/dpkg/status -nt $dir/build.ninja ]]; then
    fresh=(--fresh) # packages came or went: what was left out for want of one (cmocka: all tests in C) may be there now
  fi
  if [[ ! -f $dir/build.ninja || $root/CMakePresets.json -nt $dir/build.ninja ]] || ((${#fresh[@]})); then
    say "Configuring build/$preset"
    rille_quietly "configure-$preset" cmake -S "$root" --preset "$preset" "${fresh[@]}"
    touch "$dir/build.ninja"
  fi
  say "Building build/$preset"
  rille_quietly "build-$preset" cmake --build "$dir" -j "$(nproc)" ${1:+--target "$@"}
}
