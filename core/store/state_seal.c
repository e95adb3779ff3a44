#include <time.h>

#include "base/mem.h"
#include "store/state_impl.h"

#define NS_PER_S INT64_C(1000000000)

/* What a bucket of the table costs an entry. */
#define TABLE_BYTES sizeof(void *)

static rl_status check_updates(const rl_state_op *op, rl_state_update **updates, uint32_t n)
{
  bool *seen = rl_calloc(n, sizeof *seen);
  rl_status st = RL_OK;
  for (uint32_t i = 0; i < n && st == RL_OK; i++) {
    const rl_state_update *u = updates[i];
    if (!u || u->op != op || u->n != n || seen[u->partition]) {
      st = rl_fail(RL_EINVAL, "the state of '%s' needs one update of each of %u partitions", op->uid, (unsigned)n);
    } else {
      seen[u->partition] = true;
    }
  }
  rl_free(seen);
  return st;
}

/* Under the lock: one seal of an operator at a time, over the version that the updates saw. */
static rl_status check_versions(const rl_state_op *op, int64_t time, rl_state_update **updates, uint32_t n)
{
  bool stale = op->sealing;
  for (uint32_t i = 0; i < n; i++) stale = stale || updates[i]->base != op->sealed;
  if (stale) return rl_fail(RL_ESTATE, "the state of '%s' was sealed by others meanwhile", op->uid);
  if (time <= op->sealed) {
    return rl_fail(RL_ESTATE, "the state of '%s' has version %lld already, %lld cannot be sealed", op->uid,
                   (long long)op->sealed, (long long)time);
  }
  return RL_OK;
}

/* Room ------------------------------------------------------------------------------------------------------------- */

int64_t rl_state_patience_ns = 10 * NS_PER_S;

