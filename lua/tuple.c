/* rille.tuple, rille.null, and buffers on the Lua stack. */
#include <lauxlib.h>

#include "capture.h"
#include "data/codec.h"
#include "ordering.h"
#include "values.h"

/* Addresses as keys of the registry. */
static char tuple_key, null_key, count_key;

bool rl_lua_is_tuple(lua_State *L, int index)
{
  if (!lua_istable(L, index) || !lua_getmetatable(L, index)) return false;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &tuple_key);
  bool is = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return is;
}

/* The `n` of a tuple; the key string comes from the registry, so that nothing is allocated. */
lua_Integer rl_lua_tuple_count(lua_State *L, int index)
{
  lua_rawgetp(L, LUA_REGISTRYINDEX, &count_key);
  lua_rawget(L, index);
  lua_Integer n = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
  lua_pop(L, 1);
  return n < 0 ? 0 : n;
}

bool rl_lua_is_null(lua_State *L, int index)
{
  lua_rawgetp(L, LUA_REGISTRYINDEX, &null_key);
  bool is = lua_touserdata(L, index) == lua_touserdata(L, -1);
  lua_pop(L, 1);
  return is;
}

int rl_lua_spread(lua_State *L, int *first, int n)
{
  while (n == 1 && rl_lua_is_tuple(L, *first)) {
    int t = *first;
    lua_Integer count = rl_lua_tuple_count(L, t);
    if (count > RL_MAX_FIELDS || !lua_checkstack(L, (int)count + 8)) return -1;
    *first = lua_gettop(L) + 1;
    for (lua_Integer i = 1; i <= count; i++) lua_rawgeti(L, t, i);
    n = (int)count;
  }
  return n;
}

void rl_lua_seal_tuple(lua_State *L, lua_Integer n)
{
  lua_rawgetp(L, LUA_REGISTRYINDEX, &count_key);
  lua_pushinteger(L, n);
  lua_rawset(L, -3);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &tuple_key);
  lua_setmetatable(L, -2);
}

void rl_lua_pack(lua_State *L, int first, int n)
{
  lua_createtable(L, n, 1);
  for (int i = 0; i < n; i++) {
    lua_pushvalue(L, first + i);
    lua_rawseti(L, -2, i + 1);
  }
  rl_lua_seal_tuple(L, n);
}

int rl_lua_tuple(lua_State *L)
{
  int n = lua_gettop(L);
  if (n > RL_MAX_FIELDS) return luaL_error(L, "rille.tuple takes at most %d values, got %d", RL_MAX_FIELDS, n);
  rl_lua_pack(L, 1, n);
  return 1;
}

static bool equal_content(lua_State *L, int a, int b, int depth);

static bool equal_fields(lua_State *L, int a, int b, int depth)
{
  bool equal = true;
  lua_Integer count = 0;
  lua_pushnil(L);
  while (equal && lua_next(L, a)) {
    int top = lua_gettop(L);
    lua_pushvalue(L, top - 1);
    lua_rawget(L, b);
    equal = equal_content(L, top, top + 1, depth + 1);
    lua_settop(L, top - 1);
    count++;
  }
  if (!equal) {
    lua_pop(L, 1);
    return false;
  }
  lua_pushnil(L);
  while (lua_next(L, b)) {
    lua_pop(L, 1);
    count--;
  }
  return count == 0;
}

static bool same_metatable(lua_State *L, int a, int b)
{
  int top = lua_gettop(L);
  bool has_a = lua_getmetatable(L, a), has_b = lua_getmetatable(L, b);
  bool same = has_a == has_b && (!has_a || lua_rawequal(L, -1, -2));
  lua_settop(L, top);
  return same;
}

static bool equal_content(lua_State *L, int a, int b, int depth)
{
  if (lua_rawequal(L, a, b)) return true;
  if (!lua_istable(L, a) || !lua_istable(L, b)) return lua_compare(L, a, b, LUA_OPEQ);
  if (!same_metatable(L, a, b)) return false;
  if (depth > RL_CODEC_MAX_DEPTH)
    luaL_error(L, "values nested more than %d deep cannot be compared", RL_CODEC_MAX_DEPTH);
  luaL_checkstack(L, 8, "values nested too deep");
  return equal_fields(L, a, b, depth);
}

static int tuple_eq(lua_State *L)
{
  lua_settop(L, 2);
  bool both = rl_lua_is_tuple(L, 1) && rl_lua_is_tuple(L, 2);
  lua_pushboolean(L, both && equal_content(L, 1, 2, 0));
  return 1;
}

static int tuple_len(lua_State *L)
{
  lua_pushinteger(L, lua_istable(L, 1) ? rl_lua_tuple_count(L, 1) : 0);
  return 1;
}

static int tuple_tostring(lua_State *L)
{
  rl_buf *text = rl_lua_push_buf(L);
  if (rl_lua_format(L, 1, text)) return luaL_error(L, "%s", rl_error_message());
  lua_pushlstring(L, text->n ? text->p : "", text->n);
  return 1;
}

static int null_tostring(lua_State *L)
{
  lua_pushliteral(L, "null");
  return 1;
}

void rl_lua_push_null(lua_State *L)
{
  lua_rawgetp(L, LUA_REGISTRYINDEX, &null_key);
}

static void prepare_null(lua_State *L)
{
  lua_newuserdatauv(L, 1, 0);
  lua_createtable(L, 0, 3);
  lua_pushcfunction(L, null_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushliteral(L, "rille.null");
  lua_setfield(L, -2, "__name");
  lua_pushliteral(L, "rille.null");
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  rl_capture_register(L, lua_gettop(L), "rille.null");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &null_key);
}

void rl_values_prepare(lua_State *L)
{
  static const luaL_Reg methods[] = {
      {"__eq", tuple_eq}, {"__len", tuple_len}, {"__tostring", tuple_tostring}, {NULL, NULL}};
  lua_createtable(L, 0, 5);
  luaL_setfuncs(L, methods, 0);
  lua_pushliteral(L, "rille.tuple");
  lua_setfield(L, -2, "__name");
  lua_pushliteral(L, "rille.tuple");
  lua_setfield(L, -2, "__metatable");
  rl_capture_register(L, lua_gettop(L), "rille.tuple metatable");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &tuple_key);
  lua_pushliteral(L, "n");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &count_key);
  lua_pushcfunction(L, rl_lua_tuple);
  rl_capture_register(L, lua_gettop(L), "rille.tuple");
  lua_pop(L, 1);
  prepare_null(L);
  rl_lua_ordering_prepare(L);
}

/* Buffers that go with the stack ----------------------------------------------------------------------------------- */

static int buf_gc(lua_State *L)
{
  rl_buf_free(lua_touserdata(L, 1));
  return 0;
}

rl_buf *rl_lua_push_buf(lua_State *L)
{
  rl_buf *b = lua_newuserdatauv(L, sizeof *b, 0);
  *b = (rl_buf){0};
  if (luaL_newmetatable(L, "rille.buffer")) {
    lua_pushcfunction(L, buf_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  return b;
}
