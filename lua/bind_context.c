/* Context: settings, workers, and RDDs made from what the driver has. */
#include <pthread.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "bind.h"
#include "data/block.h"
#include "run/budget.h"
#include "run/conf.h"
#include "source/parts.h"
#include "source/sources.h"
#include "values.h"
#include "worker.h"

#define PARTITIONS_MAX 100000

/* --- what workers share ------------------------------------------------------------------------------------------- */

/* A worker stuck in C is left behind and may look at its config at any time, so configs are never freed; equal ones are
 * one. */
typedef struct kept_config {
  struct kept_config *next;
  rl_worker_config config;
} kept_config;

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static kept_config *kept;

static rl_worker_config *keep_config(int64_t max_memory, int64_t max_bad, int64_t patience_ns, const char *path,
                                     const char *cpath)
{
  pthread_mutex_lock(&kept_lock);
  kept_config *k = kept;
  while (k && (k->config.max_memory != max_memory || k->config.max_bad_records != max_bad ||
               k->config.patience_ns != patience_ns || strcmp(k->config.package_path, path) != 0 ||
               strcmp(k->config.package_cpath, cpath) != 0))
    k = k->next;
  if (!k) {
    k = RL_NEW(kept_config);
    k->config = (rl_worker_config){max_bad, max_memory, patience_ns, rl_strdup(path), rl_strdup(cpath)};
    k->next = kept;
    kept = k;
  }
  pthread_mutex_unlock(&kept_lock);
  return &k->config;
}

/* Pushes package.<field>. */
static const char *push_package(lua_State *L, const char *field)
{
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, "package") == LUA_TTABLE) lua_getfield(L, -1, field);
  return lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
}

const rl_worker_config *rl_bind_config(lua_State *L, const rl_conf *conf)
{
  int top = lua_gettop(L);
  luaL_checkstack(L, 6, NULL);
  const char *path = push_package(L, "path"), *cpath = push_package(L, "cpath");
  rl_budget budget = {0};
  rl_budget_read(conf, &budget); /* what is wrong with it is told where the context is made */
  const rl_worker_config *config =
    keep_config(budget.lua, rl_conf_int(conf, "rille.task.maxBadRecords"),
                rl_conf_us(conf, "rille.task.maxSeconds") * 900, path, cpath);
  lua_settop(L, top);
  return config;
}

/* --- settings ----------------------------------------------------------------------------------------------------- */

static int conf_gc(lua_State *L)
{
  void **h = luaL_checkudata(L, 1, RL_META_CONF);
  rl_conf_delete(*h);
  *h = NULL;
  return 0;
}

/* The setting on top as text; stays on the stack. */
static const char *setting_text(lua_State *L, const char *key)
{
  switch (lua_type(L, -1)) {
  case LUA_TSTRING:
  case LUA_TNUMBER: return lua_tostring(L, -1);
  case LUA_TBOOLEAN: return lua_toboolean(L, -1) ? "true" : "false";
  default:
    luaL_error(L, "setting '%s' must be a string, a number or a boolean, it is a %s", key, luaL_typename(L, -1));
    return NULL;
  }
}

static void apply_settings(lua_State *L, rl_conf *conf, int table)
{
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) luaL_error(L, "a setting's name is a %s; give a string", luaL_typename(L, -2));
    const char *key = lua_tostring(L, -2);
    rl_bind_check(L, rl_conf_set(conf, key, setting_text(L, key)));
  }
}

/* Lowest first: the properties files, the script's table, what the command line gave (core.overrides). */
static void gather_settings(lua_State *L, rl_conf *conf, int script)
{
  int core = lua_upvalueindex(1);
  const char *properties = rl_bind_text(L, core, "properties");
  if (properties) rl_bind_check(L, rl_conf_load(conf, properties));
  if (!lua_isnoneornil(L, 2)) rl_bind_check(L, rl_conf_load(conf, luaL_checkstring(L, 2)));
  apply_settings(L, conf, script);
  if (lua_getfield(L, core, "overrides") == LUA_TTABLE) apply_settings(L, conf, lua_gettop(L));
  lua_pop(L, 1);
}

/* core.checkSettings(table, properties): raises when they are none; what they would be warned of is left to contexts. */
static int check_settings(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  void **conf = rl_handle_new(L, RL_META_CONF, 0);
  *conf = rl_conf_new();
  if (!lua_isnil(L, 2)) rl_bind_check(L, rl_conf_load(*conf, luaL_checkstring(L, 2)));
  apply_settings(L, *conf, 1);
  return 0;
}

