/* Between runs.c (sorting) and merge.c (reading). Not public. */
#ifndef RL_STORE_RUNS_IMPL_H
#define RL_STORE_RUNS_IMPL_H

#include "store/runs.h"
#include "store/spool.h"

/* The last key of a chunk, or what is kept of it. */
typedef struct rl_mark {
  rl_value key;
  bool whole;
} rl_mark;

typedef struct rl_run {
  rl_spool *spool;
  rl_coltype kind; /* of all keys (data/order.h) */
  size_t most;     /* bytes of the largest chunk */
  rl_mark *marks;  /* of each chunk */
  size_t nmarks, marks_cap;
} rl_run;

struct rl_runs {
  rl_run *v;
  size_t n, cap;
  rl_sample *sample; /* NULL: none is needed */
};

/* The chunk from which on there may be a key that is not before `bound`. */
size_t rl_run_first_chunk(const rl_run *run, bool descending, rl_value bound);

#endif
