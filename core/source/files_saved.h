/* What a file stream has in the log of a durable job: for its own next start, and for who looks at the log. */
#ifndef RL_SOURCE_FILES_SAVED_H
#define RL_SOURCE_FILES_SAVED_H

#include "base/buf.h"
#include "source/paths.h"

typedef struct rl_files_saved {
  int64_t since, looked; /* files are newer than this; the batch of the last look that worked, or RL_NO_TIME */
  rl_file_list files;    /* of the batch */
} rl_files_saved;

/* RL_EDATA unless the bytes are that and no more; *out is to be cleared in any case. */
rl_status rl_files_saved_read(const char *p, size_t n, rl_files_saved *out);
void rl_files_saved_clear(rl_files_saved *s);

#endif
