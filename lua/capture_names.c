#include <string.h>

#include "capture_internal.h"

/* The standard functions that travel by name, a library in each line: its name in package.loaded, the functions in it.
 * What is not written in C under one of these names was put there by a script, and travels by value. */
static const struct {
  const char *library;
  const char *names;
} standard[] = {
  {"_G", "assert collectgarbage dofile error getmetatable ipairs load loadfile next pairs pcall print rawequal rawget "
         "rawlen rawset require select setmetatable tonumber tostring type warn xpcall"},
  {"coroutine", "close create isyieldable resume running status wrap yield"},
  {"debug", "debug gethook getinfo getlocal getmetatable getregistry getupvalue getuservalue sethook setlocal "
            "setmetatable setupvalue setuservalue traceback upvalueid upvaluejoin setcstacklimit"},
  {"io", "close flush input lines open output popen read tmpfile type write stdin stdout stderr"},
  {"math", "abs acos asin atan ceil cos deg exp floor fmod log max min modf rad random randomseed sin sqrt tan "
           "tointeger type ult"},
  {"os", "clock date difftime execute exit getenv remove rename setlocale time tmpname"},
  {"package", "loadlib searchpath"},
  {"string", "byte char dump find format gmatch gsub len lower match pack packsize rep reverse sub unpack upper"},
  {"table", "concat insert move pack remove sort unpack"},
  {"utf8", "char codepoint codes len offset"},
};

void rl_capture_register(lua_State *L, int index, const char *name)
{
  index = lua_absindex(L, index);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, RL_NAMED_TABLE);
  lua_pushvalue(L, index);
  lua_pushstring(L, name);
  lua_rawset(L, -3);
  lua_pushstring(L, name);
  lua_pushvalue(L, index);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

void rl_capture_register_library(lua_State *L, const char *name)
{
  int library = lua_gettop(L);
  rl_capture_register(L, library, name);
  for (lua_pushnil(L); lua_next(L, library); lua_settop(L, library + 1)) {
    lua_pushfstring(L, "%s.%s", name, lua_tostring(L, library + 1));
    rl_capture_register(L, library + 2, lua_tostring(L, -1));
  }
}

bool rl_capture_is_standard(lua_State *L, const char *name)
{
  luaL_getsubtable(L, LUA_REGISTRYINDEX, RL_NAMED_TABLE);
  lua_pushvalue(L, -2);
  bool same = lua_rawget(L, -2) == LUA_TSTRING && strcmp(lua_tostring(L, -1), name) == 0;
  lua_pop(L, 2);
  return same;
}

/* Registers field `name` of the library on top, when it is what the standard library put there. */
static void register_member(lua_State *L, const char *library, const char *name, size_t n)
{
  lua_pushlstring(L, name, n);
  lua_rawget(L, -2);
  if (lua_iscfunction(L, -1) || lua_type(L, -1) == LUA_TUSERDATA) {
    bool base = strcmp(library, "_G") == 0;
    lua_pushstring(L, base ? "" : library);
    lua_pushstring(L, base ? "" : ".");
    lua_pushlstring(L, name, n);
    lua_concat(L, 3);
    rl_capture_register(L, -2, lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void register_library(lua_State *L, const char *library, const char *names)
{
  if (strcmp(library, "_G") != 0) {
    rl_capture_register(L, -1, library);
  }
  while (*names) {
    size_t n = strcspn(names, " ");
    register_member(L, library, names, n);
    names += n + strspn(names + n, " ");
  }
}

bool rl_push_package_field(lua_State *L, const char *field)
{
  int top = lua_gettop(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, RL_PACKAGE_TABLE);
  lua_pushstring(L, field);
  bool found = lua_rawget(L, -2) == LUA_TSTRING;
  lua_replace(L, top + 1);
  lua_settop(L, found ? top + 1 : top);
  return found;
}

void rl_capture_prepare(lua_State *L)
{
  luaL_checkstack(L, 12, NULL);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (size_t i = 0; i < sizeof standard / sizeof *standard; i++) {
    if (lua_getfield(L, -1, standard[i].library) == LUA_TTABLE) {
      register_library(L, standard[i].library, standard[i].names);
    }
    lua_pop(L, 1);
  }
  lua_getfield(L, -1, "package");
  lua_setfield(L, LUA_REGISTRYINDEX, RL_PACKAGE_TABLE);
  lua_pushliteral(L, "");
  if (lua_getmetatable(L, -1)) {
    rl_capture_register(L, -1, "the metatable of strings");
    lua_pop(L, 1);
  }
  lua_pop(L, 2);
}
