/* rille.core: what lua/bind*.c share; private to them. stdlib/meta/core.lua says what the module gives.
 *
 * Handles are userdata born empty: the metatable comes first, then the resource, and __gc may come at any time. What a
 * handle stands on is kept alive as Lua keeps things alive: a stream's user value is its streaming context, whose user
 * value is its context.
 *
 * Errors. A C function that may raise holds no memory, lock or reference that Lua cannot see. Entries into Lua from the
 * engine go through rl_gate.
 *
 * Threads: all of this runs on the driver thread. */
#ifndef RL_LUA_BIND_H
#define RL_LUA_BIND_H

#include <lauxlib.h>
#include <lua.h>

#include "run/context.h"
#include "run/streaming.h"

/* One driver state. */
typedef struct rl_bind {
  lua_State *current;     /* whose C function stands in the engine now: callbacks run on it */
  lua_State *volatile body; /* the coroutine of an output that runs now; NULL: none. Read by a signal handler */
  volatile int depth;     /* callbacks that run now; likewise */
  bool closing;           /* lua_close is under way: no callback runs any more */
  struct rl_outrun *runs; /* outputs that have not ended yet */
} rl_bind;

rl_bind *rl_bind_of(lua_State *L);
/* For rl_streaming_on_hurry: makes the callback that runs now fail. `bind` is an rl_bind. Async-signal-safe. */
void rl_gate_hurry(void *bind);
/* Was that done to the callback that runs now? For C functions in it that wait. */
bool rl_gate_is_hurried(const rl_bind *b);
/* Says that L enters a function of the engine that may serve messages. */
rl_bind *rl_bind_enter(lua_State *L);

/* Raises the thread's current error: its message, and the user's traceback behind a newline. */
int rl_bind_raise(lua_State *L);
static inline void rl_bind_check(lua_State *L, rl_status status)
{
  if (status != RL_OK) rl_bind_raise(L);
}

/* Room for n things of `size` bytes, zeroed; pushed. */
void *rl_bind_array(lua_State *L, size_t n, size_t size);
/* Pushes an array of the table at `index` read as handles of type `meta`; their pointers are at *out. `what` names the
 * parameter. */
size_t rl_bind_handles(lua_State *L, int index, const char *meta, const char *what, void ***out);

/* Fields of a table of options; the text lies in the table. */
const char *rl_bind_text(lua_State *L, int table, const char *field); /* NULL when absent */
lua_Integer rl_bind_int(lua_State *L, int table, const char *field, lua_Integer otherwise);
bool rl_bind_flag(lua_State *L, int table, const char *field);

/* --- The gate (bind_gate.c) --------------------------------------------------------------------------------------- */

/* Calls body(arg) in protected mode on the current state; `arg` is its only argument, a light userdata. A Lua error
 * becomes the thread's current error (RL_EUSER, RL_ENOMEM): one line, with the user's traceback. RL_ECANCELLED when the
 * state is closing. */
rl_status rl_gate(rl_bind *b, lua_CFunction body, void *arg);
/* Message handler: the error as text, with a traceback of the user's frames behind a newline. */
int rl_gate_handler(lua_State *L);
/* The error at the top of L (popped), as rl_gate_handler leaves it, becomes the thread's current error. */
rl_status rl_gate_fail(lua_State *L, int status);
/* Pushes a traceback of `of`, from `level` up: the user's Lua frames only; nothing between the newlines when there are
 * none. */
void rl_gate_trace(lua_State *L, lua_State *of, int level);

/* A Lua function that the engine calls. */
typedef struct rl_callback {
  rl_bind *bind;
  int ref;
} rl_callback;

rl_callback *rl_callback_new(lua_State *L, int index); /* raises before it takes anything */
void rl_callback_delete(void *callback);               /* as the engine's `destroy` */
void rl_callback_push(lua_State *L, const rl_callback *cb);

/* --- Handles ------------------------------------------------------------------------------------------------------ */

#define RL_META_FN "rille.core.Fn"
#define RL_META_OP "rille.core.Op"
#define RL_META_CONF "rille.core.Conf"
#define RL_META_CONTEXT "rille.core.Context"
#define RL_META_JOB "rille.core.Job"
#define RL_META_RDD "rille.core.Rdd"
#define RL_META_STREAMING "rille.core.Streaming"
#define RL_META_DSTREAM "rille.core.DStream"
#define RL_META_TURN "rille.core.Turn"
#define RL_META_LMDB_SINK "rille.core.LmdbSink"
#define RL_META_KAFKA_TXN "rille.core.KafkaTransaction"
#define RL_META_LMDB_READER "rille.core.LmdbReader"
#define RL_META_SENTINEL "rille.core.Sentinel"
#define RL_META_IMAGE "rille.core.Image"

/* An empty handle: a pointer that is NULL, with the metatable and `values` user values; pushed. */
void **rl_handle_new(lua_State *L, const char *meta, int values);
/* Makes a handle's metatable; `methods` may be NULL. */
void rl_handle_type(lua_State *L, const char *meta, lua_CFunction gc, const luaL_Reg *methods);
/* Of handles that are closed at the end of their block (<close>, generic for), or else collected. */
void rl_handle_type_closed(lua_State *L, const char *meta, lua_CFunction close);
/* Makes of the handle on top what a generic `for` takes: next with the handle as its upvalue, nil, nil, and the handle,
 * to be closed. Returns how many these are. */
