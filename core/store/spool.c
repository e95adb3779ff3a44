#include "store/spool.h"

#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "data/packed.h"
#include "store/spool_impl.h"

/* One chunk: in memory (as it is, or packed and compressed), in a spill file, or both (read back while there was room), or
 * only where second copies are. */
typedef struct slot {
  rl_chunk *chunk;
  rl_bytes *packed;
  rl_extent extent;
  uint64_t copy; /* of a second copy; 0: none */
  size_t bytes; /* what it counts for while it is in memory */
  uint32_t records;
  bool leaving; /* being written by some thread */
} slot;

struct rl_spool {
  rl_keeper keeper; /* first */
  _Atomic uint32_t refs;
  rl_memory *m;
  rl_level level;
  uint64_t records, bytes; /* the adding thread's, immutable once sealed */
  bool sealed;
  /* under the manager's lock, if there is one */
  slot *v;
  size_t n, cap;
  size_t first;    /* none before it is in memory */
  size_t leaving;  /* bytes of slots being written */
  uint32_t readers;
  bool doomed; /* to be lost as soon as nobody reads or writes it */
  bool lost;
};

static void lock(rl_spool *s)
{
  if (s->m) rl_memory_lock(s->m);
}

static void unlock(rl_spool *s)
{
  if (s->m) rl_memory_unlock(s->m);
}

/* Giving up -------------------------------------------------------------------------------------------------------- */

static rl_spool *of_keeper(const rl_keeper *k) { return (rl_spool *)k; }

static bool can_go(const rl_keeper *k)
{
  const rl_spool *s = of_keeper(k);
  if (s->doomed) return false;
  if (s->level.disk) return k->kept > s->leaving;
  return !s->level.needed && s->readers == 0 && s->leaving == 0;
}

static bool try_ref(rl_keeper *k)
{
  rl_spool *s = of_keeper(k);
  uint32_t n = atomic_load_explicit(&s->refs, memory_order_relaxed);
  while (n > 0)
    if (atomic_compare_exchange_weak_explicit(&s->refs, &n, n + 1, memory_order_acquire, memory_order_relaxed)) return true;
  return false;
}

static void free_slots(slot *v, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    rl_chunk_unref(v[i].chunk);
    rl_bytes_unref(v[i].packed);
  }
}

static void release_all(rl_memory *m, const slot *v, size_t n)
{
  for (size_t i = 0; i < n; i++) rl_replica_drop(m, v[i].copy);
  rl_extent *extents = rl_calloc(n, sizeof *extents);
  size_t found = 0;
  for (size_t i = 0; i < n; i++)
    if (v[i].extent.file) extents[found++] = v[i].extent;
  if (found > 0) rl_spill_release(m->spill, extents, found);
  rl_free(extents);
}

static bool has_copies(const rl_spool *s)
{
  for (size_t i = 0; i < s->n; i++)
    if (!s->v[i].copy) return false;
  return s->n > 0;
}

/* Takes out of memory what has a second copy, all of it. Locked; gives the lock back. */
static void leave_to_copies(rl_spool *s)
{
  slot *taken = rl_calloc(s->n, sizeof *taken);
  size_t n = s->n;
  for (size_t i = 0; i < n; i++) {
    taken[i] = (slot){.chunk = s->v[i].chunk, .packed = s->v[i].packed};
    s->v[i].chunk = NULL;
    s->v[i].packed = NULL;
  }
  rl_keeper_count(s->m, &s->keeper, -(int64_t)s->keeper.kept, false);
  unlock(s);
  free_slots(taken, n);
  rl_free(taken);
}

/* Takes all chunks out of a cache, unless somebody reads or writes it now. */
static void lose(rl_spool *s)
{
  lock(s);
  if (s->level.needed || s->readers > 0 || s->leaving > 0) {
    unlock(s);
    return;
  }
  if (!s->doomed && has_copies(s)) {
    leave_to_copies(s);
    return;
  }
  slot *v = s->v;
  size_t n = s->n;
  s->v = NULL;
  s->n = s->cap = s->first = 0;
  s->lost = true;
  s->m->dropped += s->keeper.kept;
  rl_keeper_count(s->m, &s->keeper, -(int64_t)s->keeper.kept, false);
  unlock(s);
  free_slots(v, n);
  release_all(s->m, v, n);
  rl_free(v);
}

