/* What a version changed, as rl_state_update_encode wrote it (docs/formats.md), read without a store. */
#ifndef RL_STORE_CHANGES_H
#define RL_STORE_CHANGES_H

#include "store/journal.h"

typedef struct rl_change {
  rl_value key;
  uint64_t hash;     /* of the key, lower half at least */
  rl_value old, new; /* nil: there was none; it was removed. Views, like the key */
  int64_t old_stamp, new_stamp;
} rl_change;

typedef rl_status rl_change_fn(void *user, const rl_change *c);

/* Checks the changes of a STATE record and calls fn for each (NULL: nobody wants to know). RL_EDATA, with what is
 * wrong; the error of fn otherwise. fn has seen some of the changes then. */
rl_status rl_changes_each(const rl_journal_state *r, rl_change_fn *fn, void *user);

#endif
