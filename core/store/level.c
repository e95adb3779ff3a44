#include <string.h>

#include "store/memory.h"

static const struct {
  const char *name;
  rl_level level;
} levels[] = {
  {"NONE", {0}},
  {"MEMORY_ONLY", {.memory = true, .copies = 1}},
  {"MEMORY_ONLY_2", {.memory = true, .copies = 2}},
  {"MEMORY_ONLY_SER", {.memory = true, .serialised = true, .copies = 1}},
  {"MEMORY_ONLY_SER_2", {.memory = true, .serialised = true, .copies = 2}},
  {"MEMORY_AND_DISK", {.memory = true, .disk = true, .copies = 1}},
  {"MEMORY_AND_DISK_2", {.memory = true, .disk = true, .copies = 2}},
  {"MEMORY_AND_DISK_SER", {.memory = true, .disk = true, .serialised = true, .copies = 1}},
  {"MEMORY_AND_DISK_SER_2", {.memory = true, .disk = true, .serialised = true, .copies = 2}},
  {"DISK_ONLY", {.disk = true, .serialised = true, .copies = 1}},
  {"DISK_ONLY_2", {.disk = true, .serialised = true, .copies = 2}},
  {"DISK_ONLY_3", {.disk = true, .serialised = true, .copies = 3}},
  {"OFF_HEAP", {.memory = true, .off_heap = true, .disk = true, .serialised = true, .copies = 1}},
};

rl_status rl_level_parse(const char *name, rl_level *out)
{
  for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
    if (strcmp(name, levels[i].name) != 0) continue;
    *out = levels[i].level;
    return RL_OK;
  }
  return rl_fail(RL_EINVAL,
                 "'%s' is no storage level; it must be MEMORY_ONLY, MEMORY_ONLY_SER, MEMORY_AND_DISK, MEMORY_AND_DISK_SER "
                 "or DISK_ONLY, each also with _2, DISK_ONLY_3, OFF_HEAP or NONE",
                 name);
}

const char *rl_level_name(rl_level l)
{
  for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
    const rl_level *k = &levels[i].level;
    if (k->memory == l.memory && k->disk == l.disk && k->serialised == l.serialised && k->off_heap == l.off_heap && k->copies == l.copies) return levels[i].name;
  }
  return "NONE";
}
