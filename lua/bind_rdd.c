/* Rdd: the lineage. */
#include "base/mem.h"
#include "bind.h"
#include "values.h"

static int rdd_gc(lua_State *L)
{
  void **h = luaL_checkudata(L, 1, RL_META_RDD);
  rl_rdd_unref(*h);
  *h = NULL;
  return 0;
}

rl_rdd *rl_check_rdd(lua_State *L, int index)
{
  void **h = luaL_checkudata(L, index, RL_META_RDD);
  if (!*h) luaL_argerror(L, index, "this RDD is gone");
  return *h;
}

rl_level rl_check_level(lua_State *L, int index, rl_level otherwise)
{
  rl_level level = otherwise;
  if (!lua_isnoneornil(L, index)) rl_bind_check(L, rl_level_parse(luaL_checkstring(L, index), &level));
  return level;
}

void rl_push_rdd(lua_State *L, rl_rdd *rdd)
{
  void **h = rl_handle_new(L, RL_META_RDD, 0);
  *h = rl_rdd_ref(rdd);
}

static int apply(lua_State *L)
{
  rl_op *op = rl_check_op(L, 1);
  lua_Integer parallelism = luaL_optinteger(L, 3, 0);
  luaL_argcheck(L, parallelism >= 0 && parallelism <= INT32_MAX, 3, "out of range");
  void **parents;
  size_t n = rl_bind_handles(L, 2, RL_META_RDD, "the parents", &parents);
  void **h = rl_handle_new(L, RL_META_RDD, 0);
  rl_rdd *rdd = NULL;
  rl_bind_check(L, rl_rdd_apply(op, (rl_rdd *const *)parents, (uint32_t)n, (uint32_t)parallelism, &rdd));
  *h = rdd;
  return 1;
}

static int id(lua_State *L)
{
  lua_pushinteger(L, (lua_Integer)rl_rdd_id(rl_check_rdd(L, 1)));
  return 1;
}

static int partitions(lua_State *L)
{
  lua_pushinteger(L, rl_rdd_partitions(rl_check_rdd(L, 1)));
  return 1;
}

/* { { rdd, exchanged }, ... } */
static int parents(lua_State *L)
{
  const rl_rdd *rdd = rl_check_rdd(L, 1);
  rl_rdd *const *list;
  uint32_t n = rl_rdd_parents(rdd, &list);
  lua_createtable(L, (int)n, 0);
  for (uint32_t i = 0; i < n; i++) {
    lua_createtable(L, 2, 0);
    rl_push_rdd(L, list[i]);
    lua_rawseti(L, -2, 1);
    lua_pushboolean(L, rl_rdd_is_exchanged(rdd, i));
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

static int is_hashed(lua_State *L)
{
  lua_pushboolean(L, rl_rdd_partitioner(rl_check_rdd(L, 1)) == RL_PART_HASH);
  return 1;
}

static int persist(lua_State *L)
{
  rl_bind_check(L, rl_rdd_persist(rl_check_rdd(L, 1), rl_check_level(L, 2, RL_LEVEL_MEMORY_ONLY)));
  return 0;
}

static int unpersist(lua_State *L)
{
  rl_rdd_unpersist(rl_check_rdd(L, 1));
  return 0;
}

static int is_persisted(lua_State *L)
{
  lua_pushboolean(L, rl_rdd_is_persisted(rl_check_rdd(L, 1)));
  return 1;
}

static int level(lua_State *L)
{
  lua_pushstring(L, rl_level_name(rl_rdd_level(rl_check_rdd(L, 1))));
  return 1;
}

static int set_name(lua_State *L)
{
  rl_rdd_set_name(rl_check_rdd(L, 1), luaL_checkstring(L, 2));
  return 0;
}

static int name(lua_State *L)
{
  lua_pushstring(L, rl_rdd_name(rl_check_rdd(L, 1)));
  return 1;
}

static int label(lua_State *L)
{
  lua_pushstring(L, rl_rdd_label(rl_check_rdd(L, 1)));
  return 1;
}

static int debug(lua_State *L)
{
  const rl_rdd *rdd = rl_check_rdd(L, 1);
  rl_buf *text = rl_lua_push_buf(L);
  rl_rdd_debug(rdd, text);
  lua_pushlstring(L, text->n ? text->p : "", text->n);
  return 1;
}

void rl_bind_add_rdds(lua_State *L)
{
  static const luaL_Reg methods[] = {
    {"id", id},
    {"partitions", partitions},
    {"parents", parents},
    {"isHashed", is_hashed},
    {"persist", persist},
    {"unpersist", unpersist},
    {"isPersisted", is_persisted},
    {"level", level},
    {"setName", set_name},
    {"name", name},
    {"label", label},
    {"debug", debug},
    {"kafkaRanges", rl_rdd_push_kafka_ranges},
    {NULL, NULL},
  };
  rl_handle_type(L, RL_META_RDD, rdd_gc, methods);
  lua_pushcfunction(L, apply);
  lua_setfield(L, -2, "apply");
}
