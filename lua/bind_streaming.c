/* Streaming: a streaming context's life. */
#include <errno.h>
#include <time.h>

#include "bind.h"
#include "capture.h"
#include "receiver.h"
#include "run/signals.h"

/* User values of the handle. */
enum { CONTEXT = 1, RECEIVERS };

static char handles_key;  /* registry: table from rl_streaming to its handle, weak */
static char sentinel_key; /* registry: the sentinel of the context started last */

rl_streaming *rl_check_streaming(lua_State *L, int index)
{
  void **h = luaL_checkudata(L, index, RL_META_STREAMING);
  if (!*h) luaL_argerror(L, index, "this streaming context is gone");
  return *h;
}

/* --- handles ------------------------------------------------------------------------------------------------------ */

static void push_handles(lua_State *L)
{
  rl_push_weak_table(L, &handles_key, "v");
}

static int new_streaming(lua_State *L)
{
  rl_context *c = rl_check_context(L, 1);
  lua_Integer batch_ms = luaL_checkinteger(L, 2);
  push_handles(L);
  void **h = rl_handle_new(L, RL_META_STREAMING, 2);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, CONTEXT);
  lua_newtable(L);
  lua_setiuservalue(L, -2, RECEIVERS);
  rl_streaming *s = NULL;
  rl_bind_check(L, rl_streaming_new(c, batch_ms, &s));
  *h = s;
  lua_pushvalue(L, -1);
  lua_rawsetp(L, -3, s);
  return 1;
}

static int streaming_gc(lua_State *L)
{
  void **h = luaL_checkudata(L, 1, RL_META_STREAMING);
  rl_streaming *s = *h;
  *h = NULL;
  rl_bind_enter(L);
  rl_streaming_unref(s);
  return 0;
}

static int active(lua_State *L)
{
  const rl_streaming *s = rl_streaming_active();
  push_handles(L);
  if (s)
    lua_rawgetp(L, -1, s);
  else
    lua_pushnil(L);
  return 1;
}

static int context(lua_State *L)
{
  rl_check_streaming(L, 1);
  lua_getiuservalue(L, 1, CONTEXT);
  return 1;
}

/* --- the sentinel ------------------------------------------------------------------------------------------------- */

/* The last thing made before a start, so lua_close finalises it before anything the context stands on, whatever the
 * script did. Until then it keeps the context alive. */
static void set_sentinel(lua_State *L, int streaming)
{
  rl_handle_new(L, RL_META_SENTINEL, 1);
  lua_pushvalue(L, streaming);
  lua_setiuservalue(L, -2, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &sentinel_key);
}

static int sentinel_gc(lua_State *L)
{
  rl_bind *b = rl_bind_enter(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &sentinel_key);
  if (!lua_rawequal(L, 1, -1)) return 0; /* another context was started since */
  b->closing = true;
  lua_getiuservalue(L, 1, 1);
  void **h = lua_touserdata(L, -1);
  if (h && *h) rl_outruns_abort(b, *h);
  return 0;
}

/* --- start -------------------------------------------------------------------------------------------------------- */

/* Entries of the table of receivers: what is to be captured, and the receiver (light), by turns. False where adding it
 * failed. */
int rl_streaming_keep_definition(lua_State *L, int streaming, int definition)
{
  lua_getiuservalue(L, streaming, RECEIVERS);
  int at = (int)lua_rawlen(L, -1);
  lua_pushvalue(L, definition);
  lua_rawseti(L, -2, at + 1);
  lua_pushboolean(L, false);
  lua_rawseti(L, -2, at + 2);
  lua_pop(L, 1);
  return at + 2;
}

void rl_streaming_keep_receiver(lua_State *L, int streaming, int at, rl_lua_receiver *r)
{
  lua_getiuservalue(L, streaming, RECEIVERS);
  lua_pushlightuserdata(L, r);
  lua_rawseti(L, -2, at);
  lua_pop(L, 1);
}

