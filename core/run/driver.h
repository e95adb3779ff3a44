/* The driver: the thread that owns the program (in Lua: the main state). Other threads leave messages; it serves them
 * while it waits.
 *
 * Messages are nodes inside their senders' structs (jobs, batches, timers' replies), so posting never allocates and the
 * queue is bounded by what is under way; listener events have a bounded queue of their own (run/listener.h). */
#ifndef RL_RUN_DRIVER_H
#define RL_RUN_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct rl_message {
  struct rl_message *next;
  void (*run)(struct rl_message *m); /* on the driver thread */
  bool queued;                       /* under the driver's lock */
} rl_message;

typedef struct rl_driver rl_driver;

rl_driver *rl_driver_new(void); /* the calling thread is the driver thread */
void rl_driver_delete(rl_driver *d);

void rl_driver_post(rl_driver *d, rl_message *m); /* any thread; a message that is still queued is not queued twice */
void rl_driver_cancel(rl_driver *d, rl_message *m); /* takes it back if still queued */
void rl_driver_wake(rl_driver *d);                /* makes a wait look at its condition again; async-signal-safe */

/* Runs messages until done(arg) is true (checked before each) or the time is over (timeout_ns < 0: never). Returns
 * done(arg). May be nested: a message may itself wait. Driver thread only. */
bool rl_driver_serve(rl_driver *d, bool (*done)(void *arg), void *arg, int64_t timeout_ns);
bool rl_driver_is_here(const rl_driver *d); /* is the caller the driver thread? */
/* Is a message being run now (so the caller is inside a callback)? Driver thread only. */
bool rl_driver_in_message(const rl_driver *d);

#endif
