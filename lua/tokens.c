#include "tokens.h"

#include <lauxlib.h>

/* Upvalues: text, class, how far it has come. */
static int next_token(lua_State *L)
{
  size_t n, length;
  const char *text = lua_tolstring(L, lua_upvalueindex(1), &n);
  size_t at = (size_t)lua_tointeger(L, lua_upvalueindex(3));
  rl_tokens t;
  rl_tokens_start(&t, lua_tostring(L, lua_upvalueindex(2)), text + at, n - at);
  const char *token = rl_tokens_next(&t, &length);
  if (!token) return 0;
  lua_pushinteger(L, t.p - text);
  lua_replace(L, lua_upvalueindex(3));
  lua_pushlstring(L, token, length);
  return 1;
}

int rl_lua_tokens(lua_State *L)
{
  if (lua_type(L, 1) != LUA_TSTRING) return luaL_error(L, "attempt to index a %s value", luaL_typename(L, 1));
  lua_settop(L, 2);
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, next_token, 3);
  return 1;
}
