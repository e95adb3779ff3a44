/* The globals a function names: which environment they are looked up in, and which of them travel. */
#include <string.h>

#include "base/mem.h"
#include "capture_internal.h"

/* A table that inherits from others: how far to follow. */
#define INHERIT_MAX 100

/* Test runners and sandboxes give functions an empty table for _ENV that looks every name up elsewhere (busted does).
 * Such a table stands for the globals; the names a function uses are asked of it, as the function itself would. This is
 * the only place where a metamethod is called. */
static bool stands_for_globals(lua_State *L, int index)
{
  if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index)) {
    return false;
  }
  lua_pushliteral(L, "__index");
  bool found = lua_rawget(L, -2) == LUA_TFUNCTION;
  lua_pop(L, 2);
  if (found) {
    lua_pushnil(L);
    if (lua_next(L, index)) {
      lua_pop(L, 2);
      found = false;
    }
  }
  return found;
}

static int index_value(lua_State *L)
{
  lua_gettable(L, 1);
  return 1;
}

/* Pushes what `name` (at stack index) is in the environment. */
void rl_walk_push_global(rl_walk *w, uint32_t env, int name)
{
  lua_State *L = w->L;
  rl_walk_push(w, env);
  lua_pushvalue(L, name);
  lua_rawget(L, -2);
  if (env != 0 && lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_pushcfunction(L, index_value);
    lua_pushvalue(L, -2);
    lua_pushvalue(L, name);
    if (lua_pcall(L, 2, 1, 0) != LUA_OK) {
      lua_pop(L, 1);
      lua_pushnil(L);
    }
  }
  lua_remove(L, -2);
}

/* The environment in which the table at `index` looks up `name`, through the tables it inherits from; RL_NO_RECORD when
 * it has the field itself or does not lead to one. */
static uint32_t environment_of(rl_walk *w, int index, int name)
{
  lua_State *L = w->L;
  int top = lua_gettop(L);
  uint32_t id = RL_NO_RECORD;
  lua_pushvalue(L, index);
  for (int i = 0; i < INHERIT_MAX && lua_istable(L, top + 1); i++) {
    id = rl_walk_known(w, top + 1);
    if (id != RL_NO_RECORD && w->entries[id].kind == RL_R_ENV) {
      break;
    }
    id = RL_NO_RECORD;
    lua_pushvalue(L, name);
    if (lua_rawget(L, top + 1) != LUA_TNIL || !lua_getmetatable(L, top + 1)) {
      break;
    }
    lua_pushliteral(L, "__index");
    lua_rawget(L, -2);
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
  }
  lua_settop(L, top);
  return id;
}

/* Is the value on top the standard one of this name, which every worker has? */
static bool is_standard(rl_walk *w, int name)
{
  rl_walk_look_up(w, w->named, lua_gettop(w->L));
  bool same = lua_type(w->L, -1) == LUA_TSTRING && lua_rawequal(w->L, -1, name);
  lua_pop(w->L, 1);
  return same;
}

/* Is the name on top, in this environment, seen for the first time? */
static bool first_seen(rl_walk *w, uint32_t env)
{
  lua_State *L = w->L;
  int name = lua_gettop(L);
  lua_pushfstring(L, "%d:", (int)env);
  lua_pushvalue(L, name);
  lua_concat(L, 2);
  lua_pushvalue(L, -1);
  bool first = lua_rawget(L, w->bound) == LUA_TNIL;
  lua_pop(L, 1);
  lua_pushboolean(L, true);
  lua_rawset(L, w->bound);
  return first;
}

/* Makes the name on top a global of the image's environment `env`, unless workers have it anyway. */
static void bind(rl_walk *w, uint32_t env, uint32_t fn)
{
  lua_State *L = w->L;
  int name = lua_gettop(L);
  if (!first_seen(w, env)) {
    return;
  }
  rl_walk_push_global(w, env, name);
  if (!lua_isnil(L, -1) && !is_standard(w, name)) {
    lua_pushvalue(L, name);
    uint32_t id = rl_walk_add(w, RL_R_GLOBAL, fn);
    w->entries[id].n = env;
  }
  lua_pop(L, 1);
}

void rl_walk_note_name(void *user, const char *name, size_t n, bool assigned)
{
  rl_walk *w = user;
  w->names = rl_grow(w->names, &w->cap_names, w->nnames + 1, sizeof *w->names);
  w->names[w->nnames++] = (rl_name){.s = name, .n = n, .assigned = assigned};
}

/* Binds the globals that the function looks up in its upvalue number `upvalue`. */
void rl_walk_bind(rl_walk *w, int fn, int upvalue, uint32_t id)
{
  lua_State *L = w->L;
  if (!lua_getupvalue(L, fn, upvalue)) {
    return;
  }
  int env = lua_gettop(L);
  if (lua_istable(L, env)) {
    w->nnames = 0;
    rl_proto_fields(w->proto, (size_t)upvalue - 1, rl_walk_note_name, w, NULL);
    for (size_t i = 0; i < w->nnames; i++) {
      lua_pushlstring(L, w->names[i].s, w->names[i].n);
      uint32_t e = environment_of(w, env, env + 1);
      if (e != RL_NO_RECORD) {
        bind(w, e, id);
      }
      lua_settop(L, env);
    }
  }
  lua_settop(L, env - 1);
}

/* Makes an environment of an _ENV that only stands for one. */
void rl_walk_adopt(rl_walk *w, int fn, int upvalue, uint32_t id)
{
  lua_State *L = w->L;
  const char *name = lua_getupvalue(L, fn, upvalue);
  int env = lua_gettop(L);
  if (name && strcmp(name, "_ENV") == 0 && stands_for_globals(L, env) && rl_walk_known(w, env) == RL_NO_RECORD) {
    rl_walk_add_object(w, env, RL_R_ENV, id);
  }
  lua_pop(L, 1);
}
