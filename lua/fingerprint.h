/* A name for a Lua function that stays the same when it is loaded again, by another process or from another place in
 * its file. */
#ifndef RL_LUA_FINGERPRINT_H
#define RL_LUA_FINGERPRINT_H

#include <lua.h>

/* lua_CFunction fingerprint(f) -> 16 hexadecimal digits, of the function's code with its constants and the functions in
 * it, and of its upvalues: their names, strings, numbers and booleans, such fields of plain tables, and functions, three
 * deep. Not of lines, of names of other variables, and of globals that it uses. Of a C function: zeros. Stable as long
 * as Lua's release is, and as what it is made of is the same when the function is given to an output. */
int rl_fingerprint(lua_State *L);

#endif