void rl_spool_lose(rl_spool *s)
{
  if (!s->m || s->level.needed) return;
  lock(s);
  s->doomed = true;
  unlock(s);
  lose(s);
}

static size_t next_in_memory(rl_spool *s)
{
  size_t i = s->first;
  while (i < s->n && !s->v[i].chunk && !s->v[i].packed) i++;
  s->first = i;
  while (i < s->n && (s->v[i].leaving || (!s->v[i].chunk && !s->v[i].packed))) i++;
  return i;
}

static void set_leaving(rl_spool *s, slot *at, bool on)
{
  at->leaving = on;
  s->leaving += on ? at->bytes : -at->bytes;
  s->m->leaving += on ? at->bytes : -at->bytes;
}

/* Takes the slot's part in memory out. Locked. */
static slot take_from_memory(rl_spool *s, slot *at)
{
  slot taken = {.chunk = at->chunk, .packed = at->packed};
  at->chunk = NULL;
  at->packed = NULL;
  rl_keeper_count(s->m, &s->keeper, -(int64_t)at->bytes, false);
  return taken;
}

/* Writes a slot's chunk, packed, to the spill file, and where second copies are if it has none yet. */
static rl_status spill_slot(rl_spool *s, slot *one)
{
  rl_buf image = {0};
  rl_status st = RL_OK;
  if (one->chunk) rl_chunk_pack(one->chunk, &image);
  else st = rl_unsqueeze(one->packed->data, one->packed->n, &image);
  rl_mem_add((int64_t)image.cap);
  if (st == RL_OK && !one->copy && rl_replica_is_wanted(s->m, s->level)) one->copy = rl_replica_put(s->m, image.p, image.n);
  if (st == RL_OK) st = rl_memory_spill(s->m, image.p, image.n, &one->extent);
  rl_mem_add(-(int64_t)image.cap);
  rl_buf_free(&image);
  return st;
}

/* What to do when something could not be written: a cache goes, anything else is an error. */
static rl_status cannot_spill(rl_spool *s, rl_status st)
{
  if (st == RL_ECLOSED || s->level.needed) return st;
  rl_memory_tell_full(s->m, "persisted partitions are dropped instead, and computed anew when they are asked for");
  rl_spool_lose(s);
  return RL_OK;
}

static bool is_doomed(rl_spool *s)
{
  lock(s);
  bool doomed = s->doomed;
  unlock(s);
  return doomed;
}

static rl_status give_up_one(rl_spool *s)
{
  lock(s);
  size_t i = next_in_memory(s);
  slot taken = {0};
  bool write = i < s->n && !s->v[i].extent.file;
  if (write) {
    set_leaving(s, &s->v[i], true);
    taken = s->v[i];
  } else if (i < s->n) {
    taken = take_from_memory(s, &s->v[i]);
  }
  unlock(s);
  rl_status st = RL_OK;
  if (write) {
    st = spill_slot(s, &taken);
    lock(s);
    set_leaving(s, &s->v[i], false);
    s->v[i].copy = taken.copy;
    if (st == RL_OK) {
      s->v[i].extent = taken.extent;
      take_from_memory(s, &s->v[i]);
    }
    unlock(s);
    if (st != RL_OK) return cannot_spill(s, st);
  }
  free_slots(&taken, 1);
  if (is_doomed(s)) lose(s); /* somebody else could not write it meanwhile */
  return RL_OK;
}

static rl_status give_up(rl_keeper *k)
{
  rl_spool *s = of_keeper(k);
  if (s->level.disk) return give_up_one(s);
  lose(s);
  return RL_OK;
}

static void unref_keeper(rl_keeper *k) { rl_spool_unref(of_keeper(k)); }

static const rl_keeper_class keeper_class = {can_go, try_ref, give_up, unref_keeper};

/* Life ------------------------------------------------------------------------------------------------------------- */

rl_spool *rl_spool_new(rl_memory *m, rl_level level)
{
  rl_spool *s = RL_NEW(rl_spool);
  s->keeper.cls = &keeper_class;
  atomic_init(&s->refs, 1);
  s->m = m ? rl_memory_ref(m) : NULL;
  s->level = level;
  s->keeper.stays = level.needed && !level.disk;
  s->lost = !level.memory && !level.disk;
  return s;
}

rl_spool *rl_spool_ref(rl_spool *s)
{
  atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
  return s;
}

