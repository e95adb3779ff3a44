/* Layers into the image, in transactions of a bounded size. All of it may be done again: what a failed attempt has
 * written is written anew. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/codec.h"
#include "store/state_impl.h"

#define PIECE_ENTRIES 8192
#define PIECE_BYTES ((size_t)64 * 1024 * 1024)

/* In the order of the image; the first bytes of the key spare most looks at the entry. */
typedef struct change {
  uint64_t place; /* uid number, group */
  uint64_t first;
  const rl_entry *e;
  rl_state_op *op;
} change;

typedef struct touch {
  const change *c;
  int64_t stamp;
} touch;

typedef struct writer {
  rl_state *s;
  rl_layer *first, *last;
  change *changes;
  size_t n;
  MDB_txn *txn;
  uint32_t piece;
  rl_buf scratch;
  touch *touched; /* PIECE_ENTRIES */
} writer;

/* Sorting ---------------------------------------------------------------------------------------------------------- */

static uint64_t first_bytes(rl_octets form)
{
  uint64_t x = 0;
  for (size_t i = 0; i < 8; i++) x = x << 8 | (i < form.n ? (unsigned char)form.p[i] : 0);
  return x;
}

static int compare_changes(const void *a, const void *b)
{
  const change *x = a, *y = b;
  if (x->place != y->place) return x->place < y->place ? -1 : 1;
  if (x->first != y->first) return x->first < y->first ? -1 : 1;
  int order = rl_form_compare(rl_entry_key(x->e), rl_entry_key(y->e));
  return order != 0 ? order : (x->e->version < y->e->version) - (x->e->version > y->e->version);
}

static change change_of(const rl_layer *l, const rl_entry *e)
{
  rl_octets form = rl_entry_key(e);
  return (change){.place = (uint64_t)l->op->number << 8 | rl_entry_group(e),
                  .first = rl_image_hashed(form) ? UINT64_MAX : first_bytes(form),
                  .e = e,
                  .op = l->op};
}

static bool same_key(const change *a, const change *b)
{
  return a->place == b->place && a->e->hash == b->e->hash &&
         rl_form_compare(rl_entry_key(a->e), rl_entry_key(b->e)) == 0;
}

/* Of each key the newest entry: it comes first. */
static void drop_older(writer *w)
{
  size_t kept = 0;
  for (size_t i = 0; i < w->n; i++) {
    if (kept > 0 && same_key(&w->changes[kept - 1], &w->changes[i])) continue;
    w->changes[kept++] = w->changes[i];
  }
  w->n = kept;
}

static void collect(writer *w, size_t entries)
{
  w->changes = rl_calloc(entries, sizeof *w->changes);
  for (const rl_layer *l = w->first;; l = l->next) {
    rl_entry_walk walk = rl_layer_walk(l);
    for (const rl_entry *e; (e = rl_entry_next(&walk)) != NULL;) w->changes[w->n++] = change_of(l, e);
    if (l == w->last) break;
  }
  qsort(w->changes, w->n, sizeof *w->changes, compare_changes);
  if (w->first != w->last) drop_older(w);
}

/* The index of times ----------------------------------------------------------------------------------------------- */

/* A list that is going. */
static int take_list(rl_state_op *op, uint32_t group, const MDB_val *key, const MDB_val *value)
{
  rl_octets list;
  uint64_t hash;
  if (!rl_image_read(op->number, group, (rl_octets){key->mv_data, key->mv_size},
                     (rl_octets){value->mv_data, value->mv_size}, &list, &hash)) {
    return MDB_CORRUPTED;
  }
  op->next_image.lists--;
  op->next_image.lists_sum -= hash;
  return 0;
}

/* Lists of one group with stamps below `before`. */
static int delete_lists(MDB_cursor *c, rl_state_op *op, uint32_t group, int64_t before)
{
  char from[RL_DUE_KEY], to[RL_DUE_KEY];
  rl_due_key(from, op->number, group, INT64_MIN, 0, 0);
  rl_due_key(to, op->number, group, before, 0, 0);
  MDB_val key = {.mv_size = sizeof from, .mv_data = from}, value;
  int rc = 0;
  while ((rc = mdb_cursor_get(c, &key, &value, MDB_SET_RANGE)) == 0) {
    if (key.mv_size != RL_DUE_KEY) return MDB_CORRUPTED;
    if (memcmp(key.mv_data, to, RL_DUE_HEAD) >= 0) return 0;
    rc = take_list(op, group, &key, &value);
    if (rc == 0) rc = mdb_cursor_del(c, 0);
    if (rc != 0) return rc;
    key = (MDB_val){.mv_size = sizeof from, .mv_data = from};
  }
  return rc == MDB_NOTFOUND ? 0 : rc;
}

