#include "capture.h"

#include <string.h>

#include "base/mem.h"
#include "capture_internal.h"

/* More than this is a mistake: data belongs into an RDD or a stream. */
#define IMAGE_MAX ((size_t)1 << 30)

/* --- the walk ----------------------------------------------------------------------------------------------------- */

/* Notes the fields of the module on top that may travel as such: C functions, and all there is in a module of ours. */
static void note_members(rl_walk *w, const char *module)
{
  lua_State *L = w->L;
  bool ours = strcmp(module, "rille") == 0 || strncmp(module, "rille.", 6) == 0;
  int t = lua_gettop(L);
  lua_pushnil(L);
  while (lua_next(L, t)) {
    int type = lua_type(L, -1);
    bool object = type == LUA_TFUNCTION || type == LUA_TTABLE || type == LUA_TUSERDATA;
    if (lua_type(L, -2) == LUA_TSTRING && (lua_iscfunction(L, -1) || (ours && object))) {
      lua_pushvalue(L, -1);
      lua_pushstring(L, module);
      lua_rawset(L, w->owner);
      lua_pushvalue(L, -1);
      lua_pushvalue(L, -3);
      lua_rawset(L, w->member);
    }
    lua_pop(L, 1);
  }
}

/* Notes the module on top under the smaller of its names, when it has several: the same every time. */
static void note_module(rl_walk *w, const char *name)
{
  lua_State *L = w->L;
  int value = lua_gettop(L);
  if (rl_walk_look_up(w, w->modules, value) != LUA_TSTRING || strcmp(name, lua_tostring(L, -1)) < 0) {
    lua_pushvalue(L, value);
    lua_pushstring(L, name);
    lua_rawset(L, w->modules);
  }
  lua_settop(L, value);
  if (lua_istable(L, value)) {
    note_members(w, name);
  }
}

