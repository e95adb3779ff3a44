#include "store/state_impl.h"

#include "base/mem.h"

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

/* What waits for the end of its batch cannot be waited for: this seal may be of the same batch. */
static rl_status wait_for_room(rl_state *s)
{
  rl_status st = RL_OK;
  while (st == RL_OK && s->overlay_bytes > s->overlay_limit) {
    const rl_layer *l = rl_state_unapplied(s);
    switch (rl_layer_held(s, l)) {
    case RL_HELD_NOT: st = rl_state_await(s); break;
    case RL_HELD_SCAN: pthread_cond_wait(&s->moved, &s->lock); break;
    case RL_HELD_PIN:
      st = rl_fail(RL_ELIMIT,
                   "state changes of %zu bytes wait in memory, and the limit is %zu: a remembered version of '%s' "
                   "keeps them from the disk; remember less, or allow more",
                   s->overlay_bytes, s->overlay_limit, l->op->uid);
      break;
    case RL_HELD_NOT_ENDED:
    case RL_HELD_NOTHING_LEFT: return RL_OK;
    }
  }
  return st;
}

/* Layer ------------------------------------------------------------------------------------------------------------ */

static rl_layer *layer_of(rl_state_op *op, int64_t time, rl_state_update **updates, uint32_t n)
{
  rl_layer *l = rl_alloc(sizeof *l + n * sizeof *l->parts);
  l->op = op;
  l->version = time;
  l->nparts = n;
  l->refs = 1;
  for (uint32_t i = 0; i < n; i++) {
    rl_state_update *u = updates[i];
    rl_layer_part *part = &l->parts[u->partition];
    part->from = rl_partition_from(u->partition, n);
    part->to = rl_partition_from(u->partition + 1, n);
    part->due = u->due;
    part->min_stamp = INT64_MAX;
    part->arena = u->entries;
    op->setting -= u->entries.bytes;
    u->entries = (rl_arena){0};
    l->bytes += part->arena.bytes;
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
  l->bytes += l->entries * TABLE_BYTES;
  return more;
}

static void publish(rl_state_op *op, rl_layer *l, int64_t more)
{
  rl_state *s = op->s;
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
}

static rl_status begin(rl_state_op *op, int64_t time, rl_state_update **updates, uint32_t n)
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
  if (st == RL_OK) st = begin(op, time, updates, n);
  if (st == RL_OK) {
    rl_layer *l = layer_of(op, time, updates, n);
    int64_t more = link_entries(op, l);
    pthread_mutex_lock(&op->s->lock);
    publish(op, l, more);
    pthread_mutex_unlock(&op->s->lock);
  }
  for (uint32_t i = 0; i < n; i++) rl_state_update_delete(updates[i]);
  return st;
}

/* Undoing ---------------------------------------------------------------------------------------------------------- */

/* All below with the lock held. */
static void free_undone(rl_state *s)
{
  while (!s->first && s->undone) {
    rl_layer *l = s->undone;
    s->undone = l->next;
    rl_layer_unref(l);
  }
}

/* The operator is as it was before its newest layer. */
static void step_back(rl_state_op *op, const rl_layer *l)
{
  int64_t more = 0;
  rl_entry_walk w = rl_layer_walk(l);
  for (const rl_entry *e; (e = rl_entry_next(&w)) != NULL;) {
    more += (e->new_n > 0) - (e->old_n > 0);
    rl_table_undo(op->table, e);
  }
  op->count -= (uint64_t)more;
  op->sealed = op->retired;
  for (const rl_layer *below = op->s->oldest; below && below != l; below = below->next) {
    if (below->op == op) op->sealed = below->version;
  }
  for (size_t i = 0; i < op->npins; i++) {
    if (op->pins[i].version == l->version) op->pins[i].undone = true;
  }
}

static void undo_newest(rl_state *s)
{
  rl_layer *l = s->newest, *below = NULL;
  for (rl_layer *at = s->oldest; at != l; at = at->next) below = at;
  step_back(l->op, l);
  if (below) {
    below->next = NULL;
  } else {
    s->oldest = NULL;
  }
  s->newest = below;
  s->overlay_bytes -= l->bytes;
  l->next = s->undone;
  s->undone = l;
}

void rl_state_undo(rl_state *s, int64_t time)
{
  pthread_mutex_lock(&s->lock);
  while (s->newest && s->newest->version == time && time > s->ended) undo_newest(s);
  free_undone(s);
  pthread_cond_broadcast(&s->moved);
  pthread_mutex_unlock(&s->lock);
}
