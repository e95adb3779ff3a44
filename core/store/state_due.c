/* What is due: what was touched long ago, by the lists in the image and the layers of the overlay, and whose stamp is
 * still of then. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/codec.h"
#include "data/keys.h"
#include "store/state_impl.h"

/* A key that is due. */
typedef struct due_key {
  rl_octets form;
  uint32_t hash;
  uint32_t number; /* in `met` */
} due_key;

struct rl_state_due {
  rl_state_update *u;
  int64_t before;
  uint32_t from, to; /* key groups */
  rl_keys *met;      /* due, reported or not */
  due_key *keys;     /* likewise, in the order of the image, whatever of them is there by now */
  size_t nkeys, keys_cap, at;
  bool gathered;

  MDB_cursor *cursor;
  uint32_t group; /* `to`: the image is done */
  bool fresh;     /* the cursor is not in the group yet */
  rl_octets list;   /* what is left of it */

  const rl_layer **layers; /* of the overlay; those that remain while the update reads */
  size_t nlayers, layers_cap, layer;
  rl_entry_walk walk;
};

/* The image -------------------------------------------------------------------------------------------------------- */

static rl_status damaged(const rl_state_due *d, int rc)
{
  rl_status st = rl_image_fail(&d->u->op->s->image, rc, "read");
  rl_error_prefix("times of the state of '%s': ", d->u->op->uid);
  return st;
}

/* The next list of the groups; *found = false: there is none. */
static rl_status next_list(rl_state_due *d, bool *found)
{
  char room[RL_DUE_KEY], end[RL_DUE_KEY];
  const rl_state_op *op = d->u->op;
  for (*found = false; d->group < d->to; d->group++, d->fresh = true) {
    rl_due_key(room, op->number, d->group, INT64_MIN, 0, 0);
    rl_due_key(end, op->number, d->group, d->before, 0, 0);
    MDB_val key = {.mv_size = sizeof room, .mv_data = room}, value;
    int rc = mdb_cursor_get(d->cursor, &key, &value, d->fresh ? MDB_SET_RANGE : MDB_NEXT);
    if (rc == MDB_NOTFOUND) continue;
    if (rc == 0 && key.mv_size != RL_DUE_KEY) rc = MDB_CORRUPTED;
    if (rc != 0) return damaged(d, rc);
    d->fresh = false;
    if (memcmp(key.mv_data, end, RL_DUE_HEAD) >= 0) continue;
    rl_octets name = {key.mv_data, key.mv_size}, entry = {value.mv_data, value.mv_size};
    uint64_t hash;
    if (!rl_image_read(op->number, d->group, name, entry, &d->list, &hash)) return damaged(d, MDB_CORRUPTED);
    *found = true;
    return RL_OK;
  }
  return RL_OK;
}

static rl_status next_of_image(rl_state_due *d, rl_octets *form, bool *found)
{
  *found = d->list.n > 0;
  if (!*found) {
    rl_status st = next_list(d, found);
    if (st != RL_OK || !*found) return st;
  }
  rl_reader r = {d->list.p, d->list.p + d->list.n};
  uint64_t n = 0;
  if (rl_get_varint(&r, &n) != RL_OK || n > (size_t)(r.end - r.p)) return damaged(d, MDB_CORRUPTED);
  *form = (rl_octets){r.p, (size_t)n};
  d->list = (rl_octets){r.p + n, (size_t)(r.end - r.p) - (size_t)n};
  return RL_OK;
}

/* The overlay ------------------------------------------------------------------------------------------------------ */

static bool next_part(rl_state_due *d)
{
  while (d->layer < d->nlayers) {
    const rl_layer *l = d->layers[d->layer];
    uint32_t i = d->walk.end;
    if (i == l->nparts) {
      d->layer++;
      d->walk.end = 0;
      continue;
    }
    const rl_layer_part *part = &l->parts[i];
    d->walk = (rl_entry_walk){.layer = l, .part = i, .end = i + 1};
    if (part->from < d->to && part->to > d->from && part->min_stamp < d->before) return true;
    d->walk.part = d->walk.end;
  }
  return false;
}

static bool is_touched(const rl_state_due *d, const rl_entry *e)
{
  int64_t stamp = 0;
  uint32_t group = rl_entry_group(e);
  if (e->new_n == 0 || group < d->from || group >= d->to) return false;
  return rl_stored_stamp(rl_entry_new(e), &stamp) == RL_OK && stamp < d->before;
}

static bool next_of_overlay(rl_state_due *d, rl_octets *form)
{
  do {
    for (const rl_entry *e; (e = rl_entry_next(&d->walk)) != NULL;) {
      if (!is_touched(d, e)) continue;
      *form = rl_entry_key(e);
      return true;
    }
  } while (next_part(d));
  return false;
}

