/* What can be told of a Lua function from its bytecode. */
#ifndef RL_LUA_RECOGNISE_H
#define RL_LUA_RECOGNISE_H

#include <lua.h>

/* lua_CFunction inspect(f) ->
 *   parameters   their number; -1: it takes any number (varargs, C)
 *   returns      the number of values it always returns; -1: not known
 *   expressions  what it returns, when it does nothing but to work this out from its parameters and constants: a
 *                list of Lua expressions in which $1, $2, ...
 *                stand for the parameters; else nil
 *   scalar       with expressions: whether the first is surely neither nil nor a table
 *   pattern      of a function that does nothing but return text:gmatch("pattern") of its only parameter; else nil */
int rl_recognise(lua_State *L);

#endif
