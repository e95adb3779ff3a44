#include <string.h>

#include "base/mem.h"
#include "bind.h"
#include "searcher.h"
#include "worker_impl.h"

#define TRACE_FRAMES 20
#define LIBRARY "rille.library" /* registry: where the library's files lie, as in their functions' sources; or nil */

static char bind_key; /* its address: the rl_bind in the registry */

/* --- the state's own ---------------------------------------------------------------------------------------------- */

static void find_library(lua_State *L)
{
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "searchpath");
  lua_pushliteral(L, "rille");
  lua_getfield(L, -3, "path");
  const char *path = lua_pcall(L, 2, 1, 0) == LUA_OK ? lua_tostring(L, -1) : NULL;
  if (path) {
    size_t n = strlen(path) - strlen(".lua");
    if (n > 5 && strncmp(path + n - 5, "/init", 5) == 0) n -= 5;
    lua_pushliteral(L, "@");
    lua_pushlstring(L, path, n);
    lua_concat(L, 2);
    lua_setfield(L, LUA_REGISTRYINDEX, LIBRARY);
  }
  lua_pop(L, 2);
}

rl_bind *rl_bind_of(lua_State *L)
{
  lua_rawgetp(L, LUA_REGISTRYINDEX, &bind_key);
  rl_bind *b = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (b) return b;
  b = lua_newuserdatauv(L, sizeof *b, 0);
  *b = (rl_bind){.current = L};
  lua_rawsetp(L, LUA_REGISTRYINDEX, &bind_key);
  find_library(L);
  return b;
}

rl_bind *rl_bind_enter(lua_State *L)
{
  rl_bind *b = rl_bind_of(L);
  b->current = L;
  return b;
}

/* --- tracebacks --------------------------------------------------------------------------------------------------- */

/* Where the library's functions come from, while a traceback is made. */
typedef struct library {
  const char *files; /* NULL: nothing but what is embedded */
  size_t n;
} library;

static bool is_library(const char *source, const library *lib)
{
  if (strncmp(source, RL_EMBED_ROOT, strlen(RL_EMBED_ROOT)) == 0) return true;
  if (!lib->files || strncmp(source, lib->files, lib->n) != 0) return false;
  return source[lib->n] == '/' || strcmp(source + lib->n, ".lua") == 0;
}

/* What the library calls a function of the user's says nothing to him. */
static bool is_called_by_library(lua_State *of, int level, const library *lib)
{
  lua_Debug caller;
  return lua_getstack(of, level + 1, &caller) && lua_getinfo(of, "S", &caller) && is_library(caller.source, lib);
}

/* Pushes a line of the traceback. */
static void push_frame(lua_State *L, const lua_Debug *ar, bool named)
{
  if (strcmp(ar->what, "main") == 0)
    lua_pushfstring(L, "  %s:%d: in main chunk", ar->short_src, ar->currentline);
  else if (named && *ar->namewhat)
    lua_pushfstring(L, "  %s:%d: in %s '%s'", ar->short_src, ar->currentline, ar->namewhat, ar->name);
  else
    lua_pushfstring(L, "  %s:%d: in function <%s:%d>", ar->short_src, ar->currentline, ar->short_src, ar->linedefined);
}

void rl_gate_trace(lua_State *L, lua_State *of, int level)
{
  library lib = {0};
  lua_getfield(L, LUA_REGISTRYINDEX, LIBRARY);
  lib.files = lua_tolstring(L, -1, &lib.n);
  luaL_Buffer text;
  luaL_buffinit(L, &text);
  lua_Debug ar;
  int frames = 0;
  for (; lua_getstack(of, level, &ar) && frames < TRACE_FRAMES; level++) {
    lua_getinfo(of, "Sln", &ar);
    if (strcmp(ar.what, "C") == 0 || is_library(ar.source, &lib)) continue;
    if (frames++ > 0) luaL_addchar(&text, '\n');
    push_frame(L, &ar, !is_called_by_library(of, level, &lib));
    luaL_addvalue(&text);
  }
  luaL_pushresult(&text);
  lua_remove(L, -2);
}

