/* Restoring in a driver's state what a checkpoint kept; texts that a state knows without their files. */
#include <string.h>

#include "capture_internal.h"

static bool push_entry(lua_State *L, const char *table, const char *key, size_t n)
{
  luaL_checkstack(L, 4, NULL);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, table);
  lua_pushlstring(L, key, n);
  bool found = lua_rawget(L, -2) == LUA_TSTRING;
  lua_remove(L, -2);
  if (!found) lua_pop(L, 1);
  return found;
}

bool rl_push_known_text(lua_State *L, const char *source, size_t n)
{
  return push_entry(L, RL_TEXTS_TABLE, source, n);
}

bool rl_push_known_module(lua_State *L, const char *name, size_t n)
{
  return push_entry(L, RL_RECORDED_TABLE, name, n);
}

void rl_capture_know_text(lua_State *L, const char *source, const char *text, size_t n, const char *module)
{
  luaL_checkstack(L, 4, NULL);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, RL_TEXTS_TABLE);
  lua_pushlstring(L, text, n);
  lua_setfield(L, -2, source);
  lua_pop(L, 1);
  if (!module) return;
  luaL_getsubtable(L, LUA_REGISTRYINDEX, RL_RECORDED_TABLE);
  lua_pushstring(L, source);
  lua_setfield(L, -2, module);
  lua_pop(L, 1);
}

void rl_capture_add_class(lua_State *L, int index)
{
  index = lua_absindex(L, index);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, RL_CLASSES_TABLE);
  lua_pushvalue(L, index);
  lua_pushboolean(L, true);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

/* Names of what was decoded have no NUL in them, but no NUL behind them either: so they are pushed first. */
static void know_module(void *user, const char *name, size_t name_n, const char *source, size_t source_n,
                        const char *text, size_t text_n)
{
  lua_State *L = user;
  luaL_checkstack(L, 4, NULL);
  const char *module = lua_pushlstring(L, name, name_n), *chunk = lua_pushlstring(L, source, source_n);
  rl_capture_know_text(L, chunk, text, text_n, module);
  lua_pop(L, 2);
}

static void know_function(void *user, const rl_image_fn *fn)
{
  lua_State *L = user;
  if (!fn->text || fn->source_n == 0 || fn->source[0] != '@') return;
  const char *chunk = lua_pushlstring(L, fn->source, fn->source_n);
  rl_capture_know_text(L, chunk, fn->text, fn->text_n, NULL);
  lua_pop(L, 1);
}

void rl_image_push_home(lua_State *L, const rl_image *img)
{
  luaL_checkstack(L, (int)img->nshared + 10, "too many broadcasts");
  int top = lua_gettop(L);
  rl_image_functions(img, know_function, L);
  rl_image_modules(img, know_module, L);
  for (size_t i = 0; i < img->nshared; i++) rl_shared_push(L, img->shared[i])->home = true;
  rl_image_push(L, img);
  lua_insert(L, top + 1);
  lua_settop(L, top + 1);
}
