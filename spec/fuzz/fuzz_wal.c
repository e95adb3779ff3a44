/* The reader of the write-ahead log: whatever lies in the directory is refused or read, opening and verifying agree,
 * and what was read once is read again.
 *
 * Input: the first byte says how the rest is made a log. 0: it is a segment as it is. Otherwise a segment with right
 * headers is made of it, and frames, so that what stands behind the checksums is reached: for each byte c, c % 4 = 0:
 * bytes as they are, 1: a whole frame, 2: one of the wrong sequence, 3: a mark; c / 4 bytes of payload. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/wal_impl.h"

static void expect(bool holds)
{
  if (!holds) abort();
}

static rl_status add_record(void *user, const rl_wal_record *r)
{
  rl_buf_add(user, &r->at, sizeof r->at);
  rl_buf_add(user, r->p, r->at.length);
  return RL_OK;
}

static void ignore(void *user, rl_log_level level, const char *line)
{
  (void)user;
  (void)level;
  (void)line;
}

enum { BYTES, WHOLE, MISPLACED, MARK, KINDS };

static void add_frame(rl_buf *out, unsigned kind, uint64_t id, uint64_t *seq, uint32_t *index, const uint8_t *p,
                      size_t n)
{
  rl_wal_frame f = {.type = kind == MARK ? RL_WAL_MARK : 1, .length = kind == MARK ? 0 : (uint32_t)n, .seq = *seq};
  f.index = kind == WHOLE && n % 3 ? *index : 0;
  if (kind == MISPLACED) f.seq += n;
  struct iovec v = {(void *)p, f.length};
  f.payload_sum = rl_wal_payload_sum(&v, 1);
  rl_wal_frame_sign(&f, id, out->n);
  rl_buf_add(out, &f, sizeof f);
  rl_buf_add(out, p, f.length);
  *index = f.index + 1;
  if (kind == WHOLE) ++*seq;
}

static void make_segment(rl_buf *out, const uint8_t *input, size_t size)
{
  rl_wal_header h = rl_wal_header_make(42, 1, 0);
  uint64_t seq = 1;
  uint32_t index = 0;
  for (int i = 0; i < RL_WAL_COPIES; i++) rl_buf_add(out, &h, sizeof h);
  for (size_t i = 0, n; i < size; i += n) {
    unsigned kind = input[i] % KINDS;
    n = input[i++] / KINDS;
    if (n > size - i) n = size - i;
    if (kind == BYTES) rl_buf_add(out, input + i, n);
    else add_frame(out, kind, h.id, &seq, &index, input + i, n);
  }
}

/* The log is closed again, which marks its end; a second opening finds the same. */
static rl_status open_and_close(const char *dir, rl_buf *records)
{
  rl_wal *w = NULL;
  rl_wal_spec spec = {.dir = dir, .replay = add_record, .user = records};
  rl_status st = rl_wal_open(&spec, &w);
  if (st == RL_OK) expect(rl_wal_close(w) == RL_OK);
  return st;
}

static int no_sync(int fd)
{
  (void)fd;
  return 0;
}

static const char *set_up(void)
{
  static char dir[] = "/tmp/rille-fuzz-XXXXXX";
  static rl_fs fs;
  fs = rl_fs_system;
  fs.fsync = fs.fdatasync = no_sync;
  rl_fs_set(&fs);
  rl_log_set_sink(ignore, NULL);
  expect(mkdtemp(dir) != NULL);
  return dir;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
  static const char *root;
  if (!root) root = set_up();
  if (size == 0) return 0;
  rl_buf segment = {0}, first = {0}, second = {0}, verified = {0};
  char *dir = rl_path_join(root, "log"), *path = rl_path_join(dir, "log-0000000000000001");
  if (input[0] == 0) rl_buf_add(&segment, input + 1, size - 1);
  else make_segment(&segment, input + 1, size - 1);
  expect(rl_dir_make(dir) == RL_OK && rl_file_replace(path, segment.p, segment.n, false) == RL_OK);

  rl_status checked = rl_wal_verify(dir, &(rl_wal_verifier){add_record, NULL, &verified});
  rl_status st = open_and_close(dir, &first);
  expect(st == checked && (st == RL_OK || st == RL_EDATA || st == RL_EUNSUPPORTED));
  expect(first.n <= verified.n && (first.n == 0 || memcmp(first.p, verified.p, first.n) == 0));
  if (st == RL_OK) {
    expect(open_and_close(dir, &second) == RL_OK);
    expect(second.n == first.n && (first.n == 0 || memcmp(first.p, second.p, first.n) == 0));
  }
  expect(rl_file_unlink(path) == RL_OK);
  rl_buf_free(&segment);
  rl_buf_free(&first);
  rl_buf_free(&second);
  rl_buf_free(&verified);
  rl_free(dir);
  rl_free(path);
  return 0;
}
