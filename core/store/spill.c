#include "store/spill.h"

#include <fcntl.h>
#include <inttypes.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/spill_folder.h"

/* Compression ------------------------------------------------------------------------------------------------------ */

#define SQUEEZE_LEAST 64 /* less is not worth it */

bool rl_squeeze(const char *p, size_t n, rl_buf *out)
{
  if (n < SQUEEZE_LEAST || n > LZ4_MAX_INPUT_SIZE) return false;
  uint64_t length = n;
  size_t start = out->n, most = n - n / 16;
  rl_buf_reserve(out, most);
  rl_buf_add(out, &length, sizeof length);
  int k = LZ4_compress_default(p, out->p + out->n, (int)n, (int)(most - sizeof length));
  out->n = k > 0 ? out->n + (size_t)k : start;
  return k > 0;
}

rl_status rl_unsqueeze(const char *p, size_t n, rl_buf *out)
{
  uint64_t length;
  if (n < sizeof length) return rl_fail(RL_EDATA, "malformed compressed bytes: cut short");
  memcpy(&length, p, sizeof length);
  if (length > LZ4_MAX_INPUT_SIZE) return rl_fail(RL_EDATA, "malformed compressed bytes: length %" PRIu64, length);
  rl_buf_reserve(out, length);
  int k = LZ4_decompress_safe(p + sizeof length, out->p + out->n, (int)(n - sizeof length), (int)length);
  if (k < 0 || (uint64_t)k != length) return rl_fail(RL_EDATA, "malformed compressed bytes");
  out->n += length;
  return RL_OK;
}

/* Frames ----------------------------------------------------------------------------------------------------------- */

#define FRAME_MAGIC UINT32_C(0x4c505352) /* "RSPL" */
enum { FRAME_SQUEEZED = 1 };

typedef struct frame {
  uint32_t magic, flags;
  uint64_t at, n; /* where it lies, bytes behind it: a frame read from elsewhere is not taken for this one */
  uint64_t sum;   /* of the bytes, seeded with that of the fields above */
} frame;

static uint64_t frame_sum(const frame *f, const char *p)
{
  return rl_hash_bytes(p, f->n, rl_hash_bytes(f, offsetof(frame, sum), 0));
}

static void make_frame(const char *p, size_t n, rl_buf *out)
{
  frame f = {.magic = FRAME_MAGIC};
  rl_buf_add(out, &f, sizeof f);
  if (rl_squeeze(p, n, out)) f.flags = FRAME_SQUEEZED;
  else rl_buf_add(out, p, n);
  f.n = out->n - sizeof f;
  memcpy(out->p, &f, sizeof f);
}

static void sign_frame(rl_buf *b, uint64_t at)
{
  frame f;
  memcpy(&f, b->p, sizeof f);
  f.at = at;
  f.sum = frame_sum(&f, b->p + sizeof f);
  memcpy(b->p, &f, sizeof f);
}

/* What is wrong with a frame that was read whole; NULL: nothing. */
static const char *check_frame(const rl_buf *b, const rl_extent *e)
{
  frame f;
  memcpy(&f, b->p, sizeof f);
  if (f.magic != FRAME_MAGIC) return "nothing begins there";
  if (f.at != e->at || f.n != e->n - sizeof f) return "another extent lies there";
  return f.sum == frame_sum(&f, b->p + sizeof f) ? NULL : "wrong checksum";
}

/* Files ------------------------------------------------------------------------------------------------------------ */

struct rl_spill_file {
  rl_spill_file *next, **at; /* of the spill's list */
  char *path;
  int fd;
  uint64_t end, live; /* bytes ever given out, and not given back */
};

struct rl_spill {
  pthread_mutex_t *lock; /* the manager's; guards all below */
  pthread_cond_t opened;
  char *dir;
  rl_spill_folder folder; /* changed by the thread that has `opening` */
  bool opening, closed;
  rl_spill_file *files, *current;
  uint64_t serial, bytes;
  struct chore *chores;
  size_t nchores, chores_cap;
  bool sweeping;
};

