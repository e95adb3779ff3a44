/* Kafka: streams, RDDs over ranges of offsets, commits, sinks. stdlib/rille/kafka.lua brings what jobs give into the
 * form that is read here. */
#include <limits.h>
#include <string.h>

#include "bind_kafka.h"
#include "source/kafka_group.h"

static lua_Integer check_number(lua_State *L, int table, const char *field, lua_Integer most)
{
  lua_Integer x = rl_bind_int(L, table, field, 0);
  if (x < 0 || x > most) luaL_error(L, "field '%s' is out of range", field);
  return x;
}

static const char *check_topic(lua_State *L, int table)
{
  const char *topic = rl_bind_text(L, table, "topic");
  if (!topic) luaL_error(L, "field 'topic' is needed");
  return topic;
}

/* Pushes the list in a field, and tells its length. */
static size_t push_list(lua_State *L, int table, const char *field)
{
  if (lua_getfield(L, table, field) == LUA_TNIL) return 0;
  if (!lua_istable(L, -1)) luaL_error(L, "field '%s' must be a table", field);
  return lua_rawlen(L, -1);
}

const rl_kafka_setting *rl_bind_kafka_settings(lua_State *L, int table, size_t *n)
{
  *n = push_list(L, table, "settings");
  int list = lua_gettop(L);
  rl_kafka_setting *v = rl_bind_array(L, *n, sizeof *v);
  for (size_t i = 0; i < *n; i++) {
    lua_rawgeti(L, list, (lua_Integer)i + 1);
    v[i] = (rl_kafka_setting){rl_bind_text(L, lua_gettop(L), "name"), rl_bind_text(L, lua_gettop(L), "value")};
    if (!v[i].name || !v[i].value) luaL_error(L, "a setting needs a name and a value");
    lua_pop(L, 1);
  }
  return v;
}

static const char *const *check_topics(lua_State *L, int table, size_t *n)
{
  *n = push_list(L, table, "topics");
  int list = lua_gettop(L);
  const char **v = rl_bind_array(L, *n, sizeof *v);
  for (size_t i = 0; i < *n; i++) {
    if (lua_rawgeti(L, list, (lua_Integer)i + 1) != LUA_TSTRING) luaL_error(L, "a topic must be a string");
    v[i] = lua_tostring(L, -1);
    lua_pop(L, 1);
  }
  return v;
}

static const rl_kafka_offset *check_offsets(lua_State *L, int table, const char *field, size_t *n)
{
  *n = push_list(L, table, field);
  int list = lua_gettop(L);
  rl_kafka_offset *v = rl_bind_array(L, *n, sizeof *v);
  for (size_t i = 0; i < *n; i++) {
    lua_rawgeti(L, list, (lua_Integer)i + 1);
    int at = lua_gettop(L);
    luaL_checktype(L, at, LUA_TTABLE);
    v[i] = (rl_kafka_offset){.topic = check_topic(L, at),
                             .partition = (int32_t)check_number(L, at, "partition", INT32_MAX),
                             .offset = check_number(L, at, "offset", LLONG_MAX)};
    lua_pop(L, 1);
  }
  return v;
}

static const rl_kafka_range *check_ranges(lua_State *L, int list, size_t *n)
{
  luaL_checktype(L, list, LUA_TTABLE);
  *n = lua_rawlen(L, list);
  rl_kafka_range *v = rl_bind_array(L, *n, sizeof *v);
  for (size_t i = 0; i < *n; i++) {
    lua_rawgeti(L, list, (lua_Integer)i + 1);
    int at = lua_gettop(L);
    luaL_checktype(L, at, LUA_TTABLE);
    v[i] = (rl_kafka_range){.topic = (char *)check_topic(L, at),
                            .partition = (int32_t)check_number(L, at, "partition", INT32_MAX),
                            .from = check_number(L, at, "fromOffset", LLONG_MAX),
                            .until = check_number(L, at, "untilOffset", LLONG_MAX)};
    lua_pop(L, 1);
  }
  return v;
}

static rl_kafka_records check_records(lua_State *L, int table)
{
  static const char *const forms[] = {"pair", "value", "full", NULL};
  lua_getfield(L, table, "records");
  return (rl_kafka_records)luaL_checkoption(L, lua_gettop(L), "pair", forms);
}

