/* DStream: derived streams, and what the graph calls on the driver. */
#include "base/mem.h"
#include "bind.h"
#include "run/receiver.h"
#include "values.h"

rl_dstream *rl_check_dstream(lua_State *L, int index)
{
  void **h = luaL_checkudata(L, index, RL_META_DSTREAM);
  lua_getiuservalue(L, index, 1);
  void **streaming = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (!*h || !streaming || !*streaming) luaL_argerror(L, index, "this stream's context is gone");
  return *h;
}

void rl_push_dstream(lua_State *L, int streaming, rl_dstream *d)
{
  streaming = lua_absindex(L, streaming);
  void **h = rl_handle_new(L, RL_META_DSTREAM, 1);
  lua_pushvalue(L, streaming);
  lua_setiuservalue(L, -2, 1);
  *h = d;
}

/* The list of parents at `index`; pushes the streaming context of the first. */
static size_t check_parents(lua_State *L, int index, rl_dstream *const **out)
{
  void **parents;
  size_t n = rl_bind_handles(L, index, RL_META_DSTREAM, "the parents", &parents);
  luaL_argcheck(L, n > 0, index, "at least one stream is needed");
  for (size_t i = 1; i <= n; i++) {
    lua_rawgeti(L, index, (lua_Integer)i);
    rl_check_dstream(L, lua_gettop(L));
    lua_pop(L, 1);
  }
  lua_rawgeti(L, index, 1);
  lua_getiuservalue(L, -1, 1);
  *out = (rl_dstream *const *)parents;
  return n;
}

static int apply(lua_State *L)
{
  rl_op *op = rl_check_op(L, 1);
  rl_dstream *const *parents;
  size_t n = check_parents(L, 2, &parents);
  rl_dstream *d = NULL;
  rl_bind_check(L, rl_dstream_apply(op, parents, (uint32_t)n, &d));
  rl_push_dstream(L, -1, d);
  return 1;
}

/* --- transform ---------------------------------------------------------------------------------------------------- */

typedef struct transform {
  const rl_callback *fn;
  rl_rdd *const *rdds;
  uint32_t n;
  int64_t time;
  rl_rdd *result; /* out: one reference */
} transform;