static void note_modules(rl_walk *w)
{
  lua_State *L = w->L;
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  int loaded = lua_gettop(L);
  lua_pushnil(L);
  while (lua_next(L, loaded)) {
    int type = lua_type(L, -1);
    if (lua_type(L, -2) == LUA_TSTRING && strcmp(lua_tostring(L, -2), "_G") != 0 &&
        (type == LUA_TTABLE || type == LUA_TFUNCTION || type == LUA_TUSERDATA)) {
      note_module(w, lua_tostring(L, -2));
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static int new_table(lua_State *L)
{
  lua_newtable(L);
  return lua_gettop(L);
}

/* The tables of the walk, and entry 0: the globals. */
static void set_up(rl_walk *w)
{
  lua_State *L = w->L;
  luaL_checkstack(L, 30, NULL);
  w->memo = new_table(L);
  w->objects = new_table(L);
  w->cells = new_table(L);
  w->bound = new_table(L);
  w->modules = new_table(L);
  w->owner = new_table(L);
  w->member = new_table(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, RL_NAMED_TABLE);
  w->named = lua_gettop(L);
  note_modules(w);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  rl_walk_add_object(w, lua_gettop(L), RL_R_ENV, -1);
  lua_pop(L, 1);
}

/* Where `require` looks: a worker shall look there too. */
static void put_search_path(rl_walk *w, const char *name)
{
  size_t n = 0;
  const char *path = rl_push_package_field(w->L, name) ? lua_tolstring(w->L, -1, &n) : "";
  rl_walk_put_string(w, path, n);
}

/* Called with the walk and the roots. */
static int walk(lua_State *L)
{
  rl_walk *w = lua_touserdata(L, 1);
  w->L = L;
  set_up(w);
  int top = lua_gettop(L);
  put_search_path(w, "path");
  put_search_path(w, "cpath");
  lua_settop(L, top);
  for (size_t i = 0; i < w->nroots; i++) {
    rl_walk_put(w, (int)i + 2, -1 - (int64_t)i);
  }
  for (uint32_t id = 0; id < w->n; id++) {
    w->at = rl_grow(w->at, &w->cap_at, id + 1, sizeof *w->at);
    w->at[id] = w->out.n;
    rl_walk_write(w, id);
    lua_settop(L, top);
    if (w->out.n > IMAGE_MAX) {
      rl_walk_too_large(w, id, IMAGE_MAX);
    }
  }
  return 0;
}

static void walk_free(rl_walk *w)
{
  rl_buf_free(&w->out);
  rl_free(w->at);
  rl_free(w->entries);
  for (size_t i = 0; i < w->nshared; i++) {
    rl_shared_unref(w->shared[i]);
  }
  rl_free(w->shared);
  rl_walk_free_sources(w);
  rl_buf_free(&w->dump);
  rl_proto_delete(w->proto);
  rl_free(w->names);
  rl_buf_free(&w->way);
  rl_buf_free(&w->last);
  rl_free(w->chain);
}

/* Calls `f` with the walk and its roots in a protected call. */
static rl_status run(lua_State *L, lua_CFunction f, rl_walk *w)
{
  if (!lua_checkstack(L, (int)w->nroots + 10)) {
    return rl_fail(RL_ENOMEM, "no room on the Lua stack to capture %zu functions", w->nroots);
  }
  int top = lua_gettop(L);
  lua_pushcfunction(L, f);
  lua_pushlightuserdata(L, w);
  for (size_t i = 0; i < w->nroots; i++) {
    lua_pushvalue(L, w->roots[i].index);
  }
  int rc = lua_pcall(L, (int)w->nroots + 1, 0, 0);
  rl_status st = w->status;
  if (rc != LUA_OK && st == RL_OK) {
    const char *site = w->nroots > 0 && w->roots[0].site ? w->roots[0].site : "capturing functions";
    const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "unknown error";
    st = rl_fail(rc == LUA_ERRMEM ? RL_ENOMEM : RL_EINVAL, "%s: %s", site, message);
  }
  lua_settop(L, top);
  return st;
}

static rl_status capture(lua_State *L, rl_walk w, rl_image **out)
{
  size_t n = w.nroots;
  rl_status st = run(L, walk, &w);
  if (st == RL_OK) {
    *out = rl_image_new(&w.out, w.at, w.n, n, RL_SCRIPT_FIRST);
    w.at = NULL;
    st = *out ? RL_OK : RL_ENOMEM;
  }
  if (st == RL_OK) {
    (*out)->shared = w.shared;
    (*out)->nshared = w.nshared;
    w.shared = NULL;
    w.nshared = 0;
  }
  walk_free(&w);
  return st;
}

rl_status rl_capture(lua_State *L, const rl_capture_root *roots, size_t n, rl_image **out)
{
  return capture(L, (rl_walk){.roots = roots, .nroots = n}, out);
}

rl_status rl_capture_durable(lua_State *L, const rl_capture_root *roots, size_t n, rl_image **out)
{
  return capture(L, (rl_walk){.roots = roots, .nroots = n, .durable = true}, out);
}

rl_status rl_capture_look(lua_State *L, const rl_capture_root *roots, size_t n, rl_image **out)
{
  return capture(L, (rl_walk){.roots = roots, .nroots = n, .durable = true, .at_home = true}, out);
}

/* --- diagnosis ---------------------------------------------------------------------------------------------------- */

static int diagnose(lua_State *L)
{
  rl_walk *w = lua_touserdata(L, 1);
  const rl_capture_root *root = w->roots;
  w->L = L;
  if (lua_type(L, 2) != LUA_TFUNCTION) {
    const char *site = root->site ? root->site : "";
    w->status = rl_fail(RL_EINVAL, "%s%s%s is not a function but of type %s", site, *site ? ": " : "", root->role,
                        luaL_typename(L, 2));
    return 0;
  }
  set_up(w);
  uint32_t id = rl_walk_reach(w, 2, -1);
  if (w->entries[id].kind == RL_R_FUNCTION) {
    rl_walk_open_function(w, id);
    rl_walk_warn(w, id);
  }
  return 0;
}

rl_status rl_capture_diagnose(lua_State *L, int index, const char *role, const char *site)
{
  const rl_capture_root root = {.index = lua_absindex(L, index), .role = role, .site = site};
  rl_walk w = {.roots = &root, .nroots = 1};
  rl_status st = run(L, diagnose, &w);
  walk_free(&w);
  return st;
}
