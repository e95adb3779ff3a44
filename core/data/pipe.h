/* Records through an external process (base/process.h), one for each partition: a line for each record goes in, as
 * rl_chunk_format writes it; each line that comes out is a record of one bytes value. The process must end with status
 * 0. It is started also for a partition without records. */
#ifndef RL_DATA_PIPE_H
#define RL_DATA_PIPE_H

#include "data/fn.h"

/* argv and env as rl_process_start has them, copied. `site`: where the operation was declared, for messages; or NULL. */
rl_fn *rl_fn_pipe(const char *const *argv, const char *const *env, const char *site);

#endif
