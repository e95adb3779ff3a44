/* What a function would take along, for `rille check`: its variables from outside, with the size of each. */
#include <string.h>

#include <lauxlib.h>

#include "base/buf.h"
#include "capture.h"
#include "dump.h"
#include "proto.h"
#include "values.h"

/* One variable: 1 when the function assigns it, else 0; then its name with a NUL. Upvalues come first, in their order. */
static void note(rl_buf *names, const char *name, size_t n, bool assigned)
{
  rl_buf_putc(names, assigned ? 1 : 0);
  rl_buf_add(names, name, n);
  rl_buf_putc(names, '\0');
}

static void note_global(void *user, const char *name, size_t n, bool assigned) { note(user, name, n, assigned); }

/* Raises nothing once the prototype is there. */
static size_t note_names(lua_State *L, int fn, rl_buf *dump, rl_buf *names)
{
  rl_proto *p = NULL;
  rl_lua_dump(L, fn, dump);
  if (rl_proto_read(dump->p, dump->n, &p) != RL_OK) luaL_error(L, "%s", rl_error_message());
  size_t upvalues = p->nupvals;
  for (size_t i = 0; i < upvalues; i++)
    note(names, p->upvals[i].name, strlen(p->upvals[i].name), rl_proto_assigns_upvalue(p, i));
  rl_proto_globals(p, note_global, names, NULL);
  rl_proto_delete(p);
  return upvalues;
}

/* The image of the value on top; -1 with the error set when it cannot travel. */
static lua_Integer image_size(lua_State *L, const char *role, const char *site)
{
  const rl_capture_root root = {.index = lua_gettop(L), .role = role, .site = site};
  rl_image *image = NULL;
  if (rl_capture(L, &root, 1, &image) != RL_OK) return -1;
  lua_Integer size = (lua_Integer)rl_image_size(image);
  rl_image_unref(image);
  return size;
}

/* What every image has, whatever is in it. */
static lua_Integer empty_size(lua_State *L)
{
  lua_pushboolean(L, true);
  lua_Integer size = image_size(L, "nothing", NULL);
  lua_pop(L, 1);
  return size;
}

/* The variable whose value is on top (popped) becomes the next entry of the list at `list`. */
static void add_entry(lua_State *L, int list, const char *entry, const char *kind, lua_Integer empty)
{
  int value = lua_gettop(L);
  lua_Integer size = image_size(L, "the variable", NULL);
  lua_createtable(L, 0, 5);
  lua_pushstring(L, entry + 1);
  lua_setfield(L, -2, "name");
  lua_pushstring(L, kind);
  lua_setfield(L, -2, "kind");
  lua_pushstring(L, luaL_typename(L, value));
  lua_setfield(L, -2, "type");
  lua_pushboolean(L, *entry);
  lua_setfield(L, -2, "assigned");
  if (size >= 0) {
    lua_pushinteger(L, size - empty);
    lua_setfield(L, -2, "bytes");
  }
  lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
  lua_settop(L, value - 1);
}

/* Pushes the global `name` when it is the user's: there, and not the standard one, which workers have. */
static bool push_users_global(lua_State *L, const char *name)
{
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  lua_pushstring(L, name);
  bool users = lua_rawget(L, -2) != LUA_TNIL && !rl_capture_is_standard(L, name);
  lua_remove(L, -2);
  if (!users) lua_pop(L, 1);
  return users;
}

static void list_variables(lua_State *L, int fn, int list, lua_Integer empty)
{
  rl_buf *dump = rl_lua_push_buf(L), *names = rl_lua_push_buf(L);
  size_t upvalues = note_names(L, fn, dump, names);
  const char *end = names->p + names->n;
  size_t i = 0;
  for (const char *entry = names->p; entry < end; entry += strlen(entry + 1) + 2, i++) {
    if (i >= upvalues) {
      if (push_users_global(L, entry + 1)) add_entry(L, list, entry, "global", empty);
    } else if (strcmp(entry + 1, "_ENV") != 0) {
      lua_getupvalue(L, fn, (int)i + 1);
      add_entry(L, list, entry, "upvalue", empty);
    }
  }
}

int rl_capture_list(lua_State *L)
{
  luaL_checkany(L, 1);
  const char *role = luaL_checkstring(L, 2), *site = luaL_optstring(L, 3, NULL);
  lua_settop(L, 3);
  lua_newtable(L);
  lua_Integer empty = empty_size(L);
  if (lua_isfunction(L, 1) && !lua_iscfunction(L, 1)) list_variables(L, 1, 4, empty);
  lua_settop(L, 4);
  lua_pushvalue(L, 1);
  lua_Integer size = image_size(L, role, site);
  lua_settop(L, 4);
  if (size >= 0) {
    lua_pushinteger(L, size - empty);
    return 2;
  }
  lua_pushnil(L);
  lua_pushstring(L, rl_error_message());
  return 3;
}
