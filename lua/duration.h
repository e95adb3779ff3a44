/* Durations as jobs give them: a number of seconds, or a text with a unit, as in settings: "500ms", "10s", "2 min". */
#ifndef RL_LUA_DURATION_H
#define RL_LUA_DURATION_H

#include <lua.h>
#include <stdbool.h>

bool rl_lua_to_seconds(lua_State *L, int index, double *out); /* never raises */
double rl_lua_check_seconds(lua_State *L, int arg);

#endif