rl_spill *rl_spill_new(const char *dir, pthread_mutex_t *lock)
{
  rl_spill *s = RL_NEW(rl_spill);
  s->lock = lock;
  s->dir = rl_strdup(dir);
  s->folder = RL_SPILL_NO_FOLDER;
  if (pthread_cond_init(&s->opened, NULL) != 0) abort();
  rl_spill_folder_clean(dir);
  return s;
}

void rl_spill_close(rl_spill *s)
{
  pthread_mutex_lock(s->lock);
  s->closed = true;
  while (s->opening) pthread_cond_wait(&s->opened, s->lock);
  rl_spill_folder folder = s->folder;
  s->folder = RL_SPILL_NO_FOLDER;
  pthread_mutex_unlock(s->lock);
  rl_spill_folder_remove(&folder);
}

static void close_file(rl_spill_file *f, bool remove)
{
  if (remove && rl_file_unlink(f->path) != RL_OK) rl_warn("%s", rl_error_message());
  if (rl_file_close(f->fd, f->path) != RL_OK) rl_warn("%s", rl_error_message());
  rl_free(f->path);
  rl_free(f);
}

void rl_spill_delete(rl_spill *s)
{
  rl_spill_close(s);
  rl_spill_sweep(s);
  while (s->files) {
    rl_spill_file *f = s->files;
    s->files = f->next;
    close_file(f, false);
  }
  pthread_cond_destroy(&s->opened);
  rl_free(s->dir);
  rl_free(s);
}

static rl_status open_file(rl_spill *s, uint64_t serial, rl_spill_file **out)
{
  rl_status st = s->folder.path ? RL_OK : rl_spill_folder_make(s->dir, &s->folder);
  if (st != RL_OK) return st;
  char *name = rl_format("%" PRIu64 ".spill", serial);
  char *path = rl_path_join(s->folder.path, name);
  int fd;
  st = rl_file_open(path, O_RDWR | O_CREAT | O_EXCL, &fd);
  if (st == RL_OK) {
    *out = RL_NEW(rl_spill_file);
    **out = (rl_spill_file){.path = path, .fd = fd};
  } else {
    rl_free(path);
  }
  rl_free(name);
  return st;
}

/* Makes a new file the current one. Locked; gives the lock back meanwhile. Others wait, so there is one folder. */
static rl_status next_file(rl_spill *s)
{
  s->opening = true;
  uint64_t serial = s->serial++;
  rl_spill_file *f = NULL;
  pthread_mutex_unlock(s->lock);
  rl_status st = open_file(s, serial, &f);
  pthread_mutex_lock(s->lock);
  s->opening = false;
  pthread_cond_broadcast(&s->opened);
  if (st != RL_OK) return st;
  f->next = s->files;
  f->at = &s->files;
  if (f->next) f->next->at = &f->next;
  s->files = f;
  s->current = f;
  return RL_OK;
}

static bool has_room(const rl_spill_file *f, uint64_t n)
{
  return f && (f->end == 0 || f->end + n <= RL_SPILL_FILE_BYTES);
}

static rl_status allocate(rl_spill *s, uint64_t n, rl_extent *out)
{
  rl_status st = RL_OK;
  pthread_mutex_lock(s->lock);
  while (st == RL_OK && !s->closed && !has_room(s->current, n)) {
    if (s->opening) pthread_cond_wait(&s->opened, s->lock);
    else st = next_file(s);
  }
  if (st == RL_OK && s->closed) st = rl_fail(RL_ECLOSED, "the context was stopped: nothing is spilled any more");
  if (st == RL_OK) {
    rl_spill_file *f = s->current;
    *out = (rl_extent){.file = f, .at = f->end, .n = n};
    f->end += n;
    f->live += n;
    s->bytes += n;
  }
  pthread_mutex_unlock(s->lock);
  return st;
}

/* What is still to be done to files. In order, by one thread at a time, so that a file is closed behind all else. */
typedef struct chore {
  rl_spill_file *file;
  uint64_t at, n; /* to be punched out; n == 0: the file is empty, and goes */
} chore;

static _Thread_local unsigned holding_files;

void rl_memory_hold_files(bool on)
{
  if (on) holding_files++;
  else holding_files--;
}

static void add_chore(rl_spill *s, chore one)
{
  s->chores = rl_grow(s->chores, &s->chores_cap, s->nchores + 1, sizeof *s->chores);
  s->chores[s->nchores++] = one;
}

