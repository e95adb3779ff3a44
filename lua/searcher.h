/* The embedded library as Lua sees it: a searcher behind package.preload, so that `require "rille"` needs no files. */
#ifndef RL_LUA_SEARCHER_H
#define RL_LUA_SEARCHER_H

#include <lua.h>

#define RL_EMBED_ROOT "@[rille]/" /* how the chunk names of embedded modules start */

void rl_searcher_install(lua_State *L);

#endif