static int delete_visited(writer *w, MDB_cursor *c)
{
  int rc = 0;
  for (const rl_layer *l = w->first; rc == 0; l = l->next) {
    for (uint32_t i = 0; i < l->nparts && rc == 0; i++) {
      const rl_layer_part *part = &l->parts[i];
      if (part->due == RL_NO_TIME) continue;
      for (uint32_t g = part->from; g < part->to && rc == 0; g++) rc = delete_lists(c, l->op, g, part->due);
    }
    if (l == w->last) break;
  }
  return rc;
}

static int compare_touches(const void *a, const void *b)
{
  const touch *x = a, *y = b;
  if (x->c->place != y->c->place) return x->c->place < y->c->place ? -1 : 1;
  if (x->stamp != y->stamp) return x->stamp < y->stamp ? -1 : 1;
  return (x->c > y->c) - (x->c < y->c);
}

/* One of the same name is of an earlier try to move the version, before a crash. */
static int store_list(MDB_cursor *c, rl_state_op *op, uint32_t group, char *name, rl_octets list)
{
  uint64_t hash = rl_image_hash(op->number, group, (rl_octets){name, RL_DUE_KEY}, list);
  uint32_t check = (uint32_t)hash;
  MDB_val key = {.mv_size = RL_DUE_KEY, .mv_data = name}, value = {.mv_size = RL_IMAGE_CHECK + list.n};
  int rc = mdb_cursor_put(c, &key, &value, MDB_RESERVE | MDB_NOOVERWRITE);
  if (rc == MDB_KEYEXIST) {
    rc = take_list(op, group, &key, &value);
    value = (MDB_val){.mv_size = RL_IMAGE_CHECK + list.n};
    if (rc == 0) rc = mdb_cursor_put(c, &key, &value, MDB_RESERVE | MDB_CURRENT);
  }
  if (rc != 0) return rc;
  memcpy(value.mv_data, &check, RL_IMAGE_CHECK);
  memcpy((char *)value.mv_data + RL_IMAGE_CHECK, list.p, list.n);
  op->next_image.lists++;
  op->next_image.lists_sum += hash;
  return 0;
}

static int put_list(writer *w, MDB_cursor *c, const touch *t, size_t n)
{
  char room[RL_DUE_KEY];
  const change *first = t->c;
  rl_due_key(room, first->op->number, rl_entry_group(first->e), t->stamp, w->last->seq, w->piece);
  rl_buf_clear(&w->scratch);
  for (size_t i = 0; i < n; i++) {
    rl_octets form = rl_entry_key(t[i].c->e);
    rl_put_varint(&w->scratch, form.n);
    rl_buf_add(&w->scratch, form.p, form.n);
  }
  return store_list(c, first->op, rl_entry_group(first->e), room, (rl_octets){w->scratch.p, w->scratch.n});
}

static int put_lists(writer *w, MDB_cursor *c, const change *changes, size_t n)
{
  size_t touched = 0;
  int rc = 0;
  for (size_t i = 0; i < n; i++) {
    touch t = {.c = &changes[i]};
    if (!t.c->op->timed || t.c->e->new_n == 0) continue;
    (void)rl_stored_stamp(rl_entry_new(t.c->e), &t.stamp);
    w->touched[touched++] = t;
  }
  qsort(w->touched, touched, sizeof *w->touched, compare_touches);
  for (size_t i = 0, end; i < touched && rc == 0; i = end) {
    const touch *t = &w->touched[i];
    for (end = i + 1; end < touched; end++) {
      if (w->touched[end].stamp != t->stamp || w->touched[end].c->place != t->c->place) break;
    }
    rc = put_list(w, c, t, end - i);
  }
  return rc;
}

