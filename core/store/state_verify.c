/* Verifying an image: its pages (store/pages.h), then what is in them: each entry against its checksum and its key, and
 * all of them together against the sums and counts of the dbi `meta`. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "data/codec.h"
#include "store/pages.h"
#include "store/state_impl.h"

#define TRIES 100
#define KEY_SHOWN 200

typedef struct verified_op {
  char *uid;
  uint32_t number;
  bool timed;
  rl_image_op told, counted;
} verified_op;

typedef struct verified_notes {
  uint64_t told, told_sum, counted, counted_sum;
} verified_notes;

typedef struct verifier {
  const char *dir;
  rl_state_damage_fn *fn;
  void *user;
  rl_state_verified *out;
  rl_pages *pages;
  char *first; /* damage; NULL: none */

  rl_pages_tree state, due, meta, notes[RL_NOTE_KINDS];
  bool have_state, have_due, have_meta, have_notes[RL_NOTE_KINDS];
  bool quiet, have_sum;
  uint64_t format, generation, told_sum, counted_sum;
  verified_op *ops;
  size_t nops, ops_cap, latest;
  verified_notes note_sets[RL_NOTE_KINDS];
  unsigned kind; /* of the notes that are read */
} verifier;

/* Damage ----------------------------------------------------------------------------------------------------------- */

static void tell(verifier *v, const char *uid, const char *key, const char *what)
{
  if (v->quiet) return;
  if (!v->first) {
    v->first = uid ? rl_format("state of '%s'%s%s: %s", uid, key ? ", key " : "", key ? key : "", what)
                   : rl_format("%s%s%s", key ? key : "", key ? ": " : "", what);
  }
  if (v->fn) v->fn(v->user, &(rl_state_damage){.uid = uid, .key = key, .what = what});
}

static void tell_pages(void *user, const char *what)
{
  tell(user, NULL, NULL, what);
}

static void RL_PRINTF(3, 4) tell_of(verifier *v, const verified_op *op, const char *fmt, ...)
{
  va_list args;
  va_start(args, fmt);
  char *what = rl_vformat(fmt, args);
  va_end(args);
  tell(v, op ? op->uid : NULL, NULL, what);
  rl_free(what);
}

static void tell_key(verifier *v, const verified_op *op, rl_octets form, const char *what)
{
  rl_value key = rl_nil();
  rl_buf text = {0};
  if (rl_form_read(form, &key) == RL_OK) {
    rl_value_format(key, &text);
  } else {
    rl_buf_puts(&text, "(unreadable)");
  }
  if (text.n > KEY_SHOWN) text.n = KEY_SHOWN;
  tell(v, op->uid, rl_buf_cstr(&text), what);
  rl_buf_free(&text);
}

static void tell_note(verifier *v, const char *kind, rl_octets name, const char *what)
{
  char *text = rl_format("%s/%.*s", kind, (int)(name.n < KEY_SHOWN ? name.n : KEY_SHOWN), name.p);
  tell(v, NULL, text, what);
  rl_free(text);
}

/* Tables and meta -------------------------------------------------------------------------------------------------- */

static bool is_name(const rl_pages_entry *e, const char *name)
{
  return e->key_n == strlen(name) && memcmp(e->key, name, e->key_n) == 0;
}

static bool is_prefix(const rl_pages_entry *e, const char *prefix)
{
  size_t n = strlen(prefix);
  return e->key_n > n && memcmp(e->key, prefix, n) == 0;
}

static rl_status meet_table(void *user, const rl_pages_entry *e)
{
  verifier *v = user;
  rl_pages_tree tree;
  int n = e->key_n < KEY_SHOWN ? (int)e->key_n : KEY_SHOWN;
  if (!rl_pages_subtree(e, &tree)) {
    tell_of(v, NULL, "table '%.*s': its record is damaged", n, e->key);
    return RL_OK;
  }
  for (unsigned i = 0; i < RL_NOTE_KINDS; i++) {
    if (!is_name(e, rl_note_kinds[i])) continue;
    v->notes[i] = tree;
    v->have_notes[i] = true;
    return RL_OK;
  }
  if (is_name(e, "state")) {
    v->state = tree;
    v->have_state = true;
  } else if (is_name(e, "due")) {
    v->due = tree;
    v->have_due = true;
  } else if (is_name(e, "meta")) {
    v->meta = tree;
    v->have_meta = true;
  } else {
    tell_of(v, NULL, "a table '%.*s' that nobody made", n, e->key);
  }
  return RL_OK;
}