static int new_context(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  void **out = rl_handle_new(L, RL_META_CONTEXT, 0);
  void **conf = rl_handle_new(L, RL_META_CONF, 0);
  *conf = rl_conf_new();
  gather_settings(L, *conf, 1);
  rl_worker_hooks hooks;
  rl_worker_hooks_init(&hooks, (rl_worker_config *)rl_bind_config(L, *conf));
  rl_context *context = NULL;
  rl_bind_check(L, rl_context_new(*conf, &hooks, &context));
  *out = context;
  lua_settop(L, 3);
  return 1;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

rl_context *rl_check_context(lua_State *L, int index)
{
  void **h = luaL_checkudata(L, index, RL_META_CONTEXT);
  if (!*h) luaL_argerror(L, index, "this context is gone");
  return *h;
}

static int context_gc(lua_State *L)
{
  void **h = luaL_checkudata(L, 1, RL_META_CONTEXT);
  rl_context *c = *h;
  *h = NULL;
  if (!c) return 0;
  rl_bind_enter(L);
  rl_context_stop(c);
  rl_context_unref(c);
  return 0;
}

static int stop(lua_State *L)
{
  rl_context *c = rl_check_context(L, 1);
  rl_bind_enter(L);
  rl_context_stop(c);
  return 0;
}

static int is_stopped(lua_State *L)
{
  lua_pushboolean(L, rl_context_is_stopped(rl_check_context(L, 1)));
  return 1;
}

static int workers(lua_State *L)
{
  lua_pushinteger(L, rl_context_workers(rl_check_context(L, 1)));
  return 1;
}

static int parallelism(lua_State *L)
{
  lua_pushinteger(L, rl_context_parallelism(rl_check_context(L, 1)));
  return 1;
}

static int parallelism_is_set(lua_State *L)
{
  lua_pushboolean(L, rl_conf_is_set(rl_context_conf(rl_check_context(L, 1)), "rille.default.parallelism"));
  return 1;
}

static int memory(lua_State *L)
{
  rl_memory_stats s;
  rl_memory_stats_read(rl_context_memory(rl_check_context(L, 1)), &s);
  const struct {
    const char *name;
    uint64_t bytes;
  } fields[] = {{"limit", s.limit},           {"used", (uint64_t)rl_mem_used()},   {"storage", s.storage},
                {"spilled", s.spilled_now}, {"spilledTotal", s.spilled_total}, {"droppedTotal", s.dropped_total}};
  lua_createtable(L, 0, sizeof fields / sizeof *fields);
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    lua_pushinteger(L, (lua_Integer)fields[i].bytes);
    lua_setfield(L, -2, fields[i].name);
  }
  return 1;
}

static int conf_value(lua_State *L)
{
  const rl_conf *conf = rl_context_conf(rl_check_context(L, 1));
  const char *key = luaL_checkstring(L, 2);
  const rl_conf_key *k = rl_conf_keys;
  while (k->name && strcmp(k->name, key) != 0) k++;
  if (!k->name) return luaL_error(L, "unknown setting '%s'", key);
  lua_pushstring(L, rl_conf_text(conf, key));
  return 1;
}

/* --- RDDs --------------------------------------------------------------------------------------------------------- */

/* Partitions given at `index`; 0 when none were. */
static uint32_t opt_partitions(lua_State *L, int index)
{
  lua_Integer n = luaL_optinteger(L, index, 0);
  luaL_argcheck(L, n >= 0 && n <= PARTITIONS_MAX, index, "number of partitions out of range");
  return (uint32_t)n;
}

/* Entries (from, to] of the list at `list` as records. Raises nothing. */
static rl_status cut_records(lua_State *L, int list, uint64_t from, uint64_t to, rl_builder *b, rl_buf *scratch,
                             rl_chunks *out)
{
  rl_value fields[RL_MAX_FIELDS];
  for (uint64_t i = from + 1; i <= to; i++) {
    uint32_t n = 0;
    lua_rawgeti(L, list, (lua_Integer)i);
    rl_status st = rl_lua_to_record(L, lua_gettop(L), 1, fields, &n, scratch);
    if (!st) st = rl_builder_add(b, fields, n);
    lua_pop(L, 1);
    if (st) {
      rl_error_prefix("record %llu: ", (unsigned long long)i);
      return st;
    }
    if (rl_builder_full(b)) rl_chunks_add(out, rl_builder_finish(b));
  }
  rl_chunk *last = rl_builder_finish(b);
  if (last) rl_chunks_add(out, last);
  return RL_OK;
}

/* Raises nothing. */
static rl_status cut_list(lua_State *L, int list, uint32_t partitions, rl_rdd **out)
{
  uint64_t n = lua_rawlen(L, list);
  rl_chunks *parts = rl_calloc(partitions, sizeof *parts);
  rl_builder *b = rl_builder_new();
  rl_buf scratch = {0};
  rl_status st = RL_OK;
  for (uint64_t i = 0; i < partitions && !st; i++)
    st = cut_records(L, list, i * n / partitions, (i + 1) * n / partitions, b, &scratch, &parts[i]);
  if (!st) *out = rl_rdd_from_chunks(parts, partitions);
  for (uint32_t i = 0; i < partitions && st; i++) rl_chunks_clear(&parts[i]);
  rl_buf_free(&scratch);
  rl_builder_delete(b);
  rl_free(parts);
  return st;
}

