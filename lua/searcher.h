/* The embedded library as Lua sees it: a searcher behind package.preload, so that `require "rille"` needs no files. */
#ifndef RL_LUA_SEARCHER_H
#define RL_LUA_SEARCHER_H

#include <lua.h>

/* Chunk names of embedded modules are "=[rille.fuse]": all of the engine's own Lua starts so. */
#define RL_ENGINE_SOURCE "=[rille"

void rl_searcher_install(lua_State *L);

#endif