static bool meet_op(verifier *v, const rl_pages_entry *e, rl_octets key, rl_octets value)
{
  uint64_t x[RL_META_NUMBERS];
  size_t prefix = sizeof RL_META_OP - 1;
  if (!rl_meta_read(key, value, x, RL_META_NUMBERS)) return false;
  v->ops = rl_grow(v->ops, &v->ops_cap, v->nops + 1, sizeof *v->ops);
  verified_op *op = &v->ops[v->nops++];
  *op = (verified_op){.uid = rl_strndup(e->key + prefix, e->key_n - prefix)};
  rl_meta_read_op(x, &op->number, &op->timed, &op->told);
  return true;
}

static bool meet_notes(verifier *v, const rl_pages_entry *e, rl_octets key, rl_octets value)
{
  uint64_t x[2];
  const char *kind = e->key + sizeof RL_META_NOTES - 1;
  size_t n = e->key_n - (sizeof RL_META_NOTES - 1);
  if (!rl_meta_read(key, value, x, 2)) return false;
  for (unsigned i = 0; i < RL_NOTE_KINDS; i++) {
    if (strlen(rl_note_kinds[i]) != n || memcmp(kind, rl_note_kinds[i], n) != 0) continue;
    v->note_sets[i] = (verified_notes){.told = x[0], .told_sum = x[1]};
    return true;
  }
  return false;
}

static rl_status meet_meta(void *user, const rl_pages_entry *e)
{
  verifier *v = user;
  rl_octets key = {e->key, e->key_n}, value = {e->value, e->value_n};
  uint64_t x[2];
  bool good = true;
  if (is_name(e, rl_meta_sum_name)) {
    good = rl_meta_read(key, value, x, 2);
    v->have_sum = good;
    v->generation = good ? x[0] : 0;
    v->told_sum = good ? x[1] : 0;
  } else {
    v->counted_sum += rl_meta_hash(key, value);
    if (is_name(e, rl_meta_format_name)) {
      good = rl_meta_read(key, value, &v->format, 1);
      if (good && v->format != RL_META_FORMAT) return rl_meta_other_format(v->dir, v->format); /* the rest is another */
    } else if (is_name(e, rl_meta_applied_name)) {
      good = rl_meta_read(key, value, x, 1);
    } else if (is_prefix(e, RL_META_OP)) {
      good = meet_op(v, e, key, value);
    } else if (is_prefix(e, RL_META_NOTES)) {
      good = meet_notes(v, e, key, value);
    } else {
      good = false;
    }
  }
  int n = e->key_n < KEY_SHOWN ? (int)e->key_n : KEY_SHOWN;
  if (!good) tell_of(v, NULL, "table 'meta': the record '%.*s' is damaged", n, e->key);
  return RL_OK;
}

/* Entries ---------------------------------------------------------------------------------------------------------- */

static verified_op *find_op(verifier *v, const rl_pages_entry *e, const char *table, uint32_t *group)
{
  if (e->key_n <= RL_IMAGE_HEAD) {
    tell_of(v, NULL, "table '%s': a key of %zu bytes", table, e->key_n);
    return NULL;
  }
  const unsigned char *p = (const unsigned char *)e->key;
  uint32_t number = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
  *group = p[4];
  for (size_t i = 0; i < v->nops; i++) {
    size_t at = (v->latest + i) % v->nops; /* one after the other: mostly the one before */
    if (v->ops[at].number != number) continue;
    v->latest = at;
    return &v->ops[at];
  }
  tell_of(v, NULL, "table '%s': an entry of operator %u, which there is not", table, (unsigned)number);
  return NULL;
}

