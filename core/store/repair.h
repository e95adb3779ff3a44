/* Repairing the checkpoint directory of a job that does not run (docs/decisions/016). Nothing is deleted: what is
 * damaged moves to <dir>/quarantine/<time>, and what can be used takes its place, all at once and synced.
 *
 * A damaged log is written anew of all records that are whole. What the lost ones make doubtful is decided so that no
 * state is wrong without being told: batches whose changes of state are not all there, and all behind them that the
 * image does not have, are pending again and run from their inputs. A damaged image is taken from a backup, or left to
 * be made from the log, when that goes back to the job's beginning. */
#ifndef RL_STORE_REPAIR_H
#define RL_STORE_REPAIR_H

#include "base/status.h"

typedef struct rl_repair {
  const char *dir;                             /* the checkpoint directory */
  const char *from;                            /* a backup of it (store/backup.h); NULL: there is none */
  void (*say)(void *user, const char *line);   /* what is done, and what is lost, one line each */
  void *user;
} rl_repair;

/* RL_OK: nothing was damaged, or it is repaired. In all other cases nothing was changed: RL_ESTATE: a job has the
 * directory open. RL_ENOTFOUND, RL_EINVAL: `from` is no checkpoint directory, or another job's. RL_EDATA: it cannot be
 * repaired. */
rl_status rl_repair_run(const rl_repair *r);

#endif
