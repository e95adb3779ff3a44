/* The place of a file stream that a job has no more (source/files_saved.h has the form, which differs from those of
 * other inputs in its first byte). While the stream is there, what keeps it from reading a file again are the files of
 * all its batches; when only one record goes on to later batches, that one must have them all. */
#ifndef RL_STORE_FILES_PLACE_H
#define RL_STORE_FILES_PLACE_H

#include "base/buf.h"
#include "base/status.h"

typedef struct rl_files_place {
  const char *files; /* as they are in the bytes */
  size_t n;
  uint64_t count;
  size_t head; /* bytes in front of the count */
} rl_files_place;

/* False: the bytes are no file stream's; there is no current error then. */
bool rl_files_place_read(const char *p, size_t n, rl_files_place *out);

/* Appends the place whose bytes are at `newest` with the files of all n places; of[0] is that one. */
void rl_files_place_join(const char *newest, const rl_files_place *of, size_t n, rl_buf *out);
/* Appends the place at `bytes`, which was read as `of`, with no files at all: of a batch that had none. */
void rl_files_place_none(const char *bytes, const rl_files_place *of, rl_buf *out);

#endif
