#include "searcher.h"
#include "worker_impl.h"

#include <lauxlib.h>
#include <lualib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "capture.h"
#include "json.h"
#include "shared.h"
#include "values.h"

#define IMAGES_KEPT 32

static char images_key, once_key, seed_key;

/* Memory ----------------------------------------------------------------------------------------------------------- */

/* When it is refused memory, Lua collects its garbage and asks again. A second refusal is final: no pcall of the
 * user's may go on after it. */
static void *refuse(rl_worker *w)
{
  if (w->refused && w->task) rl_worker_interrupt(w, RL_ENOMEM);
  w->refused = true;
  return NULL;
}

static void *allocate(void *user, void *p, size_t old_size, size_t size)
{
  rl_worker *w = user;
  size_t old = p ? old_size : 0; /* for a new object Lua tells its type there */
  size_t limit = (size_t)w->config->max_memory;
  if (size > old && limit > 0 && w->used - old + size > limit) return refuse(w);
  void *moved = rl_pool_realloc(&w->pool, p, old, size);
  if (!moved && size > 0) return refuse(w);
  w->used += size - old;
  if (size > old) w->refused = false;
  return moved;
}

/* Interrupts ------------------------------------------------------------------------------------------------------- */

const char rl_raised = 0;

int rl_raise(lua_State *L)
{
  lua_pushlightuserdata(L, (void *)&rl_raised);
  return lua_error(L);
}

static void stop_hook(lua_State *L, lua_Debug *ar)
{
  (void)ar;
  if (rl_worker_of(L)->interrupted)
    rl_raise(L);
  else
    lua_sethook(L, NULL, 0, 0); /* a coroutine left over from a task that was stopped */
}

static void stop(lua_State *L)
{
  lua_sethook(L, stop_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

void rl_worker_interrupt(rl_worker *w, rl_status why)
{
  w->interrupted = (sig_atomic_t)why;
  if (w->running) stop(w->running);
}

void rl_worker_check_interrupt(lua_State *L)
{
  if (!rl_worker_of(L)->interrupted) return;
  stop(L);
  rl_raise(L);
}

/* Makes co the one that an interrupt reaches. One that came before is passed on to it. */
static lua_State *publish(rl_worker *w, lua_State *co)
{
  lua_State *before = w->running;
  w->running = co;
  if (w->interrupted) stop(co);
  return before;
}

int rl_worker_resume(rl_worker *w, lua_State *co, int nargs, int *nresults)
{
  lua_State *before = publish(w, co);
  int status = lua_resume(co, before, nargs, nresults);
  w->running = before;
  return status;
}

int rl_worker_reset(rl_worker *w, lua_State *co)
{
  lua_State *before = publish(w, co);
  int status = lua_resetthread(co);
  w->running = before;
  return status;
}

/* Caches ----------------------------------------------------------------------------------------------------------- */

/* A cache is { young, old, count of young }. When young is full it becomes old, and the old one goes. */
enum { YOUNG = 1, OLD, COUNT };

static void push_cache(lua_State *L, const void *cache)
{
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, cache) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_createtable(L, 3, 0);
  lua_newtable(L);
  lua_rawseti(L, -2, YOUNG);
  lua_newtable(L);
  lua_rawseti(L, -2, OLD);
  lua_pushinteger(L, 0);
  lua_rawseti(L, -2, COUNT);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, cache);
}

static bool get_from(lua_State *L, int generation)
{
  lua_rawgeti(L, -1, generation);
  lua_pushvalue(L, -3);
  bool found = lua_rawget(L, -2) != LUA_TNIL;
  lua_remove(L, -2);
  if (!found) lua_pop(L, 1);
  return found;
}

bool rl_recent_get(lua_State *L, const void *cache)
{
  push_cache(L, cache);
  bool found = get_from(L, YOUNG);
  if (!found && get_from(L, OLD)) {
    lua_pushvalue(L, -3);
    lua_pushvalue(L, -2);
    rl_recent_put(L, cache, 0);
    found = true;
  }
  if (!found) lua_pushnil(L);
  lua_replace(L, -3);
  lua_pop(L, 1);
  return found;
}

