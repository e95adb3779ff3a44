/* Sending by producers, and what waits for the brokers to have it. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "bind.h"
#include "producer.h"
#include "run/streaming.h"
#include "sink/kafka_sends.h"
#include "values.h"
#include "worker_impl.h"

#define GOODBYE_NS INT64_C(5000000000) /* for what is under way when a state goes */

/* What one part of a job has sent by one producer. */
typedef struct rl_outbox {
  struct rl_outbox *next;
  const rl_kafka_producer *kafka; /* held by the sends */
  const void *owner;              /* the output whose function sent it; NULL: none */
  rl_kafka_sends *sends;
  char *where; /* the line that sent first; "" when there is none */
} rl_outbox;

/* Where a state keeps its outboxes, and how it waits. */
typedef struct place {
  rl_outboxes *boxes;
  const void *owner;
  rl_kafka_sends_spec how; /* without a producer */
} place;

/* Outboxes --------------------------------------------------------------------------------------------------------- */

/* Takes one out of the list and lets go of it. */
static void drop(rl_outbox **at)
{
  rl_outbox *box = *at;
  *at = box->next;
  rl_kafka_sends_close(box->sends, RL_OK);
  rl_free(box->where);
  rl_free(box);
}

void rl_outboxes_drop(rl_outboxes *boxes)
{
  while (boxes->first) drop(&boxes->first);
}

static rl_status settle(const rl_outbox *box)
{
  rl_status st = rl_kafka_sends_settle(box->sends, 0);
  if (st != RL_OK && *box->where) rl_error_prefix("%s: ", box->where);
  return st;
}

/* One that fails keeps the others from being waited for, but not from being sent. */
rl_status rl_outboxes_settle(rl_outboxes *boxes)
{
  rl_status st = RL_OK;
  for (; boxes->first; drop(&boxes->first)) {
    if (st == RL_OK) st = settle(boxes->first);
  }
  return st;
}

void rl_outboxes_finish(rl_outboxes *boxes)
{
  int64_t until = rl_mono_ns() + GOODBYE_NS;
  for (; boxes->first; drop(&boxes->first)) {
    const rl_outbox *box = boxes->first;
    if (rl_kafka_sends_drain(box->sends, until) == RL_OK) continue;
    const rl_error *e = rl_error_current();
    rl_warn("%s%swhat was sent there last may not be in Kafka: %s; producer:flush() waits for it", box->where,
            *box->where ? ": " : "", e && e->message ? e->message : "");
  }
}

static rl_outbox **find(const place *p, const rl_kafka_producer *kafka)
{
  rl_outbox **at = &p->boxes->first;
  while (*at && ((*at)->kafka != kafka || (*at)->owner != p->owner)) at = &(*at)->next;
  return at;
}

/* The line of the job that runs now. */
static char *current_line(lua_State *L)
{
  rl_buf trace = {0}, where = {0};
  rl_failure_frames(L, &trace, &where);
  char *line = rl_strdup(rl_buf_cstr(&where));
  rl_buf_free(&trace);
  rl_buf_free(&where);
  return line;
}

static rl_status open_outbox(lua_State *L, const place *p, rl_kafka_producer *kafka, rl_outbox **out)
{
  rl_outbox **at = find(p, kafka);
  if (!*at) {
    rl_kafka_sends_spec spec = p->how;
    rl_kafka_sends *sends = NULL;
    spec.producer = kafka;
    rl_status st = rl_kafka_sends_open(&spec, &sends);
    if (st != RL_OK) return st;
    rl_outbox *box = RL_NEW(rl_outbox);
    *box = (rl_outbox){.kafka = kafka, .owner = p->owner, .sends = sends, .where = current_line(L)};
    *at = box;
  }
  *out = *at;
  return RL_OK;
}

/* Arguments -------------------------------------------------------------------------------------------------------- */

/* The current error, at the line of the job. */
static int fail_here(lua_State *L)
{
  const rl_error *e = rl_error_current();
  luaL_where(L, 1);
  lua_pushstring(L, e && e->message ? e->message : "unknown error");
  lua_concat(L, 2);
  return lua_error(L);
}

