/* Notes: each kind has a dbi of its own, made when the first of them is put. The name is the key; the value begins with
 * the checksum of kind, name and content. */
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "data/codec.h"
#include "store/state_impl.h"

#define NAME_MAX_N 400
#define CHECK_SIZE 8
#define NS_PER_S INT64_C(1000000000)

const char *const rl_note_kinds[RL_NOTE_KINDS] = {"script", "closure", "graph", "batch", "history"};

uint64_t rl_note_check(unsigned kind, rl_octets name, rl_octets content)
{
  uint64_t seed = rl_hash_bytes(name.p, name.n, rl_hash_u64(kind, RL_HASH_SEED));
  return rl_hash_bytes(content.p, content.n, seed);
}

bool rl_note_read(unsigned kind, rl_octets name, rl_octets stored, rl_octets *content)
{
  uint64_t check;
  if (stored.n < CHECK_SIZE) return false;
  memcpy(&check, stored.p, CHECK_SIZE);
  *content = (rl_octets){stored.p + CHECK_SIZE, stored.n - CHECK_SIZE};
  return check == rl_note_check(kind, name, *content);
}

static rl_status find_kind(const char *dbi, unsigned *kind)
{
  for (*kind = 0; *kind < RL_NOTE_KINDS; (*kind)++) {
    if (strcmp(dbi, rl_note_kinds[*kind]) == 0) return RL_OK;
  }
  return rl_fail(RL_EINVAL, "there are no notes of the kind '%s' beside the state", dbi);
}

static rl_status check_name(rl_octets name)
{
  if (name.n > 0 && name.n <= NAME_MAX_N) return RL_OK;
  return rl_fail(RL_EINVAL, "the name of a note has 1 to %d bytes, not %zu", NAME_MAX_N, name.n);
}

static rl_status damaged(const rl_state *s, unsigned kind, rl_octets name)
{
  int n = name.n > 100 ? 100 : (int)name.n;
  return rl_fail(RL_EDATA, "the note '%.*s' (%s) in %s is damaged: wrong checksum", n, name.p, rl_note_kinds[kind],
                 s->image.dir);
}

static rl_status failed(const rl_state *s, unsigned kind, int rc, const char *what)
{
  rl_status st = rl_image_fail(&s->image, rc, what);
  rl_error_prefix("notes (%s): ", rl_note_kinds[kind]);
  return st;
}

/* Writing ---------------------------------------------------------------------------------------------------------- */

/* LMDB's keys are not const, and are not written. */
static MDB_val key_of(rl_octets name)
{
  MDB_val key = {.mv_size = name.n};
  memcpy(&key.mv_data, &name.p, sizeof key.mv_data);
  return key;
}

/* What is recorded of a script and of the graph is made anew by every start, so that a damaged note is no reason not to
 * start. Its pages are sound, or the image had not been opened (rl_image_sound). */
static bool is_made_anew(unsigned kind)
{
  return kind <= 2; /* script, closure, graph */
}

static uint64_t stored_check(const MDB_val *value)
{
  uint64_t check = 0;
  if (value->mv_size >= CHECK_SIZE) memcpy(&check, value->mv_data, CHECK_SIZE);
  return check;
}

