/* Exactly-once output into LMDB, and reading what is there (sink/lmdb.h). */
#include <string.h>

#include "bind.h"
#include "sink/lmdb.h"
#include "values.h"

static rl_lmdb_format check_format(lua_State *L, const char *name)
{
  if (!name || strcmp(name, "text") == 0) return RL_LMDB_TEXT;
  if (strcmp(name, "binary") != 0) luaL_error(L, "format '%s' is neither 'text' nor 'binary'", name);
  return RL_LMDB_BINARY;
}

/* --- sinks -------------------------------------------------------------------------------------------------------- */

static rl_lmdb_sink *check_sink(lua_State *L)
{
  void **h = luaL_checkudata(L, 1, RL_META_LMDB_SINK);
  luaL_argcheck(L, *h, 1, "this sink is gone");
  return *h;
}

static int sink_gc(lua_State *L)
{
  void **h = luaL_checkudata(L, 1, RL_META_LMDB_SINK);
  rl_lmdb_sink_unref(*h);
  *h = NULL;
  return 0;
}

/* core.lmdbSink { path =, db =, output =, format =, map = } */
static int new_sink(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_Integer map = rl_bind_int(L, 1, "map", 0);
  const rl_lmdb_sink_spec spec = {
    .path = rl_bind_text(L, 1, "path"),
    .db = rl_bind_text(L, 1, "db"),
    .output = rl_bind_text(L, 1, "output"),
    .format = check_format(L, rl_bind_text(L, 1, "format")),
    .map = map > 0 ? (size_t)map : 0,
  };
  if (!spec.path || !spec.db || !spec.output) luaL_argerror(L, 1, "fields 'path', 'db' and 'output' are needed");
  void **h = rl_handle_new(L, RL_META_LMDB_SINK, 0);
  rl_lmdb_sink *s = NULL;
  rl_bind_check(L, rl_lmdb_sink_open(&spec, &s));
  *h = s;
  return 1;
}

static int sink_newest(lua_State *L)
{
  int64_t time;
  rl_bind_check(L, rl_lmdb_sink_newest(check_sink(L), &time));
  if (time == RL_NO_TIME) return 0;
  lua_pushinteger(L, time);
  return 1;
}

static int sink_again(lua_State *L)
{
  lua_pushboolean(L, rl_lmdb_sink_again(check_sink(L)));
  return 1;
}

static int push_fn(lua_State *L, rl_fn *(*make)(rl_lmdb_sink *))
{
  rl_lmdb_sink *s = check_sink(L);
  void **h = rl_handle_new(L, RL_META_FN, 0);
  *h = make(s);
  return 1;
}

static int sink_writer(lua_State *L) { return push_fn(L, rl_lmdb_write_fn); }
static int sink_old(lua_State *L) { return push_fn(L, rl_lmdb_old_fn); }

/* --- reading ------------------------------------------------------------------------------------------------------ */

static int reader_gc(lua_State *L)
{
  void **h = luaL_checkudata(L, 1, RL_META_LMDB_READER);
  rl_lmdb_reader_close(*h);
  *h = NULL;
  return 0;
}

static int next_entry(lua_State *L)
{
  void **h = lua_touserdata(L, lua_upvalueindex(1));
  rl_value key, value;
  bool found;
  if (!*h) return 0;
  rl_bind_check(L, rl_lmdb_reader_next(*h, &key, &value, &found));
  if (!found) {
    rl_lmdb_reader_close(*h);
    *h = NULL;
    return 0;
  }
  rl_lua_push_value(L, key);
  rl_lua_push_value(L, value);
  return 2;
}

/* core.lmdbRead(path, db, format) -> iterator of (key, value), nil, nil, what closes it */
static int read_all(lua_State *L)
{
  const char *path = luaL_checkstring(L, 1), *db = luaL_checkstring(L, 2);
  rl_lmdb_format format = check_format(L, luaL_optstring(L, 3, NULL));
  void **h = rl_handle_new(L, RL_META_LMDB_READER, 0);
  rl_lmdb_reader *r = NULL;
  rl_bind_check(L, rl_lmdb_reader_open(path, db, format, &r));
  *h = r;
  return rl_push_iterator(L, next_entry);
}

void rl_bind_add_lmdb(lua_State *L)
{
  static const luaL_Reg methods[] = {
    {"newest", sink_newest}, {"again", sink_again}, {"writer", sink_writer}, {"old", sink_old}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"lmdbSink", new_sink}, {"lmdbRead", read_all}, {NULL, NULL}};
  rl_handle_type(L, RL_META_LMDB_SINK, sink_gc, methods);
  rl_handle_type_closed(L, RL_META_LMDB_READER, reader_gc);
  luaL_setfuncs(L, functions, 0);
}
