#include <string.h>

#include "base/mem.h"
#include "store/state_impl.h"

#define FIRST_INDEX 64

rl_status rl_state_update_new(rl_state_op *op, uint32_t partition, uint32_t n, rl_state_update **out)
{
  if (n == 0 || partition >= n) {
    return rl_fail(RL_EINVAL, "no partition %u of %u for an update of state", (unsigned)partition, (unsigned)n);
  }
  rl_state_update *u = RL_NEW(rl_state_update);
  *u = (rl_state_update){.op = op, .partition = partition, .n = n, .due = RL_NO_TIME};
  pthread_mutex_lock(&op->s->lock);
  u->base = op->sealed;
  rl_status st = rl_state_reader_begin(op, &u->reader);
  pthread_mutex_unlock(&op->s->lock);
  if (st != RL_OK) {
    rl_free(u);
    return st;
  }
  *out = u;
  return RL_OK;
}

/* Keys that were due and got no new stamp have to be met again: then the index keeps all. */
int64_t rl_update_due(const rl_state_update *u)
{
  uint32_t settled = 0;
  int64_t stamp = 0;
  if (!u->reader || u->due == RL_NO_TIME) return u->due;
  for (size_t i = 0; i < u->nslots; i++) {
    const rl_slot *slot = &u->slots[i];
    if (!slot->entry || slot->old.n == 0) continue;
    if (rl_stored_stamp(slot->old, &stamp) == RL_OK && stamp < u->due) settled++;
  }
  return settled < u->met ? RL_NO_TIME : u->due;
}

void rl_state_update_rest(rl_state_update *u)
{
  if (!u->reader) return;
  u->due = rl_update_due(u);
  rl_state *s = u->op->s;
  pthread_mutex_lock(&s->lock);
  rl_state_reader_end(u->reader);
  pthread_mutex_unlock(&s->lock);
  u->reader = NULL;
  rl_free(u->index);
  u->index = NULL;
  u->nindex = u->indexed = 0;
}

void rl_state_update_delete(rl_state_update *u)
{
  if (!u) return;
  rl_state_update_rest(u);
  rl_arena_free(&u->keys);
  u->op->setting -= u->entries.bytes;
  rl_arena_free(&u->entries);
  rl_buf_free(&u->scratch);
  rl_free(u->slots);
  rl_free(u);
}

static rl_status resting(const rl_state_update *u)
{
  return rl_fail(RL_ESTATE, "an update of the state of '%s' is used after its reading ended", u->op->uid);
}

/* Slots ------------------------------------------------------------------------------------------------------------ */

static rl_status check_partition(const rl_state_update *u, uint64_t hash)
{
  if (rl_group_partition(rl_key_group(hash), u->n) == u->partition) return RL_OK;
  return rl_fail(RL_EINVAL, "a key of another partition in an update of partition %u of the state of '%s'",
                 (unsigned)u->partition, u->op->uid);
}

static rl_status own_key(rl_state_update *u, rl_value key, rl_slot *slot)
{
  rl_status st = rl_form_of_key(key, &u->scratch);
  if (st != RL_OK) return st;
  char *p = rl_arena_get(&u->keys, u->scratch.n);
  if (!p) return RL_ENOMEM;
  memcpy(p, u->scratch.p, u->scratch.n);
  slot->key = p;
  slot->key_n = (uint32_t)u->scratch.n;
  return RL_OK;
}

/* What a look at the slot gives of the version below. */
static rl_octets shown(const rl_state_update *u, const rl_slot *slot) { return u->anew ? (rl_octets){0} : slot->old; }

rl_status rl_state_slot(rl_state_update *u, rl_value key, rl_value *value, int64_t *stamp)
{
  if (!u->reader) return resting(u);
  if (u->nslots == UINT32_MAX) return rl_fail(RL_ELIMIT, "too many keys in one partition; use more partitions");
  uint64_t hash = rl_key_hash(key);
  rl_slot slot = {.hash = (uint32_t)hash};
  rl_status st = check_partition(u, hash);
  if (st == RL_OK) st = own_key(u, key, &slot);
  if (st == RL_OK) {
    st = rl_state_reader_find(u->reader, u->base, slot.hash, (rl_octets){slot.key, slot.key_n}, &slot.old);
  }
  if (st == RL_OK) st = rl_stored_read(shown(u, &slot), value, stamp);
  if (st != RL_OK) return st;
  u->slots = rl_grow(u->slots, &u->slots_cap, u->nslots + 1, sizeof *u->slots);
  u->slots[u->nslots++] = slot;
  return RL_OK;
}

uint32_t rl_state_slots(const rl_state_update *u)
{
  return (uint32_t)u->nslots;
}

rl_value rl_state_slot_key(const rl_state_update *u, uint32_t slot)
{
  rl_value key = rl_nil();
  /* It was made of a value: it can be read. */
  (void)rl_form_read((rl_octets){u->slots[slot].key, u->slots[slot].key_n}, &key);
  return key;
}

rl_value rl_state_slot_old(const rl_state_update *u, uint32_t slot, int64_t *stamp)
{
  rl_value old = rl_nil();
  (void)rl_stored_read(shown(u, &u->slots[slot]), &old, stamp); /* the look-up has read it */
  return old;
}

static rl_status scan_base(const rl_state_update *u, rl_state_scan **out)
{
  *out = NULL;
  if (u->base == RL_NO_TIME) return RL_OK;
  uint32_t from = rl_partition_from(u->partition, u->n), to = rl_partition_from(u->partition + 1, u->n);
  return rl_state_scan_open(u->op, u->base, from, to, NULL, 0, out);
}