/* Walking ---------------------------------------------------------------------------------------------------------- */

static rl_status check(rl_state_due *d, rl_octets form)
{
  const rl_state_update *u = d->u;
  rl_octets stored = {0};
  rl_value key;
  int64_t stamp = 0;
  rl_status st = rl_form_read(form, &key);
  if (st != RL_OK) return st;
  due_key due = {.form = form, .hash = (uint32_t)rl_key_hash(key)};
  st = rl_state_reader_find(u->reader, u->base, due.hash, form, &stored);
  if (st != RL_OK || stored.n == 0) return st;
  st = rl_stored_stamp(stored, &stamp);
  if (st != RL_OK || stamp >= d->before) return st;
  st = rl_keys_put(d->met, key, &due.number);
  if (st != RL_OK || due.number < d->nkeys) return st;
  d->keys = rl_grow(d->keys, &d->keys_cap, d->nkeys + 1, sizeof *d->keys);
  d->keys[d->nkeys++] = due;
  return RL_OK;
}

static int compare_due(const void *a, const void *b)
{
  const due_key *x = a, *y = b;
  uint32_t gx = rl_key_group(x->hash), gy = rl_key_group(y->hash);
  return gx != gy ? (gx < gy ? -1 : 1) : rl_form_compare(x->form, y->form);
}

/* All of them first: a batch gives the same records in the same order, however much the apply thread has moved by then.
 * The forms are views that live as long as the update reads. */
static rl_status gather(rl_state_due *d)
{
  for (bool any = true; any;) {
    rl_octets form = {0};
    rl_status st = next_of_image(d, &form, &any);
    if (st == RL_OK && !any) any = next_of_overlay(d, &form);
    if (st == RL_OK && any) st = check(d, form);
    if (st != RL_OK) return st;
  }
  if (d->nkeys > 0) qsort(d->keys, d->nkeys, sizeof *d->keys, compare_due);
  d->gathered = true;
  return RL_OK;
}

static void ended(rl_state_due *d)
{
  if (d->before < d->u->due) return;
  d->u->due = d->before;
  d->u->met = rl_keys_count(d->met);
}

rl_status rl_state_due_next(rl_state_due *d, rl_value *key, bool *found)
{
  if (!d->u->reader) return rl_fail(RL_ESTATE, "what is due of '%s' is read after its reading ended", d->u->op->uid);
  *found = false;
  rl_status st = d->gathered ? RL_OK : gather(d);
  if (st != RL_OK) return st;
  while (d->at < d->nkeys && !*found) {
    const due_key *due = &d->keys[d->at++];
    *found = !rl_update_has(d->u, due->hash, due->form);
    *key = rl_keys_get(d->met, due->number);
  }
  if (!*found) ended(d);
  return RL_OK;
}

/* With the store's lock held. */
static void list_layers(rl_state_due *d)
{
  const rl_state_update *u = d->u;
  for (const rl_layer *l = u->op->s->oldest; l; l = l->next) {
    if (l->op != u->op || l->seq <= u->reader->applied || l->version > u->base) continue;
    d->layers = rl_grow(d->layers, &d->layers_cap, d->nlayers + 1, sizeof(rl_layer *));
    d->layers[d->nlayers++] = l;
  }
}

rl_status rl_state_due_open(rl_state_update *u, int64_t before, rl_state_due **out)
{
  const rl_state_op *op = u->op;
  if (!op->timed) return rl_fail(RL_ESTATE, "the state of '%s' has no timeouts", op->uid);
  if (!u->reader) return rl_fail(RL_ESTATE, "what is due of '%s' is read after its reading ended", op->uid);
  rl_state_due *d = RL_NEW(rl_state_due);
  d->u = u;
  d->before = before;
  d->from = d->group = rl_partition_from(u->partition, u->n);
  d->to = rl_partition_from(u->partition + 1, u->n);
  d->fresh = true;
  d->met = rl_keys_new();
  int rc = mdb_cursor_open(u->reader->txn, op->s->image.due, &d->cursor);
  if (rc != 0) {
    rl_status st = damaged(d, rc);
    rl_state_due_close(d);
    return st;
  }
  pthread_mutex_lock(&op->s->lock);
  list_layers(d);
  pthread_mutex_unlock(&op->s->lock);
  *out = d;
  return RL_OK;
}

void rl_state_due_close(rl_state_due *d)
{
  if (!d) return;
  if (d->cursor) mdb_cursor_close(d->cursor);
  rl_keys_delete(d->met);
  rl_free(d->keys);
  rl_free(d->layers);
  rl_free(d);
}
