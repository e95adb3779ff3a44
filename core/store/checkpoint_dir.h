/* Whose a checkpoint directory is. What a job keeps there is for its user alone: the directory, `log` and `state` have
 * mode 0700, the files in them 0600. */
#ifndef RL_STORE_CHECKPOINT_DIR_H
#define RL_STORE_CHECKPOINT_DIR_H

#include "base/status.h"

/* For the job that is about to use the directory, which is there: closes it to others where it is ours and holds
 * nothing else, and says so, or why not. RL_EINVAL: it is somebody else's, and anybody may write to it. */
rl_status rl_checkpoint_claim(const char *dir);

#endif