/* What can be a key or a value; false: something else. */
static bool to_field(lua_State *L, int index, rl_value *v)
{
  size_t n;
  *v = rl_nil();
  switch (lua_type(L, index)) {
  case LUA_TNONE:
  case LUA_TNIL: return true;
  case LUA_TBOOLEAN: *v = rl_bool(lua_toboolean(L, index)); return true;
  case LUA_TNUMBER:
    *v = lua_isinteger(L, index) ? rl_int(lua_tointeger(L, index)) : rl_float(lua_tonumber(L, index));
    return true;
  case LUA_TSTRING: {
    const char *s = lua_tolstring(L, index, &n);
    *v = rl_str(s, n);
    return true;
  }
  default: return rl_lua_is_null(L, index);
  }
}

static rl_value check_field(lua_State *L, int index)
{
  rl_value v;
  if (to_field(L, index, &v)) return v;
  const char *got = rl_lua_is_tuple(L, index) ? "tuple" : luaL_typename(L, index);
  const char *advice = lua_istable(L, index) ? "; rille.json.encode makes a string of one" : "";
  luaL_argerror(L, index, lua_pushfstring(L, "string, number, boolean or nil expected, got %s%s", got, advice));
  return v;
}

static const char *check_topic(lua_State *L)
{
  size_t n;
  if (lua_type(L, 2) != LUA_TSTRING)
    luaL_argerror(L, 2, lua_pushfstring(L, "name of a topic expected, got %s", luaL_typename(L, 2)));
  const char *topic = lua_tolstring(L, 2, &n);
  if (n == 0 || strlen(topic) != n)
    luaL_argerror(L, 2, "name of a topic expected, got an empty string, or one with NUL");
  return topic;
}

static lua_Integer check_option(lua_State *L, int options, const char *name, lua_Integer least, lua_Integer most,
                                lua_Integer otherwise)
{
  int whole = 1;
  lua_Integer n = otherwise;
  int type = lua_getfield(L, options, name);
  if (type != LUA_TNIL) n = type == LUA_TNUMBER ? lua_tointegerx(L, -1, &whole) : least - 1;
  if (type != LUA_TNIL && (!whole || n < least || n > most)) {
    luaL_argerror(L, options,
                  lua_pushfstring(L, "option '%s': whole number from %I expected", name, (LUAI_UACINT)least));
  }
  lua_pop(L, 1);
  return n;
}

static void check_names(lua_State *L, int options)
{
  static const char *const known[] = {"partition", "timestamp", "headers", NULL};
  luaL_checktype(L, options, LUA_TTABLE);
  for (lua_pushnil(L); lua_next(L, options); lua_pop(L, 1)) {
    const char *const *k = known;
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
    while (name && *k && strcmp(*k, name) != 0) k++;
    if (!name || !*k)
      luaL_argerror(L, options, lua_pushfstring(L, "unknown option '%s'; there are: headers, partition, timestamp",
                                                luaL_tolstring(L, -2, NULL)));
  }
}

/* The header whose name is at -2 and whose value, or values, on top. */
static void add_header(lua_State *L, int options, rl_kafka_sends *sends)
{
  rl_value v;
  const char *wrong = "option 'headers': { name = string, number, boolean, rille.null or an array of them } expected";
  if (lua_type(L, -2) != LUA_TSTRING) luaL_argerror(L, options, wrong);
  const char *name = lua_tostring(L, -2);
  int value = lua_gettop(L);
  lua_Integer n = lua_istable(L, value) ? (lua_Integer)lua_rawlen(L, value) : 0;
  if (!lua_istable(L, value)) {
    if (!to_field(L, value, &v)) luaL_argerror(L, options, wrong);
    if (sends && rl_kafka_sends_header(sends, name, v) != RL_OK) fail_here(L);
  }
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, value, i);
    if (!to_field(L, value + 1, &v)) luaL_argerror(L, options, wrong);
    if (sends && rl_kafka_sends_header(sends, name, v) != RL_OK) fail_here(L);
    lua_pop(L, 1);
  }
}

