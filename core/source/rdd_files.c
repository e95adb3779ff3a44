/* RDDs from files that are there now. */
#include <string.h>

#include "base/file.h"
#include "source/parts.h"
#include "source/sources.h"

#define DEFAULT_PARTITIONS 2

static bool is_hidden(const char *path, const char *asked)
{
  const char *base = rl_path_base(path);
  return (base[0] == '.' || base[0] == '_') && strcmp(path, asked) != 0;
}

rl_status rl_files_find_data(const char *path, rl_file_list *out)
{
  rl_file_list found = {0};
  rl_status st = rl_files_find(path, &found);
  if (st == RL_OK && found.n == 0 && !rl_path_is_dir(path)) st = rl_fail(RL_ENOTFOUND, "no file matches %s", path);
  for (size_t i = 0; st == RL_OK && i < found.n; i++) {
    if (is_hidden(found.v[i].path, path)) continue;
    rl_file_list_add(out, found.v[i]);
    found.v[i].path = NULL;
  }
  rl_file_list_clear(&found);
  return st;
}

static rl_status rdd_of(const char *path, rl_part_format format, uint32_t record_length, uint32_t partitions,
                        rl_rdd **out)
{
  rl_file_list files = {0};
  rl_status st = rl_files_find_data(path, &files);
  if (st == RL_OK) *out = rl_rdd_from_files(&files, format, record_length, partitions, NULL);
  return st;
}

rl_status rl_rdd_text_file(const char *path, uint32_t partitions, rl_rdd **out)
{
  return rdd_of(path, RL_PARTS_TEXT, 0, partitions > 0 ? partitions : DEFAULT_PARTITIONS, out);
}

rl_status rl_rdd_binary_records(const char *path, uint32_t record_length, rl_rdd **out)
{
  if (record_length == 0) return rl_fail(RL_EINVAL, "the record length must be greater than 0");
  return rdd_of(path, RL_PARTS_BINARY, record_length, 1, out);
}

rl_status rl_rdd_object_file(const char *path, rl_rdd **out) { return rdd_of(path, RL_PARTS_OBJECTS, 0, 1, out); }
