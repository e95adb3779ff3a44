#include "run/budget.h"

#include <inttypes.h>

#include "base/mem.h"

#define MIB (UINT64_C(1) << 20)
#define STATE_MOST (512 * MIB)     /* default limit of a Lua state where there is enough ... */
#define STATE_LEAST (8 * MIB)      /* ... and less would not hold the library and a job's functions */
#define CHUNKS_LEAST (16 * MIB)
#define RECEIVER_MOST (128 * MIB)
#define NO_LIMIT (UINT64_C(1) << 60)

/* "256m"; owned by the caller. */
static char *size_text(uint64_t n)
{
  return n % MIB == 0 ? rl_format("%" PRIu64 "m", n / MIB) : rl_format("%" PRIu64, n);
}

static rl_status too_small(const rl_budget *b, uint32_t workers, bool given)
{
  uint64_t states = (uint64_t)workers + 1, each = given ? (uint64_t)b->lua : STATE_LEAST;
  uint64_t least = given ? states * each + CHUNKS_LEAST : 2 * states * STATE_LEAST;
  least = (least + MIB - 1) / MIB * MIB;
  char *limit = size_text(b->limit), *state = size_text(each), *fits = size_text(least);
  rl_status st = rl_fail(RL_EINVAL,
                         "rille.memory.limit is %s, too little for %" PRIu64 " Lua states (%" PRIu32
                         " workers, and one for driver and receivers) of %s (rille.task.maxMemory) and records; make "
                         "it %s or more, or have fewer workers (rille.master)%s",
                         limit, states, workers, state, fits, given ? " or a smaller rille.task.maxMemory" : "");
  rl_free(limit);
  rl_free(state);
  rl_free(fits);
  return st;
}

/* States may take half of what there is, unless their limit is given. */
static rl_status share_out(const rl_conf *conf, uint32_t workers, rl_budget *b)
{
  uint64_t states = (uint64_t)workers + 1, share = b->limit / 2 / states;
  bool given = rl_conf_is_set(conf, "rille.task.maxMemory");
  b->lua = given ? rl_conf_size(conf, "rille.task.maxMemory") : (int64_t)(share < STATE_MOST ? share : STATE_MOST);
  uint64_t aside = (uint64_t)b->lua > NO_LIMIT / states ? NO_LIMIT : states * (uint64_t)b->lua;
  bool fits = b->limit > aside && b->limit - aside >= CHUNKS_LEAST && (given || share >= STATE_LEAST);
  b->chunks = fits ? b->limit - aside : b->limit / 2;
  return fits || !rl_conf_is_set(conf, "rille.memory.limit") ? RL_OK : too_small(b, workers, given);
}

rl_status rl_budget_read(const rl_conf *conf, rl_budget *out)
{
  uint32_t workers;
  rl_status st = rl_conf_workers(conf, &workers);
  if (st != RL_OK) return st;
  bool given = rl_conf_is_set(conf, "rille.memory.limit");
  int64_t limit = given ? rl_conf_size(conf, "rille.memory.limit") : (int64_t)rl_memory_default_limit();
  out->limit = limit > 0 ? (uint64_t)limit : NO_LIMIT;
  st = share_out(conf, workers, out);
  uint64_t receiver = out->limit / 8 < RECEIVER_MOST ? out->limit / 8 : RECEIVER_MOST;
  const char *key = "rille.streaming.receiver.maxBufferedBytes";
  out->receiver = rl_conf_is_set(conf, key) ? (uint64_t)rl_conf_size(conf, key) : receiver;
  return st;
}

rl_status rl_budget_memory(const rl_conf *conf, rl_memory **out)
{
  rl_budget b;
  uint32_t workers;
  rl_status st = rl_conf_workers(conf, &workers);
  if (st == RL_OK) st = rl_budget_read(conf, &b);
  if (st != RL_OK) return st;
  rl_memory_spec spec = {.limit = (size_t)b.chunks,
                         .fraction = rl_conf_float(conf, "rille.memory.fraction"),
                         .storage_fraction = rl_conf_float(conf, "rille.memory.storageFraction"),
                         .tasks = workers,
                         .compress = rl_conf_bool(conf, "rille.rdd.compress"),
                         .local_dir = rl_conf_text(conf, "rille.local.dir")};
  *out = rl_memory_new(&spec);
  return RL_OK;
}
