#include "bind.h"

#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "capture.h"
#include "json.h"
#include "ordering.h"
#include "producer.h"
#include "rille.h"
#include "shared.h"
#include "values.h"

/* --- helpers of all parts ----------------------------------------------------------------------------------------- */

void **rl_handle_new(lua_State *L, const char *meta, int values)
{
  void **h = lua_newuserdatauv(L, sizeof *h, values);
  *h = NULL;
  luaL_setmetatable(L, meta);
  return h;
}

void rl_handle_type(lua_State *L, const char *meta, lua_CFunction gc, const luaL_Reg *methods)
{
  luaL_newmetatable(L, meta);
  if (gc) {
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_newtable(L);
  if (methods) luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

void rl_handle_type_closed(lua_State *L, const char *meta, lua_CFunction close)
{
  rl_handle_type(L, meta, close, NULL);
  luaL_getmetatable(L, meta);
  lua_pushcfunction(L, close);
  lua_setfield(L, -2, "__close");
  lua_pop(L, 1);
}

int rl_push_iterator(lua_State *L, lua_CFunction next)
{
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, next, 1);
  lua_insert(L, -2);
  lua_pushnil(L);
  lua_pushnil(L);
  lua_rotate(L, -3, 2);
  return 4;
}

void rl_push_weak_table(lua_State *L, const void *key, const char *mode)
{
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, key) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushstring(L, mode);
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

void *rl_bind_array(lua_State *L, size_t n, size_t size)
{
  void *p = lua_newuserdatauv(L, (n ? n : 1) * size, 0);
  memset(p, 0, (n ? n : 1) * size);
  return p;
}

size_t rl_bind_handles(lua_State *L, int index, const char *meta, const char *what, void ***out)
{
  index = lua_absindex(L, index);
  luaL_checktype(L, index, LUA_TTABLE);
  size_t n = lua_rawlen(L, index);
  *out = rl_bind_array(L, n, sizeof **out);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, index, (lua_Integer)i + 1);
    void **h = luaL_testudata(L, -1, meta);
    if (!h || !*h) luaL_error(L, "entry %d of %s is no %s", (int)i + 1, what, strrchr(meta, '.') + 1);
    (*out)[i] = *h;
    lua_pop(L, 1);
  }
  return n;
}

const char *rl_bind_text(lua_State *L, int table, const char *field)
{
  const char *text = NULL;
  if (lua_getfield(L, table, field) != LUA_TNIL) {
    text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    if (!text) luaL_error(L, "field '%s' must be a string, it is a %s", field, luaL_typename(L, -1));
  }
  lua_pop(L, 1); /* the table still holds the string */
  return text;
}

lua_Integer rl_bind_int(lua_State *L, int table, const char *field, lua_Integer otherwise)
{
  lua_Integer i = otherwise;
  if (lua_getfield(L, table, field) != LUA_TNIL) {
    int whole;
    i = lua_tointegerx(L, -1, &whole);
    if (!whole) luaL_error(L, "field '%s' must be an integer, it is a %s", field, luaL_typename(L, -1));
  }
  lua_pop(L, 1);
  return i;
}

bool rl_bind_flag(lua_State *L, int table, const char *field)
{
  lua_getfield(L, table, field);
  bool flag = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return flag;
}

/* --- values, messages, clocks ------------------------------------------------------------------------------------- */

static int is_tuple(lua_State *L)
{
  luaL_checkany(L, 1);
  lua_pushboolean(L, rl_lua_is_tuple(L, 1));
  return 1;
}

static int format(lua_State *L)
{
  if (lua_gettop(L) != 1) rl_lua_pack(L, 1, lua_gettop(L));
  int record = lua_gettop(L);
  rl_buf *text = rl_lua_push_buf(L);
  rl_bind_check(L, rl_lua_format(L, record, text));
  lua_pushlstring(L, text->n ? text->p : "", text->n);
  return 1;
}

static rl_log_level check_level(lua_State *L)
{
  const char *name = luaL_checkstring(L, 1);
  rl_log_level level;
  if (!rl_log_parse_level(name, &level)) luaL_argerror(L, 1, "debug, info, warn, error or off expected");
  return level;
}

static int write_log(lua_State *L)
{
  rl_log_level level = check_level(L);
  rl_log(level, "%s", luaL_checkstring(L, 2));
  return 0;
}

static int set_log_level(lua_State *L)
{
  rl_log_set_level(check_level(L));
  return 0;
}

static int monotonic(lua_State *L)
{
  lua_pushnumber(L, (lua_Number)rl_mono_ns() / 1e9);
  return 1;
}

static int now(lua_State *L)
{
  lua_pushinteger(L, rl_wall_ms());
  return 1;
}

static const luaL_Reg functions[] = {
  {"tuple", rl_lua_tuple}, {"isTuple", is_tuple},           {"format", format},       {"log", write_log},
  {"setLogLevel", set_log_level}, {"monotonic", monotonic}, {"now", now},
  {"compare", rl_lua_compare},  {"keyText", rl_lua_key_text},   {"keyPartition", rl_lua_key_partition},
  {"fields", rl_lua_fields},    {"broadcast", rl_lua_broadcast}, {"accumulator", rl_lua_accumulator},
  {"zero", rl_lua_accumulator_zero}, {"kafkaProducer", rl_lua_kafka_producer},
  {"settleProducers", rl_lua_settle_producers}, {"follows", rl_lua_follows}, {NULL, NULL},
};

/* --- the module --------------------------------------------------------------------------------------------------- */

static char module_key; /* its address: the module in the registry, so that a second load gives the same */

static void make_module(lua_State *L)
{
  rl_capture_prepare(L);
  rl_values_prepare(L);
  luaL_newlib(L, functions);
  lua_pushliteral(L, RILLE_VERSION);
  lua_setfield(L, -2, "version");
  rl_lua_push_null(L);
  lua_setfield(L, -2, "null");
  rl_json_open(L);
  lua_setfield(L, -2, "json");
  rl_time_open(L);
  lua_setfield(L, -2, "time");
  rl_broadcast_prepare(L);
  rl_accumulator_prepare_driver(L);
  lua_setfield(L, -2, "Accumulator");
  rl_producer_prepare_driver(L);
  lua_newtable(L);
  lua_setfield(L, -2, "overrides");
  rl_bind_add_fns(L);
  rl_bind_add_contexts(L);
  rl_bind_add_jobs(L);
  rl_bind_add_updates(L);
  rl_bind_add_rdds(L);
  rl_bind_add_pipe(L);
  rl_bind_add_streaming(L);
  rl_bind_add_dstreams(L);
  rl_bind_add_states(L);
  rl_bind_add_durable(L);
  rl_bind_add_turns(L);
  rl_bind_add_lmdb(L);
  rl_bind_add_kafka_transactions(L);
  rl_bind_add_tools(L);
}

__attribute__((visibility("default"))) int luaopen_rille_core(lua_State *L);

int luaopen_rille_core(lua_State *L)
{
  luaL_checkversion(L);
  rl_bind_of(L);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &module_key) == LUA_TTABLE) return 1;
  make_module(L);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &module_key);
  return 1;
}
