#include "store/state_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "data/codec.h"

#define UID_MAX 400

/* Opening ---------------------------------------------------------------------------------------------------------- */

static rl_state *new_state(const rl_state_spec *spec)
{
  rl_state *s = RL_NEW(rl_state);
  s->overlay_limit = spec->overlay_bytes;
  s->pinned_limit = spec->pinned_bytes > spec->overlay_bytes ? spec->pinned_bytes : spec->overlay_bytes;
  s->update_limit = spec->update_bytes;
  s->ended = RL_NO_TIME;
  if (pthread_mutex_init(&s->lock, NULL) != 0 || pthread_cond_init(&s->work, NULL) != 0 ||
      pthread_cond_init(&s->moved, NULL) != 0) {
    abort();
  }
  return s;
}

static void free_op(rl_state_op *op)
{
  rl_table_free(op->table);
  rl_free(op->pins);
  rl_free(op->uid);
  rl_free(op);
}

static void drop_idle(rl_state *s)
{
  for (rl_state_reader *r = s->idle, *next; r; r = next) {
    next = r->next;
    mdb_txn_abort(r->txn);
    rl_free(r);
  }
  s->idle = NULL;
}

static void delete_state(rl_state *s)
{
  for (rl_layer *l = s->oldest, *next; l; l = next) {
    next = l->next;
    rl_layer_free(l);
  }
  for (rl_state_op *op = s->ops, *next; op; op = next) {
    next = op->next;
    free_op(op);
  }
  drop_idle(s);
  rl_image_close(&s->image);
  rl_error_clear(&s->error);
  pthread_cond_destroy(&s->moved);
  pthread_cond_destroy(&s->work);
  pthread_mutex_destroy(&s->lock);
  rl_free(s);
}

rl_status rl_state_open(const rl_state_spec *spec, rl_state **out)
{
  rl_state *s = new_state(spec);
  atomic_init(&s->refs, 1);
  char *dir = NULL;
  rl_status st = rl_state_dir_open(s, spec, &dir);
  if (st == RL_OK) {
    st = rl_image_open(&s->image, dir, spec->scratch);
    if (st == RL_OK) st = rl_meta_load(s);
    if (st == RL_OK) st = rl_apply_start(s);
    if (st != RL_OK) rl_state_dir_close(s, dir, spec->scratch);
  }
  rl_free(dir);
  if (st == RL_OK) {
    *out = s;
  } else {
    delete_state(s);
  }
  return st;
}

rl_state *rl_state_ref(rl_state *s)
{
  atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
  return s;
}

const char *rl_state_uid(const rl_state_op *op) { return op->uid; }

bool rl_state_is_timed(const rl_state_op *op) { return op->timed; }

int64_t rl_state_newest(rl_state *s)
{
  int64_t newest = RL_NO_TIME;
  pthread_mutex_lock(&s->lock);
  for (const rl_state_op *op = s->ops; op; op = op->next)
    if (op->sealed > newest) newest = op->sealed;
  pthread_mutex_unlock(&s->lock);
  return newest;
}

/* Operators live as long as the store: only the walk's step is taken under the lock. */
void rl_state_each_operator(rl_state *s, void (*fn)(void *user, const char *uid, uint64_t keys), void *user)
{
  pthread_mutex_lock(&s->lock);
  const rl_state_op *op = s->ops;
  pthread_mutex_unlock(&s->lock);
  for (; op; op = op->next) fn(user, op->uid, op->count);
}

rl_state *rl_state_of(rl_state_op *op)
{
  return op->s;
}

void rl_state_close(rl_state *s)
{
  if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1) return;
  if (!s->shut) rl_apply_stop(s);
  rl_state_dir_close(s, s->image.dir, s->image.scratch); /* nothing is left to do where it was shut */
  delete_state(s);
}

void rl_state_shut(rl_state *s)
{
  pthread_mutex_lock(&s->lock);
  bool first = !s->shut;
  s->shut = true;
  pthread_mutex_unlock(&s->lock);
  if (!first) return;
  rl_apply_stop(s);
  int64_t end = rl_mono_ns() + rl_state_patience_ns;
  const struct timespec until = {.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};
  pthread_mutex_lock(&s->lock);
  bool late = false;
  while (s->first && !late) late = pthread_cond_clockwait(&s->moved, &s->lock, CLOCK_MONOTONIC, &until) == ETIMEDOUT;
  if (!s->first) {
    drop_idle(s);
    rl_image_close(&s->image);
    rl_state_dir_close(s, s->image.dir, s->image.scratch);
  }
  pthread_mutex_unlock(&s->lock);
}

/* Operators -------------------------------------------------------------------------------------------------------- */

