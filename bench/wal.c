/* bench_wal DIR: appends to a write-ahead log, or writes as plainly as can be. Answers each line of its input with one:
 *
 *   log RECORD BYTES   seconds that it takes to append BYTES in records of RECORD bytes from one thread, until they are
 *                      on disk; then the number of groups they made
 *   plain              seconds for one write and one fdatasync each of what the groups of the last `log` wrote, from
 *                      one buffer at the end of one file */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "store/wal.h"

static _Noreturn void die(const char *what)
{
  fprintf(stderr, "bench_wal: %s\n", what);
  exit(1);
}

static void check(rl_status st)
{
  if (st != RL_OK) die(rl_error_message());
}

/* What was written between two syncs. */
static struct {
  size_t *v, n, cap, now;
} groups;

static ssize_t counting_pwritev(int fd, const struct iovec *v, int n, off_t at)
{
  ssize_t k = pwritev(fd, v, n, at);
  if (k > 0) groups.now += (size_t)k;
  return k;
}

static int counting_fdatasync(int fd)
{
  groups.v = rl_grow(groups.v, &groups.cap, groups.n + 1, sizeof *groups.v);
  groups.v[groups.n++] = groups.now;
  groups.now = 0;
  return fdatasync(fd);
}

static rl_bytes *noise(size_t n)
{
  rl_bytes *b = rl_bytes_new(n);
  if (!b) die("out of memory");
  uint64_t x = 88172645463325252;
  for (size_t i = 0; i < n; i++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    b->data[i] = (char)x;
  }
  b->n = n;
  return b;
}

/* Short records are copied, blocks referenced, as the engine does it. */
static double append(const char *dir, size_t record, size_t bytes)
{
  rl_wal *w = NULL;
  rl_wal_spec spec = {.dir = dir};
  rl_bytes *b = noise(record);
  rl_wal_part part = {record < 4096 ? NULL : b, b->data, record};
  uint64_t seq = 0;
  check(rl_dir_remove(dir));
  check(rl_wal_open(&spec, &w));
  groups.n = groups.now = 0;
  int64_t begun = rl_mono_ns();
  for (size_t i = 0; i < bytes / record; i++) check(rl_wal_append(w, 1, &part, 1, &seq));
  check(rl_wal_wait(w, seq));
  double seconds = (double)(rl_mono_ns() - begun) / 1e9;
  rl_wal_stats stats;
  rl_wal_stats_read(w, &stats);
  check(rl_wal_close(w));
  groups.n = stats.groups; /* without the mark of the end */
  rl_bytes_unref(b);
  return seconds;
}

static double write_plainly(const char *dir)
{
  char *path = rl_path_join(dir, "plain");
  size_t most = 1;
  check(rl_dir_remove(dir));
  check(rl_dir_make(dir));
  for (size_t i = 0; i < groups.n; i++) most = groups.v[i] > most ? groups.v[i] : most;
  rl_bytes *b = noise(most);
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) die(strerror(errno));
  int64_t begun = rl_mono_ns();
  for (size_t i = 0; i < groups.n; i++) {
    if (write(fd, b->data, groups.v[i]) != (ssize_t)groups.v[i] || fdatasync(fd) != 0) die(strerror(errno));
  }
  double seconds = (double)(rl_mono_ns() - begun) / 1e9;
  close(fd);
  rl_bytes_unref(b);
  rl_free(path);
  return seconds;
}

int main(int argc, char **argv)
{
  char line[128];
  size_t record, bytes;
  if (argc != 2) die("usage: bench_wal DIR");
  rl_fs fs = rl_fs_system;
  fs.pwritev = counting_pwritev;
  fs.fdatasync = counting_fdatasync;
  rl_fs_set(&fs);
  while (fgets(line, sizeof line, stdin)) {
    if (sscanf(line, "log %zu %zu", &record, &bytes) == 2 && record > 0) {
      double seconds = append(argv[1], record, bytes);
      printf("%.6f %zu\n", seconds, groups.n);
    } else if (strcmp(line, "plain\n") == 0) {
      printf("%.6f\n", write_plainly(argv[1]));
    } else {
      die("what?");
    }
    if (fflush(stdout) != 0) die(strerror(errno));
  }
  rl_free(groups.v);
  return 0;
}
