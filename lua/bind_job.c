/* Context:run and Context:save: jobs. In an output's coroutine they yield until the job has ended, elsewhere they serve
 * messages meanwhile. */
#include <stddef.h>
#include <string.h>

#include "bind.h"
#include "sink/files.h"
#include "values.h"

typedef enum result_kind { RESULT_COLLECT, RESULT_PARTITIONS, RESULT_COUNT, RESULT_NOTHING, RESULT_SAVED } result_kind;

typedef struct job_handle {
  rl_message ended; /* first */
  rl_waiter waiter;
  rl_context *context; /* one reference */
  rl_job *job;
  result_kind result;
  const char *dir; /* RESULT_SAVED: in the options */
} job_handle;

/* --- the handle --------------------------------------------------------------------------------------------------- */

static void on_ended(rl_message *m)
{
  job_handle *h = (job_handle *)m;
  rl_outrun_resume(&h->waiter, rl_job_status(h->job) == RL_ECANCELLED);
}

/* Whoever ended the job still held the scheduler's lock when it left the message, and giving the job back takes it: so
 * none comes any more. */
static void give_back(job_handle *h)
{
  rl_job_unref(h->job);
  h->job = NULL;
  rl_driver_cancel(rl_context_driver(h->context), &h->ended);
}

static int job_gc(lua_State *L)
{
  job_handle *h = luaL_checkudata(L, 1, RL_META_JOB);
  rl_outrun_forget(&h->waiter);
  if (h->job) {
    if (!rl_job_finished(h->job)) rl_job_cancel(h->job); /* which posts the message at the latest */
    give_back(h);
  }
  if (h->context) rl_context_unref(h->context);
  h->context = NULL;
  return 0;
}

static job_handle *new_handle(lua_State *L, rl_context *c, result_kind result)
{
  job_handle *h = lua_newuserdatauv(L, sizeof *h, 0);
  memset(h, 0, sizeof *h);
  luaL_setmetatable(L, RL_META_JOB);
  h->context = rl_context_ref(c);
  h->ended.run = on_ended;
  h->result = result;
  return h;
}

/* --- results ------------------------------------------------------------------------------------------------------ */

static lua_Integer push_records(lua_State *L, const rl_chunks *list, int table, lua_Integer n)
{
  for (size_t i = 0; i < list->n; i++) {
    for (uint32_t row = 0; row < list->v[i]->n; row++) {
      rl_lua_push_record(L, list->v[i], row);
      lua_rawseti(L, table, ++n);
    }
  }
  return n;
}

static int push_table(lua_State *L, uint64_t entries)
{
  lua_createtable(L, entries < INT32_MAX ? (int)entries : 0, 0);
  return lua_gettop(L);
}

static int collect(lua_State *L, const rl_job *job)
{
  uint32_t n = rl_job_partitions(job);
  uint64_t records = 0;
  for (uint32_t i = 0; i < n; i++) records += rl_chunks_records(rl_job_chunks(job, i));
  int all = push_table(L, records);
  lua_Integer at = 0;
  for (uint32_t i = 0; i < n; i++) at = push_records(L, rl_job_chunks(job, i), all, at);
  return 1;
}

static int collect_partitions(lua_State *L, const rl_job *job)
{
  uint32_t n = rl_job_partitions(job);
  int all = push_table(L, n);
  for (uint32_t i = 0; i < n; i++) {
    const rl_chunks *list = rl_job_chunks(job, i);
    push_records(L, list, push_table(L, rl_chunks_records(list)), 0);
    lua_rawseti(L, all, (lua_Integer)i + 1);
  }
  return 1;
}

static int count(lua_State *L, const rl_job *job)
{
  uint64_t records = 0;
  for (uint32_t i = 0; i < rl_job_partitions(job); i++) records += rl_job_count(job, i);
  lua_pushinteger(L, (lua_Integer)records);
  return 1;
}

static int results(lua_State *L, const job_handle *h)
{
  switch (h->result) {
  case RESULT_COLLECT: return collect(L, h->job);
  case RESULT_PARTITIONS: return collect_partitions(L, h->job);
  case RESULT_COUNT: return count(L, h->job);
  case RESULT_SAVED: rl_bind_check(L, rl_sink_commit(h->dir)); return 0;
  case RESULT_NOTHING: return 0;
  }
  return 0;
}

static int finish(lua_State *L, job_handle *h)
{
  rl_bind_deliver_updates(L, h->context);
  rl_bind_check(L, rl_job_status(h->job));
  int n = results(L, h);
  give_back(h); /* now, not when the collector comes by: it may hold much */
  return n;
}

/* --- running ------------------------------------------------------------------------------------------------------ */

