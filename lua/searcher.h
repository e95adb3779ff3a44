/* The embedded library as Lua sees it: a searcher behind package.preload, so that `require "rille"` needs no files. */
#ifndef RL_LUA_SEARCHER_H
#define RL_LUA_SEARCHER_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#define RL_EMBED_ROOT "@[rille]/" /* how the chunk names of embedded modules start */

void rl_searcher_install(lua_State *L);
/* Pushes the text of the embedded module whose chunk name this is, or nothing. */
bool rl_searcher_push_text(lua_State *L, const char *chunk, size_t n);

#endif