static rl_state_op *find_op(rl_state *s, const char *uid)
{
  rl_state_op *op = s->ops;
  while (op && strcmp(op->uid, uid) != 0) op = op->next;
  return op;
}

rl_status rl_state_add_op(rl_state *s, const char *uid, size_t n, bool timed, rl_state_op **out)
{
  if (n == 0 || n > UID_MAX) {
    return rl_fail(RL_EINVAL, "the uid of an operator with state has 1 to %d bytes, not %zu", UID_MAX, n);
  }
  rl_state_op *op = RL_NEW(rl_state_op);
  op->s = s;
  op->uid = rl_strndup(uid, n);
  op->number = s->next_number;
  op->timed = timed;
  op->sealed = op->retired = RL_NO_TIME;
  rl_table_init(op->table);
  op->next = s->ops;
  s->ops = op;
  *out = op;
  return RL_OK;
}

/* Keys of before are in no index of times, so they would never time out. */
static rl_status make_timed(rl_state_op *op)
{
  if (op->sealed != RL_NO_TIME) {
    return rl_fail(RL_EUNSUPPORTED, "the state of '%s' was made without timeouts; they cannot be added to it: give that "
                   "operator another uid (:uid(name)), under which it begins anew, or leave timeouts out", op->uid);
  }
  op->timed = true;
  return RL_OK;
}

rl_status rl_state_operator(rl_state *s, const char *uid, bool timed, rl_state_op **out)
{
  rl_status st = RL_OK;
  pthread_mutex_lock(&s->lock);
  rl_state_op *op = find_op(s, uid);
  if (!op) {
    st = rl_state_add_op(s, uid, strlen(uid), timed, &op);
    if (st == RL_OK) s->next_number++;
  } else if (timed && !op->timed) {
    st = make_timed(op);
  }
  if (st == RL_OK) *out = op;
  pthread_mutex_unlock(&s->lock);
  return st;
}

rl_state_op *rl_state_find(rl_state *s, const char *uid)
{
  pthread_mutex_lock(&s->lock);
  rl_state_op *op = find_op(s, uid);
  pthread_mutex_unlock(&s->lock);
  return op;
}

int64_t rl_state_sealed(rl_state_op *op)
{
  pthread_mutex_lock(&op->s->lock);
  int64_t sealed = op->sealed;
  pthread_mutex_unlock(&op->s->lock);
  return sealed;
}

uint64_t rl_state_count(rl_state_op *op)
{
  pthread_mutex_lock(&op->s->lock);
  uint64_t count = op->count;
  pthread_mutex_unlock(&op->s->lock);
  return count;
}

/* Pins ------------------------------------------------------------------------------------------------------------- */

static rl_pin *find_pin(const rl_state_op *op, int64_t version)
{
  for (size_t i = 0; i < op->npins; i++) {
    if (op->pins[i].version == version) return &op->pins[i];
  }
  return NULL;
}

bool rl_state_readable(const rl_state_op *op, int64_t version)
{
  return version == op->sealed || find_pin(op, version);
}

void rl_pin_add(rl_state_op *op, int64_t version, bool scan)
{
  rl_pin *pin = find_pin(op, version);
  if (!pin) {
    op->pins = rl_grow(op->pins, &op->pins_cap, op->npins + 1, sizeof *op->pins);
    pin = &op->pins[op->npins++];
    *pin = (rl_pin){.version = version};
  }
  if (scan) {
    pin->scans++;
  } else {
    pin->pins++;
  }
}

void rl_pin_remove(rl_state_op *op, int64_t version, bool scan)
{
  rl_pin *pin = find_pin(op, version);
  if (!pin) return;
  if (scan) {
    pin->scans--;
  } else if (pin->pins > 0) {
    pin->pins--;
  }
  if (pin->pins + pin->scans > 0) return;
  *pin = op->pins[--op->npins];
  pthread_cond_signal(&op->s->work);
  pthread_cond_broadcast(&op->s->moved);
}

void rl_state_pin(rl_state_op *op, int64_t version)
{
  pthread_mutex_lock(&op->s->lock);
  rl_pin_add(op, version, false);
  pthread_mutex_unlock(&op->s->lock);
}

void rl_state_unpin(rl_state_op *op, int64_t version)
{
  pthread_mutex_lock(&op->s->lock);
  rl_pin_remove(op, version, false);
  pthread_mutex_unlock(&op->s->lock);
}

/* Layers ----------------------------------------------------------------------------------------------------------- */

rl_layer *rl_state_unapplied(const rl_state *s)
{
  rl_layer *l = s->oldest;
  while (l && l->seq <= s->applied) l = l->next;
  return l;
}

