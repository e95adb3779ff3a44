/* Lua values <-> rl_value, records and chunks; rille.tuple and rille.null. Used in the driver's state and in workers'.
 *
 * rille.tuple(a, b, ...) is a table { a, b, ..., n = count } with the tuple metatable (compared by content, printed
 * as (a,b)). As the only value of a record it *is* the record: its fields are the record's fields. Inside a longer
 * record, a table or a tuple it is one value. */
#ifndef RL_LUA_VALUES_H
#define RL_LUA_VALUES_H

#include <lua.h>

#include "base/buf.h"
#include "data/chunk.h"
#include "data/value.h"

/* Makes the tuple metatable and the null object of this state and registers both for capture (rl_capture_register).
 * Once a state. */
void rl_values_prepare(lua_State *L);
int rl_lua_tuple(lua_State *L);      /* lua_CFunction: rille.tuple */
void rl_lua_push_null(lua_State *L); /* rille.null: one full userdata a state, tostring "null" */
bool rl_lua_is_null(lua_State *L, int index);
bool rl_lua_is_tuple(lua_State *L, int index);
lua_Integer rl_lua_tuple_count(lua_State *L, int index); /* of a tuple at an absolute index. Never raises */

/* A tuple of the n values from stack index `first` (absolute) up. Raises only out of memory. */
void rl_lua_pack(lua_State *L, int first, int n);
/* Makes the table on top a tuple of n fields. */
void rl_lua_seal_tuple(lua_State *L, lua_Integer n);

/* The value at `index` as a view: strings point into Lua's string, composites are appended to `scratch` in codec
 * form (the view holds until scratch changes). RL_EINVAL names what cannot be a value and the way to it: "a function
 * cannot be in a record (.callback)". Tables with a metatable other than the tuple's are refused; cycles and depth
 * are caught. Never raises. */
rl_status rl_lua_to_value(lua_State *L, int index, rl_value *v, rl_buf *scratch);
/* The n values from stack index `first` up as fields of one record (out has RL_MAX_FIELDS places); a single tuple is
 * spread. *n_out: arity. scratch is cleared first. RL_EINVAL when there is no value or the first is nil; "a function
 * cannot be in a record (field 2, .callback)". Never raises; leaves the stack as it was. */
rl_status rl_lua_to_record(lua_State *L, int first, int n, rl_value *out, uint32_t *n_out, rl_buf *scratch);
/* If the n values from *first up are one tuple, pushes its fields and moves *first there. Returns the number of
 * values, -1 when too many. Never raises. */
int rl_lua_spread(lua_State *L, int *first, int n);

void rl_lua_push_value(lua_State *L, rl_value v); /* raises only out of memory */
/* A record as collect() gives it: one value plain, several as a tuple. */
void rl_lua_push_record(lua_State *L, const rl_chunk *c, uint32_t row);
/* Its fields, all; returns how many were pushed. */
int rl_lua_push_fields(lua_State *L, const rl_chunk *c, uint32_t row);

/* A buffer that the collector frees, as a userdata on the stack: what a function that may raise writes into. */
rl_buf *rl_lua_push_buf(lua_State *L);

/* Text of the value at index as print shows records (rl_value_format). */
rl_status rl_lua_format(lua_State *L, int index, rl_buf *out);

#endif
