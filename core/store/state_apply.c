#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "store/state_impl.h"

#define RETRY_NS INT64_C(1000000000)
#define NS_PER_S INT64_C(1000000000)
#define TOGETHER_ENTRIES ((size_t)8192) /* versions that follow each other are moved at once up to here */
#define FULL_BYTES ((uint64_t)1024 * 1024) /* LMDB writes less than that at once */
#define TRIM_BYTES ((size_t)16 * 1024 * 1024)

/* What may go out of memory ---------------------------------------------------------------------------------------- */

static bool may_retire(const rl_state *s)
{
  const rl_layer *l = s->oldest;
  return l && l->seq <= s->applied && (!s->first || l->seq <= s->first->applied);
}

static void unlink_entries(const rl_layer *l)
{
  rl_entry_walk w = rl_layer_walk(l);
  for (const rl_entry *e; (e = rl_entry_next(&w)) != NULL;) rl_table_unlink(l->op->table, e);
}

/* One layer. Readers that begin from now on do not look for its entries: they go by op->retired. */
static void retire(rl_state *s)
{
  rl_layer *l = s->oldest;
  size_t bytes = l->bytes;
  s->oldest = l->next;
  if (!s->oldest) s->newest = NULL;
  l->op->retired = l->version;
  pthread_mutex_unlock(&s->lock);
  unlink_entries(l);
  pthread_mutex_lock(&s->lock);
  bool last = --l->refs == 0;
  s->overlay_bytes -= bytes;
  pthread_cond_broadcast(&s->moved);
  if (!last) return;
  pthread_mutex_unlock(&s->lock);
  rl_layer_free(l);
  if (bytes >= TRIM_BYTES) malloc_trim(0);
  pthread_mutex_lock(&s->lock);
}

/* Moving ----------------------------------------------------------------------------------------------------------- */

static rl_layer *choose_last(const rl_state *s, rl_layer *first, size_t *entries)
{
  rl_layer *last = first;
  *entries = first->entries;
  for (rl_layer *l = first->next; l && rl_layer_held(s, l) == RL_HELD_NOT; l = l->next) {
    if (*entries + l->entries > TOGETHER_ENTRIES) break;
    *entries += l->entries;
    last = l;
  }
  return last;
}

/* LMDB calls it EIO when a part of what it wrote had no room. */
static bool is_full(const rl_image *im)
{
  struct statvfs disk;
  return statvfs(im->dir, &disk) == 0 && disk.f_bavail * disk.f_frsize < FULL_BYTES;
}

/* A commit that may have failed in fsync cannot be tried again: the system may have dropped the pages. */
static bool is_final(const rl_state *s, int rc)
{
  if (rc == MDB_PANIC) return true;
  if (rc == EIO && is_full(&s->image)) return false;
  return !s->image.scratch && rc != MDB_MAP_FULL && rc != ENOSPC && rc != EDQUOT && rc != EFBIG && rc != ENOMEM;
}

static void failed(rl_state *s, int rc)
{
  bool known = s->error.code != RL_OK;
  (void)rl_image_fail(&s->image, rc, "write");
  rl_error_clear(&s->error);
  rl_error_take(&s->error);
  s->map_full = rc == MDB_MAP_FULL;
  s->broken = is_final(s, rc);
  if (!known) {
    rl_err("%s; changes stay in memory%s", s->error.message, s->broken ? "" : ", and it is tried again");
  }
}

static void succeeded(rl_state *s, uint64_t seq)
{
  if (s->error.code != RL_OK) rl_warn("the state in %s can be written again", s->image.dir);
  rl_error_clear(&s->error);
  s->applied = seq;
}

/* The map grows when nobody looks at it; else later, when they have gone. */
static bool may_grow(const rl_state *s)
{
  return !s->first && s->outside == 0;
}

static int grow(rl_state *s)
{
  for (rl_state_reader *r; (r = s->idle) != NULL;) {
    s->idle = r->next;
    mdb_txn_abort(r->txn);
    rl_free(r);
  }
  s->map_full = false;
  return rl_image_grow(&s->image);
}

/* For who met a full map: they wait for `moved`, or the next attempt is made at once. */
static void grow_for_others(rl_state *s)
{
  int rc = grow(s);
  if (rc == 0) {
    s->kick = true;
  } else {
    failed(s, rc);
  }
  pthread_cond_broadcast(&s->moved);
}

static void move(rl_state *s)
{
  size_t entries = 0;
  rl_layer *first = rl_state_unapplied(s), *last = choose_last(s, first, &entries);
  s->kick = false;
  int rc = 0;
  do {
    pthread_mutex_unlock(&s->lock);
    rc = rl_apply_write(s, first, last, entries);
    pthread_mutex_lock(&s->lock);
  } while (rc == MDB_MAP_FULL && may_grow(s) && (rc = grow(s)) == 0);
  s->attempts++;
  if (rc != 0) {
    failed(s, rc);
  } else if (!s->stop) {
    succeeded(s, last->seq);
  }
  pthread_cond_broadcast(&s->moved);
}

/* The thread ------------------------------------------------------------------------------------------------------- */

static bool may_move(const rl_state *s)
{
  if (s->broken || (s->error.code != RL_OK && !s->kick)) return false;
  return rl_layer_held(s, rl_state_unapplied(s)) == RL_HELD_NOT;
}

static void wait_for_work(rl_state *s)
{
  if (s->error.code == RL_OK || s->broken) {
    pthread_cond_wait(&s->work, &s->lock);
    return;
  }
  int64_t due = rl_mono_ns() + RETRY_NS;
  const struct timespec until = {.tv_sec = due / NS_PER_S, .tv_nsec = due % NS_PER_S};
  if (pthread_cond_clockwait(&s->work, &s->lock, CLOCK_MONOTONIC, &until) == ETIMEDOUT) s->kick = true;
}

static void *run(void *arg)
{
  rl_state *s = arg;
  pthread_mutex_lock(&s->lock);
  while (!s->stop) {
    if (may_retire(s)) {
      retire(s);
    } else if (s->map_full && may_grow(s)) {
      grow_for_others(s);
    } else if (may_move(s)) {
      move(s);
    } else {
      wait_for_work(s);
    }
  }
  pthread_mutex_unlock(&s->lock);
  return NULL;
}

rl_status rl_apply_start(rl_state *s)
{
  sigset_t all, before;
  sigfillset(&all);
  int err = pthread_sigmask(SIG_SETMASK, &all, &before); /* the thread inherits it */
  if (err == 0) {
    err = pthread_create(&s->thread, NULL, run, s);
    if (pthread_sigmask(SIG_SETMASK, &before, NULL) != 0) abort();
  }
  return err == 0 ? RL_OK : rl_fail(RL_ENOMEM, "cannot start the state's thread: %s", strerror(err));
}

void rl_apply_stop(rl_state *s)
{
  pthread_mutex_lock(&s->lock);
  s->stop = true;
  pthread_cond_signal(&s->work);
  pthread_mutex_unlock(&s->lock);
  pthread_join(s->thread, NULL);
}
