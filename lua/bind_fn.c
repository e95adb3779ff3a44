/* Fn: the functions of one operation, kept until they are captured. Op: an operation's description. */
#include <string.h>

#include "base/mem.h"
#include "bind.h"
#include "capture_durable.h"
#include "fingerprint.h"
#include "luafn.h"
#include "plan/op.h"

/* --- Fn ----------------------------------------------------------------------------------------------------------- */

static rl_fn *check_fn(lua_State *L, int index)
{
  void **h = luaL_checkudata(L, index, RL_META_FN);
  if (!*h) luaL_argerror(L, index, "this function is gone");
  return *h;
}

static int fn_gc(lua_State *L)
{
  void **h = luaL_checkudata(L, 1, RL_META_FN);
  rl_fn_unref(*h);
  *h = NULL;
  return 0;
}

/* Of function i, from 1. */
static const char *push_role(lua_State *L, const rl_step *step, int i)
{
  bool handler = step->handled && i == (int)step->functions;
  return lua_pushfstring(L, "the function given to %s", handler ? "onError" : step->name);
}

/* Moves the functions of the list on top (popped) into the user values of the Fn at `fn`. */
static void keep_functions(lua_State *L, int fn, const rl_step *step)
{
  int list = lua_gettop(L);
  for (int i = 1; i <= (int)step->functions; i++) {
    const char *role = push_role(L, step, i);
    lua_rawgeti(L, list, i);
    rl_bind_check(L, rl_capture_diagnose(L, lua_gettop(L), role, step->site));
    lua_setiuservalue(L, fn, i);
    lua_settop(L, list);
  }
  lua_pop(L, 1);
}

static int new_fn(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  rl_step step = {
    .kind = rl_bind_text(L, 1, "kind"),
    .name = rl_bind_text(L, 1, "name"),
    .site = rl_bind_text(L, 1, "site"),
    .uid = rl_bind_text(L, 1, "uid"),
    .param = rl_bind_int(L, 1, "param", 0),
    .guarded = rl_bind_flag(L, 1, "guarded"),
    .handled = rl_bind_flag(L, 1, "handled"),
    .tagged = rl_bind_flag(L, 1, "tagged"),
  };
  if (!step.kind || !step.name) luaL_argerror(L, 1, "fields 'kind' and 'name' are needed");
  void **h = rl_handle_new(L, RL_META_FN, RL_STEP_FUNCTIONS);
  if (lua_getfield(L, 1, "functions") != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
  }
  size_t n = lua_rawlen(L, -1);
  if (n > RL_STEP_FUNCTIONS) luaL_argerror(L, 1, "too many functions");
  step.functions = (uint32_t)n;
  keep_functions(L, 2, &step);
  *h = rl_luafn_new(&step);
  if (!*h) rl_bind_raise(L);
  return 1;
}

/* --- capture ------------------------------------------------------------------------------------------------------ */

/* Pushes a table of the unbound Fns in the list at 1, each once; returns their number. */
static int collect_unbound(lua_State *L, int *functions)
{
  lua_newtable(L);
  lua_newtable(L);
  int list = lua_gettop(L) - 1, seen = list + 1, n = 0;
  for (lua_Integer i = 1; lua_rawgeti(L, 1, i) != LUA_TNIL; i++) {
    const rl_fn *f = check_fn(L, -1);
    lua_pushvalue(L, -1);
    bool again = lua_rawget(L, seen) != LUA_TNIL;
    lua_pop(L, 1);
    if (again || rl_luafn_is_bound(f)) {
      lua_pop(L, 1);
      continue;
    }
    *functions += (int)rl_luafn_step(f)->functions;
    lua_pushvalue(L, -1);
    lua_pushboolean(L, true);
    lua_rawset(L, seen);
    lua_rawseti(L, list, ++n);
  }
  lua_pop(L, 2);
  return n;
}

/* Pushes the functions of the Fns in the table at `list`, with their roles, and names them in roots. */
static void push_roots(lua_State *L, int list, int n, rl_capture_root *roots)
{
  for (int i = 1; i <= n; i++) {
    lua_rawgeti(L, list, i);
    int fn = lua_gettop(L);
    const rl_step *step = rl_luafn_step(check_fn(L, fn));
    for (int k = 1; k <= (int)step->functions; k++) {
      const char *role = push_role(L, step, k);
      lua_getiuservalue(L, fn, k);
      *roots++ = (rl_capture_root){.index = lua_gettop(L), .role = role, .site = step->site};
    }
  }
}

