/* From Lua errors to rl_error: one line that says what and where, and the frames that are the user's. */
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "searcher.h"
#include "values.h"
#include "searcher.h"
#include "worker_impl.h"

#define MAX_FRAMES 200
#define SHOWN 4000 /* bytes of a message */

static bool is_engine_source(const char *source)
{
  return strncmp(source, "=[rille", 7) == 0 || strncmp(source, RL_EMBED_ROOT, strlen(RL_EMBED_ROOT)) == 0;
}

static bool is_fused_source(const char *source)
{
  return strcmp(source, "=[rille.fused]") == 0;
}

/* The generated code calls the user's functions by names of its own (f1_1), which say nothing to him. */
static bool is_named(const lua_Debug *ar)
{
  int step, which;
  char rest;
  bool ours = strcmp(ar->namewhat, "upvalue") == 0 && sscanf(ar->name, "f%d_%d%c", &step, &which, &rest) == 2;
  return *ar->namewhat && !ours;
}

static void add_frame(rl_buf *trace, const lua_Debug *ar)
{
  rl_buf_printf(trace, "%s  %s:%d: in ", trace->n ? "\n" : "", ar->short_src, ar->currentline);
  if (*ar->what == 'm')
    rl_buf_puts(trace, "main chunk");
  else if (is_named(ar))
    rl_buf_printf(trace, "%s '%s'", ar->namewhat, ar->name);
  else
    rl_buf_printf(trace, "function <%s:%d>", ar->short_src, ar->linedefined);
}

int rl_failure_frames(lua_State *L, rl_buf *trace, rl_buf *where)
{
  lua_Debug ar;
  int fused = 0;
  for (int level = 0; level < MAX_FRAMES && lua_getstack(L, level, &ar); level++) {
    if (!lua_getinfo(L, "Sln", &ar) || *ar.what == 'C') continue;
    if (is_fused_source(ar.source)) {
      if (fused == 0) fused = ar.currentline;
    } else if (!is_engine_source(ar.source)) {
      if (where->n == 0) rl_buf_printf(where, "%s:%d", ar.short_src, ar.currentline);
      add_frame(trace, &ar);
    }
  }
  return fused;
}

int rl_worker_traceback(lua_State *L)
{
  rl_worker *w = rl_worker_of(L);
  rl_buf_clear(&w->trace);
  rl_buf_clear(&w->where);
  rl_failure_frames(L, &w->trace, &w->where);
  if (lua_touserdata(L, 1) != &rl_raised) rl_failure_push_text(L, 1);
  return 1;
}

void rl_failure_push_text(lua_State *L, int index)
{
  index = lua_absindex(L, index);
  if (lua_istable(L, index) && luaL_getmetafield(L, index, "__tostring") == LUA_TNIL) {
    rl_buf *text = rl_lua_push_buf(L);
    if (rl_lua_format(L, index, text) == RL_OK) {
      lua_pushlstring(L, text->n ? text->p : "", text->n);
      lua_remove(L, -2);
      return;
    }
  }
  luaL_tolstring(L, index, NULL);
}

static int to_text(lua_State *L)
{
  rl_failure_push_text(L, 1);
  return 1;
}

/* The text of the error value on top of L. A coroutine that failed runs nothing any more, so __tostring runs in the
 * main thread; what it leaves there is the caller's to pop. */
static const char *error_text(rl_worker *w, lua_State *L)
{
  lua_State *main = w->L;
  if (lua_type(L, -1) == LUA_TSTRING) return lua_tostring(L, -1);
  if (!lua_checkstack(main, 4)) return "(no room to show the error)";
  lua_pushcfunction(main, to_text);
  if (L == main)
    lua_pushvalue(main, -2);
  else
    lua_xmove(L, main, 1);
  lua_pcall(main, 1, 1, 0);
  return lua_type(main, -1) == LUA_TSTRING ? lua_tostring(main, -1) : "(an error value without a text)";
}

/* A position in generated code means nothing to the user. */
static const char *without_engine_position(const char *text)
{
  if (strncmp(text, "[rille", 6) != 0) return text;
  const char *p = strchr(text, ']');
  if (!p || p[1] != ':') return text;
  p += 2;
  p += strspn(p, "0123456789");
  return p[0] == ':' && p[1] == ' ' ? p + 2 : text;
}

/* "bad argument #1 to 'f1_1'": that is the generated code's name for a function. It is left out. */
static void add_first_line(rl_buf *out, const char *text)
{
  size_t n = strcspn(text, "\r\n");
  if (n > SHOWN) n = SHOWN;
  const char *name = strstr(text, " to 'f");
  size_t before = name ? (size_t)(name - text) : n, length = name ? 6 + strspn(name + 6, "0123456789_") : 0;
  if (before >= n || name[length] != '\'') {
    rl_buf_add(out, text, n);
    return;
  }
  length++;
  rl_buf_add(out, text, before);
  if (n > before + length) rl_buf_add(out, name + length, n - before - length);
}

static rl_status report_limit(const rl_worker *w, rl_status why, const char *where, const char *in)
{
  const char *colon = *where ? ": " : "";
  switch (why) {
    case RL_ETIMEOUT:
      return rl_fail(why, "%s%stook longer than rille.task.maxSeconds allows%s", where, colon, in);
    case RL_ENOMEM:
      if (w->config->max_memory > 0)
        return rl_fail(why, "%s%sout of memory: a worker's Lua state may hold %lld bytes (rille.task.maxMemory)%s",
                       where, colon, (long long)w->config->max_memory, in);
      return rl_fail(why, "%s%sout of memory%s", where, colon, in);
    default:
      return rl_fail(why, "%s%scancelled%s", where, colon, in);
  }
}

rl_status rl_worker_fail(rl_worker *w, lua_State *L, int status, const char *what)
{
  if (L != w->L) {
    rl_buf_clear(&w->trace);
    rl_buf_clear(&w->where);
    rl_failure_frames(L, &w->trace, &w->where);
  }
  char in[512] = "";
  if (what) snprintf(in, sizeof in, " (in %s)", what);
  const char *where = rl_buf_cstr(&w->where);
  int main_top = lua_gettop(w->L);
  rl_status st;
  if (w->interrupted) {
    st = report_limit(w, (rl_status)w->interrupted, where, in);
  } else if (status == LUA_ERRMEM) {
    w->exhausted = true;
    st = report_limit(w, RL_ENOMEM, where, in);
  } else {
    bool positioned = lua_type(L, -1) == LUA_TSTRING;
    const char *raw = error_text(w, L), *text = without_engine_position(raw);
    const char *at = positioned && text == raw ? "" : where;
    rl_buf line = {0};
    rl_buf_printf(&line, "%s%s", at, *at ? ": " : "");
    add_first_line(&line, text);
    st = rl_fail(RL_EUSER, "%s%s", rl_buf_cstr(&line), in);
    rl_buf_free(&line);
  }
  if (w->trace.n > 0) rl_error_set_trace(rl_buf_cstr(&w->trace));
  if (L == w->L)
    lua_settop(L, main_top - 1);
  else
    lua_settop(w->L, main_top);
  return st;
}