static int call_transform(lua_State *L)
{
  transform *t = lua_touserdata(L, 1);
  rl_callback_push(L, t->fn);
  lua_createtable(L, (int)t->n, 0);
  for (uint32_t i = 0; i < t->n; i++) {
    rl_push_rdd(L, t->rdds[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_pushinteger(L, t->time);
  lua_call(L, 2, 1);
  if (!luaL_testudata(L, -1, RL_META_RDD))
    return luaL_error(L, "the function must return an RDD; it returned a %s", luaL_typename(L, -1));
  t->result = rl_rdd_ref(rl_check_rdd(L, -1));
  return 0;
}

static rl_status on_transform(void *user, rl_rdd *const *rdds, uint32_t n, int64_t time, rl_rdd **out)
{
  const rl_callback *fn = user;
  transform t = {.fn = fn, .rdds = rdds, .n = n, .time = time};
  rl_status st = rl_gate(fn->bind, call_transform, &t);
  *out = t.result;
  return st;
}

/* { name =, site =, uid = }; the strings are the table's. */
static rl_op check_named(lua_State *L, int index)
{
  luaL_checktype(L, index, LUA_TTABLE);
  const rl_op named = {
    .kind = RL_OP_NARROW,
    .name = (char *)rl_bind_text(L, index, "name"),
    .site = (char *)rl_bind_text(L, index, "site"),
    .uid = (char *)rl_bind_text(L, index, "uid"),
  };
  luaL_argcheck(L, named.name, index, "field 'name' is needed");
  return named;
}

static int new_transform(lua_State *L)
{
  const rl_op named = check_named(L, 1);
  rl_dstream *const *parents;
  size_t n = check_parents(L, 2, &parents);
  rl_callback *fn = rl_callback_new(L, 3);
  rl_dstream *d = NULL;
  rl_bind_check(L, rl_dstream_transform(&named, parents, (uint32_t)n, on_transform, fn, rl_callback_delete, &d));
  rl_push_dstream(L, -1, d);
  return 1;
}

/* --- windows ------------------------------------------------------------------------------------------------------ */

static int new_window(lua_State *L)
{
  const rl_op named = check_named(L, 1);
  rl_dstream *parent = rl_check_dstream(L, 2), *d = NULL;
  lua_Integer window = luaL_checkinteger(L, 3), slide = luaL_checkinteger(L, 4);
  lua_getiuservalue(L, 2, 1);
  rl_bind_check(L, rl_dstream_window(parent, &named, window, slide, &d));
  rl_push_dstream(L, -1, d);
  return 1;
}

static int check_window(lua_State *L)
{
  const char *name = luaL_checkstring(L, 1);
  lua_Integer parent = luaL_checkinteger(L, 2);
  luaL_argcheck(L, parent > 0, 2, "out of range");
  rl_bind_check(L, rl_window_check(name, parent, luaL_checkinteger(L, 3), luaL_checkinteger(L, 4)));
  return 0;
}

/* --- methods ------------------------------------------------------------------------------------------------------ */

static int persist(lua_State *L)
{
  rl_dstream_persist(rl_check_dstream(L, 1), rl_check_level(L, 2, RL_LEVEL_MEMORY_ONLY_SER));
  return 0;
}

static int store_at(lua_State *L)
{
  rl_bind_check(L, rl_dstream_store_at(rl_check_dstream(L, 1), rl_check_level(L, 2, RL_LEVEL_RECEIVED)));
  return 0;
}

/* DStream:setUid(uid), of an input */
static int set_uid(lua_State *L)
{
  rl_dstream_set_uid(rl_check_dstream(L, 1), luaL_checkstring(L, 2));
  return 0;
}

static int slide(lua_State *L)
{
  lua_pushinteger(L, rl_dstream_slide(rl_check_dstream(L, 1)));
  return 1;
}

static int remembers(lua_State *L)
{
  lua_pushinteger(L, rl_dstream_remembers(rl_check_dstream(L, 1)));
  return 1;
}

static int input_id(lua_State *L)
{
  lua_pushinteger(L, rl_dstream_input_id(rl_check_dstream(L, 1)));
  return 1;
}

static int get(lua_State *L)
{
  rl_dstream *d = rl_check_dstream(L, 1);
  lua_Integer time = luaL_checkinteger(L, 2);
  void **h = rl_handle_new(L, RL_META_RDD, 0);
  rl_rdd *rdd = NULL;
  rl_bind_enter(L);
  rl_bind_check(L, rl_dstream_get(d, time, &rdd));
  *h = rdd;
  if (!rdd) lua_pushnil(L);
  return 1;
}

static int label(lua_State *L)
{
  lua_pushstring(L, rl_dstream_label(rl_check_dstream(L, 1)));
  return 1;
}

static int debug(lua_State *L)
{
  const rl_dstream *d = rl_check_dstream(L, 1);
  rl_buf *text = rl_lua_push_buf(L);
  rl_dstream_debug(d, text);
  lua_pushlstring(L, text->n ? text->p : "", text->n);
  return 1;
}

void rl_bind_add_dstreams(lua_State *L)
{
  static const luaL_Reg methods[] = {
    {"output", rl_dstream_add_output},
    {"persist", persist},
    {"storeAt", store_at},
    {"setUid", set_uid},
    {"slide", slide},
    {"remembers", remembers},
    {"inputId", input_id},
    {"get", get},
    {"label", label},
    {"debug", debug},
    {"commit", rl_dstream_commit},
    {NULL, NULL},
  };
  static const luaL_Reg functions[] = {
    {"dapply", apply}, {"dtransform", new_transform}, {"dwindow", new_window}, {"checkWindow", check_window}, {NULL, NULL},
  };
  rl_handle_type(L, RL_META_DSTREAM, NULL, methods);
  luaL_setfuncs(L, functions, 0);
}
