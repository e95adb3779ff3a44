/* The state function of the reference job, natively: adds the values of each key that came to its state. */
#ifndef SPEC_CRASH_SUMS_H
#define SPEC_CRASH_SUMS_H

#include "data/chunk.h"
#include "data/keys.h"
#include "data/pair.h"
#include "model.h"
#include "store/state.h"

typedef struct sums_pull {
  rl_pull base;
  const rl_task *task;
  rl_pull *input;
  rl_keys *keys;
  int64_t *sums; /* by the key's number */
  size_t cap;
  bool over;
} sums_pull;

static inline rl_status sums_add(sums_pull *p, const rl_chunk *c, uint32_t row)
{
  rl_pair_scratch scratch = {0};
  rl_value pair[2], old;
  uint32_t slot, before = rl_keys_count(p->keys);
  int64_t stamp;
  rl_status st = rl_pair_read(c, row, &scratch, pair);
  if (!st) st = rl_keys_put(p->keys, pair[0], &slot);
  if (!st && slot == before) {
    p->sums = rl_grow(p->sums, &p->cap, slot + 1, sizeof *p->sums);
    st = rl_state_slot(p->task->state, pair[0], &old, &stamp);
    p->sums[slot] = !st && old.type == RL_T_INT ? old.i : 0;
  }
  if (!st) p->sums[slot] = model_add(p->sums[slot], pair[1].i);
  if (!st) st = rl_state_set(p->task->state, slot, model_leaves(p->sums[slot]) ? rl_nil() : rl_int(p->sums[slot]), 0);
  rl_pair_scratch_free(&scratch);
  return st;
}

static inline rl_status sums_next(rl_pull *self, rl_chunk **out)
{
  sums_pull *p = (sums_pull *)self;
  rl_status st = RL_OK;
  *out = NULL;
  if (p->over) return RL_OK;
  p->over = true;
  for (rl_chunk *c; !(st = rl_pull_next(p->input, &c)) && c; rl_chunk_unref(c))
    for (uint32_t row = 0; !st && row < c->n; row++) st = sums_add(p, c, row);
  rl_builder *b = rl_builder_new();
  for (uint32_t i = 0; !st && i < rl_keys_count(p->keys); i++) {
    const rl_value pair[2] = {rl_keys_get(p->keys, i), rl_int(p->sums[i])};
    st = rl_builder_add(b, pair, 2);
  }
  if (!st) *out = rl_builder_finish(b);
  rl_builder_delete(b);
  return st;
}

static inline void sums_close(rl_pull *self)
{
  sums_pull *p = (sums_pull *)self;
  rl_pull_close(p->input);
  rl_keys_delete(p->keys);
  rl_free(p->sums);
  rl_free(p);
}

static const rl_pull_class sums_pull_class = {sums_next, sums_close};

static inline rl_status sums_open(rl_fn *const *fns, size_t n, const rl_task *task, rl_pull **inputs, size_t ninputs,
                                  rl_pull **out)
{
  (void)fns;
  if (n != 1 || ninputs != 1 || !task->state) return rl_fail(RL_EINVAL, "the sums stand over one input, with state");
  sums_pull *p = RL_NEW(sums_pull);
  *p = (sums_pull){.base.cls = &sums_pull_class, .task = task, .input = inputs[0], .keys = rl_keys_new()};
  *out = &p->base;
  return RL_OK;
}

static inline void sums_destroy(rl_fn *fn) { rl_free(fn); }

static const rl_fn_class sums_class = {"sums", sums_open, sums_destroy};

static inline rl_fn *sums_new(void)
{
  rl_fn *fn = RL_NEW(rl_fn);
  fn->cls = &sums_class;
  atomic_init(&fn->refs, 1);
  return fn;
}

#endif
