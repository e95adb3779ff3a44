/* Outputs: the bodies of foreachRDD and the like, each run in a coroutine of its own once a batch, so that several can
 * wait for their jobs at the same time. */
#include "base/mem.h"
#include "bind.h"
#include "producer.h"
#include "worker_impl.h"

/* One run of an output. Its coroutine is anchored in the registry. */
typedef struct rl_outrun {
  struct rl_outrun *next;
  rl_callback *body;
  lua_State *co;
  int ref;
  rl_waiter *waiter; /* what it waits for; NULL: it runs */
  bool cancelled;    /* what it waited for was cancelled */
  rl_output_run *run;
} rl_outrun;

/* One step of a run, for the gate. */
typedef struct step {
  rl_outrun *run;
  rl_rdd *rdd;
  int64_t time;
  bool waits;       /* out: it waits for a job */
  rl_status status; /* out: else how it ended */
} step;

/* --- life of a run ------------------------------------------------------------------------------------------------ */

static rl_outrun *new_run(rl_callback *body, rl_output_run *handle)
{
  rl_outrun *run = RL_NEW(rl_outrun);
  *run = (rl_outrun){.next = body->bind->runs, .body = body, .ref = LUA_NOREF, .run = handle};
  body->bind->runs = run;
  return run;
}

static void delete_run(rl_outrun *run)
{
  rl_bind *b = run->body->bind;
  rl_outrun **at = &b->runs;
  while (*at != run) at = &(*at)->next;
  *at = run->next;
  if (run->waiter) run->waiter->run = NULL;
  if (run->co) rl_outboxes_forget(b->current, run->co);
  luaL_unref(b->current, LUA_REGISTRYINDEX, run->ref);
  rl_free(run);
}

