/* rille.json and rille.time, the same in the driver and in workers. */
#ifndef RL_LUA_JSON_H
#define RL_LUA_JSON_H

#include <lua.h>

#define RL_JSON_MAX_BYTES (64 << 20) /* of a text, either way */

/* Push the library, and let it and what is in it travel by name. Once a state, behind rl_values_prepare. */
void rl_json_open(lua_State *L);
void rl_time_open(lua_State *L);

#endif
