/* The small parent of `rille run --supervise`: runs a program as its child and starts it again when it crashes.
 *
 * - A crash is an end by a signal, exit status 1, or a program that cannot be started. Each is logged with its reason,
 *   how long the child ran, and what comes next. Any other status is the child's own word (0 done, 2 wrong usage, what
 *   a script gives os.exit) and is passed on.
 * - SIGINT, SIGTERM and SIGHUP are passed on to the child, a second one as well, and nothing is started after that:
 *   a stop was asked for. What the terminal sends (Ctrl-C), the child has got itself, and so it is not passed on, but
 *   for the SIGHUP that only the leader of a session gets. A SIGHUP ignored from the start (nohup) stays ignored.
 * - Restarts wait for first_ns, twice as long each time up to longest_ns, and the first again once a child has run for
 *   longest_ns. The one that would be the (restarts + 1)th within window_ns is not made any more.
 * - The child is in our process group, with our terminal and standard files, and with the signal mask and handlers that
 *   we were started with. It gets SIGKILL when we die. Nothing else of ours is open in it.
 * - Children that are not ours are reaped as well: as process 1 of a container we inherit orphans.
 * - WATCHDOG_PID, where it names us, names the child in the child's environment.
 *
 * To be called by a process of one thread, which it may fork. */
#ifndef RL_RUN_SUPERVISE_H
#define RL_RUN_SUPERVISE_H

#include <stdint.h>

#include "base/status.h"

typedef struct rl_supervision {
  uint32_t restarts; /* at most so many within window_ns; 0: none */
  int64_t window_ns;
  int64_t first_ns, longest_ns; /* pauses before a restart */
} rl_supervision;

#define RL_SUPERVISION_RESTARTS "10/10m" /* the defaults, as texts */
#define RL_SUPERVISION_BACKOFF "1s,60s"

/* "N" or "N/TIME", TIME as settings have it (10m); without one the window stays as it is. RL_EINVAL says what would
 * fit. */
rl_status rl_supervision_restarts(rl_supervision *p, const char *text);
/* "FIRST" or "FIRST,LONGEST"; FIRST alone leaves LONGEST as it is, unless that is less. */
rl_status rl_supervision_backoff(rl_supervision *p, const char *text);

/* Runs this very program (/proc/self/exe) with `argv` (ends with NULL) until it is not to be started again. The exit
 * status for the caller: the last child's, 128 + N when signal N ended it, 1 when it could not be started. */
int rl_supervise(char *const *argv, const rl_supervision *p);

#endif
