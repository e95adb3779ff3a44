/* The steps of a repair: lock, look, plan, write beside, put in place. Up to the last of these nothing is changed. */
#include "store/repair.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/apart.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "store/repair_impl.h"
#include "store/state.h"

#define LOG_NEW "log.repaired"
#define STATE_NEW "state.repaired"

void rl_salvage_say(const rl_salvage *s, const char *fmt, ...)
{
  va_list args;
  va_start(args, fmt);
  char *line = rl_vformat(fmt, args);
  va_end(args);
  if (s->r->say) s->r->say(s->r->user, line);
  rl_free(line);
}

typedef struct repair {
  const rl_repair *r;
  char *log, *state, *new_log, *new_state;
  int log_lock, state_lock; /* descriptors; -1 */
  bool log_damaged, state_damaged, state_missing;
  rl_salvage s;
} repair;

/* Locks ------------------------------------------------------------------------------------------------------------ */

/* *fd = -1 where there is no directory. */
static rl_status take_lock(const char *dir, const char *name, int *fd)
{
  bool got = false;
  *fd = -1;
  if (!rl_path_is_dir(dir)) return RL_OK;
  char *path = rl_path_join(dir, name);
  rl_status st = rl_file_open_private(path, O_RDWR | O_CREAT, fd);
  if (st == RL_OK) st = rl_file_lock_soon(*fd, path, &got);
  if (st == RL_OK && !got) {
    char *who = rl_file_locker_name(path);
    st = rl_fail(RL_ESTATE, "%s is in use by %s: stop the job first", dir, who);
    rl_free(who);
  }
  rl_free(path);
  return st;
}

static rl_status lock(repair *x)
{
  rl_status st = rl_checkpoint_check(x->r->dir);
  if (st == RL_OK) st = take_lock(x->log, "lock", &x->log_lock);
  return st == RL_OK ? take_lock(x->state, "alive", &x->state_lock) : st;
}

/* Looking ---------------------------------------------------------------------------------------------------------- */

static void note_damage(void *user, const rl_inspect_damage *d)
{
  repair *x = user;
  if (d->torn) return;
  if (d->file) x->log_damaged = true;
  if (!d->file || d->ahead) x->state_damaged = true;
  rl_salvage_say(&x->s, "%s", d->message);
}

static rl_status look(repair *x)
{
  rl_inspect_verified v;
  rl_status st = rl_inspect_verify(x->r->dir, note_damage, x, &v);
  if (st == RL_EDATA) st = RL_OK;
  rl_inspect_image image;
  if (st == RL_OK && !x->state_damaged) {
    st = rl_inspect_image_read(x->r->dir, false, &image);
    x->state_missing = st == RL_OK && !image.found;
    if (st == RL_OK && image.damage) x->state_damaged = true;
    if (st == RL_OK && image.damage) rl_salvage_say(&x->s, "damaged state: %s: %s", x->state, image.damage);
    rl_inspect_image_free(&image);
  }
  return st;
}

static rl_status read_versions(rl_salvage *s, const char *dir)
{
  rl_inspect_image image;
  rl_status st = rl_inspect_image_read(dir, false, &image);
  if (st == RL_OK && image.damage) st = rl_fail(RL_EDATA, "%s: %s", dir, image.damage);
  for (size_t i = 0; st == RL_OK && i < image.nops; i++) {
    s->versions = rl_grow(s->versions, &s->versions_cap, s->nversions + 1, sizeof *s->versions);
    s->versions[s->nversions++] = (rl_salvage_version){rl_strdup(image.ops[i].uid), image.ops[i].version};
  }
  rl_inspect_image_free(&image);
  return st;
}

/* The backup's own damage is told as such. */
static void note_backup_damage(void *user, const rl_inspect_damage *d)
{
  const repair *x = user;
  if (!d->torn) rl_salvage_say(&x->s, "in the backup: %s", d->message);
}

static rl_status check_backup(repair *x)
{
  rl_inspect_verified v;
  if (!x->r->from) return RL_OK;
  rl_status st = rl_inspect_verify(x->r->from, note_backup_damage, x, &v);
  if (st == RL_EDATA) return rl_fail(RL_EDATA, "the backup %s is damaged itself", x->r->from);
  if (st == RL_OK) x->s.backup_log = rl_checkpoint_log(x->r->from);
  return st;
}

