/* The pages of an LMDB file with any bytes in them are read without a crash and without an end.
 *
 * Input: changes of an image that is made first: offset (3 bytes, little-endian, from the end of the file on anew), how
 * many bytes (1; by % 16), the bytes. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "store/pages.h"
#include "store/state.h"

#define TABLES 16

static rl_buf image;
static int file = -1;
static char *path;

static void expect(bool holds)
{
  if (!holds) abort();
}

static void fill(rl_state *s)
{
  rl_state_op *op = NULL;
  static char text[5000];
  memset(text, 't', sizeof text);
  expect(rl_state_operator(s, "op", true, &op) == RL_OK);
  for (int64_t time = 1; time < 5; time++) {
    rl_state_update *u = NULL;
    rl_value old;
    int64_t stamp;
    expect(rl_state_update_new(op, 0, 1, &u) == RL_OK);
    for (int64_t i = 0; i < 150; i++) {
      expect(rl_state_slot(u, rl_int(i * time), &old, &stamp) == RL_OK);
      expect(rl_state_set(u, (uint32_t)i, rl_str(text, i % 50 == 0 ? sizeof text : 50), time) == RL_OK);
    }
    expect(rl_state_seal(op, time, &u, 1) == RL_OK);
    rl_state_end(s, time);
    expect(rl_state_flush(s) == RL_OK);
  }
  expect(rl_state_put_note(s, "script", "name", text, sizeof text) == RL_OK);
}

static void make_image(void)
{
  const char *tmp = getenv("TMPDIR");
  char *dir = rl_format("%s/rille-fuzz-XXXXXX", tmp && *tmp ? tmp : "/tmp");
  rl_state *s = NULL;
  expect(mkdtemp(dir) != NULL);
  expect(rl_state_open(&(rl_state_spec){.dir = dir, .overlay_bytes = (size_t)1 << 30}, &s) == RL_OK);
  fill(s);
  rl_state_close(s);
  char *data = rl_path_join(dir, "data.mdb");
  expect(rl_file_read_all(data, &image) == RL_OK && rl_dir_remove(dir) == RL_OK);
  rl_free(data);
  rl_free(dir);
  file = memfd_create("pages", MFD_CLOEXEC);
  expect(file >= 0 && pwrite(file, image.p, image.n, 0) == (ssize_t)image.n);
  path = rl_format("/proc/self/fd/%d", file);
}

typedef struct tables {
  rl_pages_tree trees[TABLES];
  size_t n;
} tables;

static void ignore(void *user, const char *what)
{
  (void)user;
  expect(what[0] != '\0');
}

static rl_status meet_table(void *user, const rl_pages_entry *e)
{
  tables *t = user;
  if (t->n < TABLES && rl_pages_subtree(e, &t->trees[t->n])) t->n++;
  return RL_OK;
}

static rl_status meet(void *user, const rl_pages_entry *e)
{
  uint64_t *sum = user;
  for (size_t i = 0; i < e->key_n; i++) *sum += (unsigned char)e->key[i];
  for (size_t i = 0; i < e->value_n; i++) *sum += (unsigned char)e->value[i];
  return RL_OK;
}

static void read_all(void)
{
  rl_pages *p = NULL;
  rl_pages_meta metas[2];
  uint64_t sum = 0;
  expect(rl_pages_open(path, ignore, NULL, &p) == RL_OK);
  if (rl_pages_metas(p, metas) == RL_OK) {
    for (int i = 0; i < 2; i++) {
      tables t = {0};
      rl_pages_begin(p, &metas[i], false);
      expect(rl_pages_walk(p, "main", &metas[i].main, meet_table, &t) == RL_OK);
      for (size_t k = 0; k < t.n; k++) expect(rl_pages_walk(p, "table", &t.trees[k], meet, &sum) == RL_OK);
      expect(rl_pages_check_free(p) == RL_OK);
    }
  }
  rl_pages_close(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
  size_t dirty_from, dirty_to;
  if (file < 0) make_image();
  dirty_from = image.n;
  dirty_to = 0;
  for (size_t at = 0; at + 4 <= size;) {
    size_t offset = ((size_t)input[at] | (size_t)input[at + 1] << 8 | (size_t)input[at + 2] << 16) % image.n;
    size_t n = input[at + 3] % 16;
    at += 4;
    if (n > size - at) n = size - at;
    if (n > image.n - offset) n = image.n - offset;
    expect(pwrite(file, input + at, n, (off_t)offset) == (ssize_t)n);
    if (offset < dirty_from) dirty_from = offset;
    if (offset + n > dirty_to) dirty_to = offset + n;
    at += n;
  }
  read_all();
  if (dirty_to > dirty_from) {
    size_t n = dirty_to - dirty_from;
    expect(pwrite(file, image.p + dirty_from, n, (off_t)dirty_from) == (ssize_t)n);
  }
  return 0;
}
