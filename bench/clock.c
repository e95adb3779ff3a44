/* bench.clock: the monotonic clock for Lua, in seconds; one clock for all processes of the machine. */
#include <lauxlib.h>
#include <lua.h>
#include <time.h>

static int monotonic(lua_State *L)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  lua_pushnumber(L, (lua_Number)t.tv_sec + (lua_Number)t.tv_nsec / 1e9);
  return 1;
}

int luaopen_bench_clock(lua_State *L);

int luaopen_bench_clock(lua_State *L)
{
  lua_pushcfunction(L, monotonic);
  return 1;
}