/* Planning --------------------------------------------------------------------------------------------------------- */

/* Does the log say all there is behind the versions of the image that is to be used? In a log that goes back to the
 * beginning, or to a batch the image has, it does. */
static bool reaches_back(const rl_salvage *s)
{
  int64_t oldest = INT64_MAX;
  for (size_t i = 0; i < s->nversions; i++) {
    if (s->versions[i].version < oldest) oldest = s->versions[i].version;
  }
  if (s->first == 1) return true;
  for (size_t i = 0; i < s->nitems && s->nversions > 0; i++) {
    if (s->items[i].type == RL_JOURNAL_BEGIN && s->items[i].time <= oldest) return true;
  }
  return false;
}

/* Which image there will be, and what the log will hold. */
static rl_status plan(repair *x)
{
  rl_salvage *s = &x->s;
  bool replaced = x->state_damaged || x->state_missing;
  rl_status st = RL_OK;
  if (!replaced) st = read_versions(s, x->r->dir);
  else if (x->r->from) st = read_versions(s, x->r->from);
  if (st == RL_OK) st = rl_salvage_load(s);
  if (st != RL_OK) return st;
  if (replaced && !x->r->from && s->nitems == 0)
    return rl_fail(RL_EDATA, "nothing can be rebuilt: there is no record in the log; give a backup with --from");
  if (replaced && !x->r->from && s->first != 1) {
    return rl_fail(RL_EDATA, "nothing can be rebuilt: the log begins with record %" PRIu64 " and not with the job, so "
                   "the state cannot be made of it alone; give a backup with --from", s->first);
  }
  if (replaced && !reaches_back(s)) {
    rl_salvage_say(s, "the log does not reach back to the backup: batches between the two are lost, with their changes "
                   "of state");
    if (s->ngaps == 0 || s->gaps[0].at != 0) {
      s->gaps = rl_grow(s->gaps, &s->gaps_cap, s->ngaps + 1, sizeof *s->gaps);
      memmove(s->gaps + 1, s->gaps, s->ngaps++ * sizeof *s->gaps);
      s->gaps[0] = (rl_salvage_gap){0, RL_NO_TIME, INT64_MAX};
    }
  }
  return rl_salvage_plan(s);
}

/* Writing beside --------------------------------------------------------------------------------------------------- */

typedef struct copying {
  char *from;
  const char *to;
} copying;

static rl_status copy_state(void *user, rl_apart *a)
{
  const copying *c = user;
  (void)a;
  return rl_state_backup_dir(c->from, c->to);
}

static rl_status make_state(const repair *x)
{
  bool crashed;
  if (!x->r->from) return RL_OK;
  copying c = {rl_checkpoint_state(x->r->from), x->new_state};
  rl_status st = rl_apart_run(&(rl_apart_spec){.work = copy_state, .user = &c}, &crashed);
  if (st != RL_OK && crashed) rl_error_prefix("copying the backup's state: ");
  rl_free(c.from);
  return st == RL_ENOTFOUND ? RL_OK : st; /* taken before there was any */
}

static rl_status write_beside(repair *x)
{
  /* left by a repair that did not come to its end */
  rl_status st = rl_dir_remove(x->new_log);
  if (st == RL_OK) st = rl_dir_remove(x->new_state);
  if (st == RL_OK && x->log_damaged) st = rl_salvage_write(&x->s, x->new_log);
  if (st == RL_OK && (x->state_damaged || x->state_missing)) st = make_state(x);
  return st;
}

/* Putting in place ------------------------------------------------------------------------------------------------- */

static char *quarantine_path(const repair *x)
{
  char stamp[32];
  time_t now = (time_t)(rl_wall_ms() / 1000);
  struct tm tm;
  gmtime_r(&now, &tm);
  strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &tm);
  char *all = rl_path_join(x->r->dir, "quarantine"), *path = rl_path_join(all, stamp);
  for (int i = 2; rl_path_is_dir(path); i++) {
    rl_free(path);
    char *name = rl_format("%s-%d", stamp, i);
    path = rl_path_join(all, name);
    rl_free(name);
  }
  rl_free(all);
  return path;
}