void rl_spool_unref(rl_spool *s)
{
  if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1) return;
  if (s->m) {
    lock(s);
    rl_keeper_count(s->m, &s->keeper, -(int64_t)s->keeper.kept, false);
    unlock(s);
    release_all(s->m, s->v, s->n);
  }
  free_slots(s->v, s->n);
  rl_free(s->v);
  rl_memory_unref(s->m);
  rl_free(s);
}

/* Adding ----------------------------------------------------------------------------------------------------------- */

static void append(rl_spool *s, slot one)
{
  lock(s);
  if (s->lost) {
    unlock(s);
    free_slots(&one, 1);
    if (s->m) release_all(s->m, &one, 1);
    return;
  }
  s->v = rl_grow(s->v, &s->cap, s->n + 1, sizeof *s->v);
  s->v[s->n++] = one;
  if (s->m && (one.chunk || one.packed)) rl_keeper_count(s->m, &s->keeper, (int64_t)one.bytes, true);
  unlock(s);
}

/* Compressed where that makes it smaller. */
static rl_bytes *squeeze_chunk(const rl_chunk *c)
{
  rl_buf image = {0}, small = {0};
  rl_chunk_pack(c, &image);
  rl_bytes *packed = rl_squeeze(image.p, image.n, &small) ? rl_bytes_from(small.p, small.n) : NULL;
  rl_buf_free(&image);
  rl_buf_free(&small);
  return packed;
}

static rl_status add_to_disk(rl_spool *s, slot one)
{
  rl_status st = spill_slot(s, &one);
  rl_chunk_unref(one.chunk);
  one.chunk = NULL;
  if (st != RL_OK) return cannot_spill(s, st);
  append(s, one);
  return RL_OK;
}

static uint64_t copy_chunk(rl_spool *s, const rl_chunk *c)
{
  rl_buf image = {0};
  rl_chunk_pack(c, &image);
  uint64_t copy = rl_replica_put(s->m, image.p, image.n);
  rl_buf_free(&image);
  return copy;
}

static rl_status add_to_memory(rl_spool *s, slot one)
{
  if (rl_replica_is_wanted(s->m, s->level)) one.copy = copy_chunk(s, one.chunk);
  if (s->m && s->level.serialised && s->m->compress && (one.packed = squeeze_chunk(one.chunk))) {
    rl_chunk_unref(one.chunk);
    one.chunk = NULL;
    one.bytes = one.packed->n;
  }
  append(s, one);
  return s->m ? rl_memory_make_room(s->m) : RL_OK;
}

rl_status rl_spool_add(rl_spool *s, rl_chunk *c)
{
  slot one = {.chunk = c, .bytes = c->bytes, .records = c->n};
  s->records += c->n;
  s->bytes += c->bytes;
  if (c->n == 0 || rl_spool_is_lost(s)) {
    rl_chunk_unref(c);
    return RL_OK;
  }
  return s->m && !s->level.memory ? add_to_disk(s, one) : add_to_memory(s, one);
}

void rl_spool_put(rl_spool *s, rl_chunk *c)
{
  s->records += c->n;
  s->bytes += c->bytes;
  if (c->n > 0) append(s, (slot){.chunk = c, .bytes = c->bytes, .records = c->n});
  else rl_chunk_unref(c);
}

void rl_spool_hurry(rl_spool *s) { s->keeper.hurry = true; }

rl_status rl_spool_add_list(rl_spool *s, rl_chunks *list)
{
  rl_chunks moved = *list;
  *list = (rl_chunks){0};
  rl_status st = RL_OK;
  for (size_t i = 0; i < moved.n && st == RL_OK; i++) {
    st = rl_spool_add(s, moved.v[i]);
    moved.v[i] = NULL;
  }
  rl_chunks_clear(&moved);
  return st;
}

void rl_spool_seal(rl_spool *s) { s->sealed = true; }

size_t rl_spool_chunks(const rl_spool *s) { return s->n; }
uint64_t rl_spool_records(const rl_spool *s) { return s->records; }
uint64_t rl_spool_bytes(const rl_spool *s) { return s->bytes; }

bool rl_spool_is_lost(rl_spool *s)
{
  lock(s);
  bool lost = s->lost;
  unlock(s);
  return lost;
}

/* Reading ---------------------------------------------------------------------------------------------------------- */

typedef struct reader {
  rl_pull base;
  rl_spool *s;
  size_t next;
} reader;