/* Streaming:kafka(spec) */
int rl_streaming_kafka(lua_State *L)
{
  rl_streaming *s = rl_check_streaming(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checkstack(L, 4 * LUA_MINSTACK, NULL);
  rl_kafka_stream spec = {.records = check_records(L, 2), .pattern = rl_bind_text(L, 2, "pattern")};
  spec.settings = rl_bind_kafka_settings(L, 2, &spec.nsettings);
  spec.topics = check_topics(L, 2, &spec.ntopics);
  spec.assign = check_offsets(L, 2, "assign", &spec.nassign);
  spec.from = check_offsets(L, 2, "from", &spec.nfrom);
  const char *site = rl_bind_text(L, 2, "site");
  rl_dstream *d = NULL;
  rl_bind_check(L, rl_source_kafka(s, &spec, site, &d));
  rl_push_dstream(L, 1, d);
  return 1;
}

/* Streaming:kafkaGroup(spec) */
int rl_streaming_kafka_group(lua_State *L)
{
  rl_streaming *s = rl_check_streaming(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checkstack(L, 2 * LUA_MINSTACK, NULL);
  rl_kafka_group spec = {.records = check_records(L, 2)};
  spec.settings = rl_bind_kafka_settings(L, 2, &spec.nsettings);
  spec.topics = check_topics(L, 2, &spec.ntopics);
  const char *site = rl_bind_text(L, 2, "site");
  rl_dstream *d = NULL;
  rl_bind_check(L, rl_source_kafka_group(s, &spec, site, &d));
  rl_push_dstream(L, 1, d);
  return 1;
}

/* Context:kafka(spec, ranges) */
int rl_context_kafka(lua_State *L)
{
  const rl_conf *conf = rl_context_conf(rl_check_context(L, 1));
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checkstack(L, 2 * LUA_MINSTACK, NULL);
  size_t nsettings, n;
  const rl_kafka_setting *settings = rl_bind_kafka_settings(L, 2, &nsettings);
  const rl_kafka_range *ranges = check_ranges(L, 3, &n);
  rl_kafka_records records = check_records(L, 2);
  void **h = rl_handle_new(L, RL_META_RDD, 0);
  rl_rdd *rdd = NULL;
  rl_bind_check(L, rl_rdd_kafka(conf, settings, nsettings, records, ranges, (uint32_t)n, &rdd));
  *h = rdd;
  return 1;
}

/* Context:kafkaSink(spec) */
int rl_context_kafka_sink(lua_State *L)
{
  const rl_conf *conf = rl_context_conf(rl_check_context(L, 1));
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checkstack(L, 2 * LUA_MINSTACK, NULL);
  rl_kafka_sink spec = {.topic = rl_bind_text(L, 2, "topic"), .transaction = rl_bind_kafka_transaction(L, 2)};
  spec.settings = rl_bind_kafka_settings(L, 2, &spec.nsettings);
  void **h = rl_handle_new(L, RL_META_FN, 0);
  rl_fn *fn = NULL;
  rl_bind_check(L, rl_sink_kafka_fn(&spec, conf, &fn));
  *h = fn;
  return 1;
}

/* Rdd:kafkaRanges() */
int rl_rdd_push_kafka_ranges(lua_State *L)
{
  const rl_rdd *rdd = rl_check_rdd(L, 1);
  const rl_kafka_range *ranges = NULL;
  uint32_t n = 0;
  if (!rl_rdd_kafka_ranges(rdd, &ranges, &n)) return 0;
  lua_createtable(L, (int)n, 0);
  for (uint32_t i = 0; i < n; i++) {
    const rl_kafka_range *r = &ranges[i];
    lua_createtable(L, 0, 4);
    lua_pushstring(L, r->topic);
    lua_setfield(L, -2, "topic");
    lua_pushinteger(L, r->partition);
    lua_setfield(L, -2, "partition");
    lua_pushinteger(L, r->from);
    lua_setfield(L, -2, "fromOffset");
    lua_pushinteger(L, r->until);
    lua_setfield(L, -2, "untilOffset");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

typedef struct answer {
  const rl_callback *callback;
  const char *failure;
} answer;

static int call_committed(lua_State *L)
{
  const answer *a = lua_touserdata(L, 1);
  rl_callback_push(L, a->callback);
  lua_pushstring(L, a->failure); /* NULL pushes nil */
  lua_call(L, 1, 0);
  return 0;
}

/* What the job's function raises is told as a failure of the job would be. */
static void on_committed(void *user, const char *failure)
{
  const rl_callback *callback = user;
  answer a = {callback, failure};
  rl_status st = rl_gate(callback->bind, call_committed, &a);
  rl_streaming *s = rl_streaming_active();
  if (st != RL_OK && st != RL_ECANCELLED && s) rl_streaming_report(s, st);
}

/* DStream:commit(ranges, callback) */
int rl_dstream_commit(lua_State *L)
{
  rl_dstream *d = rl_check_dstream(L, 1);
  size_t n;
  lua_settop(L, 3);
  const rl_kafka_range *ranges = check_ranges(L, 2, &n);
  rl_callback *callback = lua_isnil(L, 3) ? NULL : rl_callback_new(L, 3);
  rl_bind_check(L, rl_kafka_commit(d, ranges, n, callback ? on_committed : NULL, callback,
                                   callback ? rl_callback_delete : NULL));
  return 0;
}
