/* Whose backup is it? Taken from another job's, state and records would be wrong without anything telling so. A segment
 * that both logs have, by its random id, shows that they are one job's. Otherwise nothing that both know may differ:
 * when the job began, its grid of batches, its application, its operators. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "store/repair_impl.h"

typedef struct whose {
  int64_t began;          /* when START, as the log's first record, was written; RL_NO_TIME: the log does not go back */
  int64_t zero, batch_ms; /* batch_ms = 0: no record tells */
  char *app;              /* of the newest START; NULL */
  char **uids;            /* of operators */
  size_t n, cap;
} whose;

static bool has_uid(const whose *x, const char *p, size_t n)
{
  for (size_t i = 0; i < x->n; i++) {
    if (strlen(x->uids[i]) == n && memcmp(x->uids[i], p, n) == 0) return true;
  }
  return false;
}

static void add_uid(whose *x, const char *p, size_t n)
{
  if (has_uid(x, p, n)) return;
  x->uids = rl_grow(x->uids, &x->cap, x->n + 1, sizeof *x->uids);
  x->uids[x->n++] = rl_strndup(p, n);
}

static void note_start(whose *x, const rl_wal_record *r)
{
  rl_journal_start start;
  if (rl_journal_get_start(r->p, r->at.length, &start) != RL_OK) return;
  if (r->at.seq == 1) x->began = start.now;
  x->zero = start.zero;
  x->batch_ms = start.batch_ms;
  rl_free(x->app);
  x->app = rl_strndup(start.app.p, start.app.n);
}

static rl_status visit(void *user, const rl_wal_record *r)
{
  whose *x = user;
  rl_journal_begin begin;
  rl_journal_state state;
  if (r->at.type == RL_JOURNAL_START) {
    note_start(x, r);
  } else if (r->at.type == RL_JOURNAL_BEGIN && rl_journal_get_begin(r->p, r->at.length, &begin) == RL_OK) {
    x->zero = begin.zero;
    x->batch_ms = begin.batch_ms;
  } else if (r->at.type == RL_JOURNAL_STATE && rl_journal_get_state(r->p, r->at.length, &state) == RL_OK) {
    add_uid(x, state.uid.p, state.uid.n);
  }
  return RL_OK;
}

/* As far as it can be read. */
static rl_status find_out(const char *dir, whose *out)
{
  *out = (whose){.began = RL_NO_TIME};
  char *log = rl_checkpoint_log(dir);
  rl_status st = rl_path_is_dir(log) ? rl_wal_verify(log, &(rl_wal_verifier){visit, NULL, out}) : RL_OK;
  rl_free(log);
  if (st != RL_OK && st != RL_EDATA) return st;
  rl_inspect_image image;
  st = rl_inspect_image_read(dir, false, &image);
  for (size_t i = 0; st == RL_OK && i < image.nops; i++) add_uid(out, image.ops[i].uid, strlen(image.ops[i].uid));
  rl_inspect_image_free(&image);
  return st;
}

static void forget(whose *x)
{
  for (size_t i = 0; i < x->n; i++) rl_free(x->uids[i]);
  rl_free(x->uids);
  rl_free(x->app);
}

static bool share_operators(const whose *a, const whose *b)
{
  for (size_t i = 0; i < a->n; i++) {
    if (has_uid(b, a->uids[i], strlen(a->uids[i]))) return true;
  }
  return a->n == 0 || b->n == 0;
}

static rl_status compare(const char *from, const whose *job, const whose *backup)
{
  const char *other = "is no backup of this job";
  if (job->began != RL_NO_TIME && backup->began != RL_NO_TIME && job->began != backup->began) {
    return rl_fail(RL_EINVAL, "%s %s: that one began at %" PRId64 " ms, this one at %" PRId64 " ms", from, other,
                   backup->began, job->began);
  }
  bool grids = job->batch_ms > 0 && backup->batch_ms > 0;
  if (grids && (job->zero != backup->zero || job->batch_ms != backup->batch_ms)) {
    return rl_fail(RL_EINVAL, "%s %s: its batches of %" PRId64 " ms are counted from %" PRId64 ", and not of %" PRId64
                   " ms from %" PRId64, from, other, backup->batch_ms, backup->zero, job->batch_ms, job->zero);
  }
  if (job->app && backup->app && strcmp(job->app, backup->app) != 0) {
    return rl_fail(RL_EINVAL, "%s %s: it is of application '%s', and not of '%s'", from, other, backup->app, job->app);
  }
  if (!share_operators(job, backup)) {
    return rl_fail(RL_EINVAL, "%s %s: it has state of '%s', and not of '%s'", from, other, backup->uids[0],
                   job->uids[0]);
  }
  return RL_OK;
}

static rl_status have_common_segment(const char *dir, const char *from, bool *common)
{
  char *log = rl_checkpoint_log(dir), *backup = rl_checkpoint_log(from);
  *common = false;
  bool both = rl_path_is_dir(log) && rl_path_is_dir(backup);
  rl_status st = both ? rl_salvage_is_same_log(log, backup, common) : RL_OK;
  rl_free(log);
  rl_free(backup);
  return st;
}

static bool is_same_directory(const char *a, const char *b)
{
  struct stat x, y;
  return rl_fs_get()->stat(a, &x) == 0 && rl_fs_get()->stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

rl_status rl_salvage_check_job(const char *dir, const char *from)
{
  bool common = false;
  rl_status st = rl_checkpoint_check(from);
  if (st != RL_OK) return st;
  if (is_same_directory(dir, from)) return rl_fail(RL_EINVAL, "%s is to be repaired, and is no backup of it", from);
  st = have_common_segment(dir, from, &common);
  if (st != RL_OK || common) return st;
  whose job, backup = {0};
  st = find_out(dir, &job);
  if (st == RL_OK) st = find_out(from, &backup);
  if (st == RL_OK) st = compare(from, &job, &backup);
  forget(&job);
  forget(&backup);
  return st;
}