/* --- errors ------------------------------------------------------------------------------------------------------- */

int rl_bind_raise(lua_State *L)
{
  const rl_error *e = rl_error_current();
  const char *message = e && e->message ? e->message : "unknown error";
  if (e && e->trace && *e->trace)
    lua_pushfstring(L, "%s\n%s", message, e->trace);
  else
    lua_pushstring(L, message);
  return lua_error(L);
}

int rl_gate_handler(lua_State *L)
{
  rl_failure_push_text(L, 1);
  lua_pushliteral(L, "\n");
  rl_gate_trace(L, L, 1);
  if (*lua_tostring(L, -1) == '\0') lua_pop(L, 2);
  lua_concat(L, lua_gettop(L) - 1);
  return 1;
}

rl_status rl_gate_fail(lua_State *L, int status)
{
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "error in error handling";
  size_t line = strcspn(text, "\n");
  if (status == LUA_ERRMEM) {
    rl_fail(RL_ENOMEM, "the driver's Lua state is out of memory");
  } else {
    rl_fail(RL_EUSER, "%.*s", (int)line, text);
    if (text[line]) rl_error_set_trace(text + line + 1);
  }
  lua_pop(L, 1);
  return status == LUA_ERRMEM ? RL_ENOMEM : RL_EUSER;
}

/* Raises at every instruction until the error has left all calls of pcall. Calls are left alone: the handler that
 * describes the error is a C function. */
static void stop_callback(lua_State *L, lua_Debug *ar)
{
  (void)ar;
  lua_sethook(L, stop_callback, LUA_MASKCOUNT, 1);
  lua_pushliteral(L, "stopped at once by a second signal");
  lua_error(L);
}

void rl_gate_hurry(void *bind)
{
  rl_bind *b = bind;
  if (b->depth == 0) return; /* the main chunk waits; it is not to fail */
  lua_sethook(b->body ? b->body : b->current, stop_callback, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
}

bool rl_gate_is_hurried(const rl_bind *b)
{
  return lua_gethook(b->body ? b->body : b->current) == stop_callback;
}

rl_status rl_gate(rl_bind *b, lua_CFunction body, void *arg)
{
  lua_State *L = b->current;
  if (b->closing) return rl_fail(RL_ECANCELLED, "the program is ending");
  if (!lua_checkstack(L, 8)) return rl_fail(RL_ENOMEM, "the driver's Lua stack is full");
  lua_pushcfunction(L, rl_gate_handler);
  lua_pushcfunction(L, body);
  lua_pushlightuserdata(L, arg);
  b->depth++;
  int called = lua_pcall(L, 1, 0, -3);
  b->depth--;
  if (lua_gethook(L) == stop_callback) lua_sethook(L, NULL, 0, 0); /* it came too late */
  b->current = L;
  rl_status st = called == LUA_OK ? RL_OK : rl_gate_fail(L, called);
  lua_pop(L, 1);
  return st;
}

/* --- callbacks ---------------------------------------------------------------------------------------------------- */

rl_callback *rl_callback_new(lua_State *L, int index)
{
  luaL_checktype(L, index, LUA_TFUNCTION);
  rl_bind *b = rl_bind_of(L);
  lua_pushvalue(L, index);
  int ref = luaL_ref(L, LUA_REGISTRYINDEX);
  rl_callback *cb = RL_NEW(rl_callback);
  *cb = (rl_callback){.bind = b, .ref = ref};
  return cb;
}

void rl_callback_delete(void *callback)
{
  rl_callback *cb = callback;
  luaL_unref(cb->bind->current, LUA_REGISTRYINDEX, cb->ref);
  rl_free(cb);
}

void rl_callback_push(lua_State *L, const rl_callback *cb) { lua_rawgeti(L, LUA_REGISTRYINDEX, cb->ref); }
