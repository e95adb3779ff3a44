/* pipe: a Fn whose records go through an external process. It is native: there is nothing to capture. */
#include "bind.h"
#include "data/pipe.h"

/* Pushes an array of the strings in the table at `index`, ended by NULL; they lie in the table. */
static const char *const *push_strings(lua_State *L, int index, const char *what)
{
  size_t n = lua_rawlen(L, index);
  const char **list = rl_bind_array(L, n + 1, sizeof *list);
  for (size_t i = 0; i < n; i++) {
    if (lua_rawgeti(L, index, (lua_Integer)i + 1) != LUA_TSTRING) luaL_error(L, "%s is a list of strings", what);
    list[i] = lua_tostring(L, -1);
    lua_pop(L, 1);
  }
  return list;
}

static int new_pipe(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  const char *site = rl_bind_text(L, 1, "site");
  if (lua_getfield(L, 1, "command") != LUA_TTABLE || lua_rawlen(L, 2) == 0)
    return luaL_argerror(L, 1, "field 'command' is needed");
  bool has_env = lua_getfield(L, 1, "env") == LUA_TTABLE;
  const char *const *argv = push_strings(L, 2, "command"), *const *env = has_env ? push_strings(L, 3, "env") : NULL;
  void **h = rl_handle_new(L, RL_META_FN, 0);
  *h = rl_fn_pipe(argv, env, site);
  return 1;
}

void rl_bind_add_pipe(lua_State *L)
{
  lua_pushcfunction(L, new_pipe);
  lua_setfield(L, -2, "pipe");
}
