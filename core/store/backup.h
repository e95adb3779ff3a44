/* A copy of a checkpoint directory from which a job can go on, taken while the job runs (docs/decisions/016). */
#ifndef RL_STORE_BACKUP_H
#define RL_STORE_BACKUP_H

#include <stdint.h>

#include "base/status.h"

typedef struct rl_backup {
  uint64_t segments, records, bytes; /* of the log */
  uint64_t operators, entries;       /* of the image */
} rl_backup;

/* Copies the log and the image in `dir` to `to`, which must not exist yet or be empty; it gets mode 0700. All is synced
 * and verified when this succeeds; otherwise what was copied is removed again. RL_EDATA: what is there is damaged.
 * RL_ESTATE: the job removed segments faster than they could be copied, or there is something in `to`. In a process of
 * one thread, as the image is copied in a child. */
rl_status rl_backup_run(const char *dir, const char *to, rl_backup *out);

#endif