static bool is_in_group(rl_octets form, uint32_t group)
{
  rl_value key = rl_nil();
  return rl_form_read(form, &key) == RL_OK && key.type != RL_T_NIL && rl_key_group(rl_key_hash(key)) == group;
}

static void check_entry(verifier *v, verified_op *op, uint32_t group, rl_octets form, rl_octets entry)
{
  rl_octets stored;
  rl_value value = rl_nil();
  int64_t stamp;
  uint64_t hash = 0;
  v->out->entries++;
  op->counted.entries++;
  if (!rl_image_read(op->number, group, form, entry, &stored, &hash)) {
    tell_key(v, op, form, "wrong checksum");
  } else if (!is_in_group(form, group)) {
    tell_key(v, op, form, "in another key group than its own");
  } else if (rl_stored_read(stored, &value, &stamp) != RL_OK || value.type == RL_T_NIL) {
    tell_key(v, op, form, "malformed value");
  }
  op->counted.sum += hash;
}

/* Keys that are stored by their hash: it is theirs. */
static void check_bucket(verifier *v, verified_op *op, uint32_t group, const rl_pages_entry *e)
{
  rl_octets rest = {e->value, e->value_n}, form, entry;
  bool found = true;
  while (rest.n > 0) {
    char room[RL_IMAGE_KEY_MAX];
    if (rl_bucket_next(&rest, &form, &entry, &found) != 0) {
      tell_of(v, op, "entries of long keys are malformed");
      return;
    }
    MDB_val key = rl_image_hashed(form) ? rl_image_key(op->number, group, form, room) : (MDB_val){0};
    if (key.mv_size != e->key_n || memcmp(key.mv_data, e->key, e->key_n) != 0) {
      tell_key(v, op, form, "under the hash of another key");
    }
    check_entry(v, op, group, form, entry);
  }
}

static rl_status meet_entry(void *user, const rl_pages_entry *e)
{
  verifier *v = user;
  uint32_t group = 0;
  verified_op *op = find_op(v, e, "state", &group);
  if (!op) return RL_OK;
  rl_octets form = {e->key + RL_IMAGE_HEAD, e->key_n - RL_IMAGE_HEAD};
  if ((unsigned char)form.p[0] == RL_IMAGE_HASHED) {
    check_bucket(v, op, group, e);
  } else {
    check_entry(v, op, group, form, (rl_octets){e->value, e->value_n});
  }
  return RL_OK;
}

static bool check_list(rl_octets list, uint32_t group)
{
  rl_reader r = {list.p, list.p + list.n};
  bool good = list.n > 0;
  while (good && r.p < r.end) {
    uint64_t n = 0;
    good = rl_get_varint(&r, &n) == RL_OK && n <= (size_t)(r.end - r.p);
    if (good) good = is_in_group((rl_octets){r.p, (size_t)n}, group);
    if (good) r.p += n;
  }
  return good;
}

static rl_status meet_list(void *user, const rl_pages_entry *e)
{
  verifier *v = user;
  uint32_t group = 0;
  verified_op *op = find_op(v, e, "due", &group);
  if (!op) return RL_OK;
  rl_octets list;
  uint64_t hash = 0;
  v->out->due_lists++;
  op->counted.lists++;
  rl_octets name = {e->key, e->key_n}, entry = {e->value, e->value_n};
  if (name.n != RL_DUE_KEY || !rl_image_read(op->number, group, name, entry, &list, &hash)) {
    tell_of(v, op, "a list of times: wrong checksum");
  } else if (!op->timed || !check_list(list, group)) {
    tell_of(v, op, "a list of times: malformed");
  }
  op->counted.lists_sum += hash;
  return RL_OK;
}

static rl_status meet_note(void *user, const rl_pages_entry *e)
{
  verifier *v = user;
  verified_notes *set = &v->note_sets[v->kind];
  rl_octets name = {e->key, e->key_n}, content;
  v->out->notes++;
  set->counted++;
  if (rl_note_read(v->kind, name, (rl_octets){e->value, e->value_n}, &content)) {
    set->counted_sum += rl_note_check(v->kind, name, content);
  } else {
    tell_note(v, rl_note_kinds[v->kind], name, "wrong checksum");
  }
  return RL_OK;
}

