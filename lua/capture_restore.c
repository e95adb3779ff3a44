/* From an image into a worker's state. Three passes: make every table, function and environment; fill them; set
 * metatables (last, for a weak or finalised table is an ordinary one until then). What a module gives can only be had
 * by running it, and a captured loader needs its upvalues for that: so the second and third pass leave modules out at
 * first, and come again. */
#include <stdio.h>
#include <string.h>

#include "capture_internal.h"

/* The function whose upvalue a cell became; further functions are joined to it. */
typedef struct owner {
  uint32_t function;
  int upvalue; /* 0: none yet */
} owner;

typedef struct restore {
  lua_State *L;
  const rl_image *img;
  owner *owners;     /* by record; in a userdata */
  int objects;       /* [record] = restored object */
  int named;         /* RL_NAMED_TABLE */
  bool has_modules;  /* some record waits for a module */
  bool load_modules; /* the second round */
} restore;

static void push_object(restore *r, uint32_t record)
{
  lua_rawgeti(r->L, r->objects, (lua_Integer)record + 1);
}

static void set_object(restore *r, uint32_t record)
{
  lua_rawseti(r->L, r->objects, (lua_Integer)record + 1);
}

static void push_from_module(restore *r, uint32_t record, rl_record kind, const char *p);

/* Pushes what a record stands for; false, with nothing pushed, when it waits for a module. */
static bool push_record(restore *r, uint32_t record)
{
  rl_record kind;
  const char *p = rl_image_at(r->img, record, &kind);
  push_object(r, record);
  if (!lua_isnil(r->L, -1)) {
    return true;
  }
  lua_pop(r->L, 1);
  if (!r->load_modules) {
    return false;
  }
  push_from_module(r, record, kind, p);
  return true;
}

static bool push_value(restore *r, const rl_coded *v)
{
  lua_State *L = r->L;
  switch (v->tag) {
    case RL_V_NIL:
      lua_pushnil(L);
      break;
    case RL_V_FALSE:
    case RL_V_TRUE:
      lua_pushboolean(L, v->tag == RL_V_TRUE);
      break;
    case RL_V_INT:
      lua_pushinteger(L, v->i);
      break;
    case RL_V_FLOAT:
      lua_pushnumber(L, v->f);
      break;
    case RL_V_STRING:
      lua_pushlstring(L, v->s, v->n);
      break;
    case RL_V_RECORD:
      return push_record(r, v->record);
  }
  return true;
}

static bool push_next(restore *r, const char **p)
{
  rl_coded v = rl_get_coded(p);
  return push_value(r, &v);
}

/* --- modules ------------------------------------------------------------------------------------------------------ */

/* The loader that stands in package.preload for a module whose source came with an image. Upvalues: text, chunk name,
 * key in RL_MODULES_TABLE. Called by `require` with the module's name. */
static int load_text(lua_State *L)
{
  size_t n;
  const char *text = lua_tolstring(L, lua_upvalueindex(1), &n);
  const char *source = lua_tostring(L, lua_upvalueindex(2));
  size_t start = rl_text_start(text, n);
  lua_settop(L, 1);
  if (luaL_loadbufferx(L, text + start, n - start, source, "t") != LUA_OK) {
    return lua_error(L);
  }
  lua_pushvalue(L, 1);
  lua_pushstring(L, source + 1);
  lua_call(L, 2, 1);
  if (lua_isnil(L, -1)) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushvalue(L, 1);
    if (lua_rawget(L, -2) == LUA_TNIL) {
      lua_pushboolean(L, true);
    }
  }
  int result = lua_gettop(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, RL_MODULES_TABLE);
  lua_pushvalue(L, lua_upvalueindex(3));
  lua_pushvalue(L, result);
  lua_rawset(L, -3);
  lua_settop(L, result);
  return 1;
}

/* Sets field [name on the stack at `name`] of a table of `package` to the value on top, which is popped. */
static void set_package(lua_State *L, const char *which, int name)
{
  luaL_getsubtable(L, LUA_REGISTRYINDEX, which);
  lua_pushvalue(L, name);
  lua_pushvalue(L, -3);
  lua_rawset(L, -3);
  lua_pop(L, 2);
}

/* Makes `require` find the module's text, or what it gave to an earlier image with the same text. */
static void offer_text(restore *r, const char *p, int name)
{
  lua_State *L = r->L;
  rl_record kind;
  char hash[24];
  size_t n;
  const char *text = rl_image_at(r->img, rl_get_u32(&p), &kind);
  text = rl_get_bytes(&text, &n);
  snprintf(hash, sizeof hash, "%016llx", (unsigned long long)rl_get_u64(&p));
  lua_pushvalue(L, name);
  lua_pushlstring(L, "", 1);
  lua_pushstring(L, hash);
  lua_concat(L, 3);
  int key = lua_gettop(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, RL_MODULES_TABLE);
  lua_pushvalue(L, key);
  lua_rawget(L, -2);
  set_package(L, LUA_LOADED_TABLE, name);
  lua_pushlstring(L, text, n);
  push_next(r, &p);
  lua_pushvalue(L, key);
  lua_pushcclosure(L, load_text, 3);
  set_package(L, LUA_PRELOAD_TABLE, name);
}

