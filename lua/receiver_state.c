#include <errno.h>
#include <lauxlib.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "duration.h"
#include "receiver_impl.h"
#include "run/interrupt.h"

#define STOP_MS 10000     /* what a stop waits before it interrupts */
#define INTERRUPT_MS 2000 /* and then, before it leaves the thread behind */
#define RELAUNCH_MS 10    /* before one that stopped itself is made anew, so that it cannot keep a core busy */

/* --- making and deleting ------------------------------------------------------------------------------------------ */

static void init_lock(rl_lua_receiver *r)
{
  pthread_condattr_t monotonic;
  if (pthread_condattr_init(&monotonic) != 0 || pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) != 0 ||
      pthread_cond_init(&r->changed, &monotonic) != 0 || pthread_mutex_init(&r->lock, NULL) != 0)
    abort();
  pthread_condattr_destroy(&monotonic);
}

rl_lua_receiver *rl_lua_receiver_new(const rl_worker_config *config, const rl_lua_receiver_spec *spec)
{
  rl_lua_receiver *r = RL_NEW(rl_lua_receiver);
  r->config = config;
  r->name = rl_strdup(spec->name);
  r->site = rl_strdup(spec->site);
  r->host = rl_strdup(spec->host);
  r->port = spec->port;
  r->self = LUA_NOREF;
  r->wake = -1;
  atomic_init(&r->stopping, false);
  init_lock(r);
  return r;
}

static void destroy(void *self)
{
  rl_lua_receiver *r = self;
  if (r->wake >= 0) close(r->wake);
  if (r->image) rl_image_unref(r->image);
  pthread_cond_destroy(&r->changed);
  pthread_mutex_destroy(&r->lock);
  rl_free(r->name);
  rl_free(r->site);
  rl_free(r->host);
  rl_free(r);
}

const char *rl_lua_receiver_role(const rl_lua_receiver *r)
{
  return r->host ? "the converter given to socketStream" : "the receiver given to receiverStream";
}

const char *rl_lua_receiver_site(const rl_lua_receiver *r) { return r->site; }

