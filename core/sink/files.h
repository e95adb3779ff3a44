/* Text and object files from the partitions of an RDD: dir/part-00000, part-00001, ..., each written aside (a dot name
 * beside it) and renamed when whole, so a reader never sees half a file; then _SUCCESS.
 *
 * Used as the last function of a job of kind RL_JOB_RUN: rdd' = narrow op with rl_sink_fn over rdd; after the job
 * rl_sink_commit. */
#ifndef RL_SINK_FILES_H
#define RL_SINK_FILES_H

#include "data/fn.h"

typedef enum rl_sink_format { RL_SINK_TEXT, RL_SINK_OBJECTS } rl_sink_format;

/* Makes the directory (with parents). An existing one is RL_EINVAL unless `overwrite` (a batch run again): parts are
 * then replaced, parts beyond `partitions` removed, _SUCCESS removed first. */
rl_status rl_sink_prepare(const char *dir, bool overwrite, uint32_t partitions);
/* TEXT: rl_chunk_format and \n a record. OBJECTS: file header "RLOBJ1\n", then rl_chunk_encode after 4 bytes big-endian
 * length each. */
rl_fn *rl_sink_fn(const char *dir, rl_sink_format format);
rl_status rl_sink_commit(const char *dir); /* _SUCCESS */

#endif
