#include "searcher.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#include "embed.h"

static const rl_embedded *find(const char *name)
{
  for (const rl_embedded *e = rl_embedded_stdlib; e->name; e++)
    if (strcmp(e->name, name) == 0) return e;
  return NULL;
}

/* Has the module parts of its own ("rille" has "rille.fuse")? Its file is then called init.lua. */
static bool has_parts(const char *name)
{
  size_t n = strlen(name);
  for (const rl_embedded *e = rl_embedded_stdlib; e->name; e++)
    if (strncmp(e->name, name, n) == 0 && e->name[n] == '.') return true;
  return false;
}

/* Pushes the chunk name of an embedded module. */
static const char *push_chunk_name(lua_State *L, const char *name)
{
  const char *file = luaL_gsub(L, name, ".", "/");
  const char *chunk = lua_pushfstring(L, RL_EMBED_ROOT "%s%s.lua", file, has_parts(name) ? "/init" : "");
  lua_remove(L, -2);
  return chunk;
}

bool rl_searcher_push_text(lua_State *L, const char *chunk, size_t n)
{
  if (n < strlen(RL_EMBED_ROOT) || strncmp(chunk, RL_EMBED_ROOT, strlen(RL_EMBED_ROOT)) != 0) return false;
  luaL_checkstack(L, 4, NULL);
  for (const rl_embedded *e = rl_embedded_stdlib; e->name; e++) {
    const char *own = push_chunk_name(L, e->name);
    bool same = lua_rawlen(L, -1) == n && memcmp(own, chunk, n) == 0;
    lua_pop(L, 1);
    if (!same) continue;
    lua_pushlstring(L, e->source, e->size);
    return true;
  }
  return false;
}

static int search(lua_State *L)
{
  const char *name = luaL_checkstring(L, 1);
  const rl_embedded *e = find(name);
  if (!e) {
    lua_pushfstring(L, "no module '%s' in the library of rille", name);
    return 1;
  }
  const char *chunk = push_chunk_name(L, name);
  if (luaL_loadbufferx(L, e->source, e->size, chunk, "t") != LUA_OK) return lua_error(L);
  lua_pushstring(L, chunk + 1);
  return 2;
}

void rl_searcher_install(lua_State *L)
{
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "searchers");
  for (lua_Integer i = luaL_len(L, -1); i >= 2; i--) {
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushcfunction(L, search);
  lua_rawseti(L, -2, 2);
  lua_pop(L, 2);
}