/* Sums ------------------------------------------------------------------------------------------------------------- */

static void compare_op(verifier *v, const verified_op *op)
{
  const rl_image_op *told = &op->told, *counted = &op->counted;
  if (told->entries != counted->entries || told->sum != counted->sum) {
    tell_of(v, op, "the set of its entries is another one: %llu of them, and not %llu, or others",
            (unsigned long long)counted->entries, (unsigned long long)told->entries);
  }
  if (told->lists != counted->lists || told->lists_sum != counted->lists_sum) {
    tell_of(v, op, "the set of its lists of times is another one: %llu of them, and not %llu, or others",
            (unsigned long long)counted->lists, (unsigned long long)told->lists);
  }
  if (told->whole && told->count != told->entries) {
    tell_of(v, op, "%llu keys are told of, and there are %llu", (unsigned long long)told->count,
            (unsigned long long)told->entries);
  }
  for (const verified_op *other = v->ops; other < op; other++) {
    if (other->number == op->number) tell_of(v, op, "has the number of '%s'", other->uid);
  }
}

static void compare_sets(verifier *v)
{
  for (size_t i = 0; i < v->nops; i++) compare_op(v, &v->ops[i]);
  for (unsigned i = 0; i < RL_NOTE_KINDS; i++) {
    const verified_notes *set = &v->note_sets[i];
    if (set->told == set->counted && set->told_sum == set->counted_sum) continue;
    tell_of(v, NULL, "notes (%s): the set of them is another one: %llu of them, and not %llu, or others",
            rl_note_kinds[i], (unsigned long long)set->counted, (unsigned long long)set->told);
  }
}

static void check_meta_sum(verifier *v)
{
  if (!v->have_state || !v->have_due || !v->have_meta) tell_of(v, NULL, "a table is missing");
  if (!v->have_sum || v->told_sum != v->counted_sum) {
    tell_of(v, NULL, "table 'meta': the set of its records is another one");
  }
}

/* Moments ---------------------------------------------------------------------------------------------------------- */

static rl_status read_meta(verifier *v, const rl_pages_meta *m)
{
  rl_status st = rl_pages_walk(v->pages, "the table of tables", &m->main, meet_table, v);
  if (st == RL_OK && v->have_meta) st = rl_pages_walk(v->pages, "table 'meta'", &v->meta, meet_meta, v);
  return st;
}

static void forget(verifier *v)
{
  for (size_t i = 0; i < v->nops; i++) rl_free(v->ops[i].uid);
  rl_free(v->ops);
  rl_free(v->first);
}

static bool is_empty(const rl_pages_meta *m)
{
  return m->txn == 0 && m->main.root == RL_PAGES_NONE && m->free.root == RL_PAGES_NONE;
}

/* The moment before is there as well, as it is what is left when a commit is cut off. Were the newest meta page taken
 * for an older one, the moment that is read would be that one: it tells that there was a later. */
static rl_status check_other(verifier *v, const rl_pages_meta metas[2], const rl_pages_meta *m)
{
  const rl_pages_meta *other = m == &metas[0] ? &metas[1] : &metas[0];
  if (other->txn > m->txn) return RL_OK; /* somebody has written meanwhile */
  verifier before = {.dir = v->dir, .pages = v->pages, .quiet = true, .out = &(rl_state_verified){0}};
  rl_pages_begin(v->pages, other, true);
  rl_status st = is_empty(other) ? RL_OK : read_meta(&before, other);
  bool good = !rl_pages_damaged(v->pages) && other->txn + 1 == m->txn;
  if (!is_empty(other)) good = good && before.have_sum && before.generation + 1 == v->generation;
  forget(&before);
  rl_pages_meta now[2];
  if (st != RL_OK || good || rl_pages_metas(v->pages, now) != RL_OK) return st;
  if (now[0].txn != metas[0].txn || now[1].txn != metas[1].txn) return RL_OK; /* its pages are used again */
  tell_of(v, NULL, "the meta page of transaction %llu is not of the one before %llu", (unsigned long long)other->txn,
          (unsigned long long)m->txn);
  return RL_OK;
}

