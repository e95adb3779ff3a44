#!/usr/bin/env bash
# The rille program needs no files of the library: neither for the script nor in its workers.
. "$(dirname "$0")/_lib.sh"

expect_status 0 env -u LUA_PATH -u LUA_CPATH rille run "$jobs/embedded.lua"
expect_in "$scratch/last.out" '^ok$'
say "embedded library: ok"