void rl_recent_put(lua_State *L, const void *cache, lua_Integer limit)
{
  push_cache(L, cache);
  lua_rawgeti(L, -1, COUNT);
  lua_Integer count = lua_tointeger(L, -1);
  lua_pop(L, 1);
  if (limit > 0 && count >= limit) {
    lua_rawgeti(L, -1, YOUNG);
    lua_rawseti(L, -2, OLD);
    lua_newtable(L);
    lua_rawseti(L, -2, YOUNG);
    count = 0;
  }
  lua_pushinteger(L, count + 1);
  lua_rawseti(L, -2, COUNT);
  lua_rawgeti(L, -1, YOUNG);
  lua_replace(L, -2);
  lua_insert(L, -3);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

void rl_worker_push_image(rl_worker *w, rl_image *img)
{
  lua_State *L = w->L;
  luaL_checkstack(L, 12, NULL);
  lua_Integer id = (lua_Integer)rl_image_id(img);
  lua_pushinteger(L, id);
  if (rl_recent_get(L, &images_key)) return;
  lua_pop(L, 1);
  rl_image_push(L, img);
  lua_pushinteger(L, id);
  lua_pushvalue(L, -2);
  rl_recent_put(L, &images_key, IMAGES_KEPT);
}

/* The state -------------------------------------------------------------------------------------------------------- */

int rl_lua_once(lua_State *L)
{
  luaL_checkstring(L, 1);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &once_key) != LUA_TTABLE) {
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &once_key);
    lua_replace(L, 3);
  }
  lua_pushvalue(L, 1);
  if (lua_rawget(L, 3) != LUA_TNIL) return 1;
  lua_settop(L, 3);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_call(L, 0, 1);
  if (lua_isnil(L, -1))
    return luaL_error(L, "the function given to rille.once for '%s' returned nil", lua_tostring(L, 1));
  lua_pushvalue(L, -1);
  lua_insert(L, 4);
  lua_rawset(L, 3);
  return 1;
}

static int not_in_workers(lua_State *L)
{
  return luaL_error(L,
                    "rille.%s is not there in functions that run in workers; use it in the script itself, or in "
                    "foreachRDD and transform",
                    luaL_tolstring(L, 2, NULL));
}

/* Makes rille.<name>, for `require` too; the module is on top. */
static void open_library(lua_State *L, void (*open)(lua_State *L), const char *name)
{
  open(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushfstring(L, "rille.%s", name);
  lua_pushvalue(L, -3);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  lua_setfield(L, -2, name);
}

/* The part of `require "rille"` that makes sense in a worker. The primitives under it are not to be opened here:
 * they are the driver's. */
static void open_module(lua_State *L)
{
  lua_createtable(L, 0, 5);
  open_library(L, rl_json_open, "json");
  open_library(L, rl_time_open, "time");
  lua_pushcfunction(L, rl_lua_tuple);
  lua_setfield(L, -2, "tuple");
  rl_lua_push_null(L);
  lua_setfield(L, -2, "null");
  lua_pushcfunction(L, rl_lua_once);
  rl_capture_register(L, -1, "rille.once");
  lua_setfield(L, -2, "once");
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, not_in_workers);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, "rille");
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, "rille.core");
  lua_pop(L, 2);
}

static void set_paths(lua_State *L, const rl_worker_config *config)
{
  lua_getglobal(L, "package");
  if (config->package_path) {
    lua_pushstring(L, config->package_path);
    lua_setfield(L, -2, "path");
  }
  if (config->package_cpath) {
    lua_pushstring(L, config->package_cpath);
    lua_setfield(L, -2, "cpath");
  }
  lua_pop(L, 1);
}

/* The generator is kept as it is now, whatever a script does. */
static void keep_seed_function(lua_State *L)
{
  lua_getglobal(L, "math");
  lua_getfield(L, -1, "randomseed");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &seed_key);
  lua_pop(L, 1);
}

static int set_up(lua_State *L)
{
  rl_worker *w = lua_touserdata(L, 1);
  luaL_openlibs(L);
  keep_seed_function(L);
  set_paths(L, w->config);
  rl_searcher_install(L); /* the library's own closures name its modules */
  rl_sandbox_functions(L);
  rl_capture_prepare(L);
  rl_values_prepare(L);
  rl_broadcast_prepare(L);
  rl_accumulator_prepare_worker(L);
  rl_producer_prepare_worker(L);
  open_module(L);
  rl_sandbox_freeze(L);
  rl_luafn_prepare(L);
  return 0;
}

