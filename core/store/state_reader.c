#include "store/state_impl.h"

#include "base/mem.h"

static void unlink_active(rl_state *s, rl_state_reader *r)
{
  if (r->prev) {
    r->prev->next = r->next;
  } else {
    s->first = r->next;
  }
  if (r->next) {
    r->next->prev = r->prev;
  } else {
    s->last = r->prev;
  }
}

/* What is applied never goes back, and the lock is held: the list stays in order. */
static void link_active(rl_state *s, rl_state_reader *r)
{
  r->next = NULL;
  r->prev = s->last;
  if (s->last) {
    s->last->next = r;
  } else {
    s->first = r;
  }
  s->last = r;
}

static rl_state_reader *take_idle(rl_state *s)
{
  rl_state_reader *r = s->idle;
  if (!r) return RL_NEW(rl_state_reader);
  s->idle = r->next;
  return r;
}

/* What the image holds of the operator, by the transaction: the thread that commits may not have told yet. */
static int64_t floor_of(const rl_state_op *op, uint64_t applied)
{
  int64_t floor = op->retired;
  for (const rl_layer *l = op->s->oldest; l && l->seq <= applied; l = l->next) {
    if (l->op == op) floor = l->version;
  }
  return floor;
}

static rl_status look(rl_state_reader *r)
{
  if (r->op->s->shut) return rl_fail(RL_ECLOSED, "the state of '%s' cannot be read any more: the job is over", r->op->uid);
  const rl_image *im = &r->op->s->image;
  int rc = r->txn ? mdb_txn_renew(r->txn) : mdb_txn_begin(im->env, NULL, MDB_RDONLY, &r->txn);
  if (rc == 0) rc = rl_meta_applied(im, r->txn, &r->applied);
  if (rc != 0) return rl_image_fail(im, rc, "read");
  r->floor = floor_of(r->op, r->applied);
  return RL_OK;
}

/* A transaction in whatever state is not used again. */
static void drop(rl_state_reader *r)
{
  if (r->txn) mdb_txn_abort(r->txn);
  r->txn = NULL;
}

rl_status rl_state_reader_begin(rl_state_op *op, rl_state_reader **out)
{
  rl_state *s = op->s;
  rl_state_reader *r = take_idle(s);
  r->op = op;
  rl_status st = look(r);
  if (st != RL_OK) {
    drop(r);
    rl_free(r);
    return st;
  }
  link_active(s, r);
  *out = r;
  return RL_OK;
}

rl_status rl_state_reader_renew(rl_state_reader *r)
{
  rl_state *s = r->op->s;
  unlink_active(s, r);
  mdb_txn_reset(r->txn);
  rl_status st = look(r);
  if (st != RL_OK) {
    drop(r);
    r->applied = s->applied;
  }
  link_active(s, r);
  pthread_cond_signal(&s->work);
  return st;
}

void rl_state_reader_end(rl_state_reader *r)
{
  rl_state *s = r->op->s;
  bool oldest = s->first == r;
  unlink_active(s, r);
  if (s->shut) pthread_cond_broadcast(&s->moved);
  if (r->txn) {
    mdb_txn_reset(r->txn);
    r->next = s->idle;
    s->idle = r;
  } else {
    rl_free(r);
  }
  if (oldest) pthread_cond_signal(&s->work);
}

rl_status rl_state_reader_find(rl_state_reader *r, int64_t version, uint32_t hash, rl_octets form, rl_octets *stored)
{
  const rl_entry *e = rl_table_find(r->op->table, hash, form, r->floor, version);
  if (!e) return rl_image_get(r->op, r->txn, rl_key_group(hash), form, stored);
  *stored = rl_entry_new(e);
  return RL_OK;
}