/* Who has a version may be an output or a loop that ends, or may never let go of it. */
static rl_status wait_for_readers(rl_state *s, const rl_layer *l, bool pinned, int64_t until_ns)
{
  if (rl_mono_ns() >= until_ns) {
    return rl_fail(RL_ELIMIT,
                   "state changes of %zu bytes wait in memory, and the limit is %zu: %s of '%s' keeps them from the "
                   "disk; %s, or allow more",
                   s->overlay_bytes, s->pinned_limit, pinned ? "a remembered version" : "a loop over the state",
                   l->op->uid, pinned ? "remember less" : "read it to its end");
  }
  const struct timespec until = {.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
  pthread_cond_clockwait(&s->moved, &s->lock, CLOCK_MONOTONIC, &until);
  return RL_OK;
}

/* What waits for the end of its batch cannot be waited for: this seal may be of the same batch. */
static rl_status wait_for_room(rl_state *s)
{
  int64_t until = rl_mono_ns() + rl_state_patience_ns;
  rl_status st = RL_OK;
  while (st == RL_OK && s->overlay_bytes > s->overlay_limit) {
    const rl_layer *l = rl_state_unapplied(s);
    rl_held held = rl_layer_held(s, l);
    switch (held) {
    case RL_HELD_NOT: st = rl_state_await(s); break;
    case RL_HELD_SCAN:
    case RL_HELD_PIN:
      if (s->overlay_bytes <= s->pinned_limit) return RL_OK;
      st = wait_for_readers(s, l, held == RL_HELD_PIN, until);
      break;
    case RL_HELD_NOT_ENDED:
    case RL_HELD_NOTHING_LEFT: return RL_OK;
    }
  }
  return st;
}

/* Layer ------------------------------------------------------------------------------------------------------------ */

rl_layer *rl_layer_new(rl_state_op *op, int64_t time, uint32_t n)
{
  rl_layer *l = rl_alloc(sizeof *l + n * sizeof *l->parts);
  l->op = op;
  l->version = time;
  l->nparts = n;
  l->refs = 1;
  for (uint32_t i = 0; i < n; i++) {
    l->parts[i] = (rl_layer_part){.from = rl_partition_from(i, n),
                                  .to = rl_partition_from(i + 1, n),
                                  .min_stamp = INT64_MAX,
                                  .due = RL_NO_TIME};
  }
  return l;
}

static rl_layer *layer_of(rl_state_op *op, int64_t time, rl_state_update **updates, uint32_t n)
{
  rl_layer *l = rl_layer_new(op, time, n);
  for (uint32_t i = 0; i < n; i++) {
    rl_state_update *u = updates[i];
    rl_layer_part *part = &l->parts[u->partition];
    part->due = u->due;
    part->arena = u->entries;
    op->setting -= u->entries.bytes;
    u->entries = (rl_arena){0};
  }
  return l;
}

/* No reader looks at a version as new as this one. */
static int64_t link_entries(rl_state_op *op, rl_layer *l)
{
  int64_t more = 0;
  rl_entry_walk w = rl_layer_walk(l);
  for (rl_entry *e; (e = rl_entry_next(&w)) != NULL; l->entries++) {
    int64_t stamp = INT64_MAX;
    e->version = l->version;
    more += (e->new_n > 0) - (e->old_n > 0);
    if (e->new_n > 0) (void)rl_stored_stamp(rl_entry_new(e), &stamp);
    rl_layer_part *part = &l->parts[w.part];
    if (stamp < part->min_stamp) part->min_stamp = stamp;
    rl_table_link(op->table, e);
  }
  for (uint32_t i = 0; i < l->nparts; i++) l->bytes += l->parts[i].arena.bytes;
  l->bytes += l->entries * TABLE_BYTES;
  return more;
}

void rl_seal_publish(rl_layer *l)
{
  rl_state_op *op = l->op;
  rl_state *s = op->s;
  int64_t more = link_entries(op, l);
  pthread_mutex_lock(&s->lock);
  l->seq = ++s->last_seq;
  if (s->newest) {
    s->newest->next = l;
  } else {
    s->oldest = l;
  }
  s->newest = l;
  s->overlay_bytes += l->bytes;
  op->count += (uint64_t)more;
  l->count = op->count;
  op->sealed = l->version;
  op->sealing = false;
  pthread_cond_signal(&s->work);
  pthread_mutex_unlock(&s->lock);
}

rl_status rl_seal_begin(rl_state_op *op, int64_t time, rl_state_update **updates, uint32_t n)
{
  rl_state *s = op->s;
  pthread_mutex_lock(&s->lock);
  rl_status st = check_versions(op, time, updates, n);
  if (st == RL_OK) {
    op->sealing = true;
    st = wait_for_room(s);
    if (st != RL_OK) op->sealing = false;
  }
  pthread_mutex_unlock(&s->lock);
  return st;
}

rl_status rl_state_seal(rl_state_op *op, int64_t time, rl_state_update **updates, uint32_t n)
{
  rl_status st = n > 0 ? check_updates(op, updates, n) : rl_fail(RL_EINVAL, "no updates to seal");
  for (uint32_t i = 0; i < n; i++) {
    if (updates[i]) rl_state_update_rest(updates[i]);
  }
  if (st == RL_OK) st = rl_seal_begin(op, time, updates, n);
  if (st == RL_OK) rl_seal_publish(layer_of(op, time, updates, n));
  for (uint32_t i = 0; i < n; i++) rl_state_update_delete(updates[i]);
  return st;
}

/* Taking back ------------------------------------------------------------------------------------------------------ */

/* Out of the list, with the lock held; *before: the operator's version before it. NULL when it is not there. */
static rl_layer *take_layer(rl_state_op *op, int64_t version, int64_t *before)
{
  rl_state *s = op->s;
  rl_layer *previous = NULL, *l = s->oldest;
  *before = op->retired;
  for (; l && (l->op != op || l->version != version); l = l->next) {
    if (l->op == op) *before = l->version;
    previous = l;
  }
  if (!l) return NULL;
  if (previous) {
    previous->next = l->next;
  } else {
    s->oldest = l->next;
  }
  if (s->newest == l) s->newest = previous;
  return l;
}

/* A scan that has begun keeps the layer; one that begins later finds none of its entries. */
static void unlink_layer(rl_state_op *op, const rl_layer *l)
{
  rl_entry_walk w = rl_layer_walk(l);
  for (const rl_entry *e; (e = rl_entry_next(&w)) != NULL;) {
    op->count -= (uint64_t)(e->new_n > 0) - (uint64_t)(e->old_n > 0);
    rl_table_unlink_newest(op->table, e);
  }
}

rl_status rl_state_unseal(rl_state_op *op, int64_t version)
{
  rl_state *s = op->s;
  int64_t before = RL_NO_TIME;
  pthread_mutex_lock(&s->lock);
  bool ok = !op->sealing && op->sealed == version && version > s->ended;
  rl_layer *l = ok ? take_layer(op, version, &before) : NULL;
  if (l) {
    op->sealed = before;
    unlink_layer(op, l);
    s->overlay_bytes -= l->bytes;
    rl_layer_unref(l);
    pthread_cond_broadcast(&s->moved);
  }
  pthread_mutex_unlock(&s->lock);
  if (l) return RL_OK;
  return rl_fail(RL_ESTATE, "version %lld of the state of '%s' cannot be taken back", (long long)version, op->uid);
}
