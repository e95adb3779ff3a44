/* What a service manager is told: systemd's notification protocol (sd_notify(3)), without its library. A message is one
 * datagram of lines NAME=VALUE to the Unix socket that $NOTIFY_SOCKET names: a path, or "@name" for one without a file.
 *
 * Without NOTIFY_SOCKET every call does nothing and succeeds. Any thread; the environment is read at each call, so the
 * process must not change it meanwhile. */
#ifndef RL_BASE_NOTIFY_H
#define RL_BASE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* Is there anybody to tell? */
bool rl_notify_wanted(void);

/* Sends "READY=1", "STOPPING=1", "STATUS=..." or several lines. Waits up to a second while the manager's queue is full.
 * RL_EINVAL for an address that is none; RL_EIO when it cannot be sent. */
rl_status rl_notify(const char *message);
/* The same without waiting, for what is sent again soon: "WATCHDOG=1". */
rl_status rl_notify_at_once(const char *message);

/* How often this process must say that it is alive, at least (WATCHDOG_USEC); 0: nobody watches it. WATCHDOG_PID, where
 * it is set, says who is watched. */
int64_t rl_notify_watchdog_us(void);

#endif
