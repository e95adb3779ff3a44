/* Files as the partitions of an RDD. Each partition is a stretch of one file, which its task opens.
 *
 * Text: the line starts of a file are 0 and every byte behind a whole line end. A partition has the lines that start in
 * its stretch, also when the last of them ends behind it. A file is read up to the size it had when it was listed: what
 * was appended since is not seen, and one that has shrunk is an error of the task. */
#ifndef RL_SOURCE_PARTS_H
#define RL_SOURCE_PARTS_H

#include "plan/rdd.h"
#include "source/paths.h"

typedef enum rl_part_format { RL_PARTS_TEXT, RL_PARTS_BINARY, RL_PARTS_OBJECTS } rl_part_format;

/* Takes over the list. record_length: BINARY. least: TEXT is split so that there are at least so many partitions where
 * the size allows. Large text files are split in any case. advice: what the message of a missing file ends with; NULL:
 * nothing. */
rl_rdd *rl_rdd_from_files(rl_file_list *files, rl_part_format format, uint32_t record_length, uint32_t least,
                          const char *advice);

/* As rl_files_find, without what is not data: names that begin with . or _, as _SUCCESS and files being written. A file
 * that is named itself is taken whatever its name. RL_ENOTFOUND when nothing is there. */
rl_status rl_files_find_data(const char *path, rl_file_list *out);

#endif
