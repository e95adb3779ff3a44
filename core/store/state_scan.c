/* A scan merges two sorted runs: the overlay's entries as the scan's version has them, gathered at its beginning, and
 * the image. The image may take in more of the overlay meanwhile, up to the version: then keys are met in both. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/codec.h"
#include "store/state_impl.h"

#define RENEW_AFTER 1000 /* keys of the image */

struct rl_state_scan {
  rl_state_op *op;
  int64_t version;
  uint32_t from, to;
  rl_buf prefix; /* of forms; n = 0: all */
  rl_state_reader *reader;
  MDB_cursor *cursor;

  rl_layer **layers; /* whose entries `view` has */
  size_t nlayers, layers_cap;
  const rl_entry **view;
  size_t nview, view_cap, at;

  /* The image: keys that begin with `range`, one range after the other. */
  rl_buf range, last; /* last: the key where the cursor stands */
  uint32_t group;     /* of the range */
  bool hashed;        /* it is the range of hashed keys, and they are to be compared with the prefix */
  bool fresh;         /* the cursor is not in the range yet */
  rl_octets bucket;     /* what is left of it */
  uint32_t read;      /* since the transaction began */

  bool have;          /* the image's next entry: */
  rl_octets form, entry;
  bool failed;
};

/* The overlay ------------------------------------------------------------------------------------------------------ */

static bool wanted(const rl_state_scan *s, rl_octets form)
{
  return form.n >= s->prefix.n && (s->prefix.n == 0 || memcmp(form.p, s->prefix.p, s->prefix.n) == 0);
}

/* With the store's lock held. */
static void keep_layers(rl_state_scan *s)
{
  for (rl_layer *l = s->op->s->oldest; l; l = l->next) {
    if (l->op != s->op || l->seq <= s->reader->applied || l->version > s->version) continue;
    s->layers = rl_grow(s->layers, &s->layers_cap, s->nlayers + 1, sizeof(rl_layer *));
    s->layers[s->nlayers++] = l;
    l->refs++;
  }
}

static void gather_bucket(rl_state_scan *s, const rl_entry *newest)
{
  for (; newest; newest = newest->next) {
    const rl_entry *e = newest;
    while (e && e->version > s->version) e = e->older;
    if (!e || e->version <= s->reader->floor || !wanted(s, rl_entry_key(e))) continue;
    s->view = rl_grow(s->view, &s->view_cap, s->nview + 1, sizeof(rl_entry *));
    s->view[s->nview++] = e;
  }
}

static int compare_entries(const void *a, const void *b)
{
  const rl_entry *x = *(const rl_entry *const *)a, *y = *(const rl_entry *const *)b;
  uint32_t gx = rl_entry_group(x), gy = rl_entry_group(y);
  return gx != gy ? (gx < gy ? -1 : 1) : rl_form_compare(rl_entry_key(x), rl_entry_key(y));
}

static void gather(rl_state_scan *s)
{
  for (uint32_t i = s->from; i < s->to; i++) {
    rl_table_group *g = &s->op->table[i];
    pthread_mutex_lock(&g->lock);
    for (uint32_t b = 0; b < g->nbuckets; b++) gather_bucket(s, g->buckets[b]);
    pthread_mutex_unlock(&g->lock);
  }
  if (s->nview > 0) qsort(s->view, s->nview, sizeof(rl_entry *), compare_entries);
}

/* The image -------------------------------------------------------------------------------------------------------- */

static void set_range(rl_state_scan *s, uint32_t group, bool hashed)
{
  char room[RL_IMAGE_KEY_MAX];
  rl_octets nothing = {"", 0};
  MDB_val head = rl_image_key(s->op->number, group, nothing, room);
  rl_buf_clear(&s->range);
  rl_buf_add(&s->range, head.mv_data, head.mv_size);
  if (hashed) {
    rl_buf_putc(&s->range, (char)RL_IMAGE_HASHED);
  } else {
    rl_buf_add(&s->range, s->prefix.p, s->prefix.n);
  }
  s->group = group;
  s->hashed = hashed;
  s->fresh = true;
}

/* Without a prefix the hashed keys of a group are in its one range. False: there is none. */
static bool next_range(rl_state_scan *s)
{
  if (s->prefix.n > 0 && !s->hashed && s->group < s->to) {
    set_range(s, s->group, true);
    return true;
  }
  if (s->group + 1 >= s->to) {
    s->group = s->to;
    return false;
  }
  set_range(s, s->group + 1, false);
  return true;
}

