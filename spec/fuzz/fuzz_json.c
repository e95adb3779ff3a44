/* rille.json: whatever the text, decode gives a value or an error; a value is encoded, and comes back as the same
 * text. */
#include <lauxlib.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "capture.h"
#include "json.h"
#include "values.h"

static lua_State *make_state(void)
{
  lua_State *L = luaL_newstate();
  if (!L) abort();
  luaL_openlibs(L);
  rl_capture_prepare(L);
  rl_values_prepare(L);
  rl_json_open(L);
  return L;
}

/* Replaces the value on top by what a function of the library gives for it; false when it raises. */
static bool apply(lua_State *L, const char *name)
{
  lua_getfield(L, 1, name);
  lua_insert(L, -2);
  return lua_pcall(L, 1, 1, 0) == LUA_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static lua_State *L;
  if (!L) L = make_state();
  lua_pushlstring(L, (const char *)data, size);
  if (apply(L, "decode")) {
    if (!apply(L, "encode")) abort(); /* what JSON gave has a form in JSON */
    lua_pushvalue(L, -1);
    if (!apply(L, "decode") || !apply(L, "encode") || !lua_compare(L, -1, -2, LUA_OPEQ)) abort();
  }
  lua_settop(L, 1);
  return 0;
}
