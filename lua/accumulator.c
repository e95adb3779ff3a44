/* Accumulators. In a worker a holder keeps the partial value of the running attempt, which is reported when the
 * attempt has gone well; the library merges partial values in the driver (rille.shared). */
#include <lauxlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "bind.h"
#include "data/codec.h"
#include "shared.h"
#include "values.h"
#include "worker_impl.h"

typedef struct accumulator {
  rl_shared shared;
  char *name;      /* NULL: none was given */
  int64_t number;  /* in its context, from 1 */
  rl_buf zero;     /* encoded */
  bool from_zero;  /* partial values begin with it; else with the first value added */
} accumulator;

static char touched_key; /* in a worker's registry: the array of the holders that have a partial value */

static void destroy(rl_shared *s)
{
  accumulator *a = (accumulator *)s;
  rl_free(a->name);
  rl_buf_free(&a->zero);
  rl_free(a);
}

static const rl_shared_class accumulator_class = {"rille.Accumulator", NULL, destroy};

bool rl_accumulator_identity(const rl_shared *s, const char **name, int64_t *number)
{
  if (s->cls != &accumulator_class) return false;
  *name = ((const accumulator *)s)->name;
  *number = ((const accumulator *)s)->number;
  return true;
}

static void push_zero(lua_State *L, const accumulator *a)
{
  rl_reader r = {a->zero.p, a->zero.p + a->zero.n};
  rl_value v = rl_nil();
  (void)rl_get_value(&r, &v); /* our own encoding */
  rl_lua_push_value(L, v);
}

static void push_name(lua_State *L, const accumulator *a)
{
  if (a->name)
    lua_pushfstring(L, "accumulator '%s'", a->name);
  else
    lua_pushfstring(L, "accumulator %I", (LUAI_UACINT)a->shared.id);
}

static int name(lua_State *L)
{
  const accumulator *a = (accumulator *)rl_shared_check(L, 1, &accumulator_class)->object;
  lua_pushstring(L, a->name);
  return 1;
}

static int id(lua_State *L)
{
  lua_pushinteger(L, (lua_Integer)rl_shared_check(L, 1, &accumulator_class)->object->id);
  return 1;
}

/* In workers ------------------------------------------------------------------------------------------------------- */

/* Notes the holder at 1, which gets its first value in this attempt. */
static void touch(lua_State *L)
{
  luaL_checkstack(L, 4, NULL);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &touched_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &touched_key);
  }
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  lua_pop(L, 1);
}

/* acc:add(x) */
static int add(lua_State *L)
{
  rl_holder *h = rl_shared_check(L, 1, &accumulator_class);
  const accumulator *a = (accumulator *)h->object;
  const rl_worker *w = rl_worker_of(L);
  luaL_checkany(L, 2);
  if (!w->task) return luaL_error(L, "accumulators count what tasks do; this function runs outside of them");
  lua_settop(L, 2);
  bool fresh = h->seen != w->attempts;
  if (fresh) touch(L);
  if (fresh && !a->from_zero) {
    if (lua_isnil(L, 2)) return luaL_argerror(L, 2, "a value expected, got nil");
  } else {
    lua_getiuservalue(L, 1, RL_HOLDER_TRAVELS);
    if (fresh)
      push_zero(L, a);
    else
      lua_getiuservalue(L, 1, RL_HOLDER_STAYS);
    lua_pushvalue(L, 2);
    lua_call(L, 2, 1);
    if (lua_isnil(L, -1)) {
      push_name(L, a);
      return luaL_error(L, "the function given to %s returned nil; return the new value", lua_tostring(L, -1));
    }
  }
  lua_setiuservalue(L, 1, RL_HOLDER_STAYS);
  h->seen = w->attempts;
  return 0;
}

static int not_here(lua_State *L)
{
  const char *method = luaL_tolstring(L, 2, NULL);
  return luaL_error(L, "'%s' of an accumulator is for the script itself; functions that run in workers can only add",
                    method);
}

/* It would fail again. */
static void blame(const accumulator *a)
{
  rl_error_set_retriable(false);
  if (a->name)
    rl_error_prefix("accumulator '%s': ", a->name);
  else
    rl_error_prefix("accumulator %llu: ", (unsigned long long)a->shared.id);
}

/* The partial value of the holder on top. */
static rl_status report(lua_State *L, rl_buf *scratch, rl_buf *updates)
{
  const rl_holder *h = lua_touserdata(L, -1);
  rl_value v;
  lua_getiuservalue(L, -1, RL_HOLDER_STAYS);
  rl_buf_clear(scratch);
  rl_status st = rl_lua_to_value(L, lua_gettop(L), &v, scratch);
  if (st == RL_OK) {
    rl_put_int(updates, (int64_t)h->object->id);
    rl_put_value(updates, v);
  } else {
    blame((accumulator *)h->object);
  }
  lua_pop(L, 1);
  return st;
}

