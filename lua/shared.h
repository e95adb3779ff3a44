/* Shared objects: what closures and the driver hold in common, broadcasts and accumulators. A counted C object, and in
 * each Lua state at most one userdata (its holder) for it: the first in the driver's state, one in each worker's state
 * that restored an image which captured it.
 *
 * Capture (capture.h) lets holders travel: an image references the objects it captured, so an object lives as long as
 * the driver's holder, an image or a worker's holder. What the object is to a worker besides is in the holder's user
 * values: the first travels with the closures, the second stays where it is.
 *
 * Objects are immutable, or have a lock of their own; a holder belongs to its state's thread. */
#ifndef RL_LUA_SHARED_H
#define RL_LUA_SHARED_H

#include <lauxlib.h>
#include <lua.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "capture.h"
#include "data/value.h"

typedef struct rl_shared rl_shared;

typedef struct rl_shared_class {
  const char *name; /* of the holders' metatable in each state: "rille.Broadcast" */
  void (*abandon)(rl_shared *s); /* the driver's holder is gone, or NULL */
  void (*destroy)(rl_shared *s); /* at the last unref, on any thread */
} rl_shared_class;

/* Subclass by putting it first in a larger struct. */
struct rl_shared {
  _Atomic uint32_t refs;
  const rl_shared_class *cls;
  uint64_t id; /* unique in the process, never reused, from 1 */
};

typedef struct rl_holder {
  rl_shared *object; /* one reference */
  bool home;         /* the driver's */
  uint64_t seen;     /* whose the second user value is: a version of a broadcast, an attempt that adds to an accumulator */
  rl_image *image;   /* of a broadcast, while it is restored; one reference */
} rl_holder;

enum { RL_HOLDER_TRAVELS = 1, RL_HOLDER_STAYS };

void rl_shared_init(rl_shared *s, const rl_shared_class *cls); /* one reference */
rl_shared *rl_shared_ref(rl_shared *s);
void rl_shared_unref(rl_shared *s); /* NULL is allowed */

/* Makes the metatable for holders of the class, with these methods; left on the stack is the table of methods. */
void rl_shared_type(lua_State *L, const rl_shared_class *cls, const luaL_Reg *methods);
/* Pushes the state's holder of the object, made now or before. */
rl_holder *rl_shared_push(lua_State *L, rl_shared *s);
/* For a new object: its holder comes first, so that nothing is lost when Lua raises; then, the holder on top, the
 * object, whose reference it takes over. The holder is the driver's. */
rl_holder *rl_shared_push_empty(lua_State *L, const rl_shared_class *cls);
void rl_shared_adopt(lua_State *L, rl_holder *h, rl_shared *s);

/* The holder at `index`: NULL when it is something else; raises. */
rl_holder *rl_shared_test(lua_State *L, int index);
rl_holder *rl_shared_check(lua_State *L, int index, const rl_shared_class *cls);

/* --- broadcast.c -------------------------------------------------------------------------------------------------- */

/* Driver: core.broadcast(value, site) -> holder with value, unpersist, destroy, id. */
int rl_lua_broadcast(lua_State *L);
void rl_broadcast_prepare(lua_State *L); /* in every state */
rl_image *rl_broadcast_image(rl_shared *s);  /* its value, one reference; NULL: it was destroyed */
rl_shared *rl_broadcast_of(rl_image *image); /* a new one; takes over the image */
/* Worker, between tasks: drops values that were given up since *epoch. Raises nothing. */
void rl_broadcast_sweep(lua_State *L, uint64_t *epoch);

/* --- accumulator.c ------------------------------------------------------------------------------------------------ */

/* Driver: core.accumulator{ zero =, add =, fromZero =, name =, number =, site = } -> holder. Its methods are the
 * library's (rille.shared). `number`: how many its context had before, and one. */
int rl_lua_accumulator(lua_State *L);
int rl_lua_accumulator_zero(lua_State *L); /* core.zero(accumulator) -> a copy of the value it began with */
void rl_accumulator_prepare_driver(lua_State *L); /* leaves the table of methods on the stack */
void rl_accumulator_prepare_worker(lua_State *L);
/* Worker, when a task has gone well: appends (id, partial value) for every accumulator it added to, in the order of
 * first use. Raises nothing. */
rl_status rl_accumulator_report(lua_State *L, rl_buf *updates);
void rl_accumulator_forget(lua_State *L); /* in any case */
/* False: it is none. *name: NULL when it has none. */
bool rl_accumulator_identity(const rl_shared *s, const char **name, int64_t *number);
/* The driver state's newest accumulator of this name (a string), or, name nil, of this number; one reference.
 * RL_ESTATE: there is none. */
rl_status rl_accumulator_find(lua_State *L, rl_value name, int64_t number, rl_shared **out);

#endif