static void delete_output(void *user)
{
  rl_callback *body = user;
  rl_outrun *next;
  for (rl_outrun *run = body->bind->runs; run; run = next) {
    next = run->next;
    if (run->body == body) delete_run(run);
  }
  rl_callback_delete(body);
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

/* The error of a dead coroutine; on the way the variables it was to close are closed. */
static rl_status failed(lua_State *L, lua_State *co, int status)
{
  if (status == LUA_ERRMEM) {
    lua_resetthread(co);
    lua_pushnil(L);
    return rl_gate_fail(L, status);
  }
  lua_xmove(co, L, 1);
  rl_failure_push_text(L, -1);
  lua_remove(L, -2);
  rl_gate_trace(L, co, 0);
  const char *trace = lua_tostring(L, -1);
  if (*trace) lua_pushfstring(L, "%s\n%s", lua_tostring(L, -2), trace);
  else lua_pushvalue(L, -2);
  lua_resetthread(co);
  return rl_gate_fail(L, status);
}

/* An output fails because its job was cut off: that is no error of the user's. */
static rl_status as_cancelled(void)
{
  rl_error e;
  rl_error_take(&e);
  e.code = RL_ECANCELLED;
  return rl_error_raise(&e);
}

static int advance(lua_State *L, step *s, int nargs)
{
  rl_outrun *run = s->run;
  lua_State *co = run->co;
  int results = 0;
  rl_bind *b = run->body->bind;
  lua_State *outer = b->body;
  b->body = co;
  int status = lua_resume(co, L, nargs, &results);
  b->body = outer;
  rl_bind_enter(L);
  if (status == LUA_YIELD && run->waiter) {
    s->waits = true;
  } else if (status == LUA_OK) {
    s->status = RL_OK;
  } else if (status == LUA_YIELD) {
    lua_resetthread(co);
    s->status = rl_fail(RL_EUSER, "the function of an output must not yield; make a coroutine of your own in it");
  } else {
    s->status = failed(L, co, status);
    if (run->cancelled) s->status = as_cancelled();
  }
  return 0;
}

static int begin(lua_State *L)
{
  step *s = lua_touserdata(L, 1);
  rl_outrun *run = s->run;
  run->co = lua_newthread(L);
  run->ref = luaL_ref(L, LUA_REGISTRYINDEX);
  rl_callback_push(L, run->body);
  rl_push_rdd(L, s->rdd);
  lua_pushinteger(L, s->time);
  lua_xmove(L, run->co, 3);
  return advance(L, s, 2);
}

static int go_on(lua_State *L) { return advance(L, lua_touserdata(L, 1), 0); }

#define COLLECT_KIB 1024 /* of blocks and chunks, beyond which the collector is driven */

/* The collector does not see the lineages, and the blocks and chunks, behind the handles that a body used. It is given as much to
 * do as they weigh, so that what a batch leaves behind is gone soon after it. */
static void collect_lineages(lua_State *L)
{
  int64_t kib = rl_mem_used() >> 10;
  if (kib > COLLECT_KIB) lua_gc(L, LUA_GCSTEP, kib > INT32_MAX ? INT32_MAX : (int)kib);
}

static void drive(rl_outrun *run, lua_CFunction how, step *s)
{
  rl_bind *b = run->body->bind;
  rl_status st = rl_gate(b, how, s);
  if (!st && s->waits) return;
  if (!st) st = s->status;
  rl_output_run *handle = run->run;
  delete_run(run);
  if (!b->closing) collect_lineages(b->current);
  rl_output_done(handle, st);
}

static void on_output(void *user, rl_rdd *rdd, int64_t time, rl_output_run *handle)
{
  rl_outrun *run = new_run(user, handle);
  drive(run, begin, &(step){.run = run, .rdd = rdd, .time = time});
}

/* core.follows(): the output that runs is about to fail because one before it did. */
int rl_lua_follows(lua_State *L)
{
  rl_bind *b = rl_bind_of(L);
  rl_outrun *run = b->runs;
  while (run && run->co != b->body) run = run->next;
  if (run) rl_output_follows(run->run);
  return 0;
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

bool rl_outrun_suspend(rl_bind *b, lua_State *L, rl_waiter *w)
{
  rl_outrun *run = b->runs;
  while (run && run->co != L) run = run->next;
  if (!run || !lua_isyieldable(L)) return false;
  run->waiter = w;
  w->run = run;
  return true;
}

void rl_outrun_resume(rl_waiter *w, bool cancelled)
{
  rl_outrun *run = w->run;
  if (!run) return;
  run->cancelled |= cancelled;
  rl_outrun_forget(w);
  drive(run, go_on, &(step){.run = run});
}

void rl_outrun_forget(rl_waiter *w)
{
  if (w->run) w->run->waiter = NULL;
  w->run = NULL;
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

typedef struct abortion {
  rl_message message; /* first */
  rl_bind *bind;
} abortion;

static void give_up(rl_message *m)
{
  rl_bind *b = ((abortion *)m)->bind;
  while (b->runs) {
    rl_output_run *handle = b->runs->run;
    delete_run(b->runs);
    rl_output_done(handle, rl_fail(RL_ECANCELLED, "the program is ending"));
  }
}

/* The message is served while the stop waits for the outputs. */
void rl_outruns_abort(rl_bind *b, rl_streaming *s)
{
  rl_driver *d = rl_context_driver(rl_streaming_context(s));
  abortion a = {.message = {.run = give_up}, .bind = b};
  rl_driver_post(d, &a.message);
  rl_streaming_abort(s);
  rl_driver_cancel(d, &a.message);
}

/* DStream:output(name, site, identity, body) */
int rl_dstream_add_output(lua_State *L)
{
  rl_dstream *d = rl_check_dstream(L, 1);
  const char *name = luaL_checkstring(L, 2);
  const char *site = luaL_optstring(L, 3, NULL);
  const char *identity = luaL_optstring(L, 4, NULL);
  rl_callback *body = rl_callback_new(L, 5);
  rl_bind_check(L, rl_dstream_output(d, name, site, identity, on_output, body, delete_output));
  return 0;
}