static rl_status image_failed(rl_state_scan *s, int rc)
{
  rl_status st = rl_image_fail(&s->op->s->image, rc, "read");
  rl_error_prefix("state of '%s': ", s->op->uid);
  return st;
}

/* Lets go of the image, and looks at it anew. */
static rl_status renew(rl_state_scan *s)
{
  s->read = 0;
  pthread_mutex_lock(&s->op->s->lock);
  rl_status st = rl_state_reader_renew(s->reader);
  pthread_mutex_unlock(&s->op->s->lock);
  if (st != RL_OK) return st;
  int rc = mdb_cursor_renew(s->reader->txn, s->cursor);
  return rc == 0 ? RL_OK : image_failed(s, rc);
}

static bool is_key(const MDB_val *key, const rl_buf *b)
{
  return key->mv_size == b->n && memcmp(key->mv_data, b->p, b->n) == 0;
}

/* To the first key of the range, or the one behind `last`; `lost`: the cursor does not stand there any more. */
static int move_on(rl_state_scan *s, bool lost, MDB_val *key, MDB_val *value)
{
  if (!s->fresh && !lost) return mdb_cursor_get(s->cursor, key, value, MDB_NEXT);
  const rl_buf *to = s->fresh ? &s->range : &s->last;
  *key = (MDB_val){.mv_size = to->n, .mv_data = to->p};
  int rc = mdb_cursor_get(s->cursor, key, value, MDB_SET_RANGE);
  if (rc == 0 && !s->fresh && is_key(key, to)) rc = mdb_cursor_get(s->cursor, key, value, MDB_NEXT);
  return rc;
}

/* In a page that is damaged, keys may stand out of order: a range would end before its end. */
static bool is_behind_last(const rl_state_scan *s, const MDB_val *key)
{
  size_t n = key->mv_size < s->last.n ? key->mv_size : s->last.n;
  int order = memcmp(key->mv_data, s->last.p, n);
  return order > 0 || (order == 0 && key->mv_size > s->last.n);
}

/* The next key of the range; *found = false: its end. */
static rl_status step(rl_state_scan *s, MDB_val *key, MDB_val *value, bool *found)
{
  bool lost = s->read >= RENEW_AFTER;
  rl_status st = lost ? renew(s) : RL_OK;
  if (st != RL_OK) return st;
  int rc = move_on(s, lost, key, value);
  if (rc == 0 && !s->fresh && !is_behind_last(s, key)) return image_failed(s, MDB_CORRUPTED);
  *found = rc == 0 && key->mv_size >= s->range.n && memcmp(key->mv_data, s->range.p, s->range.n) == 0;
  if (rc != 0 && rc != MDB_NOTFOUND) return image_failed(s, rc);
  if (*found) {
    rl_buf_clear(&s->last);
    rl_buf_add(&s->last, key->mv_data, key->mv_size);
    s->fresh = false;
    s->read++;
  }
  return RL_OK;
}

static rl_status take_from_bucket(rl_state_scan *s)
{
  bool found = false;
  int rc = rl_bucket_next(&s->bucket, &s->form, &s->entry, &found);
  if (rc != 0) return image_failed(s, rc);
  s->have = found && wanted(s, s->form);
  return RL_OK;
}

static rl_status take_key(rl_state_scan *s, const MDB_val *key, const MDB_val *value)
{
  rl_octets form = {(const char *)key->mv_data + RL_IMAGE_HEAD, key->mv_size - RL_IMAGE_HEAD};
  if (form.n == 0) return image_failed(s, MDB_CORRUPTED);
  rl_octets entry = {value->mv_data, value->mv_size};
  if ((unsigned char)form.p[0] == RL_IMAGE_HASHED) {
    s->bucket = entry;
    return RL_OK;
  }
  s->form = form;
  s->entry = entry;
  s->have = true;
  return RL_OK;
}

/* Makes the image's next entry the one that `have` tells of. */
static rl_status fetch(rl_state_scan *s)
{
  rl_status st = RL_OK;
  while (st == RL_OK && !s->have && s->group < s->to) {
    MDB_val key, value;
    bool found = false;
    if (s->bucket.n > 0) {
      st = take_from_bucket(s);
      continue;
    }
    st = step(s, &key, &value, &found);
    if (st != RL_OK) return st;
    if (found) {
      st = take_key(s, &key, &value);
    } else if (!next_range(s)) {
      break;
    }
  }
  return st;
}

/* Scans ------------------------------------------------------------------------------------------------------------ */