rl_status rl_state_update_scan(rl_state_update *u, rl_state_scan **out)
{
  *out = NULL;
  return u->anew ? RL_OK : scan_base(u, out);
}

/* Setting ---------------------------------------------------------------------------------------------------------- */

/* Room for an entry; NULL with the error set. */
static rl_entry *entry_room(rl_state_update *u, size_t n)
{
  size_t limit = u->op->s->update_limit, before = u->entries.bytes;
  if (limit > 0 && (n > limit || u->op->setting > limit - n)) {
    (void)rl_fail(RL_ELIMIT,
                  "the changes of one batch take more than the %zu bytes there are for them; change less in a batch, "
                  "or raise rille.memory.limit",
                  limit);
    return NULL;
  }
  rl_entry *e = rl_arena_get(&u->entries, n);
  u->op->setting += u->entries.bytes - before;
  return e;
}

static rl_entry *new_entry(rl_state_update *u, const rl_slot *slot, rl_octets new)
{
  rl_entry *e = entry_room(u, sizeof *e + slot->key_n + slot->old.n + new.n);
  if (!e) return NULL;
  *e = (rl_entry){.hash = slot->hash, .key_n = slot->key_n, .old_n = (uint32_t)slot->old.n, .new_n = (uint32_t)new.n};
  memcpy(e->bytes, slot->key, slot->key_n);
  if (slot->old.n > 0) memcpy(e->bytes + slot->key_n, slot->old.p, slot->old.n);
  if (new.n > 0) memcpy(e->bytes + slot->key_n + slot->old.n, new.p, new.n);
  return e;
}

static void drop_entry(rl_slot *slot)
{
  if (slot->entry) slot->entry->version = RL_NO_TIME;
  slot->entry = NULL;
}

static bool same(rl_octets a, rl_octets b)
{
  return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

rl_status rl_state_set(rl_state_update *u, uint32_t number, rl_value value, int64_t stamp)
{
  if (!u->reader) return resting(u);
  rl_slot *slot = &u->slots[number];
  rl_status st = rl_stored_of(value, stamp, &u->scratch);
  if (st != RL_OK) return st;
  rl_octets new = {u->scratch.p, u->scratch.n};
  rl_entry *e = NULL;
  if (!same(slot->old, new)) {
    e = new_entry(u, slot, new);
    if (!e) return rl_error_current()->code;
  }
  drop_entry(slot);
  slot->entry = e;
  slot->kept = new.n > 0;
  return RL_OK;
}

/* Index ------------------------------------------------------------------------------------------------------------ */

static size_t index_place(const rl_state_update *u, uint32_t hash)
{
  return (hash >> 8 | hash << 24) & (u->nindex - 1); /* the lowest byte tells little: the key group */
}

static void index_slots(rl_state_update *u)
{
  if (u->nslots >= u->nindex / 2) {
    if (!u->nindex) u->nindex = FIRST_INDEX;
    while (u->nslots >= u->nindex / 2) u->nindex *= 2;
    rl_free(u->index);
    u->index = rl_calloc(u->nindex, sizeof *u->index);
    u->indexed = 0;
  }
  for (; u->indexed < u->nslots; u->indexed++) {
    size_t at = index_place(u, u->slots[u->indexed].hash);
    while (u->index[at]) at = (at + 1) & (u->nindex - 1);
    u->index[at] = (uint32_t)u->indexed + 1;
  }
}

bool rl_update_has(rl_state_update *u, uint32_t hash, rl_octets form)
{
  index_slots(u);
  for (size_t at = index_place(u, hash); u->index[at]; at = (at + 1) & (u->nindex - 1)) {
    const rl_slot *slot = &u->slots[u->index[at] - 1];
    if (slot->hash == hash && same((rl_octets){slot->key, slot->key_n}, form)) return true;
  }
  return false;
}

/* Anew ------------------------------------------------------------------------------------------------------------- */

void rl_state_update_anew(rl_state_update *u) { u->anew = true; }

static rl_status sweep_slots(rl_state_update *u)
{
  rl_status st = RL_OK;
  for (uint32_t i = 0; i < u->nslots && st == RL_OK; i++)
    if (!u->slots[i].kept && u->slots[i].old.n > 0) st = rl_state_set(u, i, rl_nil(), 0);
  return st;
}

static rl_status sweep_key(rl_state_update *u, rl_value key)
{
  rl_value old;
  int64_t stamp;
  rl_status st = rl_form_of_key(key, &u->scratch);
  if (st != RL_OK || rl_update_has(u, (uint32_t)rl_key_hash(key), (rl_octets){u->scratch.p, u->scratch.n})) return st;
  st = rl_state_slot(u, key, &old, &stamp);
  return st == RL_OK ? rl_state_set(u, (uint32_t)u->nslots - 1, rl_nil(), 0) : st;
}

rl_status rl_state_update_sweep(rl_state_update *u)
{
  if (!u->anew) return RL_OK;
  rl_state_scan *scan;
  rl_status st = sweep_slots(u);
  if (st == RL_OK) st = scan_base(u, &scan);
  if (st != RL_OK || !scan) return st;
  bool found = true;
  while (st == RL_OK && found) {
    rl_value key, value;
    int64_t stamp;
    st = rl_state_scan_next(scan, &key, &value, &stamp, &found);
    if (st == RL_OK && found) st = sweep_key(u, key);
  }
  rl_state_scan_close(scan);
  return st;
}
