/* Work in a child process: for reading what may crash its reader, as LMDB over flipped bytes.
 *
 * The child is forked, so it begins with all that the caller has; what it finds it tells in messages. It is silent (its
 * standard error is closed), leaves no core file, and dies with its parent. To be used in a process of one thread: a
 * lock that another thread holds at the fork stays locked in the child for ever, and the thread sanitizer ends a child
 * whose thread has the number of one of the caller's ("dup thread with used id", status 66). */
#ifndef RL_BASE_APART_H
#define RL_BASE_APART_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct rl_apart rl_apart;

typedef struct rl_apart_spec {
  rl_status (*work)(void *user, rl_apart *a);              /* in the child; its error is told as well */
  void (*told)(void *user, const char *p, size_t n);       /* in the parent, for each message, in order; NULL: none
                                                            * is of interest */
  rl_status (*idle)(void *user);                           /* in the parent, some times a second; NULL allowed. A
                                                            * failure kills the child and is that of rl_apart_run */
  void *user;
} rl_apart_spec;

/* From the child: a message of at most 4 GB. */
void rl_apart_tell(rl_apart *a, const void *p, size_t n);

/* Runs it to its end: the status and error of work. *crashed: the child died before that; RL_EDATA, as "it crashed
 * (Segmentation fault)". What it told until then was told. */
rl_status rl_apart_run(const rl_apart_spec *spec, bool *crashed);

#endif