static int finish_resumed(lua_State *L, int status, lua_KContext handle)
{
  (void)status;
  return finish(L, lua_touserdata(L, (int)handle));
}

/* Submits the job for the handle on top. The last words of a C function. */
static int run(lua_State *L, job_handle *h, const rl_job_spec *spec)
{
  rl_bind *b = rl_bind_enter(L);
  if (rl_outrun_suspend(b, L, &h->waiter)) {
    rl_status st = rl_job_submit(h->context, spec, &h->ended, &h->job);
    if (!st && !rl_job_finished(h->job)) return lua_yieldk(L, 0, (lua_KContext)lua_gettop(L), finish_resumed);
    rl_outrun_forget(&h->waiter);
    if (st) return rl_bind_raise(L);
    return finish(L, h); /* it needed no worker */
  }
  rl_bind_check(L, rl_job_submit(h->context, spec, NULL, &h->job));
  rl_job_wait(h->job); /* its status is asked for by finish */
  return finish(L, h);
}

/* options.partitions as an array that stays on the stack. */
static void read_partitions(lua_State *L, int options, rl_job_spec *spec)
{
  if (lua_getfield(L, options, "partitions") == LUA_TTABLE) {
    size_t n = lua_rawlen(L, -1);
    uint32_t *list = rl_bind_array(L, n, sizeof *list);
    for (size_t i = 0; i < n; i++) {
      lua_rawgeti(L, -2, (lua_Integer)i + 1);
      lua_Integer p = lua_tointeger(L, -1);
      if (p < 0 || p > INT32_MAX) luaL_error(L, "partition %I is out of range", (LUAI_UACINT)p);
      list[i] = (uint32_t)p;
      lua_pop(L, 1);
    }
    spec->partitions = list;
    spec->n = (uint32_t)n;
  }
}

int rl_context_run(lua_State *L)
{
  static const char *const kinds[] = {"collect", "partitions", "count", "run", NULL};
  static const rl_job_kind kind_of[] = {RL_JOB_COLLECT, RL_JOB_COLLECT, RL_JOB_COUNT, RL_JOB_RUN};
  rl_context *c = rl_check_context(L, 1);
  rl_rdd *rdd = rl_check_rdd(L, 2);
  int kind = luaL_checkoption(L, 3, NULL, kinds);
  luaL_checktype(L, 4, LUA_TTABLE);
  lua_Integer limit = rl_bind_int(L, 4, "limit", 0);
  rl_job_spec spec = {
    .rdd = rdd,
    .kind = kind_of[kind],
    .limit = limit > 0 ? (uint64_t)limit : 0,
    .batch_time = rl_bind_int(L, 4, "time", RL_NO_TIME),
    .what = rl_bind_text(L, 4, "what"),
  };
  read_partitions(L, 4, &spec);
  return run(L, new_handle(L, c, (result_kind)kind), &spec);
}

/* Pushes an RDD whose tasks write the parts of `rdd`. */
static rl_rdd *push_writer(lua_State *L, rl_rdd *rdd, const char *dir, rl_sink_format format)
{
  void **h = rl_handle_new(L, RL_META_RDD, 0);
  rl_fn *fn = rl_sink_fn(dir, format);
  rl_op *op = rl_op_new(&(rl_op){.kind = RL_OP_NARROW, .name = "save", .fn = fn});
  rl_rdd *writer = NULL;
  rl_status st = rl_rdd_apply(op, &rdd, 1, 0, &writer);
  rl_op_unref(op);
  rl_fn_unref(fn);
  rl_bind_check(L, st);
  *h = writer;
  return writer;
}

int rl_context_save(lua_State *L)
{
  rl_context *c = rl_check_context(L, 1);
  rl_rdd *rdd = rl_check_rdd(L, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  const char *dir = rl_bind_text(L, 3, "dir");
  const char *format = rl_bind_text(L, 3, "format");
  if (!dir) return luaL_argerror(L, 3, "field 'dir' is needed");
  rl_sink_format kind = format && strcmp(format, "objects") == 0 ? RL_SINK_OBJECTS : RL_SINK_TEXT;
  rl_bind_check(L, rl_sink_prepare(dir, rl_bind_flag(L, 3, "overwrite"), rl_rdd_partitions(rdd)));
  rl_job_spec spec = {
    .rdd = push_writer(L, rdd, dir, kind),
    .kind = RL_JOB_RUN,
    .batch_time = rl_bind_int(L, 3, "time", RL_NO_TIME),
    .what = rl_bind_text(L, 3, "what"),
  };
  job_handle *h = new_handle(L, c, RESULT_SAVED);
  h->dir = dir;
  return run(L, h, &spec);
}

void rl_bind_add_jobs(lua_State *L) { rl_handle_type(L, RL_META_JOB, job_gc, NULL); }