rl_status rl_accumulator_report(lua_State *L, rl_buf *updates)
{
  rl_status st = RL_OK;
  rl_buf scratch = {0};
  int top = lua_gettop(L);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &touched_key) == LUA_TTABLE) {
    lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
    for (lua_Integer i = 1; i <= n && st == RL_OK; i++) {
      lua_rawgeti(L, top + 1, i);
      st = report(L, &scratch, updates);
      lua_pop(L, 1);
    }
  }
  rl_buf_free(&scratch);
  lua_settop(L, top);
  return st;
}

void rl_accumulator_forget(lua_State *L)
{
  int top = lua_gettop(L);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &touched_key) == LUA_TTABLE) {
    for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i > 0; i--) {
      lua_rawgeti(L, top + 1, i);
      lua_pushnil(L);
      lua_setiuservalue(L, -2, RL_HOLDER_STAYS);
      lua_pushnil(L);
      lua_rawseti(L, top + 1, i);
      lua_pop(L, 1);
    }
  }
  lua_settop(L, top);
}

void rl_accumulator_prepare_worker(lua_State *L)
{
  static const luaL_Reg methods[] = {{"add", add}, {"name", name}, {"id", id}, {NULL, NULL}};
  rl_shared_type(L, &accumulator_class, methods);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, not_here);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}

/* In the driver ---------------------------------------------------------------------------------------------------- */

void rl_accumulator_prepare_driver(lua_State *L)
{
  static const luaL_Reg methods[] = {{"name", name}, {"id", id}, {NULL, NULL}};
  rl_shared_type(L, &accumulator_class, methods);
}

static char known_key; /* in the driver's registry: [name, or number] = the newest holder; it keeps none alive */

/* The holder on top becomes known. */
static void make_known(lua_State *L, const accumulator *a)
{
  rl_push_weak_table(L, &known_key, "v");
  if (a->name) lua_pushstring(L, a->name);
  else lua_pushinteger(L, a->number);
  lua_pushvalue(L, -3);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

typedef struct sought {
  rl_value name;
  int64_t number;
  rl_shared *found;
} sought;

static int find(lua_State *L)
{
  sought *s = lua_touserdata(L, 1);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &known_key) != LUA_TTABLE) return 0;
  if (s->name.type == RL_T_BYTES) lua_pushlstring(L, s->name.s.p, s->name.s.n);
  else lua_pushinteger(L, s->number);
  lua_rawget(L, -2);
  const rl_holder *h = rl_shared_test(L, -1);
  if (h) s->found = rl_shared_ref(h->object);
  return 0;
}

rl_status rl_accumulator_find(lua_State *L, rl_value name, int64_t number, rl_shared **out)
{
  sought s = {.name = name, .number = number};
  if (!lua_checkstack(L, 10)) return rl_fail(RL_ENOMEM, "no room on the Lua stack");
  lua_pushcfunction(L, find);
  lua_pushlightuserdata(L, &s);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  *out = s.found;
  if (s.found) return RL_OK;
  if (name.type == RL_T_BYTES)
    return rl_fail(RL_ESTATE, "a recorded function uses the accumulator '%.*s', which is not there; make it before",
                   (int)name.s.n, name.s.p);
  return rl_fail(RL_ESTATE, "a recorded function uses accumulator number %lld, which is not there; make it before",
                 (long long)number);
}

static void encode_zero(lua_State *L, accumulator *a)
{
  rl_buf *scratch = rl_lua_push_buf(L);
  rl_value v;
  lua_getfield(L, 1, "zero");
  rl_status st = rl_lua_to_value(L, lua_gettop(L), &v, scratch);
  if (st == RL_OK) rl_put_value(&a->zero, v);
  lua_pop(L, 2);
  if (st == RL_OK) return;
  rl_error_prefix("the value an accumulator begins with: ");
  rl_bind_raise(L);
}

int rl_lua_accumulator(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  const char *given = rl_bind_text(L, 1, "name"), *site = rl_bind_text(L, 1, "site");
  lua_getfield(L, 1, "add");
  rl_bind_check(L, rl_capture_diagnose(L, 2, "the function given to accumulator", site));
  rl_holder *h = rl_shared_push_empty(L, &accumulator_class);
  accumulator *a = RL_NEW(accumulator);
  rl_shared_init(&a->shared, &accumulator_class);
  a->name = rl_strdup(given);
  a->number = rl_bind_int(L, 1, "number", 0);
  a->from_zero = rl_bind_flag(L, 1, "fromZero");
  h->object = &a->shared;
  encode_zero(L, a);
  rl_shared_adopt(L, h, &a->shared);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, RL_HOLDER_TRAVELS);
  make_known(L, a);
  return 1;
}

int rl_lua_accumulator_zero(lua_State *L)
{
  push_zero(L, (accumulator *)rl_shared_check(L, 1, &accumulator_class)->object);
  return 1;
}