/* Says what a damaged extent held. */
static rl_status tell_held(rl_spool *s, size_t i, rl_status st)
{
  if (st != RL_EDATA) return st;
  lock(s);
  uint64_t before = 0;
  for (size_t k = 0; k < i && k < s->n; k++) before += s->v[k].records;
  uint32_t records = i < s->n ? s->v[i].records : 0;
  size_t n = s->n;
  unlock(s);
  return rl_fail(RL_EDATA, "%s; it held chunk %zu of %zu: records %" PRIu64 " to %" PRIu64 " of %" PRIu64, rl_error_message(), i + 1, n, before + 1,
                 before + records, s->records);
}

/* Out of the spill file; where that fails, or there is none, out of the second copy. */
static rl_status unpack_slot(rl_spool *s, const slot *one, rl_chunk **out)
{
  rl_buf image = {0};
  rl_status st = one->extent.file ? rl_spill_read(s->m->spill, &one->extent, &image) : RL_ENOTFOUND;
  if (st != RL_OK && one->copy) {
    if (one->extent.file) rl_warn("%s; its second copy is taken", rl_error_message());
    st = rl_replica_get(s->m, one->copy, &image);
  }
  if (st == RL_OK) st = rl_chunk_unpack(image.p, image.n, out);
  rl_buf_free(&image);
  return st;
}

static rl_status unpack_packed(rl_bytes *packed, rl_chunk **out)
{
  rl_buf image = {0};
  rl_status st = rl_unsqueeze(packed->data, packed->n, &image);
  if (st == RL_OK) st = rl_chunk_unpack(image.p, image.n, out);
  rl_buf_free(&image);
  rl_bytes_unref(packed);
  return st;
}

/* A cache that is read from disk stays in memory again while there is room for it; others are read once. */
static void take_back(rl_spool *s, size_t i, rl_chunk *c)
{
  if (s->level.needed || !s->level.memory || (s->level.serialised && s->m->compress)) return;
  lock(s);
  if (!s->lost && !s->v[i].chunk && !s->v[i].packed && rl_memory_has_room(s->m, c->bytes)) {
    s->v[i].chunk = rl_chunk_ref(c);
    s->v[i].bytes = c->bytes;
    if (i < s->first) s->first = i;
    rl_keeper_count(s->m, &s->keeper, (int64_t)c->bytes, true);
  }
  unlock(s);
}

/* A copy of the slot, with references of its own; *end: there is none. */
static rl_status look(reader *r, slot *copy, bool *end)
{
  rl_spool *s = r->s;
  rl_status st = RL_OK;
  lock(s);
  bool lost = s->lost;
  *end = r->next >= s->n;
  if (!lost && !*end) {
    *copy = s->v[r->next];
    if (copy->chunk) rl_chunk_ref(copy->chunk);
    else if (copy->packed) rl_bytes_ref(copy->packed);
  }
  unlock(s);
  if (lost) st = rl_fail(RL_ELOST, "a kept partition was dropped for want of memory, and must be computed anew");
  return st;
}

static rl_status reader_next(rl_pull *self, rl_chunk **out)
{
  reader *r = (reader *)self;
  slot copy;
  bool end;
  *out = NULL;
  rl_status st = look(r, &copy, &end);
  if (st != RL_OK || end) return st;
  if (copy.chunk) {
    *out = copy.chunk;
  } else if (copy.packed) {
    st = unpack_packed(copy.packed, out);
  } else {
    st = unpack_slot(r->s, &copy, out);
    if (st == RL_OK) take_back(r->s, r->next, *out);
    else st = tell_held(r->s, r->next, st);
  }
  if (st == RL_OK) r->next++;
  return st;
}

static void reader_close(rl_pull *self)
{
  reader *r = (reader *)self;
  if (r->s->m) {
    lock(r->s);
    r->s->readers--;
    unlock(r->s);
    if (is_doomed(r->s)) lose(r->s);
  }
  rl_spool_unref(r->s);
  rl_free(r);
}

static const rl_pull_class reader_class = {reader_next, reader_close};

rl_pull *rl_spool_open_at(rl_spool *s, size_t first)
{
  reader *r = RL_NEW(reader);
  r->base.cls = &reader_class;
  r->s = rl_spool_ref(s);
  r->next = first;
  if (s->m) {
    lock(s);
    s->readers++;
    rl_keeper_count(s->m, &s->keeper, 0, true);
    unlock(s);
  }
  return &r->base;
}

rl_pull *rl_spool_open(rl_spool *s) { return rl_spool_open_at(s, 0); }
