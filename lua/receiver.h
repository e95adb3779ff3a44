/* Receivers written in Lua, each on a thread and in a Lua state of its own (section 11 of the reference).
 *
 * A definition (receiverStream) has the functions onStart(self) and onStop(self); a converter (socketStream) reads one
 * TCP connection after another. One life of the thread is a row of runs; between runs there is a pause, which a stop
 * ends at once.
 *
 * Threads: the driver makes, binds, starts, stops and deletes it. The rest happens on its own thread; `lock` guards
 * what both see. */
#ifndef RL_LUA_RECEIVER_H
#define RL_LUA_RECEIVER_H

#include "capture.h"
#include "run/receiver.h"
#include "worker.h"

typedef struct rl_lua_receiver rl_lua_receiver;

typedef struct rl_lua_receiver_spec {
  const char *name; /* "Receiver" */
  const char *site; /* "job.lua:12", or NULL */
  const char *host; /* NULL: a definition; else a converter of this server's connections */
  int port;
} rl_lua_receiver_spec;

/* Copies the strings. */
rl_lua_receiver *rl_lua_receiver_new(const rl_worker_config *config, const rl_lua_receiver_spec *spec);
/* Takes over r, also on failure. */
rl_status rl_lua_receiver_add(rl_lua_receiver *r, rl_streaming *s, rl_dstream **out);
const char *rl_lua_receiver_role(const rl_lua_receiver *r); /* "the receiver given to receiverStream" */
const char *rl_lua_receiver_site(const rl_lua_receiver *r);
/* What was captured: root `root` of the image (referenced). Before the start. */
void rl_lua_receiver_bind(rl_lua_receiver *r, rl_image *image, uint32_t root);

#endif
