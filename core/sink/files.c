#include "sink/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"

#define OBJECT_HEADER "RLOBJ1\n"
#define FLUSH_BYTES ((size_t)256 << 10)
#define SUCCESS "_SUCCESS"

/* Preparing the directory. */

/* Is it a part of an earlier run that this one will not replace, or was left half written by one that was killed? */
static bool is_leftover(const char *name, uint32_t partitions)
{
  if (strncmp(name, ".part-", 6) == 0) return true;
  if (strncmp(name, "part-", 5) != 0) return false;
  char *end;
  unsigned long n = strtoul(name + 5, &end, 10);
  return end != name + 5 && *end == '\0' && n >= partitions;
}

static rl_status remove_file(const char *dir, const char *name)
{
  char *path = rl_path_join(dir, name);
  rl_status st = rl_fs_get()->unlink(path) != 0 && errno != ENOENT ? rl_fail_errno("cannot remove %s", path) : RL_OK;
  rl_free(path);
  return st;
}

static rl_status remove_leftovers(const char *dir, uint32_t partitions)
{
  DIR *d = opendir(dir);
  if (!d) return rl_fail_errno("cannot read directory %s", dir);
  rl_status st = RL_OK;
  while (st == RL_OK) {
    errno = 0;
    const struct dirent *e = readdir(d);
    if (!e) {
      if (errno != 0) st = rl_fail_errno("cannot read directory %s", dir);
      break;
    }
    if (is_leftover(e->d_name, partitions)) st = remove_file(dir, e->d_name);
  }
  closedir(d);
  return st;
}

rl_status rl_sink_prepare(const char *dir, bool overwrite, uint32_t partitions)
{
  struct stat info;
  bool exists = rl_fs_get()->stat(dir, &info) == 0;
  if (!exists) return rl_dir_make(dir);
  if (!S_ISDIR(info.st_mode)) return rl_fail(RL_EINVAL, "cannot write to %s: a directory is needed, not a file", dir);
  if (!overwrite) return rl_fail(RL_EINVAL, "output directory %s exists already; choose another, or remove it", dir);
  rl_status st = remove_file(dir, SUCCESS);
  return st == RL_OK ? remove_leftovers(dir, partitions) : st;
}

rl_status rl_sink_commit(const char *dir)
{
  char *path = rl_path_join(dir, SUCCESS);
  rl_status st = rl_file_replace(path, "", 0, false);
  rl_free(path);
  return st;
}

/* One part file: written under a dot name, renamed when whole. */

typedef struct writer {
  rl_sink_format format;
  char *path, *aside;
  int fd;
  rl_buf out;
} writer;

static rl_status writer_open(writer *w, const char *dir, rl_sink_format format, const rl_task *task)
{
  static _Atomic uint32_t serial; /* an attempt that was given up may still be writing */
  char *name = rl_format("part-%05" PRIu32, task->partition);
  char *hidden = rl_format(".%s.%" PRIu32 ".%" PRIu32, name, task->attempt, atomic_fetch_add(&serial, 1));
  w->format = format;
  w->path = rl_path_join(dir, name);
  w->aside = rl_path_join(dir, hidden);
  rl_free(hidden);
  rl_free(name);
  return rl_file_open(w->aside, O_WRONLY | O_CREAT | O_TRUNC, &w->fd);
}

static void writer_free(writer *w)
{
  rl_buf_free(&w->out);
  rl_free(w->aside);
  rl_free(w->path);
}

static void writer_drop(writer *w)
{
  rl_fs_get()->close(w->fd);
  rl_fs_get()->unlink(w->aside);
}

static rl_status flush(writer *w)
{
  errno = 0;
  rl_status st = rl_file_write(w->fd, w->path, w->out.p, w->out.n);
  if (st != RL_OK && (errno == ENOSPC || errno == EDQUOT)) {
    st = rl_fail(RL_EIO, "%s; make room there, or write elsewhere", rl_error_message());
  }
  rl_buf_clear(&w->out);
  return st;
}

static rl_status write_text(writer *w, const rl_chunk *c)
{
  rl_status st = RL_OK;
  for (uint32_t row = 0; row < c->n && st == RL_OK; row++) {
    rl_chunk_format(c, row, &w->out);
    rl_buf_putc(&w->out, '\n');
    if (w->out.n >= FLUSH_BYTES) st = flush(w);
  }
  return st;
}

