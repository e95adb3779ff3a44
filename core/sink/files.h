/* Text and object files from the partitions of an RDD: dir/part-00000, part-00001, ..., each written aside (a dot name
 * beside it), synced, and renamed when whole; then _SUCCESS. So a reader never sees half a file, and one that sees
 * _SUCCESS sees all parts of one run and no others: a batch run again takes _SUCCESS away first, and puts it back when
 * its parts are in place. Each step is on disk before the next: that also holds after a power cut.
 *
 * Used as the last function of a job of kind RL_JOB_RUN: rl_sink_prepare; rdd' = narrow op with rl_sink_fn over rdd;
 * after the job rl_sink_commit. Whatever failed or was killed in between: the same three again make it whole. */
#ifndef RL_SINK_FILES_H
#define RL_SINK_FILES_H

#include "data/fn.h"

typedef enum rl_sink_format { RL_SINK_TEXT, RL_SINK_OBJECTS } rl_sink_format;

/* Makes the directory (with parents). An existing one is RL_EINVAL unless `overwrite` (a batch run again): parts are
 * then replaced; _SUCCESS is removed first, then parts beyond `partitions` and what killed attempts left. */
rl_status rl_sink_prepare(const char *dir, bool overwrite, uint32_t partitions);
/* TEXT: rl_chunk_format and \n a record. OBJECTS: file header "RLOBJ1\n", then rl_chunk_encode after 4 bytes big-endian
 * length each. */
rl_fn *rl_sink_fn(const char *dir, rl_sink_format format);
rl_status rl_sink_commit(const char *dir); /* _SUCCESS */

#endif
