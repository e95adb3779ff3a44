/* What the library's own Lua code asks about values, on the driver and in workers alike: how they compare, which key
 * they are, which fields a packed record has. Functions of its own that go to workers hold these; they travel by name. */
#ifndef RL_LUA_ORDERING_H
#define RL_LUA_ORDERING_H

#include <lua.h>

int rl_lua_compare(lua_State *L); /* (a, b) -> negative, 0 or positive: the total order of data/value.h */
/* (v) -> a string: that of any other value is the same when they are one key. Raises for what is no key. */
int rl_lua_key_text(lua_State *L);
int rl_lua_key_partition(lua_State *L); /* (v, n) -> the one of n hash partitions, from 0, that the key v is in */
int rl_lua_fields(lua_State *L);        /* (record as one value) -> its fields */

void rl_lua_ordering_prepare(lua_State *L); /* registers them for capture, once a state */

#endif