/* A captured loader belongs to its image: what an earlier one gave is forgotten. */
static void offer_loader(restore *r, const char *p, int name)
{
  lua_pushnil(r->L);
  set_package(r->L, LUA_LOADED_TABLE, name);
  push_next(r, &p);
  set_package(r->L, LUA_PRELOAD_TABLE, name);
}

static void offer_module(restore *r, const char *p)
{
  lua_State *L = r->L;
  int top = lua_gettop(L);
  rl_module_form form = (rl_module_form)rl_get_u8(&p);
  push_next(r, &p);
  if (form == RL_MODULE_TEXT) {
    offer_text(r, p, top + 1);
  } else if (form == RL_MODULE_LOADER) {
    offer_loader(r, p, top + 1);
  }
  lua_settop(L, top);
}

static void push_module(restore *r, const char *p)
{
  lua_State *L = r->L;
  rl_get_u8(&p);
  lua_pushliteral(L, "require");
  if (lua_rawget(L, r->named) != LUA_TFUNCTION) {
    luaL_error(L, "this Lua state is not prepared for captured functions");
  }
  push_next(r, &p);
  lua_call(L, 1, 1);
}

static void push_field(restore *r, const char *p)
{
  lua_State *L = r->L;
  rl_record kind;
  uint32_t module = rl_get_u32(&p);
  const char *m = rl_image_at(r->img, module, &kind);
  rl_get_u8(&m);
  push_record(r, module);
  push_next(r, &p);
  push_next(r, &m);
  lua_pushvalue(L, -2);
  if (!lua_istable(L, -4) || lua_rawget(L, -4) == LUA_TNIL) {
    luaL_error(L, "%s.%s is not there in functions that run in workers", lua_tostring(L, -2), lua_tostring(L, -3));
  }
  lua_replace(L, -4);
  lua_pop(L, 2);
}

/* Runs at most two deep: a field is of a module, and a module is by itself. */
static void push_from_module(restore *r, uint32_t record, rl_record kind, const char *p)
{
  luaL_checkstack(r->L, 10, NULL);
  if (kind == RL_R_FIELD) {
    push_field(r, p);
  } else {
    push_module(r, p);
  }
  lua_pushvalue(r->L, -1);
  set_object(r, record);
}

/* --- making ------------------------------------------------------------------------------------------------------- */

static void make_table(restore *r, const char *p)
{
  uint32_t array = rl_get_u32(&p);
  uint32_t rest = rl_get_u32(&p);
  lua_createtable(r->L, (int)array, (int)rest);
}

static void make_function(restore *r, uint32_t record, const char *p)
{
  lua_State *L = r->L;
  size_t n;
  rl_get_coded(&p);
  rl_get_u32(&p);
  rl_get_u32(&p);
  for (uint32_t levels = rl_get_u32(&p); levels > 0; levels--) {
    rl_get_u32(&p);
  }
  const char *dump = rl_get_bytes(&p, &n);
  if (luaL_loadbufferx(L, dump, n, "=?", "b") != LUA_OK) {
    lua_error(L);
  }
  uint32_t upvalues = rl_get_u32(&p);
  for (int i = 1; i <= (int)upvalues; i++) {
    owner *o = &r->owners[rl_get_u32(&p)];
    if (o->upvalue == 0) {
      *o = (owner){.function = record, .upvalue = i};
    } else {
      push_object(r, o->function);
      /* A function may hold one cell twice; it is not among the objects yet. */
      lua_upvaluejoin(L, -2, i, o->function == record ? -2 : -1, o->upvalue);
      lua_pop(L, 1);
    }
  }
}

/* The captured globals, over those of the worker. */
static void make_environment(restore *r)
{
  lua_State *L = r->L;
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
}

static void make_named(restore *r, const char *p)
{
  lua_State *L = r->L;
  push_next(r, &p);
  lua_pushvalue(L, -1);
  if (lua_rawget(L, r->named) == LUA_TNIL) {
    luaL_error(L, "%s is not there in functions that run in workers", lua_tostring(L, -2));
  }
  lua_remove(L, -2);
}

static void make(restore *r, uint32_t record)
{
  rl_record kind;
  size_t n;
  const char *p = rl_image_at(r->img, record, &kind);
  const char *s;
  switch (kind) {
    case RL_R_STRING:
      s = rl_get_bytes(&p, &n);
      lua_pushlstring(r->L, s, n);
      break;
    case RL_R_TABLE:
      make_table(r, p);
      break;
    case RL_R_FUNCTION:
      make_function(r, record, p);
      break;
    case RL_R_ENV:
      make_environment(r);
      break;
    case RL_R_NAMED:
      make_named(r, p);
      break;
    case RL_R_SHARED:
      rl_shared_push(r->L, r->img->shared[rl_get_u32(&p)]);
      break;
    case RL_R_MODULE:
    case RL_R_FIELD:
      r->has_modules = true;
      return;
    case RL_R_CELL:
    case RL_R_GLOBAL:
    case RL_R_TEXT:
      return;
  }
  set_object(r, record);
}