static int panic(lua_State *L)
{
  rl_err("fault in a worker's Lua state: %s", lua_tostring(L, -1));
  return 0;
}

static void close_state(rl_worker *w)
{
  w->interrupted = 0;
  w->running = NULL; /* finalisers run now; an interrupt has nothing to stop any more */
  lua_close(w->L);
  rl_pool_clear(&w->pool);
  w->L = NULL;
}

static rl_status make_state(rl_worker *w)
{
  w->exhausted = w->refused = false;
  w->L = lua_newstate(allocate, w);
  if (!w->L) return rl_fail(RL_ENOMEM, "no memory for a worker's Lua state");
  lua_atpanic(w->L, panic);
  *(rl_worker **)lua_getextraspace(w->L) = w;
  w->running = w->L;
  lua_pushcfunction(w->L, set_up);
  lua_pushlightuserdata(w->L, w);
  if (lua_pcall(w->L, 1, 0, 0) == LUA_OK) return RL_OK;
  rl_status st = rl_fail(RL_ENOMEM, "cannot make a worker's Lua state: %s; give it more with rille.task.maxMemory",
                         lua_tostring(w->L, -1));
  close_state(w);
  return st;
}

rl_worker *rl_worker_new(const rl_worker_config *config)
{
  rl_worker *w = RL_NEW(rl_worker);
  w->config = config;
  if (make_state(w) == RL_OK) return w;
  rl_worker_delete(w);
  return NULL;
}

void rl_worker_delete(rl_worker *w)
{
  if (!w) return;
  rl_outboxes_finish(&w->outboxes);
  if (w->L) close_state(w);
  rl_buf_free(&w->trace);
  rl_buf_free(&w->where);
  rl_buf_free(&w->bad.samples);
  rl_free(w);
}

lua_State *rl_worker_state(rl_worker *w)
{
  return w->L;
}

/* Hooks ------------------------------------------------------------------------------------------------------------ */

static void *hook_start(void *user, uint32_t index)
{
  (void)index;
  rl_worker *w = RL_NEW(rl_worker);
  w->config = user;
  make_state(w); /* if it failed, the first task tries again and says why */
  return w;
}

static void hook_stop(void *user, void *local)
{
  (void)user;
  rl_worker_delete(local);
}

static void seed_random(lua_State *L, uint64_t seed)
{
  lua_rawgetp(L, LUA_REGISTRYINDEX, &seed_key);
  lua_pushinteger(L, (lua_Integer)seed);
  lua_pushinteger(L, 0);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK) lua_pop(L, 1);
}

static void hook_begin(void *user, void *local, const rl_task *task)
{
  (void)user;
  rl_worker *w = local;
  w->interrupted = 0;
  w->task = task;
  w->attempts++;
  w->begun_ns = rl_mono_ns();
  rl_badness_begin(w);
  if (!w->L && make_state(w) != RL_OK) return; /* opening the task's functions reports it */
  lua_sethook(w->L, NULL, 0, 0);
  seed_random(w->L, task->seed);
  rl_broadcast_sweep(w->L, &w->epoch);
}

static rl_status hook_end(void *user, void *local, const rl_task *task, rl_status status)
{
  (void)user;
  rl_worker *w = local;
  if (status == RL_OK) status = rl_outboxes_settle(&w->outboxes);
  rl_outboxes_drop(&w->outboxes);
  w->task = NULL;
  w->interrupted = 0;
  if (w->L && (status == RL_ENOMEM || w->exhausted)) close_state(w);
  if (!w->L) return status;
  if (status == RL_OK) status = rl_accumulator_report(w->L, task->updates);
  if (status == RL_OK) rl_badness_report(w, task);
  rl_accumulator_forget(w->L);
  return status;
}

static void hook_interrupt(void *user, void *local, rl_status why)
{
  (void)user;
  rl_worker_interrupt(local, why);
}

void rl_worker_hooks_init(rl_worker_hooks *hooks, rl_worker_config *config)
{
  *hooks = (rl_worker_hooks){
      .user = config,
      .start = hook_start,
      .stop = hook_stop,
      .begin = hook_begin,
      .end = hook_end,
      .interrupt = hook_interrupt,
  };
}
