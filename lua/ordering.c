#include "ordering.h"

#include <lauxlib.h>

#include "capture.h"
#include "data/codec.h"
#include "data/partition.h"
#include "values.h"

/* A value that needs no scratch. */
static bool scalar(lua_State *L, int index, rl_value *v)
{
  size_t n;
  const char *s;
  switch (lua_type(L, index)) {
    case LUA_TNIL: *v = rl_nil(); return true;
    case LUA_TBOOLEAN: *v = rl_bool(lua_toboolean(L, index)); return true;
    case LUA_TNUMBER:
      *v = lua_isinteger(L, index) ? rl_int(lua_tointeger(L, index)) : rl_float(lua_tonumber(L, index));
      return true;
    case LUA_TSTRING:
      s = lua_tolstring(L, index, &n);
      *v = rl_str(s, n);
      return true;
    default: return false;
  }
}

static int raise(lua_State *L) { return luaL_error(L, "%s", rl_error_message()); }

/* The value at `index`; what it points into stays on the stack. */
static rl_value check_value(lua_State *L, int index)
{
  rl_value v;
  if (scalar(L, index, &v)) return v;
  rl_buf *scratch = rl_lua_push_buf(L);
  if (rl_lua_to_value(L, index, &v, scratch) != RL_OK) raise(L);
  return v;
}

int rl_lua_compare(lua_State *L)
{
  lua_settop(L, 2);
  rl_value a = check_value(L, 1), b = check_value(L, 2);
  lua_pushinteger(L, rl_value_compare(a, b));
  return 1;
}

static rl_value check_key(lua_State *L, int index)
{
  rl_value v = check_value(L, index);
  rl_buf *scratch = rl_lua_push_buf(L);
  if (rl_key_normalise(&v, scratch) != RL_OK) raise(L);
  return v;
}

int rl_lua_key_text(lua_State *L)
{
  lua_settop(L, 1);
  rl_value key = check_key(L, 1);
  rl_buf *text = rl_lua_push_buf(L);
  rl_put_value(text, key);
  lua_pushlstring(L, text->p, text->n);
  return 1;
}

int rl_lua_key_partition(lua_State *L)
{
  lua_settop(L, 2);
  lua_Integer n = luaL_checkinteger(L, 2);
  luaL_argcheck(L, n >= 1 && n <= INT32_MAX, 2, "number of partitions out of range");
  uint32_t group = rl_key_group(rl_key_hash(check_key(L, 1)));
  lua_pushinteger(L, rl_group_partition(group, (uint32_t)n));
  return 1;
}

int rl_lua_fields(lua_State *L)
{
  int first = 1;
  lua_settop(L, 1);
  int n = rl_lua_spread(L, &first, 1);
  return n >= 0 ? n : luaL_error(L, "a record of more than %d values", RL_MAX_FIELDS);
}

void rl_lua_ordering_prepare(lua_State *L)
{
  static const luaL_Reg functions[] = {
    {"rille.compare", rl_lua_compare},
    {"rille.keyText", rl_lua_key_text},
    {"rille.keyPartition", rl_lua_key_partition},
    {"rille.fields", rl_lua_fields},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    lua_pushcfunction(L, functions[i].func);
    rl_capture_register(L, -1, functions[i].name);
    lua_pop(L, 1);
  }
}