/* sends NULL: they are only checked. */
static void add_headers(lua_State *L, int options, rl_kafka_sends *sends)
{
  if (lua_getfield(L, options, "headers") != LUA_TNIL) {
    int headers = lua_gettop(L);
    if (!lua_istable(L, headers)) luaL_argerror(L, options, "option 'headers': table expected");
    for (lua_pushnil(L); lua_next(L, headers); lua_settop(L, headers + 1)) add_header(L, options, sends);
  }
  lua_pop(L, 1);
}

typedef struct letter {
  const char *topic;
  rl_kafka_message message;
  int options; /* 0: none */
} letter;

/* (self, topic, value) or (self, topic, key, value[, options]) */
static letter check_letter(lua_State *L)
{
  int n = lua_gettop(L);
  letter l = {.topic = check_topic(L), .message = {.partition = RL_KAFKA_ANY_PARTITION}};
  luaL_checkany(L, 3);
  if (n > 3) l.message.key = check_field(L, 3);
  l.message.value = check_field(L, n > 3 ? 4 : 3);
  if (lua_isnoneornil(L, 5)) return l;
  l.options = 5;
  check_names(L, 5);
  l.message.partition = (int32_t)check_option(L, 5, "partition", 0, INT32_MAX, RL_KAFKA_ANY_PARTITION);
  l.message.timestamp = check_option(L, 5, "timestamp", 1, INT64_MAX, 0);
  add_headers(L, 5, NULL);
  return l;
}

/* Methods ---------------------------------------------------------------------------------------------------------- */

/* The producer behind the holder at 1, which keeps it; NULL: it is mute. */
static rl_kafka_producer *check_producer(lua_State *L)
{
  rl_kafka_producer *kafka = NULL;
  if (rl_producer_resolve(rl_shared_check(L, 1, &rl_producer_class)->object, &kafka) != RL_OK) fail_here(L);
  rl_kafka_producer_unref(kafka);
  return kafka;
}

static int send_letter(lua_State *L, const place *p)
{
  rl_shared_check(L, 1, &rl_producer_class);
  const letter l = check_letter(L);
  rl_kafka_producer *kafka = check_producer(L);
  rl_outbox *box = NULL;
  if (!kafka) return 0;
  if (open_outbox(L, p, kafka, &box) != RL_OK) fail_here(L);
  rl_kafka_sends_drop_headers(box->sends); /* of one that was given up */
  if (l.options) add_headers(L, l.options, box->sends);
  if (rl_kafka_sends_message(box->sends, l.topic, &l.message) != RL_OK) fail_here(L);
  return 0;
}

/* The seconds at 2 as a time to wait for at most; 0: none were given. */
static int64_t check_until(lua_State *L)
{
  if (lua_isnoneornil(L, 2)) return 0;
  lua_Number s = luaL_checknumber(L, 2);
  if (!(s >= 0 && s < 1e9)) luaL_argerror(L, 2, "number of seconds from 0 expected");
  return rl_mono_ns() + (int64_t)(s * 1e9);
}

/* In a task a failure stays, so that the task fails whatever the function does about the error. */
static int flush_task(lua_State *L, const place *p, int64_t until)
{
  rl_kafka_producer *kafka = check_producer(L);
  rl_outbox *box = kafka ? *find(p, kafka) : NULL;
  if (box && rl_kafka_sends_settle(box->sends, until) != RL_OK) fail_here(L);
  return 0;
}

/* Elsewhere it is told once. */
static int flush_script(lua_State *L, const place *p, int64_t until)
{
  rl_kafka_producer *kafka = check_producer(L);
  rl_outbox **at = kafka ? find(p, kafka) : NULL;
  if (!at || !*at) return 0;
  rl_status st = rl_kafka_sends_drain((*at)->sends, until);
  if (rl_kafka_sends_under_way((*at)->sends) == 0) drop(at);
  return st == RL_OK ? 0 : fail_here(L);
}