static rl_status begin(rl_state_scan *s)
{
  rl_state_op *op = s->op;
  rl_status st = RL_OK;
  pthread_mutex_lock(&op->s->lock);
  if (s->version == RL_NO_TIME) s->version = op->sealed;
  if (!rl_state_readable(op, s->version)) {
    st = rl_fail(RL_ESTATE, "version %lld of the state of '%s' is gone", (long long)s->version, op->uid);
  } else {
    st = rl_state_reader_begin(op, &s->reader);
  }
  if (st == RL_OK) {
    rl_pin_add(op, s->version, true);
    keep_layers(s);
  }
  pthread_mutex_unlock(&op->s->lock);
  return st;
}

rl_status rl_state_scan_open(rl_state_op *op, int64_t version, uint32_t from, uint32_t to, const char *prefix,
                             size_t prefix_n, rl_state_scan **out)
{
  if (from > to || to > RL_KEY_GROUPS) {
    return rl_fail(RL_EINVAL, "no key groups %u to %u in a scan of state", (unsigned)from, (unsigned)to);
  }
  rl_state_scan *s = RL_NEW(rl_state_scan);
  *s = (rl_state_scan){.op = op, .version = version, .from = from, .to = to};
  if (prefix) {
    rl_buf_putc(&s->prefix, RL_TAG_BYTES);
    rl_buf_add(&s->prefix, prefix, prefix_n);
  }
  rl_status st = begin(s);
  if (st == RL_OK) {
    int rc = mdb_cursor_open(s->reader->txn, op->s->image.state, &s->cursor);
    if (rc != 0) st = image_failed(s, rc);
  }
  if (st != RL_OK) {
    rl_state_scan_close(s);
    return st;
  }
  gather(s);
  /* A prefix longer than the image's keys is met by hashed ones only. */
  set_range(s, from, s->prefix.n > RL_IMAGE_KEY_MAX - RL_IMAGE_HEAD);
  *out = s;
  return RL_OK;
}

/* < 0: the image's next entry comes first; 0: both have the same key. */
static int compare_next(const rl_state_scan *s)
{
  if (!s->have) return 1;
  if (s->at == s->nview) return -1;
  const rl_entry *e = s->view[s->at];
  uint32_t group = rl_entry_group(e);
  if (group != s->group) return s->group < group ? -1 : 1;
  return rl_form_compare(s->form, rl_entry_key(e));
}

/* The next key that either has; *stored: n = 0: it was removed. */
static rl_status take_next(rl_state_scan *s, rl_octets *form, rl_octets *stored)
{
  int order = compare_next(s);
  if (order < 0) {
    *form = s->form;
    s->have = false;
    return rl_image_entry(s->op, s->group, *form, s->entry, stored);
  }
  if (order == 0) s->have = false;
  const rl_entry *e = s->view[s->at++];
  *form = rl_entry_key(e);
  *stored = rl_entry_new(e);
  return RL_OK;
}

rl_status rl_state_scan_next(rl_state_scan *s, rl_value *key, rl_value *value, int64_t *stamp, bool *found)
{
  rl_octets form = {0}, stored = {0};
  rl_status st = RL_OK;
  *found = false;
  if (s->failed) return rl_fail(RL_ESTATE, "a scan of the state of '%s' that failed is read on", s->op->uid);
  while (st == RL_OK && stored.n == 0) {
    st = fetch(s);
    if (st != RL_OK) break;
    if (!s->have && s->at == s->nview) return RL_OK;
    st = take_next(s, &form, &stored);
  }
  if (st == RL_OK) st = rl_form_read(form, key);
  if (st == RL_OK) st = rl_stored_read(stored, value, stamp);
  *found = st == RL_OK;
  s->failed = st != RL_OK;
  return st;
}

void rl_state_scan_close(rl_state_scan *s)
{
  if (!s) return;
  if (s->cursor) mdb_cursor_close(s->cursor);
  if (s->reader) {
    pthread_mutex_lock(&s->op->s->lock);
    rl_state_reader_end(s->reader);
    rl_pin_remove(s->op, s->version, true);
    for (size_t i = 0; i < s->nlayers; i++) rl_layer_unref(s->layers[i]);
    pthread_mutex_unlock(&s->op->s->lock);
  }
  rl_free(s->layers);
  rl_free(s->view);
  rl_buf_free(&s->prefix);
  rl_buf_free(&s->range);
  rl_buf_free(&s->last);
  rl_free(s);
}