void rl_lua_receiver_bind(rl_lua_receiver *r, rl_image *image, uint32_t root)
{
  r->image = rl_image_ref(image);
  r->root = root;
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

static struct timespec after_ms(int64_t ms)
{
  int64_t ns = rl_mono_ns() + ms * 1000000;
  return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

/* Waits for the stop; at most ms when ms >= 0. */
static void pause_for(rl_lua_receiver *r, int64_t ms)
{
  struct timespec until = after_ms(ms < 0 ? 0 : ms);
  pthread_mutex_lock(&r->lock);
  while (!atomic_load(&r->stopping)) {
    if (ms < 0)
      pthread_cond_wait(&r->changed, &r->lock);
    else if (pthread_cond_timedwait(&r->changed, &r->lock, &until) == ETIMEDOUT)
      break;
  }
  pthread_mutex_unlock(&r->lock);
}

/* Driver: has the thread ended within ms? */
static bool wait_for_end(rl_lua_receiver *r, int64_t ms)
{
  struct timespec until = after_ms(ms);
  pthread_mutex_lock(&r->lock);
  while (!r->ended && pthread_cond_timedwait(&r->changed, &r->lock, &until) != ETIMEDOUT) continue;
  bool ended = r->ended;
  pthread_mutex_unlock(&r->lock);
  return ended;
}

/* --- the Lua state ------------------------------------------------------------------------------------------------ */

static void on_interrupt(void *self)
{
  rl_lua_receiver *r = self;
  rl_worker_interrupt(r->worker, RL_ECANCELLED);
}

static void drop_worker(rl_lua_receiver *r)
{
  rl_interrupt_register(NULL, NULL);
  rl_worker_delete(r->worker);
  r->worker = NULL;
  r->self = LUA_NOREF;
}

/* Calls body(r) in protected mode; a failure is the thread's current error. */
static rl_status call(rl_lua_receiver *r, lua_CFunction body)
{
  lua_State *L = rl_worker_state(r->worker);
  lua_settop(L, 0);
  lua_pushcfunction(L, rl_worker_traceback);
  lua_pushcfunction(L, body);
  lua_pushlightuserdata(L, r);
  int status = lua_pcall(L, 1, 0, 1);
  rl_status st = status == LUA_OK ? RL_OK : rl_worker_fail(r->worker, L, status, NULL);
  lua_settop(L, 0);
  return st;
}

/* rille.sleep(seconds): to the stop at most. */
static int sleep_for(lua_State *L)
{
  rl_lua_receiver *r = lua_touserdata(L, lua_upvalueindex(1));
  lua_Number seconds = rl_lua_check_seconds(L, 1);
  luaL_argcheck(L, seconds >= 0 && seconds <= 1e9, 1, "seconds from 0 to 1e9 expected");
  pause_for(r, (int64_t)(seconds * 1000));
  return 0;
}

/* A receiver has its thread to itself, so it may sleep. */
static int allow_sleep(lua_State *L)
{
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, "rille");
  lua_pushliteral(L, "sleep");
  lua_pushvalue(L, 1);
  lua_pushcclosure(L, sleep_for, 1);
  lua_rawset(L, -3);
  return 0;
}

static bool make_worker(rl_lua_receiver *r)
{
  if (r->worker) return true;
  r->worker = rl_worker_new(r->config);
  if (!r->worker) return false;
  rl_interrupt_register(on_interrupt, r);
  if (call(r, allow_sleep) == RL_OK) return true;
  drop_worker(r);
  return false;
}

/* Restores what was captured, a fresh copy. */
static int make_self(lua_State *L)
{
  rl_lua_receiver *r = lua_touserdata(L, 1);
  rl_image_push(L, r->image);
  lua_rawgeti(L, -1, (lua_Integer)r->root + 1);
  if (!r->host) rl_lua_receiver_add_methods(r, L, lua_gettop(L));
  r->self = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

static void drop_self(rl_lua_receiver *r)
{
  luaL_unref(rl_worker_state(r->worker), LUA_REGISTRYINDEX, r->self);
  r->self = LUA_NOREF;
}

static int call_method(lua_State *L, const char *name)
{
  const rl_lua_receiver *r = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, r->self);
  if (lua_getfield(L, -1, name) == LUA_TNIL) return 0;
  lua_insert(L, -2);
  lua_call(L, 1, 0);
  return 0;
}

static int call_on_start(lua_State *L) { return call_method(L, "onStart"); }
static int call_on_stop(lua_State *L) { return call_method(L, "onStop"); }

/* --- runs --------------------------------------------------------------------------------------------------------- */

void rl_lua_receiver_end_run(rl_lua_receiver *r, rl_run_end end, const char *message, int64_t delay_ms)
{
  if (r->end != RL_RUN_ON) return;
  r->end = end;
  r->message = rl_strdup(message);
  r->delay_ms = delay_ms;
}

/* The thread's current error as an event; `what` in front says where it came from, `then` what comes of it. */
static void report(rl_lua_receiver *r, const char *what, const char *then)
{
  rl_error e;
  rl_error_take(&e);
  char *message = rl_format("%s%s%s", what, e.message, then);
  char *error = e.trace ? rl_format("%s\n%s", e.message, e.trace) : rl_strdup(e.message);
  rl_receiver_error(r->receiver, message, error);
  rl_free(message);
  rl_free(error);
  rl_error_clear(&e);
}

static void restart_after(rl_lua_receiver *r, rl_status st)
{
  int64_t delay_ms = rl_receiver_restart_delay_ms(r->receiver);
  if (!st) rl_fail(RL_ECLOSED, "the connection to %s:%d ended", r->host, r->port);
  rl_lua_receiver_end_run(r, RL_RUN_RESTART, rl_error_message(), delay_ms);
  char *then = rl_format("; trying again in %g s", (double)delay_ms / 1000);
  report(r, r->host ? "" : "onStart: ", then);
  rl_free(then);
}

static rl_status start_run(rl_lua_receiver *r)
{
  rl_status st = r->self == LUA_NOREF ? call(r, make_self) : RL_OK;
  if (!st) st = call(r, r->host ? rl_lua_receiver_convert : call_on_start);
  /* What a stop cuts off is no failure. */
  bool stopping = atomic_load(&r->stopping) || rl_receiver_is_stopping(r->receiver);
  if (!stopping && (st || r->host)) restart_after(r, st);
  return st;
}

/* An interrupted state runs nothing any more. */
static void end_run(rl_lua_receiver *r, bool interrupted)
{
  if (r->self != LUA_NOREF && !r->host && !interrupted && call(r, call_on_stop) != RL_OK) report(r, "onStop: ", "");
  rl_receiver_stopped(r->receiver, r->message);
  rl_free(r->message);
  r->message = NULL;
}

static void one_run(rl_lua_receiver *r)
{
  r->end = RL_RUN_ON;
  if (!r->host) rl_receiver_started(r->receiver); /* a converter is when it is connected */
  rl_status st = start_run(r);
  if (r->end == RL_RUN_ON) pause_for(r, -1);
  end_run(r, st == RL_ECANCELLED);
  if (st == RL_ENOMEM)
    drop_worker(r);
  else if (r->end == RL_RUN_AGAIN)
    drop_self(r);
  if (r->end != RL_RUN_ON) pause_for(r, r->end == RL_RUN_RESTART ? r->delay_ms : RELAUNCH_MS);
}

static void *live(void *self)
{
  rl_lua_receiver *r = self;
  rl_thread_signals();
  while (!atomic_load(&r->stopping)) {
    if (make_worker(r)) {
      one_run(r);
      continue;
    }
    report(r, "", "");
    pause_for(r, rl_receiver_restart_delay_ms(r->receiver));
  }
  drop_worker(r);
  rl_buf_free(&r->scratch);
  rl_builder_delete(r->builder);
  rl_chunks_clear(&r->block);
  pthread_mutex_lock(&r->lock);
  r->ended = true;
  pthread_cond_broadcast(&r->changed);
  pthread_mutex_unlock(&r->lock);
  return NULL;
}

/* --- the engine's side -------------------------------------------------------------------------------------------- */

static rl_status start(void *self, rl_receiver *receiver)
{
  rl_lua_receiver *r = self;
  r->receiver = receiver;
  r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (r->wake < 0) return rl_fail_errno("%s: cannot make an event descriptor", rl_receiver_name(receiver));
  errno = pthread_create(&r->thread, NULL, live, r);
  if (errno != 0) return rl_fail_errno("%s: cannot start a thread", rl_receiver_name(receiver));
  return RL_OK;
}

static void ask_to_stop(rl_lua_receiver *r)
{
  pthread_mutex_lock(&r->lock);
  atomic_store(&r->stopping, true);
  pthread_cond_broadcast(&r->changed);
  pthread_mutex_unlock(&r->lock);
  if (eventfd_write(r->wake, 1) != 0)
    rl_warn("%s: cannot wake its connection: %s", rl_receiver_name(r->receiver), strerror(errno));
}

static void stop(void *self)
{
  rl_lua_receiver *r = self;
  ask_to_stop(r);
  bool ended = wait_for_end(r, STOP_MS);
  if (!ended) {
    pthread_kill(r->thread, rl_interrupt_signal());
    ended = wait_for_end(r, INTERRUPT_MS);
  }
  if (ended) {
    pthread_join(r->thread, NULL);
    return;
  }
  pthread_detach(r->thread);
  rl_receiver_abandon(r->receiver);
}

rl_status rl_lua_receiver_add(rl_lua_receiver *r, rl_streaming *s, rl_dstream **out)
{
  r->cls = (rl_receiver_class){
    .name = r->name,
    .stream = r->host ? "Socket stream" : "Receiver stream",
    .start = start,
    .stop = stop,
    .destroy = destroy,
  };
  return rl_streaming_add_receiver(s, &r->cls, r, r->site, out);
}
