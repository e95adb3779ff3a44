/* An active streaming context as a service of systemd (Type=notify): ready when it has started, alive while it is,
 * stopping when it stops. Does nothing where no service manager asks (base/notify.h).
 *
 * Alive means: the sched thread, which cuts batches and watches tasks, ticks, and the driver thread serves messages.
 * Four times in the manager's limit (WatchdogSec) sched posts a message to the driver, and says WATCHDOG=1 if the one
 * before was served. So a driver that is held up for three quarters of the limit goes unnoticed; one that is for longer
 * than all of it is missed, and the manager ends the process. A batch that takes long, or waits for earlier ones,
 * is no sign of death: the driver serves messages while it waits for tasks, and tasks have a limit of their own
 * (rille.task.maxSeconds).
 *
 * What cannot be sent is logged once, and otherwise without consequence. Not public. */
#ifndef RL_RUN_SERVICE_H
#define RL_RUN_SERVICE_H

#include <stdatomic.h>

#include "run/context.h"

typedef struct rl_service {
  rl_context *c; /* NULL: not started */
  int64_t every_ns;
  rl_timer timer;
  rl_message probe;
  atomic_bool served; /* the last probe */
  atomic_bool failed; /* said so */
} rl_service;

/* Driver thread, all of them. `s` is zeroed, or was ended. */
void rl_service_start(rl_service *s, rl_context *c, int64_t batch_ms);
/* The stop begins; `whole`: the process is about to end as well. */
void rl_service_stopping(rl_service *s, bool whole);
void rl_service_end(rl_service *s); /* idempotent; before the context stops */

#endif
