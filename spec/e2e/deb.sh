#!/usr/bin/env bash
# The Debian packages: what they hold and need, and that jobs and C programs run from them. With --long, as root and with
# debootstrap: installed by apt on a bare Debian 12.
. "$(dirname "$0")/_lib.sh"

if [[ ! $RILLE_BUILD -ef $RILLE_SOURCE/build/release ]]; then
  say "skipped: one tree's run is enough"
  exit 77
fi
if ! command -v dpkg-shlibdeps >/dev/null || ! command -v file >/dev/null; then
  say "skipped: no dpkg-dev here"
  exit 77
fi
cd "$scratch"
unset LUA_PATH LUA_CPATH
PATH=${PATH#"$RILLE_BUILD/bin:"}

mapfile -t packages < <("$RILLE_SOURCE/tools/package" "$scratch" 2>package.err)
((${#packages[@]} == 2)) || fail "two packages are expected, not: ${packages[*]}"
dev=${packages[0]} rille=${packages[1]}
version=$(sed -n 's/^#define RILLE_VERSION "\(.*\)".*/\1/p' "$RILLE_SOURCE/core/base/version.h")
[[ $(dpkg-deb -W "$rille") == "rille"$'\t'"$version" ]] || fail "${rille##*/} is not rille $version"
[[ $(dpkg-deb -W "$dev") == "rille-dev"$'\t'"$version" ]] || fail "${dev##*/} is not rille-dev $version"

# what they need ------------------------------------------------------------------------------------------------------

needs=$(dpkg-deb -f "$rille" Depends)
for package in libc6 libjansson4 liblmdb0 liblua5.4-0 liblz4-1 librdkafka1 libuv1 libxxhash0; do
  [[ ", $needs" == *", $package "* ]] || fail "rille does not depend on $package: $needs"
done
[[ $needs != *-dev* ]] || fail "rille depends on what only programmers need: $needs"
[[ $(dpkg-deb -f "$dev" Depends) == "rille (= $version)"* ]] || fail "rille-dev does not depend on rille"
say "dependencies: ok"

# what they hold ------------------------------------------------------------------------------------------------------

lib=usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)
dpkg-deb -x "$rille" root
for file in usr/bin/rille "$lib/librille.so.${version%%.*}" "$lib/lua/5.4/rille/core.so" usr/share/lua/5.4/rille/init.lua \
  usr/share/man/man1/rille.1 usr/share/bash-completion/completions/rille usr/share/zsh/vendor-completions/_rille \
  usr/lib/systemd/system/rille@.service usr/share/doc/rille/copyright; do
  [[ -f root/$file ]] || fail "not in rille: /$file"
done
grep -q '^ExecStart=/usr/bin/rille ' root/usr/lib/systemd/system/rille@.service || fail "the unit starts another program"
unwanted=$(find root \( -name '*.h' -o -name '*.a' -o -name '*.cmake' \) | head -n 3)
[[ -z $unwanted ]] || fail "in rille, and not in rille-dev: $unwanted"
if file -L root/usr/bin/rille "root/$lib/lua/5.4/rille/core.so" | grep -q 'not stripped'; then
  fail "programs are not stripped"
fi
leaks=$(grep -rlF -e "$RILLE_SOURCE" root || true)
[[ -z $leaks ]] || fail "files name the source tree: $leaks"
[[ -z $(find root ! -user "$(id -un)") ]] || fail "files belong to somebody else"
dpkg-deb -x "$dev" root
for file in usr/include/rille/rille.h "$lib/librille.a" "$lib/librille.so" "$lib/pkgconfig/rille.pc" \
  "$lib/cmake/rille/rille-config.cmake" usr/share/rille/meta/rille.lua usr/share/doc/rille/api.md; do
  [[ -f root/$file ]] || fail "not in rille-dev: /$file"
done
say "contents: ok"

# what runs -----------------------------------------------------------------------------------------------------------

cat >words.lua <<'LUA'
local rille = require "rille"
local ssc = rille.StreamingContext({ master = "local[2]", clock = "manual" }, 1)
ssc:queueStream({ { "a b", "b" } })
  :flatMap(function(line) return line:gmatch("%S+") end)
  :countByValue()
  :print()
ssc:start()
ssc:clock():advance(1)
ssc:stop()
LUA
expect_status 0 root/usr/bin/rille run words.lua
expect_in last.out '^\(b,2\)$'
expect_status 0 env LUA_PATH="$scratch/root/usr/share/lua/5.4/?.lua;$scratch/root/usr/share/lua/5.4/?/init.lua" \
  LUA_CPATH="$scratch/root/$lib/lua/5.4/?.so" lua5.4 words.lua
expect_in last.out '^\(b,2\)$'
read -ra flags < <(PKG_CONFIG_PATH=$scratch/root/$lib/pkgconfig pkg-config --cflags --libs rille)
expect_status 0 cc -std=c17 -o heights root/usr/share/doc/rille/examples/embedding/heights.c "${flags[@]}"
expect_status 0 env LD_LIBRARY_PATH="$scratch/root/$lib" ./heights
expect_in last.out '^\(rhine,7\)$'
say "jobs: ok"

# on a bare Debian 12 -------------------------------------------------------------------------------------------------

if [[ ${RILLE_LONG-0} != 1 || $EUID != 0 ]] || ! command -v debootstrap >/dev/null; then
  say "on a bare Debian 12: not tried (needs --long, root and debootstrap)"
  exit 0
fi
mirror=$(apt-get indextargets --format '$(SITE)' 'Codename: bookworm' | head -n 1)
slowdown=20 expect_status 0 debootstrap --variant=minbase bookworm bare "$mirror"
cp "$rille" "$dev" words.lua bare/root/
slowdown=20 expect_status 0 chroot bare apt-get install -y --no-install-recommends "/root/${rille##*/}" lua5.4
expect_status 0 chroot bare rille run /root/words.lua
expect_in last.out '^\(b,2\)$'
expect_status 0 chroot bare lua5.4 /root/words.lua
expect_in last.out '^\(b,2\)$'
slowdown=20 expect_status 0 chroot bare apt-get install -y --no-install-recommends "/root/${dev##*/}" gcc libc6-dev pkgconf
expect_status 0 chroot bare sh -c 'cc -o /root/heights /usr/share/doc/rille/examples/embedding/heights.c \
  $(pkg-config --cflags --libs rille) && /root/heights'
expect_in last.out '^\(rhine,7\)$'
expect_status 0 chroot bare apt-get purge -y rille rille-dev
left=$(find bare/usr -path '*rille*' ! -path 'bare/usr/share/doc*' | head -n 3)
[[ -z $left ]] || fail "left behind by purge: $left"
say "on a bare Debian 12: ok"
