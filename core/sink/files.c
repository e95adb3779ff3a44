#include "sink/files.h"

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

/* A full disk has a remedy. */
static rl_status hint(rl_status st)
{
  if (st != RL_OK && (errno == ENOSPC || errno == EDQUOT)) {
    return rl_fail(RL_EIO, "%s; make room there, or write elsewhere", rl_error_message());
  }
  return st;
}

/* Preparing the directory. */

typedef struct leftovers {
  const char *dir;
  uint32_t partitions;
} leftovers;

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
  rl_status st = rl_file_unlink(path);
  rl_free(path);
  return st;
}

static rl_status remove_leftover(void *user, const char *name)
{
  const leftovers *l = user;
  return is_leftover(name, l->partitions) ? remove_file(l->dir, name) : RL_OK;
}

static rl_status sync_entry_of(const char *dir)
{
  char *parent = rl_path_join(dir, "..");
  rl_status st = rl_dir_try_sync(parent);
  rl_free(parent);
  return st;
}

/* That _SUCCESS is gone is on disk before anything else changes: it never stands over parts of two runs. */
static rl_status begin_again(const char *dir, uint32_t partitions)
{
  leftovers l = {dir, partitions};
  rl_status st = sync_entry_of(dir); /* who made it may have been killed before that */
  if (st == RL_OK) st = remove_file(dir, SUCCESS);
  if (st == RL_OK) st = rl_dir_try_sync(dir);
  return st == RL_OK ? rl_dir_each(dir, remove_leftover, &l) : st;
}

rl_status rl_sink_prepare(const char *dir, bool overwrite, uint32_t partitions)
{
  struct stat info;
  if (rl_fs_get()->stat(dir, &info) != 0) {
    return errno == ENOENT ? hint(rl_dir_make_shared(dir)) : rl_fail_errno("cannot look at %s", dir);
  }
  if (!S_ISDIR(info.st_mode)) return rl_fail(RL_EINVAL, "cannot write to %s: a directory is needed, not a file", dir);
  if (!overwrite) return rl_fail(RL_EINVAL, "output directory %s exists already; choose another, or remove it", dir);
  return hint(begin_again(dir, partitions));
}

/* An empty file, of which only the name counts. */
static rl_status make_success(const char *dir)
{
  char *path = rl_path_join(dir, SUCCESS);
  int fd = -1;
  rl_status st = rl_file_open(path, O_WRONLY | O_CREAT | O_TRUNC, &fd);
  if (st == RL_OK) st = rl_file_close(fd, path);
  rl_free(path);
  return st;
}

rl_status rl_sink_commit(const char *dir)
{
  rl_status st = rl_dir_try_sync(dir);
  if (st == RL_OK) st = make_success(dir);
  if (st == RL_OK) st = rl_dir_try_sync(dir);
  return hint(st);
}

/* One part file: written under a dot name, renamed when it is whole and on disk. */

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
  int reason = errno;
  if (w->fd >= 0) rl_fs_get()->close(w->fd);
  rl_fs_get()->unlink(w->aside);
  errno = reason;
}

static rl_status flush(writer *w)
{
  rl_status st = hint(rl_file_write(w->fd, w->path, w->out.p, w->out.n));
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

/* Some file systems tell of a full disk only when it is synced or closed. */
static rl_status publish(writer *w)
{
  rl_status st = rl_file_sync_data(w->fd, w->path);
  rl_status closed = rl_file_close(w->fd, w->path);
  w->fd = -1;
  if (st == RL_OK) st = closed;
  return hint(st == RL_OK ? rl_file_rename(w->aside, w->path) : st);
}

static rl_status write_part(const char *dir, rl_sink_format format, const rl_task *task, rl_pull *input)
{
  writer w = {0};
  rl_status st = hint(writer_open(&w, dir, format, task));
  if (st == RL_OK) {
    st = write_all(&w, input);
    if (st == RL_OK) st = publish(&w);
    if (st != RL_OK) writer_drop(&w); /* the first error is the one to tell */
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