/* Takes an extent out of the tables. Locked. */
static void give_back(rl_spill *s, const rl_extent *e)
{
  rl_spill_file *f = e->file;
  f->live -= e->n;
  s->bytes -= e->n;
  if (f->live > 0) {
    add_chore(s, (chore){f, e->at, e->n});
    return;
  }
  if (s->current == f) s->current = NULL;
  *f->at = f->next;
  if (f->next) f->next->at = f->at;
  add_chore(s, (chore){.file = f});
}

/* Neighbours are punched out together. */
void rl_spill_release(rl_spill *s, const rl_extent *v, size_t n)
{
  pthread_mutex_lock(s->lock);
  for (size_t i = 0, k; i < n; i = k) {
    rl_extent e = v[i];
    for (k = i + 1; k < n && v[k].file == e.file && v[k].at == e.at + e.n; k++) e.n += v[k].n;
    give_back(s, &e);
  }
  pthread_mutex_unlock(s->lock);
  if (!holding_files) rl_spill_sweep(s);
}

static void do_chores(const chore *v, size_t n, bool closed)
{
  for (size_t i = 0; i < n; i++) {
    if (v[i].n == 0) close_file(v[i].file, !closed);
    else if (!closed) rl_file_punch(v[i].file->fd, (int64_t)v[i].at, (int64_t)v[i].n);
  }
}

void rl_spill_sweep(rl_spill *s)
{
  pthread_mutex_lock(s->lock);
  bool mine = !s->sweeping;
  s->sweeping = true;
  while (mine && s->nchores > 0) {
    chore *v = s->chores;
    size_t n = s->nchores;
    bool closed = s->closed;
    s->chores = NULL;
    s->nchores = s->chores_cap = 0;
    pthread_mutex_unlock(s->lock);
    do_chores(v, n, closed);
    rl_free(v);
    pthread_mutex_lock(s->lock);
  }
  if (mine) s->sweeping = false;
  pthread_mutex_unlock(s->lock);
}

rl_status rl_spill_write(rl_spill *s, const char *p, size_t n, rl_extent *out)
{
  rl_buf b = {0};
  make_frame(p, n, &b);
  rl_status st = allocate(s, b.n, out);
  if (st == RL_OK) {
    sign_frame(&b, out->at);
    st = rl_file_pwrite(out->file->fd, out->file->path, b.p, b.n, (int64_t)out->at);
    if (st != RL_OK) rl_spill_release(s, out, 1);
  }
  if (st == RL_EIO || st == RL_ENOTFOUND) {
    rl_error_prefix("cannot spill to disk (rille.local.dir): ");
    st = rl_fail(RL_EIO, "%s", rl_error_message());
  }
  rl_buf_free(&b);
  return st;
}

static rl_status damaged(const rl_extent *e, const char *what)
{
  return rl_fail(RL_EDATA, "damaged spill file %s at offset %" PRIu64 " (%" PRIu64 " bytes): %s", e->file->path,
                 e->at, e->n, what);
}

rl_status rl_spill_read(rl_spill *s, const rl_extent *e, rl_buf *out)
{
  (void)s;
  rl_buf b = {0};
  size_t got = 0;
  rl_buf_clear(out);
  rl_buf_reserve(&b, e->n);
  rl_status st = rl_file_pread(e->file->fd, e->file->path, b.p, e->n, (int64_t)e->at, &got);
  b.n = got;
  const char *wrong = NULL;
  frame f;
  if (st == RL_OK) wrong = got < e->n ? "cut short" : check_frame(&b, e);
  if (st == RL_OK && wrong) st = damaged(e, wrong);
  if (st == RL_OK) {
    memcpy(&f, b.p, sizeof f);
    if (f.flags != FRAME_SQUEEZED) rl_buf_add(out, b.p + sizeof f, f.n);
    else if (rl_unsqueeze(b.p + sizeof f, f.n, out) != RL_OK) st = damaged(e, "malformed compressed bytes");
  }
  rl_buf_free(&b);
  return st;
}

uint64_t rl_spill_bytes(const rl_spill *s) { return s->bytes; }