static int parallelize(lua_State *L)
{
  const rl_context *c = rl_check_context(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  uint32_t partitions = opt_partitions(L, 3);
  if (partitions == 0) partitions = rl_context_parallelism(c);
  luaL_checkstack(L, RL_MAX_FIELDS + LUA_MINSTACK, NULL);
  void **h = rl_handle_new(L, RL_META_RDD, 0);
  rl_rdd *rdd = NULL;
  rl_bind_check(L, cut_list(L, 2, partitions, &rdd));
  *h = rdd;
  return 1;
}

static int text_file(lua_State *L)
{
  rl_check_context(L, 1);
  const char *path = luaL_checkstring(L, 2);
  void **h = rl_handle_new(L, RL_META_RDD, 0);
  rl_rdd *rdd = NULL;
  rl_bind_check(L, rl_rdd_text_file(path, opt_partitions(L, 3), &rdd));
  *h = rdd;
  return 1;
}

static int binary_records(lua_State *L)
{
  rl_check_context(L, 1);
  const char *path = luaL_checkstring(L, 2);
  lua_Integer length = luaL_checkinteger(L, 3);
  luaL_argcheck(L, length >= 1 && length <= INT32_MAX, 3, "length of a record out of range");
  void **h = rl_handle_new(L, RL_META_RDD, 0);
  rl_rdd *rdd = NULL;
  rl_bind_check(L, rl_rdd_binary_records(path, (uint32_t)length, &rdd));
  *h = rdd;
  return 1;
}

static int object_file(lua_State *L)
{
  rl_check_context(L, 1);
  const char *path = luaL_checkstring(L, 2);
  void **h = rl_handle_new(L, RL_META_RDD, 0);
  rl_rdd *rdd = NULL;
  rl_bind_check(L, rl_rdd_object_file(path, &rdd));
  *h = rdd;
  return 1;
}

static int files_gc(lua_State *L)
{
  rl_file_list_clear(lua_touserdata(L, 1));
  return 0;
}

/* A list of files that the collector frees; pushed. */
static rl_file_list *push_files(lua_State *L)
{
  rl_file_list *list = lua_newuserdatauv(L, sizeof *list, 0);
  *list = (rl_file_list){0};
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, files_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  return list;
}

static int files(lua_State *L)
{
  rl_check_context(L, 1);
  const char *path = luaL_checkstring(L, 2);
  rl_file_list *list = push_files(L);
  rl_bind_check(L, rl_files_find_data(path, list));
  lua_createtable(L, (int)list->n, 0);
  for (size_t i = 0; i < list->n; i++) {
    lua_pushstring(L, list->v[i].path);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

/* A block of the string on top (popped); NULL when it is none. Raises nothing. */
static rl_block *text_block(lua_State *L)
{
  size_t n = 0;
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
  rl_bytes *data = text ? rl_bytes_from(text, n) : NULL;
  if (!text) rl_fail(RL_EINVAL, "blocks are made of strings, not of a %s", luaL_typename(L, -1));
  lua_pop(L, 1);
  if (!data) return NULL;
  rl_block *b = rl_block_text(data, 0, n, NULL);
  rl_bytes_unref(data);
  return b;
}

static int blocks(lua_State *L)
{
  rl_check_context(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  uint32_t n = (uint32_t)lua_rawlen(L, 2), made = 0;
  rl_block **list = rl_bind_array(L, n, sizeof *list);
  void **h = rl_handle_new(L, RL_META_RDD, 0);
  for (; made < n; made++) {
    lua_rawgeti(L, 2, (lua_Integer)made + 1);
    if (!(list[made] = text_block(L))) break;
  }
  if (made == n) *h = rl_rdd_from_blocks(list, n);
  while (made > 0) rl_block_unref(list[--made]);
  return *h ? 1 : rl_bind_raise(L);
}

static int empty(lua_State *L)
{
  rl_check_context(L, 1);
  uint32_t partitions = opt_partitions(L, 2);
  void **h = rl_handle_new(L, RL_META_RDD, 0);
  *h = rl_rdd_empty(partitions);
  return 1;
}

void rl_bind_add_contexts(lua_State *L)
{
  static const luaL_Reg methods[] = {
    {"stop", stop},
    {"isStopped", is_stopped},
    {"workers", workers},
    {"parallelism", parallelism},
    {"parallelismIsSet", parallelism_is_set},
    {"memory", memory},
    {"conf", conf_value},
    {"parallelize", parallelize},
    {"textFile", text_file},
    {"binaryRecords", binary_records},
    {"objectFile", object_file},
    {"kafka", rl_context_kafka},
    {"kafkaSink", rl_context_kafka_sink},
    {"kafkaTransaction", rl_context_kafka_transaction},
    {"files", files},
    {"blocks", blocks},
    {"empty", empty},
    {"run", rl_context_run},
    {"save", rl_context_save},
    {"deliverUpdates", rl_context_deliver_updates},
    {NULL, NULL},
  };
  rl_handle_type(L, RL_META_CONF, conf_gc, NULL);
  rl_handle_type(L, RL_META_CONTEXT, context_gc, methods);
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, new_context, 1);
  lua_setfield(L, -2, "context");
  lua_pushcfunction(L, check_settings);
  lua_setfield(L, -2, "checkSettings");
}
