/* How much memory there is: the machine's, or what the control group leaves of it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "store/memory.h"

#define SHARE 0.6 /* of what there is, for rille.memory.limit: the rest is for the program, libraries and page cache */

static uint64_t machine_bytes(void)
{
  long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : UINT64_C(1) << 30;
}

/* The number in a control file; UINT64_MAX for "max", or when there is no such file. */
static uint64_t limit_in(const char *path)
{
  rl_buf text = {0};
  uint64_t n = UINT64_MAX;
  if (rl_file_read_all(path, &text) == RL_OK && text.n > 0 && *text.p >= '0' && *text.p <= '9')
    n = strtoull(rl_buf_cstr(&text), NULL, 10);
  rl_buf_free(&text);
  return n;
}

/* The least limit on the way from our group to the root: `<root><group>/<name>`, and the same for each parent. */
static uint64_t least_limit(const char *root, char *group, const char *name)
{
  uint64_t least = UINT64_MAX;
  for (;;) {
    char *path = rl_format("%s%s/%s", root, strcmp(group, "/") == 0 ? "" : group, name);
    uint64_t n = limit_in(path);
    rl_free(path);
    if (n < least) least = n;
    char *slash = strrchr(group, '/');
    if (!slash) return least;
    *slash = '\0';
  }
}

/* A line of /proc/self/cgroup: "0::/group" (v2), "4:memory:/group" (v1). */
static uint64_t limit_of_line(char *line)
{
  char *controllers = strchr(line, ':');
  char *group = controllers ? strchr(controllers + 1, ':') : NULL;
  if (!group) return UINT64_MAX;
  *group++ = '\0';
  if (controllers[1] == '\0') return least_limit("/sys/fs/cgroup", group, "memory.max");
  if (strstr(controllers + 1, "memory")) return least_limit("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
  return UINT64_MAX;
}

static uint64_t cgroup_bytes(void)
{
  rl_buf text = {0};
  uint64_t least = UINT64_MAX;
  if (rl_file_read_all("/proc/self/cgroup", &text) == RL_OK) {
    char *rest = NULL;
    for (char *line = strtok_r(rl_buf_cstr(&text), "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
      uint64_t n = limit_of_line(line);
      if (n < least) least = n;
    }
  }
  rl_buf_free(&text);
  return least;
}

uint64_t rl_memory_default_limit(void)
{
  uint64_t machine = machine_bytes(), group = cgroup_bytes();
  return (uint64_t)((double)(group < machine ? group : machine) * SHARE);
}
