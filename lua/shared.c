#include "shared.h"

#include <lauxlib.h>

#include "bind.h"

static char class_key, holders_key;

void rl_shared_init(rl_shared *s, const rl_shared_class *cls)
{
  static _Atomic uint64_t last_id;
  atomic_init(&s->refs, 1);
  s->cls = cls;
  s->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
}

rl_shared *rl_shared_ref(rl_shared *s)
{
  atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
  return s;
}

void rl_shared_unref(rl_shared *s)
{
  if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1) s->cls->destroy(s);
}

/* Holders ---------------------------------------------------------------------------------------------------------- */

static int holder_gc(lua_State *L)
{
  rl_holder *h = lua_touserdata(L, 1);
  rl_shared *s = h->object;
  h->object = NULL;
  rl_image_unref(h->image);
  h->image = NULL;
  if (s && h->home && s->cls->abandon) s->cls->abandon(s);
  rl_shared_unref(s);
  return 0;
}

static int holder_tostring(lua_State *L)
{
  const rl_holder *h = rl_shared_test(L, 1);
  if (!h) return luaL_argerror(L, 1, "it is gone");
  lua_pushfstring(L, "%s(%I)", h->object->cls->name + sizeof "rille." - 1, (LUAI_UACINT)h->object->id);
  return 1;
}

void rl_shared_type(lua_State *L, const rl_shared_class *cls, const luaL_Reg *methods)
{
  luaL_newmetatable(L, cls->name);
  lua_pushlightuserdata(L, (void *)cls);
  lua_rawsetp(L, -2, &class_key);
  lua_pushcfunction(L, holder_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, holder_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushstring(L, cls->name);
  lua_setfield(L, -2, "__metatable");
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "__index");
  lua_remove(L, -2);
}

/* Pushes the table [object] = holder of the state; it keeps none alive. */
static void push_holders(lua_State *L)
{
  rl_push_weak_table(L, &holders_key, "v");
}

rl_holder *rl_shared_push_empty(lua_State *L, const rl_shared_class *cls)
{
  rl_holder *h = lua_newuserdatauv(L, sizeof *h, RL_HOLDER_STAYS);
  *h = (rl_holder){0};
  luaL_setmetatable(L, cls->name);
  return h;
}

/* The holder on top becomes the one of the object it has. */
static void enlist(lua_State *L, const rl_shared *s)
{
  push_holders(L);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, s);
  lua_pop(L, 1);
}

void rl_shared_adopt(lua_State *L, rl_holder *h, rl_shared *s)
{
  h->object = s;
  h->home = true;
  enlist(L, s);
}

rl_holder *rl_shared_push(lua_State *L, rl_shared *s)
{
  push_holders(L);
  int type = lua_rawgetp(L, -1, s);
  lua_remove(L, -2);
  if (type == LUA_TUSERDATA) return lua_touserdata(L, -1);
  lua_pop(L, 1);
  rl_holder *h = rl_shared_push_empty(L, s->cls);
  h->object = rl_shared_ref(s);
  enlist(L, s);
  return h;
}

rl_holder *rl_shared_test(lua_State *L, int index)
{
  rl_holder *h = lua_touserdata(L, index);
  if (!h || lua_islightuserdata(L, index) || !lua_getmetatable(L, index)) return NULL;
  bool is = lua_rawgetp(L, -1, &class_key) == LUA_TLIGHTUSERDATA;
  lua_pop(L, 2);
  return is && h->object ? h : NULL;
}

rl_holder *rl_shared_check(lua_State *L, int index, const rl_shared_class *cls)
{
  rl_holder *h = rl_shared_test(L, index);
  if (!h || h->object->cls != cls) luaL_typeerror(L, index, cls->name + sizeof "rille." - 1);
  return h;
}
