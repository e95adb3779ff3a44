#include <lauxlib.h>

#include "base/log.h"
#include "duration.h"
#include "receiver_impl.h"
#include "values.h"

/* The receiver; the argument before the first of the method's own is the definition. */
static rl_lua_receiver *check_self(lua_State *L)
{
  luaL_argcheck(L, lua_istable(L, 1), 1, "the receiver is missing; call methods as self:store(...)");
  return lua_touserdata(L, lua_upvalueindex(1));
}

/* Raises the thread's current error. */
static int raise(lua_State *L)
{
  luaL_where(L, 1);
  lua_pushstring(L, rl_error_message());
  lua_concat(L, 2);
  return lua_error(L);
}

/* --- storing ------------------------------------------------------------------------------------------------------ */

void rl_lua_receiver_store(rl_lua_receiver *r, lua_State *L, int first, int n)
{
  rl_value fields[RL_MAX_FIELDS];
  uint32_t count = 0;
  rl_status st = rl_lua_to_record(L, first, n, fields, &count, &r->scratch);
  if (!st) st = rl_receiver_store(r->receiver, fields, count);
  if (st) raise(L);
}

/* Adds the n values from `first` up to the block, as one record. */
static void add_to_block(rl_lua_receiver *r, lua_State *L, int first, int n, lua_Integer number)
{
  rl_value fields[RL_MAX_FIELDS];
  uint32_t count = 0;
  rl_status st = rl_lua_to_record(L, first, n, fields, &count, &r->scratch);
  if (!st) st = rl_builder_add(r->builder, fields, count);
  if (!st && atomic_load(&r->stopping)) st = rl_fail(RL_ECANCELLED, "the receiver is being stopped");
  if (st) {
    rl_error_prefix("record %lld: ", (long long)number);
    raise(L);
  }
  if (rl_builder_full(r->builder)) rl_chunks_add(&r->block, rl_builder_finish(r->builder));
}

static void gather_array(rl_lua_receiver *r, lua_State *L)
{
  lua_Integer n = (lua_Integer)lua_rawlen(L, 2);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, 2, i);
    add_to_block(r, L, lua_gettop(L), 1, i);
    lua_pop(L, 1);
  }
}

/* The function at 2 as the iterator of a generic for, with state and control behind it. */
static void gather_iterator(rl_lua_receiver *r, lua_State *L)
{
  lua_settop(L, 4);
  for (lua_Integer i = 1;; i++) {
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_pushvalue(L, 4);
    lua_call(L, 2, LUA_MULTRET);
    int n = lua_gettop(L) - 4;
    if (n == 0 || lua_isnil(L, 5)) return;
    add_to_block(r, L, 5, n, i);
    lua_pushvalue(L, 5);
    lua_replace(L, 4);
    lua_settop(L, 4);
  }
}

/* What an error left of an earlier block goes. */
static void clear_block(rl_lua_receiver *r)
{
  if (!r->builder) r->builder = rl_builder_new();
  rl_chunk_unref(rl_builder_finish(r->builder));
  rl_chunks_clear(&r->block);
}

/* Is the value at `index` a plain table with no other keys than 1 to its length? The empty one is. */
static bool is_array(lua_State *L, int index)
{
  if (!lua_istable(L, index) || lua_getmetatable(L, index)) return false; /* a tuple has a metatable */
  lua_Integer n = (lua_Integer)lua_rawlen(L, index);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    lua_Integer i = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
    if (i < 1 || i > n) return false;
  }
  return true;
}

static int store(lua_State *L)
{
  rl_lua_receiver *r = check_self(L);
  int n = lua_gettop(L) - 1;
  bool array = n == 1 && is_array(L, 2);
  lua_settop(L, n + 1);
  if (!array && !lua_isfunction(L, 2)) {
    rl_lua_receiver_store(r, L, 2, n);
    return 0;
  }
  clear_block(r);
  if (array) gather_array(r, L);
  else gather_iterator(r, L);
  rl_chunk *last = rl_builder_finish(r->builder);
  if (last) rl_chunks_add(&r->block, last);
  if (r->block.n == 0) return 0;
  if (rl_receiver_store_block(r->receiver, &r->block) != RL_OK) return raise(L);
  return 0;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static int restart(lua_State *L)
{
  rl_lua_receiver *r = check_self(L);
  const char *message = luaL_optstring(L, 2, "restart");
  lua_Number seconds = lua_isnoneornil(L, 3) ? -1 : rl_lua_check_seconds(L, 3);
  luaL_argcheck(L, seconds <= 1e9, 3, "seconds out of range");
  int64_t delay_ms = seconds < 0 ? rl_receiver_restart_delay_ms(r->receiver) : (int64_t)(seconds * 1000);
  rl_warn("%s: restart in %g s: %s", rl_receiver_label(r->receiver), (double)delay_ms / 1000, message);
  rl_lua_receiver_end_run(r, RL_RUN_RESTART, message, delay_ms);
  return 0;
}

static int stop(lua_State *L)
{
  rl_lua_receiver *r = check_self(L);
  rl_lua_receiver_end_run(r, RL_RUN_AGAIN, luaL_optstring(L, 2, "stopped by itself"), 0);
  return 0;
}

static int report_error(lua_State *L)
{
  const rl_lua_receiver *r = check_self(L);
  const char *message = luaL_checkstring(L, 2);
  const char *error = lua_isnoneornil(L, 3) ? "" : luaL_tolstring(L, 3, NULL);
  rl_receiver_error(r->receiver, message, error);
  return 0;
}

static int is_stopped(lua_State *L)
{
  lua_pushboolean(L, rl_lua_receiver_is_stopped(check_self(L)));
  return 1;
}

static int is_started(lua_State *L)
{
  lua_pushboolean(L, !rl_lua_receiver_is_stopped(check_self(L)));
  return 1;
}

static int stream_id(lua_State *L)
{
  lua_pushinteger(L, rl_receiver_stream_id(check_self(L)->receiver));
  return 1;
}

void rl_lua_receiver_add_methods(rl_lua_receiver *r, lua_State *L, int index)
{
  static const luaL_Reg methods[] = {
    {"store", store},
    {"restart", restart},
    {"stop", stop},
    {"reportError", report_error},
    {"isStopped", is_stopped},
    {"isStarted", is_started},
    {"streamId", stream_id},
    {NULL, NULL},
  };
  for (const luaL_Reg *m = methods; m->name; m++) {
    lua_pushstring(L, m->name);
    lua_pushlightuserdata(L, r);
    lua_pushcclosure(L, m->func, 1);
    lua_rawset(L, index);
  }
}
