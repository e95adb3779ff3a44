#include "store/replica.h"

#include "base/log.h"
#include "store/memory_impl.h"

void rl_memory_set_replica(rl_memory *m, const rl_replica *target) { m->replica = *target; }

bool rl_replica_is_wanted(const rl_memory *m, rl_level level) { return m && level.copies > 1 && m->replica.put; }

uint64_t rl_replica_put(rl_memory *m, const char *p, size_t n)
{
  rl_memory_lock(m);
  uint64_t id = ++m->next_copy;
  rl_memory_unlock(m);
  if (m->replica.put(m->replica.user, id, p, n) == RL_OK) return id;
  rl_warn("a second copy could not be made: %s", rl_error_message());
  return 0;
}

rl_status rl_replica_get(rl_memory *m, uint64_t id, rl_buf *out)
{
  rl_buf_clear(out);
  rl_status st = m->replica.get(m->replica.user, id, out);
  return st == RL_OK ? RL_OK : rl_fail(RL_EIO, "the second copy cannot be had: %s", rl_error_message());
}

void rl_replica_drop(rl_memory *m, uint64_t id)
{
  if (id) m->replica.drop(m->replica.user, id);
}
