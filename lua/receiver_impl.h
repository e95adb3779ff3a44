/* Shared by the files of receiver.h; private to them. All on the receiver's own thread, but for the fields under lock.
 *
 *   receiver_state.c   the thread's life, runs and pauses
 *   receiver_self.c    what a definition's functions see: self:store() and the like
 *   receiver_socket.c  the connection that a converter reads */
#ifndef RL_LUA_RECEIVER_IMPL_H
#define RL_LUA_RECEIVER_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "data/chunk.h"
#include "receiver.h"

/* How a run ended, or is to end. */
typedef enum rl_run_end {
  RL_RUN_ON,      /* it goes on until the stop */
  RL_RUN_RESTART, /* the same object again, after the pause */
  RL_RUN_AGAIN    /* stopped by itself: a fresh object, at once */
} rl_run_end;

struct rl_lua_receiver {
  rl_receiver_class cls; /* its own, for the name */
  char *name, *site, *host;
  int port;
  const rl_worker_config *config;
  rl_image *image;
  uint32_t root;
  rl_receiver *receiver;
  pthread_t thread;

  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool ended;           /* under lock: the thread's last word */
  atomic_bool stopping; /* set under lock */
  int wake;             /* an eventfd, readable once it is stopping: what a blocked read waits for as well */

  /* its own thread */
  rl_worker *worker;
  int self;           /* registry reference of the definition or the converter; LUA_NOREF */
  rl_run_end end;     /* of the run under way */
  char *message;      /* why */
  int64_t delay_ms;   /* of RL_RUN_RESTART */
  rl_buf scratch;     /* of the record being stored */
  rl_builder *builder; /* the block being built; kept here, since Lua functions that give its records may raise */
  rl_chunks block;
};

/* isStopped(): the run is to end, or everything. */
static inline bool rl_lua_receiver_is_stopped(const rl_lua_receiver *r)
{
  return r->end != RL_RUN_ON || atomic_load(&r->stopping);
}

/* Ends the run; the first reason counts. */
void rl_lua_receiver_end_run(rl_lua_receiver *r, rl_run_end end, const char *message, int64_t delay_ms);

/* Stores the n values from stack index `first` up as one record; raises. */
void rl_lua_receiver_store(rl_lua_receiver *r, lua_State *L, int first, int n);
/* Puts the methods into the table at `index`. */
void rl_lua_receiver_add_methods(rl_lua_receiver *r, lua_State *L, int index);

/* lua_CFunction with the receiver as its argument (light): a connection's life, to its end. Raises what ended it
 * otherwise. */
int rl_lua_receiver_convert(lua_State *L);

#endif