/* --- filling ------------------------------------------------------------------------------------------------------ */

static void fill_table(restore *r, uint32_t record, const char *p)
{
  lua_State *L = r->L;
  rl_get_u32(&p);
  rl_get_u32(&p);
  rl_get_coded(&p);
  push_object(r, record);
  int t = lua_gettop(L);
  for (uint64_t pairs = rl_get_u64(&p); pairs > 0; pairs--) {
    bool key = push_next(r, &p);
    bool value = push_next(r, &p);
    if (key && value) {
      lua_rawset(L, t);
    }
    lua_settop(L, t);
  }
}

static void fill_cell(restore *r, uint32_t record, const char *p)
{
  owner o = r->owners[record];
  push_object(r, o.function);
  if (push_next(r, &p)) {
    lua_setupvalue(r->L, -2, o.upvalue);
  }
}

static void fill_global(restore *r, const char *p)
{
  push_object(r, rl_get_u32(&p));
  push_next(r, &p);
  if (push_next(r, &p)) {
    lua_rawset(r->L, -3);
  }
}

static void fill_shared(restore *r, uint32_t record, const char *p)
{
  rl_get_u32(&p);
  push_object(r, record);
  const rl_holder *holder = lua_touserdata(r->L, -1);
  if (!holder->home && push_next(r, &p)) { /* the driver's own has what it needs */
    lua_setiuservalue(r->L, -2, RL_HOLDER_TRAVELS);
  }
}

static void fill(restore *r, uint32_t record)
{
  int top = lua_gettop(r->L);
  rl_record kind;
  const char *p = rl_image_at(r->img, record, &kind);
  if (kind == RL_R_TABLE) {
    fill_table(r, record, p);
  } else if (kind == RL_R_CELL) {
    fill_cell(r, record, p);
  } else if (kind == RL_R_GLOBAL) {
    fill_global(r, p);
  } else if (kind == RL_R_SHARED) {
    fill_shared(r, record, p);
  }
  lua_settop(r->L, top);
}

static void set_metatable(restore *r, uint32_t record)
{
  int top = lua_gettop(r->L);
  rl_record kind;
  const char *p = rl_image_at(r->img, record, &kind);
  if (kind == RL_R_TABLE) {
    rl_get_u32(&p);
    rl_get_u32(&p);
    rl_coded v = rl_get_coded(&p);
    push_object(r, record);
    if (v.tag == RL_V_RECORD && push_value(r, &v)) {
      if (!lua_istable(r->L, -1)) {
        luaL_error(r->L, "a table's metatable is a %s here", luaL_typename(r->L, -1));
      }
      lua_setmetatable(r->L, -2);
    }
  }
  lua_settop(r->L, top);
}

static void for_each(restore *r, void (*f)(restore *r, uint32_t record))
{
  for (size_t i = 0; i < r->img->nrecords; i++) {
    f(r, (uint32_t)i);
  }
}

static void offer(restore *r, uint32_t record)
{
  rl_record kind;
  const char *p = rl_image_at(r->img, record, &kind);
  if (kind == RL_R_MODULE) {
    offer_module(r, p);
  }
}

/* The worker's `require` shall look where the driver's does. Returns the place behind, where the roots are. */
static const char *set_search_paths(restore *r)
{
  static const char *const names[] = {"path", "cpath"};
  const char *p = r->img->data->data;
  luaL_getsubtable(r->L, LUA_REGISTRYINDEX, RL_PACKAGE_TABLE);
  for (size_t i = 0; i < 2; i++) {
    lua_pushstring(r->L, names[i]);
    push_next(r, &p);
    lua_rawset(r->L, -3);
  }
  lua_pop(r->L, 1);
  return p;
}

void rl_image_push(lua_State *L, const rl_image *img)
{
  restore r = {.L = L, .img = img};
  luaL_checkstack(L, 30, NULL);
  int top = lua_gettop(L);
  r.owners = lua_newuserdatauv(L, (img->nrecords + 1) * sizeof(owner), 0);
  memset(r.owners, 0, (img->nrecords + 1) * sizeof(owner));
  lua_createtable(L, 0, 0);
  r.objects = lua_gettop(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, RL_NAMED_TABLE);
  r.named = lua_gettop(L);
  const char *roots = set_search_paths(&r);
  for_each(&r, make);
  for_each(&r, fill);
  for_each(&r, set_metatable);
  if (r.has_modules) {
    for_each(&r, offer);
    r.load_modules = true;
    for_each(&r, fill);
    for_each(&r, set_metatable);
  }
  lua_createtable(L, img->nroots > INT32_MAX ? INT32_MAX : (int)img->nroots, 0);
  for (size_t i = 0; i < img->nroots; i++) {
    push_next(&r, &roots);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
}
