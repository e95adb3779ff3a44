/* The bytecode of a function, as lua_dump gives it, for proto.h to read. */
#ifndef RL_LUA_DUMP_H
#define RL_LUA_DUMP_H

#include <lua.h>

#include "base/buf.h"

/* Dumps the function at `index` into `to`, which is cleared before; of a C function there is nothing. Raises nothing. */
void rl_lua_dump(lua_State *L, int index, rl_buf *to);

#endif