/* Nothing here raises: the image is in nobody's hands yet. */
static void bind_all(lua_State *L, int list, int n, rl_image *image)
{
  uint32_t root = 0;
  for (int i = 1; i <= n; i++) {
    lua_rawgeti(L, list, i);
    void **h = lua_touserdata(L, -1);
    int functions = (int)rl_luafn_step(*h)->functions;
    rl_luafn_bind(*h, image, root);
    root += (uint32_t)functions;
    for (int k = 1; k <= functions; k++) {
      lua_pushnil(L);
      lua_setiuservalue(L, -2, k);
    }
    lua_pop(L, 1);
  }
}

/* core.capture(Fns[, durable]): durable: they must have a form for a checkpoint, and what is returned is the table of
 * the modules in them (rl_bind_push_modules), or nothing. */
static int capture(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  bool durable = lua_toboolean(L, 2);
  lua_settop(L, 1);
  int functions = 0;
  int n = collect_unbound(L, &functions);
  if (n == 0) return 0;
  luaL_checkstack(L, 2 * functions + n + 8, "too many functions in one job");
  rl_capture_root *roots = rl_bind_array(L, (size_t)functions, sizeof *roots);
  push_roots(L, 2, n, roots);
  rl_image *image = NULL;
  rl_bind_check(L, (durable ? rl_capture_durable : rl_capture)(L, roots, (size_t)functions, &image));
  bind_all(L, 2, n, image);
  rl_image_unref(image); /* the Fns have it */
  if (!durable) return 0;
  rl_bind_push_modules(L, image);
  return 1;
}

/* --- Op ----------------------------------------------------------------------------------------------------------- */

static int op_gc(lua_State *L)
{
  void **h = luaL_checkudata(L, 1, RL_META_OP);
  if (*h) rl_op_unref(*h);
  *h = NULL;
  return 0;
}

static int choose(lua_State *L, const char *field, const char *const *names, int otherwise)
{
  const char *name = rl_bind_text(L, 1, field);
  if (!name) return otherwise;
  for (int i = 0; names[i]; i++)
    if (strcmp(names[i], name) == 0) return i;
  return luaL_error(L, "field '%s' is '%s'", field, name);
}

/* The function in a field of the table at 1; the table keeps it alive. */
static rl_fn *field_fn(lua_State *L, const char *field)
{
  rl_fn *f = lua_getfield(L, 1, field) == LUA_TNIL ? NULL : check_fn(L, -1);
  lua_pop(L, 1);
  return f;
}

static int new_op(lua_State *L)
{
  static const char *const kinds[] = {"narrow", "shuffle", "union", "coalesce", "zip", "cartesian", NULL};
  static const rl_opkind kind_of[] = {RL_OP_NARROW, RL_OP_SHUFFLE, RL_OP_UNION, RL_OP_COALESCE, RL_OP_ZIP, RL_OP_CARTESIAN};
  static const char *const parts[] = {"hash", "roundRobin", "range", NULL};
  static const rl_partkind part_of[] = {RL_PART_HASH, RL_PART_ROUND_ROBIN, RL_PART_RANGE, RL_PART_NONE};
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_Integer partitions = rl_bind_int(L, 1, "partitions", 0);
  if (partitions < 0 || partitions > INT32_MAX) luaL_argerror(L, 1, "field 'partitions' is out of range");
  const rl_op like = {
    .kind = kind_of[choose(L, "kind", kinds, 0)],
    .name = (char *)rl_bind_text(L, 1, "name"),
    .site = (char *)rl_bind_text(L, 1, "site"),
    .uid = (char *)rl_bind_text(L, 1, "uid"),
    .fn = field_fn(L, "fn"),
    .map_fn = field_fn(L, "mapFn"),
    .part = part_of[choose(L, "part", parts, 3)],
    .partitions = (uint32_t)partitions,
    .descending = rl_bind_flag(L, 1, "descending"),
    .uneven = rl_bind_flag(L, 1, "uneven"),
    .keeps_keys = rl_bind_flag(L, 1, "keepsKeys"),
  };
  if (!like.name) luaL_argerror(L, 1, "field 'name' is needed");
  void **h = rl_handle_new(L, RL_META_OP, 0);
  *h = rl_op_new(&like);
  return 1;
}

rl_op *rl_check_op(lua_State *L, int index)
{
  void **h = luaL_checkudata(L, index, RL_META_OP);
  if (!*h) luaL_argerror(L, index, "this operation is gone");
  return *h;
}

void rl_bind_add_fns(lua_State *L)
{
  static const luaL_Reg functions[] = {{"fn", new_fn}, {"capture", capture}, {"op", new_op},
                                       {"fingerprint", rl_fingerprint}, {NULL, NULL}};
  rl_handle_type(L, RL_META_FN, fn_gc, NULL);
  rl_handle_type(L, RL_META_OP, op_gc, NULL);
  luaL_setfuncs(L, functions, 0);
}
