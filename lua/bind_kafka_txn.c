/* Transactions of Kafka (sink/kafka_txn.h). */
#include <limits.h>

#include "bind_kafka.h"

static rl_kafka_txn *check_txn(lua_State *L, int index)
{
  void **h = luaL_checkudata(L, index, RL_META_KAFKA_TXN);
  luaL_argcheck(L, *h, index, "this transaction is gone");
  return *h;
}

rl_kafka_txn *rl_bind_kafka_transaction(lua_State *L, int table)
{
  rl_kafka_txn *t = NULL;
  if (lua_getfield(L, table, "transaction") != LUA_TNIL) t = check_txn(L, lua_gettop(L));
  lua_pop(L, 1); /* the table has it */
  return t;
}

static int txn_gc(lua_State *L)
{
  void **h = luaL_checkudata(L, 1, RL_META_KAFKA_TXN);
  rl_kafka_txn_unref(*h);
  *h = NULL;
  return 0;
}

/* Context:kafkaTransaction { settings =, id =, marker = } */
int rl_context_kafka_transaction(lua_State *L)
{
  const rl_conf *conf = rl_context_conf(rl_check_context(L, 1));
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checkstack(L, 2 * LUA_MINSTACK, NULL);
  rl_kafka_txn_spec spec = {.id = rl_bind_text(L, 2, "id"), .marker = rl_bind_text(L, 2, "marker")};
  spec.settings = rl_bind_kafka_settings(L, 2, &spec.nsettings);
  if (!spec.id || !spec.marker) luaL_argerror(L, 2, "fields 'id' and 'marker' are needed");
  void **h = rl_handle_new(L, RL_META_KAFKA_TXN, 0);
  rl_kafka_txn *t = NULL;
  rl_bind_check(L, rl_kafka_txn_new(&spec, conf, &t));
  *h = t;
  return 1;
}

/* The list at 3; the texts lie in it. */
static const rl_kafka_txn_offset *check_offsets(lua_State *L, size_t *n)
{
  luaL_checktype(L, 3, LUA_TTABLE);
  *n = lua_rawlen(L, 3);
  rl_kafka_txn_offset *v = rl_bind_array(L, *n, sizeof *v);
  for (size_t i = 0; i < *n; i++) {
    lua_rawgeti(L, 3, (lua_Integer)i + 1);
    int at = lua_gettop(L);
    v[i] = (rl_kafka_txn_offset){.group = rl_bind_text(L, at, "group"),
                                 .topic = rl_bind_text(L, at, "topic"),
                                 .partition = (int32_t)rl_bind_int(L, at, "partition", 0),
                                 .offset = rl_bind_int(L, at, "offset", 0)};
    if (!v[i].topic) luaL_error(L, "field 'topic' is needed");
    lua_pop(L, 1);
  }
  return v;
}

/* KafkaTransaction:batch(epoch, offsets) */
static int txn_batch(lua_State *L)
{
  rl_kafka_txn *t = check_txn(L, 1);
  size_t n;
  const rl_kafka_txn_offset *v = check_offsets(L, &n);
  rl_kafka_txn_batch(t, luaL_checkinteger(L, 2), v, n);
  return 0;
}

static int push_fn(lua_State *L, rl_fn *(*make)(rl_kafka_txn *))
{
  rl_kafka_txn *t = check_txn(L, 1);
  void **h = rl_handle_new(L, RL_META_FN, 0);
  *h = make(t);
  return 1;
}

static int txn_begin(lua_State *L) { return push_fn(L, rl_kafka_txn_begin_fn); }
static int txn_commit(lua_State *L) { return push_fn(L, rl_kafka_txn_commit_fn); }

static rl_status on_start(void *txn) { return rl_kafka_txn_start(txn); }
static void drop(void *txn) { rl_kafka_txn_unref(txn); }

/* transaction:atStart(streaming) */
static int txn_at_start(lua_State *L)
{
  rl_kafka_txn *t = check_txn(L, 1);
  rl_streaming *s = rl_check_streaming(L, 2);
  rl_bind_check(L, rl_streaming_on_start(s, on_start, rl_kafka_txn_ref(t), drop));
  return 0;
}

static int txn_has(lua_State *L)
{
  lua_pushboolean(L, rl_kafka_txn_has(check_txn(L, 1), luaL_checkinteger(L, 2)));
  return 1;
}

static int txn_again(lua_State *L)
{
  lua_pushboolean(L, rl_kafka_txn_again(check_txn(L, 1)));
  return 1;
}

void rl_bind_add_kafka_transactions(lua_State *L)
{
  static const luaL_Reg methods[] = {{"batch", txn_batch}, {"begin", txn_begin}, {"commit", txn_commit},
                                     {"has", txn_has},     {"again", txn_again}, {"atStart", txn_at_start},
                                     {NULL, NULL}};
  rl_handle_type(L, RL_META_KAFKA_TXN, txn_gc, methods);
}
