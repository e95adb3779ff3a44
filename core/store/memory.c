#include "store/memory_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

/* Life ------------------------------------------------------------------------------------------------------------- */

static const char *spill_dir(const rl_memory_spec *spec)
{
  if (spec->local_dir && *spec->local_dir) return spec->local_dir;
  const char *tmp = getenv("TMPDIR");
  return tmp && *tmp ? tmp : "/tmp";
}

rl_memory *rl_memory_new(const rl_memory_spec *spec)
{
  rl_memory *m = RL_NEW(rl_memory);
  atomic_init(&m->refs, 1);
  if (pthread_mutex_init(&m->lock, NULL) != 0) abort();
  m->limit = spec->limit;
  m->budget = (size_t)((double)spec->limit * spec->fraction);
  m->floor = (size_t)((double)m->budget * spec->storage_fraction);
  m->quota = (m->budget - m->floor) / (spec->tasks ? spec->tasks : 1);
  m->compress = spec->compress;
  m->list.next = m->list.prev = &m->list;
  m->hurried.next = m->hurried.prev = &m->hurried;
  m->spill = rl_spill_new(spill_dir(spec), &m->lock);
  return m;
}

rl_memory *rl_memory_ref(rl_memory *m)
{
  atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
  return m;
}

void rl_memory_unref(rl_memory *m)
{
  if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1) return;
  rl_spill_delete(m->spill);
  pthread_mutex_destroy(&m->lock);
  rl_free(m);
}

void rl_memory_close(rl_memory *m) { rl_spill_close(m->spill); }

void rl_memory_sweep(rl_memory *m) { rl_spill_sweep(m->spill); }

size_t rl_memory_quota(const rl_memory *m) { return m ? m->quota : SIZE_MAX; }

void rl_memory_stats_read(rl_memory *m, rl_memory_stats *out)
{
  rl_memory_lock(m);
  *out = (rl_memory_stats){.limit = m->limit,
                           .storage = m->storage,
                           .spilled_now = rl_spill_bytes(m->spill),
                           .spilled_total = m->spilled,
                           .dropped_total = m->dropped,
                           .spool_writes = m->writes};
  rl_memory_unlock(m);
}

void rl_memory_lock(rl_memory *m) { pthread_mutex_lock(&m->lock); }
void rl_memory_unlock(rl_memory *m) { pthread_mutex_unlock(&m->lock); }

/* The list --------------------------------------------------------------------------------------------------------- */

static void take_out(rl_keeper *k)
{
  if (!k->next) return;
  k->next->prev = k->prev;
  k->prev->next = k->next;
  k->next = k->prev = NULL;
}

static void put_last(rl_memory *m, rl_keeper *k)
{
  rl_keeper *head = k->hurry ? &m->hurried : &m->list;
  k->next = head;
  k->prev = head->prev;
  k->prev->next = head->prev = k;
}

void rl_keeper_count(rl_memory *m, rl_keeper *k, int64_t more, bool used)
{
  k->kept += (size_t)more; /* less wraps round to less */
  m->storage += (size_t)more;
  if (used || k->kept == 0) take_out(k);
  if (k->kept > 0 && !k->next && !k->stays) put_last(m, k);
}

/* Making room ------------------------------------------------------------------------------------------------------ */

/* How much storage may lie in memory now: what others use of the budget is not to be had, but for the floor. */
static size_t allowed(const rl_memory *m)
{
  int64_t used = rl_mem_used();
  size_t others = used > (int64_t)m->storage ? (size_t)used - m->storage : 0;
  size_t rest = others < m->budget ? m->budget - others : 0;
  return rest > m->floor ? rest : m->floor;
}

bool rl_memory_has_room(const rl_memory *m, size_t n) { return m->storage - m->leaving + n <= allowed(m); }

bool rl_memory_is_short(rl_memory *m, size_t bytes, bool still)
{
  rl_memory_lock(m);
  size_t most = allowed(m), kept = m->storage - m->leaving;
  rl_memory_unlock(m);
  size_t eighth = most / 8;
  return still ? kept >= 6 * eighth && bytes >= eighth : kept >= 7 * eighth && bytes >= 2 * eighth;
}

void rl_memory_tell_full(rl_memory *m, const char *instead)
{
  rl_memory_lock(m);
  bool told = m->told_full;
  m->told_full = true;
  rl_memory_unlock(m);
  if (!told) rl_warn("%s; %s", rl_error_message(), instead);
}

static rl_keeper *first_of(rl_keeper *head, uint64_t group)
{
  for (rl_keeper *k = head->next; k != head; k = k->next)
    if ((group == 0 || k->group != group) && k->cls->can_go(k) && k->cls->try_ref(k)) return k;
  return NULL;
}

static rl_keeper *next_victim(rl_memory *m, uint64_t group, bool *fits)
{
  rl_memory_lock(m);
  rl_keeper *found = first_of(&m->hurried, 0);
  *fits = m->storage - m->leaving <= allowed(m);
  if (!found && !*fits) found = first_of(&m->list, group);
  rl_memory_unlock(m);
  return found;
}

rl_status rl_memory_make_room(rl_memory *m, uint64_t group, bool *fits)
{
  rl_status st = RL_OK;
  rl_keeper *k;
  bool enough;
  while (st == RL_OK && (k = next_victim(m, group, &enough))) {
    st = k->cls->give_up(k);
    k->cls->unref(k);
  }
  if (fits) *fits = enough;
  return st;
}

rl_status rl_memory_spill(rl_memory *m, const char *p, size_t n, rl_extent *out)
{
  rl_spill_sweep(m->spill); /* what is given back may be what is needed now */
  rl_status st = rl_spill_write(m->spill, p, n, out);
  if (st != RL_OK) return st;
  rl_memory_lock(m);
  m->spilled += out->n;
  m->writes++;
  rl_memory_unlock(m);
  return RL_OK;
}
