/* What a worker's state offers: the standard libraries without what would touch the process or blind the engine, in
 * read-only tables. */
#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "capture.h"
#include "worker_impl.h"

/* Closed functions ------------------------------------------------------------------------------------------------- */

static int closed(lua_State *L)
{
  return luaL_error(L, "%s is closed in functions that run in workers: %s", lua_tostring(L, lua_upvalueindex(1)),
                    lua_tostring(L, lua_upvalueindex(2)));
}

static void push_closed(lua_State *L, const char *name, const char *why)
{
  lua_pushstring(L, name);
  lua_pushstring(L, why);
  lua_pushcclosure(L, closed, 2);
}

/* io.lines and io.input without an argument read stdin. */
static int needs_argument(lua_State *L)
{
  if (lua_isnoneornil(L, 1)) return closed(L);
  lua_pushvalue(L, lua_upvalueindex(3));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

static int no_stdin(lua_State *L)
{
  const char *key = lua_tostring(L, 2);
  if (key && strcmp(key, "stdin") == 0)
    return luaL_error(L, "io.stdin is closed in functions that run in workers: the script owns it");
  lua_pushnil(L);
  return 1;
}

/* Only text is compiled: nothing checks bytecode. Upvalue: the original; the mode is argument upvalue 2. */
static int load_text(lua_State *L)
{
  int mode = (int)lua_tointeger(L, lua_upvalueindex(2));
  if (lua_gettop(L) < mode) lua_settop(L, mode);
  lua_pushliteral(L, "t");
  lua_replace(L, mode);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

static int collect(lua_State *L)
{
  static const char *const options[] = {"collect", "count", "step", "isrunning", NULL};
  const char *option = luaL_optstring(L, 1, "collect");
  for (int i = 0; options[i]; i++) {
    if (strcmp(option, options[i]) != 0) continue;
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
  }
  return luaL_error(L, "collectgarbage('%s') is closed in functions that run in workers: the engine tunes their states",
                    option);
}

/* Without the function itself: frames of the engine's are not for calling. */
static int getinfo(lua_State *L)
{
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 1);
  if (lua_istable(L, -1)) {
    lua_pushnil(L);
    lua_setfield(L, -2, "func");
  }
  return 1;
}

/* xpcall: a message handler that is called for an interrupt would run where no hook reaches it. */

/* Upvalue: the user's handler. */
static int handle(lua_State *L)
{
  if (rl_worker_of(L)->interrupted) return 1;
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

static int results(lua_State *L, int status, lua_KContext context)
{
  (void)status;
  (void)context;
  return lua_gettop(L);
}

/* Upvalue: the standard xpcall. */
static int guarded_xpcall(lua_State *L)
{
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_pushvalue(L, 2);
  lua_pushcclosure(L, handle, 1);
  lua_replace(L, 2);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, results);
  return results(L, LUA_OK, 0);
}

/* Coroutines: as in the standard library, and the running one is published ----------------------------------------- */

static lua_State *main_thread(lua_State *L)
{
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  lua_State *main = lua_tothread(L, -1);
  lua_pop(L, 1);
  return main;
}

static lua_State *check_coroutine(lua_State *L)
{
  lua_State *co = lua_tothread(L, 1);
  luaL_argexpected(L, co, 1, "coroutine");
  return co;
}

/* Resumes co with the narg values on top of L; leaves its results (their number is returned) or, -1, the error on L. */
static int resume(lua_State *L, lua_State *co, int narg)
{
  bool dead = lua_status(co) == LUA_OK && lua_gettop(co) == 0;
  if (dead || co == main_thread(L) || !lua_checkstack(co, narg)) {
    lua_pushstring(L, dead ? "cannot resume dead coroutine" : "cannot resume non-suspended coroutine");
    return -1;
  }
  int n;
  lua_xmove(L, co, narg);
  int status = rl_worker_resume(rl_worker_of(L), co, narg, &n);
  rl_worker_check_interrupt(L);
  if (status != LUA_OK && status != LUA_YIELD) {
    lua_xmove(co, L, 1);
    return -1;
  }
  if (!lua_checkstack(L, n + 1)) {
    lua_pop(co, n);
    lua_pushliteral(L, "too many results to resume");
    return -1;
  }
  lua_xmove(co, L, n);
  return n;
}

static int coroutine_resume(lua_State *L)
{
  lua_State *co = check_coroutine(L);
  int n = resume(L, co, lua_gettop(L) - 1);
  lua_pushboolean(L, n >= 0);
  lua_insert(L, n >= 0 ? -(n + 1) : -2);
  return n >= 0 ? n + 1 : 2;
}

static int wrapped(lua_State *L)
{
  lua_State *co = lua_tothread(L, lua_upvalueindex(1));
  int n = resume(L, co, lua_gettop(L));
  if (n >= 0) return n;
  int status = lua_status(co);
  if (status != LUA_OK && status != LUA_YIELD) {
    if (rl_worker_reset(rl_worker_of(L), co) != LUA_OK && lua_gettop(co) > 0) lua_xmove(co, L, 1);
    rl_worker_check_interrupt(L);
  }
  if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

static int coroutine_create(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_State *co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  return 1;
}

static int coroutine_wrap(lua_State *L)
{
  coroutine_create(L);
  lua_pushcclosure(L, wrapped, 1);
  return 1;
}

static bool is_active(lua_State *L, lua_State *co)
{
  lua_Debug ar;
  return co == L || co == main_thread(L) || (lua_status(co) == LUA_OK && lua_getstack(co, 0, &ar));
}

static int coroutine_close(lua_State *L)
{
  lua_State *co = check_coroutine(L);
  if (is_active(L, co)) return luaL_error(L, "cannot close a %s coroutine", co == L ? "running" : "normal");
  int status = rl_worker_reset(rl_worker_of(L), co);
  rl_worker_check_interrupt(L);
  lua_pushboolean(L, status == LUA_OK);
  if (status == LUA_OK) return 1;
  lua_xmove(co, L, 1);
  return 2;
}

/* The coroutine that an operator runs in is the engine's: to the user's function it looks like the main thread. */
static int coroutine_yield(lua_State *L)
{
  if (L == rl_worker_of(L)->engine) return luaL_error(L, "attempt to yield from outside a coroutine");
  return lua_yield(L, lua_gettop(L));
}

static int coroutine_isyieldable(lua_State *L)
{
  lua_State *co = lua_isthread(L, 1) ? lua_tothread(L, 1) : L;
  lua_pushboolean(L, co != rl_worker_of(L)->engine && lua_isyieldable(co));
  return 1;
}

static int coroutine_running(lua_State *L)
{
  bool main = L == rl_worker_of(L)->engine || L == main_thread(L);
  if (main)
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  else
    lua_pushthread(L);
  lua_pushboolean(L, main);
  return 2;
}

static void replace_coroutines(lua_State *L)
{
  static const luaL_Reg functions[] = {
      {"close", coroutine_close},   {"create", coroutine_create}, {"isyieldable", coroutine_isyieldable},
      {"resume", coroutine_resume}, {"running", coroutine_running}, {"wrap", coroutine_wrap},
      {"yield", coroutine_yield},   {NULL, NULL},
  };
  lua_getglobal(L, "coroutine");
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}

/* Putting it together ---------------------------------------------------------------------------------------------- */

static void close_function(lua_State *L, const char *library, const char *name, const char *why)
{
  lua_getglobal(L, library);
  lua_pushfstring(L, "%s.%s", library, name);
  push_closed(L, lua_tostring(L, -1), why);
  lua_setfield(L, -3, name);
  lua_pop(L, 2);
}

/* io.lines, io.input: open with an argument. */
static void close_without_argument(lua_State *L, const char *name)
{
  lua_getglobal(L, "io");
  lua_pushfstring(L, "io.%s without a file", name);
  lua_pushliteral(L, "stdin is the script's");
  lua_getfield(L, -3, name);
  lua_pushcclosure(L, needs_argument, 3);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

static void replace_load(lua_State *L, const char *name, int mode)
{
  lua_getglobal(L, name);
  lua_pushinteger(L, mode);
  lua_pushcclosure(L, load_text, 2);
  lua_setglobal(L, name);
}

static void restrict_io(lua_State *L)
{
  close_function(L, "io", "read", "stdin is the script's");
  close_without_argument(L, "lines");
  close_without_argument(L, "input");
  lua_getglobal(L, "io");
  lua_pushnil(L);
  lua_setfield(L, -2, "stdin");
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, no_stdin);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}

/* f gets what it replaces as its upvalue. */
static void replace_global(lua_State *L, const char *name, lua_CFunction f)
{
  lua_getglobal(L, name);
  lua_pushcclosure(L, f, 1);
  lua_setglobal(L, name);
}

/* Of the debug library only what looks, and cannot take hooks or reach into others' frames. */
static void restrict_debug(lua_State *L)
{
  lua_getglobal(L, "debug");
  lua_createtable(L, 0, 2);
  lua_getfield(L, -2, "traceback");
  lua_setfield(L, -2, "traceback");
  lua_getfield(L, -2, "getinfo");
  lua_pushcclosure(L, getinfo, 1);
  lua_setfield(L, -2, "getinfo");
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, "debug");
  lua_pop(L, 1);
  lua_setglobal(L, "debug");
  lua_pop(L, 1);
}

void rl_sandbox_functions(lua_State *L)
{
  close_function(L, "os", "exit", "raise an error to fail the task");
  close_function(L, "os", "setlocale", "the locale is the whole process's");
  restrict_io(L);
  restrict_debug(L);
  replace_load(L, "load", 3);
  replace_load(L, "loadfile", 2);
  replace_global(L, "collectgarbage", collect);
  replace_global(L, "xpcall", guarded_xpcall);
  replace_coroutines(L);
}

static int refuse_write(lua_State *L)
{
  return luaL_error(L, "the standard library's '%s' cannot be changed in functions that run in workers",
                    lua_tostring(L, lua_upvalueindex(1)));
}

static int pairs_of_original(lua_State *L)
{
  lua_getglobal(L, "next");
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushnil(L);
  return 3;
}

/* Replaces library `name` by an empty table that reads through to it. */
static void freeze(lua_State *L, const char *name)
{
  lua_newtable(L);
  lua_createtable(L, 0, 4);
  lua_getglobal(L, name);
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, pairs_of_original, 1);
  lua_setfield(L, -3, "__pairs");
  lua_setfield(L, -2, "__index");
  lua_pushstring(L, name);
  lua_pushcclosure(L, refuse_write, 1);
  lua_setfield(L, -2, "__newindex");
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  rl_capture_register(L, -1, name);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
  lua_setglobal(L, name);
}

void rl_sandbox_freeze(lua_State *L)
{
  static const char *const libraries[] = {"coroutine", "debug", "io", "math", "os", "package", "string", "table",
                                          "utf8"};
  for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) freeze(L, libraries[i]);
  lua_pushliteral(L, "");
  if (lua_getmetatable(L, -1)) {
    lua_pushliteral(L, "string");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}
