#include "data/fn.h"

#include "base/mem.h"

rl_fn *rl_fn_ref(rl_fn *f)
{
  atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
  return f;
}

void rl_fn_unref(rl_fn *f)
{
  if (f && atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1) f->cls->destroy(f);
}

/* Over a list. */

typedef struct list_pull {
  rl_pull base;
  rl_chunks list;
  size_t next;
} list_pull;

static rl_status list_next(rl_pull *self, rl_chunk **out)
{
  list_pull *p = (list_pull *)self;
  *out = NULL;
  while (p->next < p->list.n && !*out) {
    rl_chunk *c = p->list.v[p->next++];
    if (c->n > 0) *out = rl_chunk_ref(c);
  }
  return RL_OK;
}

static void list_close(rl_pull *self)
{
  list_pull *p = (list_pull *)self;
  rl_chunks_clear(&p->list);
  rl_free(p);
}

static const rl_pull_class list_class = {list_next, list_close};

rl_pull *rl_pull_chunks(const rl_chunks *list)
{
  list_pull *p = RL_NEW(list_pull);
  p->base.cls = &list_class;
  for (size_t i = 0; i < list->n; i++) rl_chunks_add(&p->list, rl_chunk_ref(list->v[i]));
  return &p->base;
}

/* One after another. */

typedef struct concat_pull {
  rl_pull base;
  size_t at, n;
  rl_pull *inputs[];
} concat_pull;

/* An input is closed as soon as it ends, so that what it held goes while the others run. */
static rl_status concat_next(rl_pull *self, rl_chunk **out)
{
  concat_pull *p = (concat_pull *)self;
  *out = NULL;
  for (; p->at < p->n; p->at++) {
    rl_status st = rl_pull_next(p->inputs[p->at], out);
    if (st != RL_OK || *out) return st;
    rl_pull_close(p->inputs[p->at]);
  }
  return RL_OK;
}

static void concat_close(rl_pull *self)
{
  concat_pull *p = (concat_pull *)self;
  for (; p->at < p->n; p->at++) rl_pull_close(p->inputs[p->at]);
  rl_free(p);
}

static const rl_pull_class concat_class = {concat_next, concat_close};

rl_pull *rl_pull_concat(rl_pull **inputs, size_t n)
{
  concat_pull *p = rl_alloc(sizeof *p + n * sizeof(rl_pull *));
  p->base.cls = &concat_class;
  p->n = n;
  for (size_t i = 0; i < n; i++) p->inputs[i] = inputs[i];
  return &p->base;
}

/* Nothing: one for all, it has no state. */

static rl_status empty_next(rl_pull *self, rl_chunk **out)
{
  (void)self;
  *out = NULL;
  return RL_OK;
}

static void empty_close(rl_pull *self)
{
  (void)self;
}

static const rl_pull_class empty_class = {empty_next, empty_close};

rl_pull *rl_pull_empty(void)
{
  static rl_pull empty = {&empty_class};
  return &empty;
}

rl_status rl_pull_drain(rl_pull *p, rl_chunks *out)
{
  for (;;) {
    rl_chunk *c = NULL;
    rl_status st = rl_pull_next(p, &c);
    if (st != RL_OK || !c) return st;
    rl_chunks_add(out, c);
  }
}