static rl_status read_notes(verifier *v)
{
  rl_status st = RL_OK;
  for (v->kind = 0; v->kind < RL_NOTE_KINDS && st == RL_OK; v->kind++) {
    if (!v->have_notes[v->kind]) continue;
    char *name = rl_format("table '%s'", rl_note_kinds[v->kind]);
    st = rl_pages_walk(v->pages, name, &v->notes[v->kind], meet_note, v);
    rl_free(name);
  }
  return st;
}

static rl_status read_moment(verifier *v, const rl_pages_meta metas[2], const rl_pages_meta *m)
{
  rl_pages_begin(v->pages, m, false);
  rl_status st = read_meta(v, m);
  if (st != RL_OK) return st;
  check_meta_sum(v);
  if (v->have_state) st = rl_pages_walk(v->pages, "table 'state'", &v->state, meet_entry, v);
  if (st == RL_OK && v->have_due) st = rl_pages_walk(v->pages, "table 'due'", &v->due, meet_list, v);
  if (st == RL_OK) st = read_notes(v);
  if (st == RL_OK) st = rl_pages_check_free(v->pages);
  if (st != RL_OK) return st;
  compare_sets(v);
  v->out->operators = v->nops;
  return check_other(v, metas, m);
}

/* A reading transaction keeps the pages of its moment from being used again; they are then read without LMDB. */
static rl_status hold_moment(verifier *v, MDB_txn *txn)
{
  rl_pages_meta metas[2];
  for (int i = 0; i < TRIES; i++) {
    mdb_txn_reset(txn);
    int rc = mdb_txn_renew(txn);
    if (rc != 0) return rl_fail(RL_EIO, "cannot read the state in %s: %s", v->dir, mdb_strerror(rc));
    rl_status st = rl_pages_metas(v->pages, metas);
    if (st != RL_OK) return st;
    uint64_t id = mdb_txn_id(txn);
    if (is_empty(&metas[0]) && is_empty(&metas[1])) return rl_fail(RL_ENOTFOUND, "there is no state in %s yet", v->dir);
    if (metas[0].txn == id || metas[1].txn == id) {
      return read_moment(v, metas, metas[0].txn == id ? &metas[0] : &metas[1]);
    }
  }
  return rl_fail(RL_EIO, "the state in %s is written faster than it can be read", v->dir);
}

static rl_status open_and_read(verifier *v)
{
  rl_pages_meta metas[2];
  MDB_env *env = NULL;
  MDB_txn *txn = NULL;
  rl_status st = rl_pages_metas(v->pages, metas);
  if (st != RL_OK) return st; /* LMDB is not given such metas */
  int rc = rl_env_open_reader(v->dir, &env);
  if (rc == 0) rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
  if (rc == 0) {
    st = hold_moment(v, txn);
    mdb_txn_abort(txn);
  } else {
    st = rl_fail(rc == ENOMEM ? RL_ENOMEM : RL_EIO, "cannot read the state in %s: %s", v->dir, mdb_strerror(rc));
  }
  if (env) mdb_env_close(env);
  return st;
}

rl_status rl_state_verify(const char *dir, rl_state_damage_fn *fn, void *user, rl_state_verified *out)
{
  rl_state_verified ignored;
  verifier v = {.dir = dir, .fn = fn, .user = user, .out = out ? out : &ignored};
  char *path = rl_path_join(dir, "data.mdb");
  *v.out = (rl_state_verified){0};
  rl_status st = rl_pages_open(path, tell_pages, &v, &v.pages);
  if (st == RL_OK) st = open_and_read(&v);
  if (v.first && (st == RL_OK || st == RL_EDATA)) {
    st = rl_fail(RL_EDATA, "the state in %s is damaged: %s", dir, v.first);
  }
  rl_pages_close(v.pages);
  forget(&v);
  rl_free(path);
  return st;
}