/* Captures all definitions in one image; what they share stays shared. */
static void capture_receivers(lua_State *L)
{
  lua_getiuservalue(L, 1, RECEIVERS);
  int list = lua_gettop(L), entries = (int)lua_rawlen(L, list) / 2, n = 0;
  luaL_checkstack(L, entries + LUA_MINSTACK, "too many receivers");
  rl_capture_root *roots = rl_bind_array(L, (size_t)entries, sizeof *roots);
  rl_lua_receiver **receivers = rl_bind_array(L, (size_t)entries, sizeof(rl_lua_receiver *));
  for (int i = 1; i <= entries; i++) {
    lua_rawgeti(L, list, (lua_Integer)2 * i);
    rl_lua_receiver *r = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!r) continue;
    lua_rawgeti(L, list, (lua_Integer)2 * i - 1);
    receivers[n] = r;
    const char *role = rl_lua_receiver_role(r), *site = rl_lua_receiver_site(r);
    roots[n++] = (rl_capture_root){.index = lua_gettop(L), .role = role, .site = site};
  }
  if (n > 0) {
    rl_image *image = NULL;
    rl_bind_check(L, rl_capture(L, roots, (size_t)n, &image));
    for (int i = 0; i < n; i++) rl_lua_receiver_bind(receivers[i], image, (uint32_t)i);
    rl_image_unref(image);
  }
  lua_settop(L, 1);
}

static int start(lua_State *L)
{
  rl_streaming *s = rl_check_streaming(L, 1);
  lua_settop(L, 1);
  if (rl_streaming_state(s) == RL_INITIALIZED) {
    capture_receivers(L);
    set_sentinel(L, 1);
  }
  rl_bind_enter(L);
  rl_bind_check(L, rl_streaming_start(s));
  return 0;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

/* The first signal asks for what is under way already; a second one stops at once, as in a wait. */
static rl_status stop_gracefully(lua_State *L, rl_streaming *s, bool stop_context)
{
  rl_context *c = rl_streaming_context(s);
  if (rl_driver_in_message(rl_context_driver(c)) ||
      !rl_conf_bool(rl_context_conf(c), "rille.streaming.stopGracefullyOnShutdown"))
    return rl_streaming_stop(s, stop_context, true);
  rl_caught caught = {0};
  rl_streaming_on_hurry(rl_gate_hurry, rl_bind_of(L));
  rl_signals_catch(rl_context_driver(c), &caught);
  rl_status st = rl_streaming_stop(s, stop_context, true);
  rl_signals_release(&caught);
  rl_streaming_on_hurry(NULL, NULL);
  return st;
}

static int stop(lua_State *L)
{
  rl_streaming *s = rl_check_streaming(L, 1);
  bool stop_context = lua_toboolean(L, 2), graceful = lua_toboolean(L, 3);
  rl_bind_enter(L);
  rl_bind_check(L, graceful ? stop_gracefully(L, s, stop_context) : rl_streaming_stop(s, stop_context, false));
  return 0;
}

/* Streaming:abandon() */
static int abandon(lua_State *L)
{
  rl_streaming *s = rl_check_streaming(L, 1);
  rl_bind_enter(L);
  rl_streaming_abort(s);
  return 0;
}

static int await(lua_State *L)
{
  rl_streaming *s = rl_check_streaming(L, 1);
  lua_Integer timeout_ms = luaL_optinteger(L, 2, -1);
  bool stopped = false;
  rl_bind_enter(L);
  rl_streaming_on_hurry(rl_gate_hurry, rl_bind_of(L));
  rl_status st = rl_streaming_await(s, timeout_ms, true, &stopped);
  rl_streaming_on_hurry(NULL, NULL);
  rl_bind_check(L, st);
  lua_pushboolean(L, stopped);
  return 1;
}

static int64_t check_sleep_ms(lua_State *L, int index)
{
  lua_Integer ms = luaL_checkinteger(L, index);
  luaL_argcheck(L, ms >= 0 && ms <= INT64_MAX / 1000000 / 2, index, "out of range");
  return ms;
}

static void sleep_serving(lua_State *L, rl_streaming *s, int64_t ms)
{
  rl_streaming_on_hurry(rl_gate_hurry, rl_bind_enter(L));
  rl_streaming_sleep(s, ms, true);
  rl_streaming_on_hurry(NULL, NULL);
}

static int streaming_sleep(lua_State *L)
{
  rl_streaming *s = rl_check_streaming(L, 1);
  sleep_serving(L, s, check_sleep_ms(L, 2));
  return 0;
}

/* core.sleep(ms): serves the active context, if it is of this state. */
static int core_sleep(lua_State *L)
{
  int64_t ms = check_sleep_ms(L, 1);
  active(L);
  void **h = lua_touserdata(L, -1);
  if (h && *h) {
    sleep_serving(L, *h, ms);
    return 0;
  }
  struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) continue;
  return 0;
}