static int write_due(writer *w, const change *changes, size_t n)
{
  MDB_cursor *c = NULL;
  int rc = mdb_cursor_open(w->txn, w->s->image.due, &c);
  if (rc != 0) return rc;
  /* First, as what was touched since may have a stamp that is due. */
  if (w->piece == 0) rc = delete_visited(w, c);
  if (rc == 0) rc = put_lists(w, c, changes, n);
  mdb_cursor_close(c);
  return rc;
}

/* Entries ---------------------------------------------------------------------------------------------------------- */

static int write_entries(writer *w, const change *changes, size_t n)
{
  MDB_cursor *c = NULL;
  int rc = mdb_cursor_open(w->txn, w->s->image.state, &c);
  if (rc != 0) return rc;
  for (size_t i = 0; i < n && rc == 0; i++) {
    const rl_entry *e = changes[i].e;
    rl_state_op *op = changes[i].op;
    rc = rl_image_put(op, &op->next_image, c, rl_entry_group(e), rl_entry_key(e), rl_entry_new(e), &w->scratch);
  }
  mdb_cursor_close(c);
  return rc;
}

/* Operators are in it from the first piece on: their numbers are taken. */
static int write_meta(writer *w, bool ends)
{
  rl_meta m;
  int rc = rl_meta_begin(&m, &w->s->image, w->txn);
  if (rc == 0 && ends) rc = rl_meta_put_applied(&m, w->last->seq);
  for (const rl_layer *l = w->first; rc == 0; l = l->next) {
    rl_image_op *image = &l->op->next_image;
    image->whole = ends;
    if (ends) {
      image->version = l->version;
      image->count = l->count;
    }
    rc = rl_meta_put_op(&m, l->op, image);
    if (l == w->last) break;
  }
  return rc == 0 ? rl_meta_end(&m) : rc;
}

static void each_image(const writer *w, bool committed)
{
  for (const rl_layer *l = w->first;; l = l->next) {
    if (committed) {
      l->op->image = l->op->next_image;
    } else {
      l->op->next_image = l->op->image;
    }
    if (l == w->last) break;
  }
}

static int write_piece(writer *w, const change *changes, size_t n, bool ends)
{
  int rc = mdb_txn_begin(w->s->image.env, NULL, 0, &w->txn);
  if (rc != 0) return rc;
  each_image(w, false);
  rc = write_entries(w, changes, n);
  if (rc == 0) rc = write_due(w, changes, n);
  if (rc == 0) rc = write_meta(w, ends);
  if (rc != 0) {
    mdb_txn_abort(w->txn);
    return rc;
  }
  rc = mdb_txn_commit(w->txn);
  if (rc == 0) each_image(w, true);
  return rc;
}

static size_t piece_size(const writer *w, size_t from)
{
  size_t n = 0, bytes = 0;
  while (from + n < w->n && n < PIECE_ENTRIES && bytes < PIECE_BYTES) {
    const rl_entry *e = w->changes[from + n++].e;
    bytes += (size_t)e->key_n + e->new_n;
  }
  return n;
}

/* A kept image is not left with a part of a version in it. */
static bool is_stopped(rl_state *s)
{
  if (!s->image.scratch) return false;
  pthread_mutex_lock(&s->lock);
  bool stop = s->stop;
  pthread_mutex_unlock(&s->lock);
  return stop;
}

static int write_all(writer *w)
{
  int rc = 0;
  size_t done = 0;
  do {
    size_t n = piece_size(w, done);
    rc = write_piece(w, w->changes + done, n, done + n == w->n);
    done += n;
    w->piece++;
  } while (rc == 0 && done < w->n && !is_stopped(w->s));
  return rc;
}

int rl_apply_write(rl_state *s, rl_layer *first, rl_layer *last, size_t entries)
{
  writer w = {.s = s, .first = first, .last = last};
  int dead = 0;
  int rc = mdb_reader_check(s->image.env, &dead); /* what killed processes read need not be kept */
  if (rc != 0) return rc;
  collect(&w, entries);
  w.touched = rl_calloc(w.n < PIECE_ENTRIES ? w.n : PIECE_ENTRIES, sizeof *w.touched);
  rc = write_all(&w);
  rl_buf_free(&w.scratch);
  rl_free(w.touched);
  rl_free(w.changes);
  return rc;
}
