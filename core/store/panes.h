/* Windows of known reducers: the value of a window for each key out of the values of its batches (panes), without an
 * inverse function, for keys that are touched: those that lose or gain a pane. For a state stage (rl_task.state).
 *
 * A key's state is one tuple: the reduced value, then the panes' values, oldest first. The value is the panes folded
 * from the left, so it is what reducing the whole window anew gives, to the last bit of a float: a pane that leaves is
 * taken out where that gives the same (sums of integers, a pick that was another's), else the panes that stay are
 * folded anew. So a touched key costs at most its panes (window / slide), whatever the number of records and of other
 * keys.
 *
 * Of "partial aggregates" the idea is in Li et al., No Pane, No Gain (SIGMOD Record 34:1, 2005). */
#ifndef RL_STORE_PANES_H
#define RL_STORE_PANES_H

#include "data/fn.h"

/* How two values become one, with Lua's results. */
typedef struct rl_reducer {
  enum { RL_REDUCE_SUM, RL_REDUCE_PICK } kind;
  /* PICK: a stays if `a < b` (or `a <= b`, `b < a`, `b <= a`) holds, or if it does not; else it is b. */
  bool or_equal, swapped, negated;
} rl_reducer;

/* Two inputs: (key, value) records that leave the window, and those that enter it, one a key and pane, in order of
 * time. Values must be numbers; for PICK they may also be strings. RL_EUSER names the key otherwise. Emits nothing.
 * `label` (copied) is for messages: "job.lua:9: reduceByKeyAndWindow". */
rl_fn *rl_fn_panes(rl_reducer reducer, const char *label);

/* a + b, or the one of both that stays. RL_EUSER for values that cannot be reduced so. */
rl_status rl_reduce(rl_reducer r, rl_value a, rl_value b, rl_value *out);

#endif