int rl_push_iterator(lua_State *L, lua_CFunction next);
/* Pushes the table that the registry has for `key`; it is made with weak keys ("k") or values ("v"). */
void rl_push_weak_table(lua_State *L, const void *key, const char *mode);

struct rl_op *rl_check_op(lua_State *L, int index);
rl_context *rl_check_context(lua_State *L, int index);
rl_rdd *rl_check_rdd(lua_State *L, int index);
/* The storage level named at `index`; `otherwise` when there is none. */
rl_level rl_check_level(lua_State *L, int index, rl_level otherwise);
rl_streaming *rl_check_streaming(lua_State *L, int index);
rl_dstream *rl_check_dstream(lua_State *L, int index);

void rl_push_rdd(lua_State *L, rl_rdd *rdd); /* references it */
/* Pushes a stream of the streaming context whose handle is at `streaming`. */
void rl_push_dstream(lua_State *L, int streaming, rl_dstream *d);

/* --- Outputs under way (bind_output.c) ---------------------------------------------------------------------------- */

/* What the coroutine of an output waits for. */
typedef struct rl_waiter {
  struct rl_outrun *run;
} rl_waiter;

bool rl_outrun_suspend(rl_bind *b, lua_State *L, rl_waiter *w); /* may L yield to wait? Then w is its waiter */
/* Resumes the coroutine; nothing when it is gone. `cancelled`: what it waited for was, and if it fails now, so is it. */
void rl_outrun_resume(rl_waiter *w, bool cancelled);
void rl_outrun_forget(rl_waiter *w); /* the waiter goes */
int rl_lua_follows(lua_State *L);
/* The program ends: stops the streaming context at once, its outputs under way are given up. */
void rl_outruns_abort(rl_bind *b, rl_streaming *s);

/* Parts of the module: each adds its types, and its functions to the table on top of the stack. */
void rl_bind_add_fns(lua_State *L);       /* bind_fn.c: Fn, Op */
void rl_bind_add_contexts(lua_State *L);  /* bind_context.c */
void rl_bind_add_jobs(lua_State *L);      /* bind_job.c */
void rl_bind_add_updates(lua_State *L);   /* bind_updates.c */
void rl_bind_add_rdds(lua_State *L);      /* bind_rdd.c */
void rl_bind_add_pipe(lua_State *L);      /* bind_pipe.c */
void rl_bind_add_streaming(lua_State *L); /* bind_streaming.c */
void rl_bind_add_dstreams(lua_State *L);  /* bind_dstream.c */
void rl_bind_add_states(lua_State *L);    /* bind_state.c */
void rl_bind_add_durable(lua_State *L);   /* bind_durable.c */
void rl_bind_add_turns(lua_State *L);     /* bind_turn.c */
void rl_bind_add_lmdb(lua_State *L);      /* bind_lmdb.c */
void rl_bind_add_kafka_transactions(lua_State *L); /* bind_kafka_txn.c */
void rl_bind_add_tools(lua_State *L);     /* bind_tools.c: functions for the program's commands */

/* Methods that live apart from their type's file. */
int rl_context_run(lua_State *L);          /* bind_job.c */
int rl_context_save(lua_State *L);
int rl_context_deliver_updates(lua_State *L); /* bind_updates.c */
int rl_streaming_listen(lua_State *L);     /* bind_events.c */
int rl_streaming_find_state(lua_State *L); /* bind_state.c */
int rl_dstream_add_output(lua_State *L);   /* bind_output.c */
int rl_streaming_keep_values(lua_State *L); /* bind_durable.c */
int rl_streaming_put_note(lua_State *L);
int rl_streaming_put_code(lua_State *L);
int rl_streaming_socket(lua_State *L);     /* bind_sources.c */
int rl_streaming_raw_socket(lua_State *L);
int rl_streaming_files(lua_State *L);
int rl_streaming_driver_input(lua_State *L);
int rl_streaming_receiver(lua_State *L);
int rl_streaming_converter(lua_State *L);
int rl_streaming_kafka(lua_State *L);      /* bind_kafka.c */
int rl_streaming_kafka_group(lua_State *L);
int rl_context_kafka(lua_State *L);
int rl_context_kafka_sink(lua_State *L);
int rl_context_kafka_transaction(lua_State *L); /* bind_kafka_txn.c */
int rl_rdd_push_kafka_ranges(lua_State *L);
int rl_dstream_commit(lua_State *L);

/* Pushes a table of the modules whose texts are in an image that Lua keeps alive: name to { source =, text = }. */
struct rl_image;
void rl_bind_push_modules(lua_State *L, const struct rl_image *img);

/* Hands what tasks reported so far to the library. Raises what that raises. */
void rl_bind_deliver_updates(lua_State *L, rl_context *c);

/* What the workers and receivers of contexts with these settings share; kept for the life of the process. */
struct rl_worker_config;
const struct rl_worker_config *rl_bind_config(lua_State *L, const rl_conf *conf);

/* The definition of a receiver, to be captured at the start. keep_definition raises; keep_receiver tells whose it is
 * and does not. */
struct rl_lua_receiver;
int rl_streaming_keep_definition(lua_State *L, int streaming, int definition);
void rl_streaming_keep_receiver(lua_State *L, int streaming, int at, struct rl_lua_receiver *r);

#endif