/* In workers and receivers ----------------------------------------------------------------------------------------- */

static rl_status worker_goes_on(void *user)
{
  const rl_worker *w = user;
  rl_status st = w->task ? rl_task_check(w->task) : RL_OK;
  if (st != RL_OK || !w->interrupted) return st;
  const char *why = w->interrupted == RL_ETIMEOUT ? "waiting for Kafka took longer than rille.task.maxSeconds allows"
                                                  : "cancelled";
  return rl_fail((rl_status)w->interrupted, "%s", why);
}

static place worker_place(rl_worker *w)
{
  int64_t patience = w->task ? w->config->patience_ns : 0;
  return (place){.boxes = &w->outboxes,
                 .how = {.go_on = worker_goes_on, .user = w, .until_ns = patience ? w->begun_ns + patience : 0}};
}

static int worker_send(lua_State *L)
{
  const place p = worker_place(rl_worker_of(L));
  return send_letter(L, &p);
}

static int worker_flush(lua_State *L)
{
  rl_worker *w = rl_worker_of(L);
  const place p = worker_place(w);
  rl_shared_check(L, 1, &rl_producer_class);
  return w->task ? flush_task(L, &p, check_until(L)) : flush_script(L, &p, check_until(L));
}

void rl_producer_prepare_worker(lua_State *L)
{
  static const luaL_Reg methods[] = {{"send", worker_send}, {"flush", worker_flush}, {NULL, NULL}};
  rl_shared_type(L, &rl_producer_class, methods);
  lua_pop(L, 1);
}

/* In the driver ---------------------------------------------------------------------------------------------------- */

static char boxes_key; /* in the driver's registry: its outboxes */

static rl_status driver_goes_on(void *user)
{
  if (rl_gate_is_hurried(user)) return rl_fail(RL_ECANCELLED, "stopped at once by a second signal");
  const rl_streaming *s = rl_streaming_active();
  return s && rl_streaming_is_overdue(s)
           ? rl_fail(RL_ECANCELLED, "the graceful stop is over its limit (rille.streaming.gracefulStopTimeout)")
           : RL_OK;
}

static place driver_place(lua_State *L)
{
  rl_bind *b = rl_bind_of(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &boxes_key);
  rl_outboxes *boxes = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return (place){.boxes = boxes, .owner = b->body, .how = {.go_on = driver_goes_on, .user = b}};
}

static int driver_send(lua_State *L)
{
  const place p = driver_place(L);
  return send_letter(L, &p);
}

static int driver_flush(lua_State *L)
{
  const place p = driver_place(L);
  rl_shared_check(L, 1, &rl_producer_class);
  return flush_script(L, &p, check_until(L));
}

/* Lets go of the owner's outboxes; st: RL_OK to wait for them before. */
static rl_status end_owner(const place *p, rl_status st)
{
  rl_outbox **at = &p->boxes->first;
  while (*at) {
    if ((*at)->owner != p->owner) {
      at = &(*at)->next;
      continue;
    }
    if (st == RL_OK) st = settle(*at);
    drop(at);
  }
  return st;
}

int rl_lua_settle_producers(lua_State *L)
{
  const place p = driver_place(L);
  rl_bind_check(L, end_owner(&p, RL_OK));
  return 0;
}

void rl_outboxes_forget(lua_State *L, const void *owner)
{
  place p = driver_place(L);
  p.owner = owner;
  (void)end_owner(&p, RL_ECANCELLED);
}

static int boxes_gc(lua_State *L)
{
  rl_outboxes_finish(lua_touserdata(L, 1));
  return 0;
}

void rl_producer_prepare_driver(lua_State *L)
{
  static const luaL_Reg methods[] = {{"send", driver_send}, {"flush", driver_flush}, {NULL, NULL}};
  rl_shared_type(L, &rl_producer_class, methods);
  lua_pop(L, 1);
  rl_outboxes *boxes = lua_newuserdatauv(L, sizeof *boxes, 0);
  boxes->first = NULL;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, boxes_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &boxes_key);
}