static rl_status write_object(writer *w, const rl_chunk *c)
{
  size_t head = w->out.n;
  rl_buf_add(&w->out, "\0\0\0\0", 4);
  rl_chunk_encode(c, &w->out);
  size_t n = w->out.n - head - 4;
  if (n > UINT32_MAX) return rl_fail(RL_ELIMIT, "%s: %zu bytes are too much for one piece of the file", w->path, n);
  for (int i = 0; i < 4; i++) w->out.p[head + (size_t)i] = (char)(n >> (24 - 8 * i) & 0xff);
  return w->out.n >= FLUSH_BYTES ? flush(w) : RL_OK;
}

static rl_status write_all(writer *w, rl_pull *input)
{
  if (w->format == RL_SINK_OBJECTS) rl_buf_puts(&w->out, OBJECT_HEADER);
  for (;;) {
    rl_chunk *c = NULL;
    rl_status st = rl_pull_next(input, &c);
    if (st == RL_OK && !c) return flush(w);
    if (st == RL_OK) st = w->format == RL_SINK_TEXT ? write_text(w, c) : write_object(w, c);
    rl_chunk_unref(c);
    if (st != RL_OK) return st;
  }
}

/* Some file systems tell of a full disk only here. */
static rl_status publish(writer *w)
{
  if (rl_fs_get()->close(w->fd) != 0 && errno != EINTR) {
    rl_status st = rl_fail_errno("cannot write %s", w->path);
    rl_fs_get()->unlink(w->aside);
    return st;
  }
  if (rl_fs_get()->rename(w->aside, w->path) == 0) return RL_OK;
  rl_status st = rl_fail_errno("cannot rename %s to %s", w->aside, w->path);
  rl_fs_get()->unlink(w->aside);
  return st;
}

static rl_status write_part(const char *dir, rl_sink_format format, const rl_task *task, rl_pull *input)
{
  writer w = {0};
  rl_status st = writer_open(&w, dir, format, task);
  if (st == RL_OK) {
    st = write_all(&w, input);
    if (st == RL_OK) {
      st = publish(&w);
    } else {
      writer_drop(&w);
    }
  }
  writer_free(&w);
  return st;
}

/* The function: takes all, gives nothing. */

typedef struct sink_fn {
  rl_fn base;
  char *dir;
  rl_sink_format format;
} sink_fn;

typedef struct sink_pull {
  rl_pull base;
  const sink_fn *fn; /* its task holds it */
  const rl_task *task;
  rl_pull *input;
  bool done;
} sink_pull;

static rl_status sink_next(rl_pull *self, rl_chunk **out)
{
  sink_pull *p = (sink_pull *)self;
  *out = NULL;
  if (p->done) return RL_OK;
  p->done = true;
  return write_part(p->fn->dir, p->fn->format, p->task, p->input);
}

static void sink_close(rl_pull *self)
{
  sink_pull *p = (sink_pull *)self;
  rl_pull_close(p->input);
  rl_free(p);
}

static const rl_pull_class sink_pull_class = {sink_next, sink_close};

static rl_pull *open_one(const sink_fn *fn, const rl_task *task, rl_pull *input)
{
  sink_pull *p = RL_NEW(sink_pull);
  p->base.cls = &sink_pull_class;
  p->fn = fn;
  p->task = task;
  p->input = input;
  return &p->base;
}

static rl_status sink_open(rl_fn *const *fns, size_t n, const rl_task *task, rl_pull **inputs, size_t ninputs,
                           rl_pull **out)
{
  rl_pull *p = ninputs == 1 ? inputs[0] : rl_pull_concat(inputs, ninputs);
  for (size_t i = 0; i < n; i++) p = open_one((const sink_fn *)fns[i], task, p);
  *out = p;
  return RL_OK;
}

static void sink_destroy(rl_fn *fn)
{
  sink_fn *f = (sink_fn *)fn;
  rl_free(f->dir);
  rl_free(f);
}

static const rl_fn_class sink_class = {"file sink", sink_open, sink_destroy};

rl_fn *rl_sink_fn(const char *dir, rl_sink_format format)
{
  sink_fn *f = RL_NEW(sink_fn);
  atomic_init(&f->base.refs, 1);
  f->base.cls = &sink_class;
  f->dir = rl_strdup(dir);
  f->format = format;
  return &f->base;
}