int64_t rl_state_unapplied_time(rl_state *s)
{
  int64_t time = INT64_MAX;
  pthread_mutex_lock(&s->lock);
  for (const rl_layer *l = rl_state_unapplied(s); l; l = l->next) {
    if (l->version < time) time = l->version;
  }
  pthread_mutex_unlock(&s->lock);
  return time;
}

rl_held rl_layer_held(const rl_state *s, const rl_layer *l)
{
  rl_held held = RL_HELD_NOT;
  if (!l) return RL_HELD_NOTHING_LEFT;
  if (l->version > s->ended) return RL_HELD_NOT_ENDED;
  for (size_t i = 0; i < l->op->npins; i++) {
    const rl_pin *pin = &l->op->pins[i];
    if (pin->version >= l->version) continue;
    if (pin->pins > 0) return RL_HELD_PIN;
    held = RL_HELD_SCAN;
  }
  return held;
}

void rl_layer_unref(rl_layer *l)
{
  if (--l->refs == 0) rl_layer_free(l);
}

void rl_state_end(rl_state *s, int64_t time)
{
  pthread_mutex_lock(&s->lock);
  if (time > s->ended) s->ended = time;
  pthread_cond_signal(&s->work);
  pthread_mutex_unlock(&s->lock);
}

void rl_outside_begin(rl_state *s)
{
  pthread_mutex_lock(&s->lock);
  s->outside++;
  pthread_mutex_unlock(&s->lock);
}

void rl_outside_end(rl_state *s)
{
  pthread_mutex_lock(&s->lock);
  if (--s->outside == 0) pthread_cond_signal(&s->work);
  pthread_mutex_unlock(&s->lock);
}

/* Waiting ---------------------------------------------------------------------------------------------------------- */

rl_status rl_state_await(rl_state *s)
{
  uint64_t before = s->attempts;
  if (s->stop) return rl_fail(RL_ECLOSED, "the state cannot be written any more: the job is over");
  if (!s->broken) {
    s->kick = true;
    pthread_cond_signal(&s->work);
    pthread_cond_wait(&s->moved, &s->lock);
    if (s->error.code == RL_OK || s->attempts == before) return RL_OK;
  }
  rl_error copy = RL_ERROR_NONE;
  rl_error_copy(&copy, &s->error);
  return rl_error_raise(&copy);
}

rl_status rl_state_flush(rl_state *s)
{
  rl_status st = RL_OK;
  pthread_mutex_lock(&s->lock);
  while (st == RL_OK && rl_layer_held(s, rl_state_unapplied(s)) == RL_HELD_NOT) st = rl_state_await(s);
  pthread_mutex_unlock(&s->lock);
  return st;
}

void rl_state_stats_read(rl_state *s, rl_state_stats *out)
{
  MDB_envinfo info;
  *out = (rl_state_stats){0};
  pthread_mutex_lock(&s->lock);
  for (const rl_state_op *op = s->ops; op; op = op->next) out->keys += op->count;
  out->overlay_bytes = s->overlay_bytes;
  for (const rl_layer *l = rl_state_unapplied(s); l; l = l->next) out->versions++;
  if (mdb_env_info(s->image.env, &info) == 0) out->image_bytes = (info.me_last_pgno + 1) * (uint64_t)s->image.page;
  pthread_mutex_unlock(&s->lock);
}

/* One look --------------------------------------------------------------------------------------------------------- */

static rl_status get(rl_state_reader *r, int64_t version, rl_value key, rl_buf *out, bool *found)
{
  rl_buf form = {0};
  rl_octets stored = {0};
  rl_value value = rl_nil();
  int64_t stamp = 0;
  rl_status st = rl_form_of_key(key, &form);
  if (st == RL_OK) {
    st = rl_state_reader_find(r, version, (uint32_t)rl_key_hash(key), (rl_octets){form.p, form.n}, &stored);
  }
  if (st == RL_OK) st = rl_stored_read(stored, &value, &stamp);
  *found = st == RL_OK && stored.n > 0;
  if (*found) rl_put_value(out, value);
  rl_buf_free(&form);
  return st;
}

rl_status rl_state_get(rl_state_op *op, rl_value key, rl_buf *out, bool *found)
{
  rl_state_reader *r = NULL;
  *found = false;
  pthread_mutex_lock(&op->s->lock);
  int64_t version = op->sealed;
  rl_status st = rl_state_reader_begin(op, &r);
  pthread_mutex_unlock(&op->s->lock);
  if (st != RL_OK) return st;
  st = get(r, version, key, out, found);
  pthread_mutex_lock(&op->s->lock);
  rl_state_reader_end(r);
  pthread_mutex_unlock(&op->s->lock);
  return st;
}
