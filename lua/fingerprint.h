/* A name for a Lua function that stays the same when it is loaded again, by another process or from another place in
 * its file. */
#ifndef RL_LUA_FINGERPRINT_H
#define RL_LUA_FINGERPRINT_H

#include <lua.h>

/* lua_CFunction fingerprint(f) -> 16 hexadecimal digits, of the function's code with its constants and the functions in
 * it, and of its upvalues that are strings, numbers or booleans. Not of lines and names, and not of tables and
 * functions that it uses. Of a C function: zeros. Stable as long as Lua's release is. */
int rl_fingerprint(lua_State *L);

#endif
