#!/usr/bin/env bash
# cmake --install into a scratch prefix: what is there and what is not, docs/embedding built against it with CMake and
# with pkg-config, the program, and the module in stock Lua.
. "$(dirname "$0")/_lib.sh"

if [[ -n $RILLE_SANITIZE ]]; then
  say "skipped: sanitized libraries need programs that are"
  exit 77
fi
prefix=$scratch/prefix
cd "$scratch"
# Nothing of the tree is to be found.
unset LUA_PATH LUA_CPATH
PATH=${PATH#"$RILLE_BUILD/bin:"}

expect_status 0 cmake --install "$RILLE_BUILD" --prefix "$prefix"
libdir=$(dirname "$(find "$prefix" -name librille.a)")
export PKG_CONFIG_PATH=$libdir/pkgconfig LD_LIBRARY_PATH=$libdir
version=$(sed -n 's/^#define RILLE_VERSION "\(.*\)".*/\1/p' "$RILLE_SOURCE/core/base/version.h")

# files ---------------------------------------------------------------------------------------------------------------

for file in bin/rille include/rille/rille.h include/rille/run/streaming.h share/man/man1/rille.1 \
  share/bash-completion/completions/rille share/zsh/site-functions/_rille share/lua/5.4/rille/init.lua \
  share/rille/meta/rille.lua share/rille/meta/dstream.lua share/doc/rille/api.md \
  share/doc/rille/examples/embedding/heights.c \
  share/doc/rille/examples/scripts/network_wordcount.lua; do
  [[ -f $prefix/$file ]] || fail "not installed: $file"
done
for file in librille.so librille.a lua/5.4/rille/core.so cmake/rille/rille-config-version.cmake; do
  [[ -f $libdir/$file ]] || fail "not installed: $file"
done
say "files: ok"

private=$(cd "$prefix/include/rille" && grep -rlE 'Not public|[Pp]rivate to' . ; find "$prefix/include" -name '*_impl.h')
[[ -z $private ]] || fail "private headers are installed: $private"
while read -r header; do
  printf '#include "%s"\nextern int one;\n' "$header" >one.c
  expect_status 0 cc -std=c17 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I"$prefix/include/rille" one.c
done < <(cd "$prefix/include/rille" && find . -name '*.h')
say "headers: ok"

leaks=$(grep -rlF -e "$RILLE_SOURCE" "$libdir/cmake" "$libdir/pkgconfig" "$prefix/share" "$prefix/include" || true)
[[ -z $leaks ]] || fail "files name the source tree: $leaks"

# What the rockspec sets is what this build has.
lua5.4 - "$RILLE_SOURCE/rille-scm-1.rockspec" >variables <<'LUA'
local rock = {}
assert(loadfile(arg[1], "t", rock))()
for name in pairs(rock.build.variables) do print(name) end
LUA
while read -r variable; do
  grep -q "^$variable:" "$RILLE_BUILD/CMakeCache.txt" || fail "the rockspec sets $variable, which is nothing here"
done <variables
say "rockspec: ok"

# programs in C -------------------------------------------------------------------------------------------------------

cat >expected <<TEXT
rille $version
after 1000 ms
(rhine,7)
(elbe,2)
after 2000 ms
(elbe,6)
the gauge sent 6 readings
TEXT

# expect_heights PROGRAM: it runs and prints what it should.
expect_heights() {
  expect_status 0 "$1"
  diff expected last.out >&2 || fail "$1 prints something else"
}

# links PROGRAM: the librille it loads.
links() {
  ldd "$1" | sed -n 's/.*librille[^>]*=> \([^ ]*\).*/\1/p'
}

example=$prefix/share/doc/rille/examples/embedding
expect_status 0 cmake -S "$example" -B by-cmake -D CMAKE_PREFIX_PATH="$prefix" -D CMAKE_C_FLAGS="-Wall -Wextra -Werror"
expect_status 0 cmake --build by-cmake
expect_heights by-cmake/heights
[[ $(links by-cmake/heights) -ef $libdir/librille.so ]] || fail "heights does not load the installed librille"
expect_heights by-cmake/heights_static
[[ -z $(links by-cmake/heights_static) ]] || fail "heights_static loads librille"
say "find_package: ok"

mkdir other
printf '%s\n' 'cmake_minimum_required(VERSION 3.16)' 'project(other C)' 'find_package(rille 99 REQUIRED)' >other/CMakeLists.txt
expect_status 1 cmake -S other -B other/build -D CMAKE_PREFIX_PATH="$prefix"
expect_in last.err "version: $version"
say "find_package of another version: ok"

[[ $(pkg-config --modversion rille) == "$version" ]] || fail "pkg-config knows another version"
read -ra flags < <(pkg-config --cflags --libs rille)
expect_status 0 cc -std=c17 -Wall -Wextra -Wpedantic -Werror -o by-pkg-config "$example/heights.c" "${flags[@]}"
expect_heights ./by-pkg-config
read -ra flags < <(pkg-config --cflags --static --libs rille)
rm "$libdir"/librille.so # what is left is librille.a
expect_status 0 cc -std=c17 -o by-pkg-config-static "$example/heights.c" "${flags[@]}"
expect_heights ./by-pkg-config-static
[[ -z $(links by-pkg-config-static) ]] || fail "by-pkg-config-static loads librille"
say "pkg-config: ok"

# jobs ----------------------------------------------------------------------------------------------------------------

cat >job.lua <<'LUA'
local rille = require "rille"
local sc = rille.Context { master = "local[2]" }
print(sc:parallelize({ 1, 2, 3 }):map(function(x) return x * x end):reduce(function(a, b) return a + b end))
for _, place in ipairs { "rille", "rille.core" } do print(package.searchpath(place, package.path .. ";" .. package.cpath)) end
LUA
expect_status 0 "$prefix/bin/rille" run job.lua
expect_in last.out '^14$'
expect_status 0 env LUA_PATH="$prefix/share/lua/5.4/?.lua;$prefix/share/lua/5.4/?/init.lua" \
  LUA_CPATH="$libdir/lua/5.4/?.so" lua5.4 job.lua
printf '14\n%s\n%s\n' "$prefix/share/lua/5.4/rille/init.lua" "$libdir/lua/5.4/rille/core.so" | diff - last.out >&2 ||
  fail "stock Lua does not run the installed module"
say "jobs: ok"
