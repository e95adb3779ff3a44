/* What tasks reported besides records (core/run/context.h), on its way to the library: (id, value) entries. */
#include "bind.h"
#include "data/codec.h"
#include "values.h"

static char handler_key; /* in the registry: the library's function for them */

/* Pushes the entries as an array: id, value, id, value, ... */
static void push_entries(lua_State *L, const rl_buf *updates)
{
  rl_reader r = {updates->p, updates->p + updates->n};
  rl_value v;
  lua_newtable(L);
  for (lua_Integer i = 1; r.p < r.end; i++) {
    rl_bind_check(L, rl_get_value(&r, &v));
    rl_lua_push_value(L, v);
    lua_rawseti(L, -2, i);
  }
}

void rl_bind_deliver_updates(lua_State *L, rl_context *c)
{
  luaL_checkstack(L, 8, NULL);
  int top = lua_gettop(L);
  rl_buf *updates = rl_lua_push_buf(L);
  rl_context_take_updates(c, updates);
  if (updates->n > 0 && lua_rawgetp(L, LUA_REGISTRYINDEX, &handler_key) == LUA_TFUNCTION) {
    push_entries(L, updates);
    lua_call(L, 1, 0);
  }
  lua_settop(L, top);
}

/* Context:deliverUpdates() */
int rl_context_deliver_updates(lua_State *L)
{
  rl_bind_deliver_updates(L, rl_check_context(L, 1));
  return 0;
}

/* core.onUpdates(function(entries) end): called whenever a job has ended, and by deliverUpdates, if there are any. */
static int on_updates(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &handler_key);
  return 0;
}

void rl_bind_add_updates(lua_State *L)
{
  lua_pushcfunction(L, on_updates);
  lua_setfield(L, -2, "onUpdates");
}
