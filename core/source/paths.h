/* Finding files: a file, a directory's files, or a glob of either. */
#ifndef RL_SOURCE_PATHS_H
#define RL_SOURCE_PATHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct rl_file {
  char *path; /* owned */
  int64_t size;
  int64_t mtime_ms;
} rl_file;

typedef struct rl_file_list {
  rl_file *v;
  size_t n, cap;
} rl_file_list;

void rl_file_list_add(rl_file_list *l, rl_file file); /* takes over the path */
void rl_file_list_clear(rl_file_list *l);

const char *rl_path_base(const char *path); /* behind the last slash */

/* All regular files (symbolic links followed) at `path`, in order of their paths, appended to *out (which may hold some
 * also on failure): the files of a directory; without glob characters also the one file of that name; of a glob (* ? []
 * {a,b}) all files that match and the files of all directories that match. Not recursive. RL_ENOTFOUND when there is no
 * such file or directory (a glob without a match: when the directory in front of its first glob character does not
 * exist), RL_EIO when a directory cannot be read. */
rl_status rl_files_find(const char *path, rl_file_list *out);

#endif