/* Exchanged at once where the file system can: there is no moment without a log, which would be a new job's. */
static rl_status exchange(const char *new, const char *old)
{
  if (renameat2(AT_FDCWD, new, AT_FDCWD, old, RENAME_EXCHANGE) == 0) return RL_OK;
  if (errno != EINVAL && errno != ENOSYS) return rl_fail_errno("cannot exchange %s with %s", new, old);
  char *aside = rl_format("%s.old", new);
  rl_status st = rl_file_rename(old, aside);
  if (st == RL_OK) st = rl_file_rename(new, old);
  if (st == RL_OK) st = rl_file_rename(aside, new);
  rl_free(aside);
  return st;
}

/* `new`, if there is such a directory, takes the place of `old`, which moves to the quarantine under `name`. */
static rl_status put_in_place(const repair *x, const char *new, const char *old, const char *quarantine,
                              const char *name)
{
  bool has_new = rl_path_is_dir(new), has_old = rl_path_is_dir(old);
  char *to = rl_path_join(quarantine, name);
  rl_status st = RL_OK;
  if (has_new && has_old) {
    st = exchange(new, old);
    if (st == RL_OK) st = rl_dir_sync(x->r->dir);
    if (st == RL_OK) st = rl_file_rename(new, to);
  } else if (has_old) {
    st = rl_file_rename(old, to);
  } else if (has_new) {
    st = rl_file_rename(new, old);
  }
  if (st == RL_OK) st = rl_dir_sync(quarantine);
  if (st == RL_OK) st = rl_dir_sync(x->r->dir);
  if (st == RL_OK && has_old) rl_salvage_say(&x->s, "%s: moved to %s", old, to);
  rl_free(to);
  return st;
}

static rl_status put_all_in_place(const repair *x)
{
  char *quarantine = quarantine_path(x);
  bool state = x->state_damaged || x->state_missing;
  rl_status st = rl_dir_make_durable(quarantine);
  if (st == RL_OK && state) st = put_in_place(x, x->new_state, x->state, quarantine, "state");
  if (st == RL_OK && x->log_damaged) st = put_in_place(x, x->new_log, x->log, quarantine, "log");
  if (st == RL_OK && state) {
    rl_salvage_say(&x->s, x->r->from ? "the state is the backup's; the log brings it up to date"
                                     : "the state is made from the log when the job starts; what was recorded with it, "
                                       "as its script, is gone: start the job with its script");
  }
  if (st == RL_OK && x->log_damaged) rl_salvage_say(&x->s, "the log is written anew, of all records that are whole");
  rl_free(quarantine);
  return st;
}

/* -------------------------------------------------------------------------------------------------------------------*/

static rl_status repair_all(repair *x)
{
  rl_status st = lock(x);
  if (st == RL_OK && x->r->from) st = rl_salvage_check_job(x->r->dir, x->r->from);
  if (st == RL_OK) st = look(x);
  if (st != RL_OK) return st;
  if (!x->log_damaged && !x->state_damaged) {
    rl_salvage_say(&x->s, "nothing is damaged");
    return RL_OK;
  }
  st = check_backup(x);
  if (st == RL_OK) st = plan(x);
  if (st != RL_OK) return st;
  if (x->s.ngaps > 0 || x->s.backup_log) x->log_damaged = true; /* batches may have to be stripped; records come in */
  st = write_beside(x);
  return st == RL_OK ? put_all_in_place(x) : st;
}

rl_status rl_repair_run(const rl_repair *r)
{
  repair x = {.r = r, .log_lock = -1, .state_lock = -1};
  x.s = (rl_salvage){.r = r, .newest = RL_NO_TIME, .ghost = RL_NO_TIME, .lost = RL_NO_TIME, .lost_begin = RL_NO_TIME};
  x.log = rl_checkpoint_log(r->dir);
  x.state = rl_checkpoint_state(r->dir);
  x.new_log = rl_path_join(r->dir, LOG_NEW);
  x.new_state = rl_path_join(r->dir, STATE_NEW);
  x.s.log = rl_strdup(x.log);
  rl_status st = repair_all(&x);
  if (x.log_lock >= 0) rl_fs_get()->close(x.log_lock);
  if (x.state_lock >= 0) rl_fs_get()->close(x.state_lock);
  rl_salvage_free(&x.s);
  rl_free(x.log);
  rl_free(x.state);
  rl_free(x.new_log);
  rl_free(x.new_state);
  return st;
}