static int advance(lua_State *L)
{
  rl_streaming *s = rl_check_streaming(L, 1);
  lua_Integer ms = luaL_checkinteger(L, 2);
  rl_bind_enter(L);
  rl_bind_check(L, rl_streaming_advance(s, ms));
  return 0;
}

static int state(lua_State *L)
{
  static const char *const names[] = {
    [RL_INITIALIZED] = "INITIALIZED", [RL_ACTIVE] = "ACTIVE", [RL_STOPPED] = "STOPPED"};
  lua_pushstring(L, names[rl_streaming_state(rl_check_streaming(L, 1))]);
  return 1;
}

static int remember(lua_State *L)
{
  rl_bind_check(L, rl_streaming_remember(rl_check_streaming(L, 1), luaL_checkinteger(L, 2)));
  return 0;
}

/* Streaming:checkpoint(dir or nil) */
static int checkpoint(lua_State *L)
{
  rl_bind_check(L, rl_streaming_checkpoint(rl_check_streaming(L, 1), luaL_optstring(L, 2, NULL)));
  return 0;
}

static int zero_time(lua_State *L)
{
  int64_t zero = rl_streaming_zero_time(rl_check_streaming(L, 1));
  if (zero == RL_NO_TIME)
    lua_pushnil(L);
  else
    lua_pushinteger(L, zero);
  return 1;
}

static int clock_time(lua_State *L)
{
  lua_pushinteger(L, rl_clock_now(rl_streaming_clock(rl_check_streaming(L, 1))));
  return 1;
}

static int is_manual(lua_State *L)
{
  lua_pushboolean(L, rl_clock_is_manual(rl_streaming_clock(rl_check_streaming(L, 1))));
  return 1;
}

void rl_bind_add_streaming(lua_State *L)
{
  static const luaL_Reg methods[] = {
    {"start", start},
    {"stop", stop},
    {"abandon", abandon},
    {"await", await},
    {"sleep", streaming_sleep},
    {"state", state},
    {"stateOf", rl_streaming_find_state},
    {"remember", remember},
    {"checkpoint", checkpoint},
    {"keep", rl_streaming_keep_values},
    {"putNote", rl_streaming_put_note},
    {"putCode", rl_streaming_put_code},
    {"zeroTime", zero_time},
    {"time", clock_time},
    {"isManual", is_manual},
    {"advance", advance},
    {"context", context},
    {"addListener", rl_streaming_listen},
    {"socket", rl_streaming_socket},
    {"rawSocket", rl_streaming_raw_socket},
    {"files", rl_streaming_files},
    {"input", rl_streaming_driver_input},
    {"receiver", rl_streaming_receiver},
    {"socketConverter", rl_streaming_converter},
    {"kafka", rl_streaming_kafka},
    {"kafkaGroup", rl_streaming_kafka_group},
    {NULL, NULL},
  };
  static const luaL_Reg functions[] = {
    {"streaming", new_streaming}, {"active", active}, {"sleep", core_sleep}, {NULL, NULL}};
  rl_handle_type(L, RL_META_STREAMING, streaming_gc, methods);
  rl_handle_type(L, RL_META_SENTINEL, sentinel_gc, NULL);
  luaL_setfuncs(L, functions, 0);
}
