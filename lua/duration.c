#include "duration.h"

#include <lauxlib.h>
#include <string.h>

#include "run/conf.h"

bool rl_lua_to_seconds(lua_State *L, int index, double *out)
{
  int64_t us;
  size_t n;
  if (lua_type(L, index) == LUA_TNUMBER) {
    *out = lua_tonumber(L, index);
    return true;
  }
  if (lua_type(L, index) != LUA_TSTRING) return false;
  const char *text = lua_tolstring(L, index, &n);
  if (strlen(text) != n || !rl_conf_parse_us(text, 0, &us)) return false;
  *out = (double)us / 1e6;
  return true;
}

double rl_lua_check_seconds(lua_State *L, int arg)
{
  double seconds = 0;
  if (!rl_lua_to_seconds(L, arg, &seconds))
    luaL_argerror(L, arg, "a number of seconds, or a text such as \"500ms\" or \"2m\", expected");
  return seconds;
}
