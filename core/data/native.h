/* Native functions: the class of rl_fn for C. A C program gives a function of one of these kinds; the engine runs it as
 * it runs Lua closures. */
#ifndef RL_DATA_NATIVE_H
#define RL_DATA_NATIVE_H

#include "data/fn.h"

/* map: called once a record; emits any number of records (so it serves map, filter and flatMap). */
typedef struct rl_emit rl_emit;
rl_status rl_emit_record(rl_emit *e, const rl_value *fields, uint32_t n);
typedef rl_status rl_native_map(void *user, const rl_value *fields, uint32_t n, rl_emit *out);

/* fold: acc = f(acc, value). A composite or bytes result must stay valid until the next call with the same `user` and
 * thread; it is copied. */
typedef rl_status rl_native_fold(void *user, rl_value acc, rl_value value, rl_value *result);

/* `destroy` (may be NULL) is called with `user` at the last unref. `user` is shared by all workers at once. */
rl_fn *rl_fn_map(rl_native_map *f, void *user, void (*destroy)(void *));
/* reduceByKey's two sides: folds the values of equal keys of (key, value) records, emits (key, folded) in first-seen
 * order. Fit for the map side and the reduce side both. */
rl_fn *rl_fn_fold_by_key(rl_native_fold *f, void *user, void (*destroy)(void *));

/* Ready-made reducers over numbers, with Lua's arithmetic (integers wrap, int + float is float): for rl_fn_fold_by_key.
 * RL_EINVAL for other types. */
rl_status rl_native_sum(void *user, rl_value acc, rl_value value, rl_value *result);

/* A map that cuts the first field (bytes) into words at white space and emits (word, 1). */
rl_status rl_native_words(void *user, const rl_value *fields, uint32_t n, rl_emit *out);

#endif