/* What a damaged note adds to the sum of its kind: either its checksum is as it was, or what it was made of. */
static int share_of(MDB_txn *txn, MDB_dbi dbi, unsigned kind, rl_octets name, uint64_t sum, uint64_t *share)
{
  MDB_cursor *c = NULL;
  MDB_val key, value;
  uint64_t computed = 0, others = 0;
  *share = 0;
  int rc = mdb_cursor_open(txn, dbi, &c);
  if (rc != 0) return rc;
  while ((rc = mdb_cursor_get(c, &key, &value, MDB_NEXT)) == 0) {
    if (key.mv_size != name.n || memcmp(key.mv_data, name.p, name.n) != 0) {
      others += stored_check(&value);
      continue;
    }
    *share = stored_check(&value);
    rl_octets content = {(char *)value.mv_data + CHECK_SIZE, value.mv_size - CHECK_SIZE};
    if (value.mv_size >= CHECK_SIZE) computed = rl_note_check(kind, name, content);
  }
  mdb_cursor_close(c);
  if (others + computed == sum) *share = computed;
  return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Takes the note that is there out of count and sum. *damaged: it was. */
static int take_old(MDB_txn *txn, MDB_dbi dbi, unsigned kind, rl_octets name, uint64_t *count, uint64_t *sum,
                    bool *damaged)
{
  MDB_val key = key_of(name), value;
  rl_octets content;
  uint64_t share = 0;
  int rc = mdb_get(txn, dbi, &key, &value);
  if (rc == MDB_NOTFOUND) return 0;
  if (rc != 0) return rc;
  *damaged = !rl_note_read(kind, name, (rl_octets){value.mv_data, value.mv_size}, &content);
  if (*damaged && !is_made_anew(kind)) return MDB_CORRUPTED;
  if (*damaged) rc = share_of(txn, dbi, kind, name, *sum, &share);
  else share = rl_note_check(kind, name, content);
  if (rc != 0) return rc;
  *sum -= share;
  --*count;
  return mdb_del(txn, dbi, &key, NULL);
}

static int put_new(MDB_txn *txn, MDB_dbi dbi, rl_octets name, rl_octets content, uint64_t check)
{
  MDB_val key = key_of(name), value = {.mv_size = CHECK_SIZE + content.n};
  int rc = mdb_put(txn, dbi, &key, &value, MDB_RESERVE);
  if (rc != 0) return rc;
  memcpy(value.mv_data, &check, CHECK_SIZE);
  if (content.n > 0) memcpy((char *)value.mv_data + CHECK_SIZE, content.p, content.n);
  return 0;
}

static int put_in(rl_state *s, MDB_txn *txn, MDB_dbi dbi, unsigned kind, rl_octets name, const rl_octets *content,
                  bool *damaged)
{
  rl_meta m;
  uint64_t count = 0, sum = 0;
  int rc = rl_meta_begin(&m, &s->image, txn);
  if (rc == 0) rc = rl_meta_notes(&m, kind, &count, &sum);
  if (rc == 0) rc = take_old(txn, dbi, kind, name, &count, &sum, damaged);
  if (rc == 0 && content) {
    uint64_t check = rl_note_check(kind, name, *content);
    rc = put_new(txn, dbi, name, *content, check);
    sum += check;
    count++;
  }
  if (rc == 0) rc = rl_meta_put_notes(&m, kind, count, sum);
  return rc == 0 ? rl_meta_end(&m) : rc;
}

/* A handle is of use to others once the transaction that opened it is committed. */
static int put_once(rl_state *s, unsigned kind, rl_octets name, const rl_octets *content, bool *damaged)
{
  MDB_txn *txn = NULL;
  int rc = mdb_txn_begin(s->image.env, NULL, 0, &txn);
  if (rc != 0) return rc;
  MDB_dbi dbi = atomic_load(&s->image.notes[kind]);
  bool nothing = dbi == 0 && !content;
  if (dbi == 0 && content) rc = mdb_dbi_open(txn, rl_note_kinds[kind], MDB_CREATE, &dbi);
  if (rc == 0 && !nothing) rc = put_in(s, txn, dbi, kind, name, content, damaged);
  if (rc != 0) {
    mdb_txn_abort(txn);
    return rc;
  }
  rc = mdb_txn_commit(txn);
  if (rc == 0) atomic_store(&s->image.notes[kind], dbi);
  return rc;
}

/* The apply thread makes the map larger when nobody looks at the image. */
static bool wait_for_map(rl_state *s)
{
  int64_t due = rl_mono_ns() + rl_state_patience_ns;
  const struct timespec until = {.tv_sec = due / NS_PER_S, .tv_nsec = due % NS_PER_S};
  int rc = 0;
  pthread_mutex_lock(&s->lock);
  size_t before = s->image.map;
  s->map_full = true;
  pthread_cond_signal(&s->work);
  while (s->map_full && rc == 0) rc = pthread_cond_clockwait(&s->moved, &s->lock, CLOCK_MONOTONIC, &until);
  bool grown = s->image.map > before;
  pthread_mutex_unlock(&s->lock);
  return grown;
}

rl_status rl_state_put_note(rl_state *s, const char *dbi, const char *name, const char *p, size_t n)
{
  unsigned kind = 0;
  rl_octets key = {name, strlen(name)}, content = {p, n};
  rl_status st = find_kind(dbi, &kind);
  if (st == RL_OK) st = check_name(key);
  if (st != RL_OK) return st;
  if (n > RL_CODEC_MAX_BYTES) return rl_fail(RL_ELIMIT, "a note of %zu bytes ('%s') is too large", n, name);
  int rc = 0;
  bool was_damaged;
  do {
    was_damaged = false;
    rl_outside_begin(s);
    rc = put_once(s, kind, key, p ? &content : NULL, &was_damaged);
    rl_outside_end(s);
  } while (rc == MDB_MAP_FULL && wait_for_map(s));
  if (rc == 0 && was_damaged)
    rl_warn("%s: what was recorded of the job, the note '%s' (%s), was damaged; it is replaced by what this start "
            "records", s->image.dir, name, dbi);
  return rc == 0 ? RL_OK : failed(s, kind, rc, "write");
}

/* Reading ---------------------------------------------------------------------------------------------------------- */

/* *txn NULL: there are none of the kind. */
static rl_status begin(rl_state *s, unsigned kind, MDB_txn **txn, MDB_dbi *dbi)
{
  *txn = NULL;
  *dbi = atomic_load(&s->image.notes[kind]); /* before the transaction, which then knows it */
  if (*dbi == 0) return RL_OK;
  rl_outside_begin(s);
  int rc = mdb_txn_begin(s->image.env, NULL, MDB_RDONLY, txn);
  if (rc == 0) return RL_OK;
  rl_outside_end(s);
  return failed(s, kind, rc, "read");
}

static void end(rl_state *s, MDB_txn *txn)
{
  mdb_txn_abort(txn);
  rl_outside_end(s);
}

static rl_status get_in(rl_state *s, MDB_txn *txn, MDB_dbi dbi, unsigned kind, rl_octets name, rl_buf *out,
                        bool *found)
{
  MDB_val key = key_of(name), value;
  rl_octets content;
  int rc = mdb_get(txn, dbi, &key, &value);
  if (rc == MDB_NOTFOUND) return RL_OK;
  if (rc != 0) return failed(s, kind, rc, "read");
  if (!rl_note_read(kind, name, (rl_octets){value.mv_data, value.mv_size}, &content)) return damaged(s, kind, name);
  rl_buf_add(out, content.p, content.n);
  *found = true;
  return RL_OK;
}

rl_status rl_state_get_note(rl_state *s, const char *dbi, const char *name, rl_buf *out, bool *found)
{
  unsigned kind = 0;
  MDB_txn *txn = NULL;
  MDB_dbi handle = 0;
  rl_octets key = {name, strlen(name)};
  *found = false;
  rl_status st = find_kind(dbi, &kind);
  if (st == RL_OK) st = check_name(key);
  if (st == RL_OK) st = begin(s, kind, &txn, &handle);
  if (!txn) return st;
  st = get_in(s, txn, handle, kind, key, out, found);
  end(s, txn);
  return st;
}

static rl_status each_in(rl_state *s, unsigned kind, MDB_cursor *c, rl_state_note_fn *fn, void *user)
{
  rl_status st = RL_OK;
  rl_buf name = {0};
  MDB_val key, value;
  int rc = 0;
  while (st == RL_OK && (rc = mdb_cursor_get(c, &key, &value, MDB_NEXT)) == 0) {
    rl_octets content, form = {key.mv_data, key.mv_size};
    rl_buf_clear(&name);
    rl_buf_add(&name, form.p, form.n);
    bool good = rl_note_read(kind, form, (rl_octets){value.mv_data, value.mv_size}, &content);
    st = good ? fn(user, rl_buf_cstr(&name), content.p, content.n) : damaged(s, kind, form);
  }
  rl_buf_free(&name);
  return st != RL_OK || rc == 0 || rc == MDB_NOTFOUND ? st : failed(s, kind, rc, "read");
}

rl_status rl_state_each_note(rl_state *s, const char *dbi, rl_state_note_fn *fn, void *user)
{
  unsigned kind = 0;
  MDB_txn *txn = NULL;
  MDB_dbi handle = 0;
  MDB_cursor *c = NULL;
  rl_status st = find_kind(dbi, &kind);
  if (st == RL_OK) st = begin(s, kind, &txn, &handle);
  if (!txn) return st;
  int rc = mdb_cursor_open(txn, handle, &c);
  if (rc == 0) {
    st = each_in(s, kind, c, fn, user);
    mdb_cursor_close(c);
  } else {
    st = failed(s, kind, rc, "read");
  }
  end(s, txn);
  return st;
}
