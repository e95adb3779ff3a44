/* A thread that can be waited for within a limit and, when it does not end, be left behind. */
#ifndef RL_RUN_SIDE_THREAD_H
#define RL_RUN_SIDE_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct rl_side_thread rl_side_thread;

/* Runs main(arg) with signals blocked (run/interrupt.h). `what` is for the message: "the io thread". */
rl_status rl_side_thread_start(void (*main)(void *arg), void *arg, const char *what, rl_side_thread **out);
/* Waits until main has returned and joins the thread: true. After limit_ns it is detached instead: false, and what main
 * uses must never be freed (or by main itself). Frees `t`. */
bool rl_side_thread_end(rl_side_thread *t, int64_t limit_ns);

#endif
