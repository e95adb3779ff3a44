#include "data/native.h"

#include <string.h>

#include "base/mem.h"
#include "data/keys.h"
#include "data/pair.h"

typedef enum native_kind { KIND_MAP, KIND_FOLD } native_kind;

typedef struct native_fn {
  rl_fn base;
  native_kind kind;
  union {
    rl_native_map *map;
    rl_native_fold *fold;
  };
  void *user;
  void (*destroy)(void *);
} native_fn;

static rl_status check_cancelled(const rl_task *task)
{
  if (!task || !task->cancelled || !atomic_load_explicit(task->cancelled, memory_order_relaxed)) return RL_OK;
  return rl_fail(RL_ECANCELLED, "the task was cancelled");
}

/* Map. A row of map functions is one operator: each emits straight into the next, only the last one builds chunks. */

struct rl_emit {
  struct map_pull *op;
  native_fn *fn; /* the function that emits here */
  rl_emit *next; /* what its records go to; NULL: the chunk */
};

typedef struct map_pull {
  rl_pull base;
  rl_pull *input;
  const rl_task *task;
  rl_chunk *current; /* being read, from `row` on */
  uint32_t row;
  rl_builder *builder;
  rl_chunks ready; /* full chunks, from `head` on */
  size_t head;
  rl_status failed; /* kept, as a function may not look at what rl_emit_record returned */
  size_t n;
  rl_value fields[RL_MAX_FIELDS];
  rl_emit emits[];
} map_pull;

static rl_status check_record(const rl_value *fields, uint32_t n)
{
  if (n == 0) return rl_fail(RL_EINVAL, "a record needs at least one value");
  if (n > RL_MAX_FIELDS) return rl_fail(RL_ELIMIT, "a record of %u values; at most %d are possible", n, RL_MAX_FIELDS);
  if (fields[0].type == RL_T_NIL) return rl_fail(RL_EINVAL, "the first value of a record is nil");
  return RL_OK;
}

static rl_status build_record(map_pull *op, const rl_value *fields, uint32_t n)
{
  rl_status st = rl_builder_add(op->builder, fields, n);
  if (st == RL_OK && rl_builder_full(op->builder)) rl_chunks_add(&op->ready, rl_builder_finish(op->builder));
  return st;
}

rl_status rl_emit_record(rl_emit *e, const rl_value *fields, uint32_t n)
{
  map_pull *op = e->op;
  if (op->failed != RL_OK) return op->failed;
  rl_status st = check_record(fields, n);
  if (st == RL_OK) {
    st = e->next ? e->next->fn->map(e->next->fn->user, fields, n, e->next) : build_record(op, fields, n);
  }
  if (op->failed == RL_OK) op->failed = st;
  return op->failed;
}

static rl_status map_row(map_pull *p)
{
  uint32_t row = p->row++, n = rl_chunk_arity(p->current, row);
  for (uint32_t i = 0; i < n; i++) p->fields[i] = rl_chunk_get(p->current, i, row);
  native_fn *fn = p->emits[0].fn;
  rl_status st = fn->map(fn->user, p->fields, n, &p->emits[0]);
  return p->failed != RL_OK ? p->failed : st;
}

/* Maps on until a chunk is ready or the input ends; *ended tells which. */
static rl_status map_some(map_pull *p, bool *ended)
{
  while (p->ready.n == 0) {
    if (p->current && p->row < p->current->n) {
      rl_status st = map_row(p);
      if (st != RL_OK) return st;
      continue;
    }
    rl_chunk_unref(p->current);
    p->current = NULL;
    p->row = 0;
    rl_status st = check_cancelled(p->task);
    if (st == RL_OK) st = rl_pull_next(p->input, &p->current);
    if (st != RL_OK) return st;
    if (!p->current) {
      *ended = true;
      return RL_OK;
    }
  }
  return RL_OK;
}

static rl_status map_next(rl_pull *self, rl_chunk **out)
{
  map_pull *p = (map_pull *)self;
  bool ended = false;
  *out = NULL;
  if (p->ready.n == 0) {
    rl_status st = map_some(p, &ended);
    if (st != RL_OK) return st;
  }
  if (ended) {
    *out = rl_builder_finish(p->builder);
    return RL_OK;
  }
  *out = p->ready.v[p->head];
  p->ready.v[p->head++] = NULL;
  if (p->head == p->ready.n) p->head = p->ready.n = 0;
  return RL_OK;
}

static void map_close(rl_pull *self)
{
  map_pull *p = (map_pull *)self;
  rl_pull_close(p->input);
  rl_chunk_unref(p->current);
  rl_builder_delete(p->builder);
  rl_chunks_clear(&p->ready);
  for (size_t i = 0; i < p->n; i++) rl_fn_unref(&p->emits[i].fn->base);
  rl_free(p);
}

static const rl_pull_class map_class = {map_next, map_close};

static rl_pull *open_maps(rl_fn *const *fns, size_t n, const rl_task *task, rl_pull *input)
{
  map_pull *p = rl_alloc(sizeof *p + n * sizeof(rl_emit));
  p->base.cls = &map_class;
  p->input = input;
  p->task = task;
  p->builder = rl_builder_new();
  p->n = n;
  for (size_t i = 0; i < n; i++) {
    p->emits[i] = (rl_emit){p, (native_fn *)rl_fn_ref(fns[i]), i + 1 < n ? &p->emits[i + 1] : NULL};
  }
  return &p->base;
}

/* Fold by key. */

typedef struct account {
  rl_value acc;
  rl_bytes *store; /* holds acc's bytes, kept for the next ones */
} account;

typedef struct fold_pull {
  rl_pull base;
  native_fn *fn;
  rl_pull *input;
  const rl_task *task;
  rl_keys *keys;
  account *accounts; /* by the number of the key */
  size_t cap;
  rl_pair_scratch scratch;
  rl_builder *builder;
  bool folded;
  uint32_t emitted;
} fold_pull;

/* Makes v the accumulator. v may lie in the memory of the present one. */
static rl_status set_acc(account *a, rl_value v)
{
  if (v.type >= RL_T_BYTES && v.s.n > 0) {
    rl_bytes *to = a->store;
    if (!to || to->cap < v.s.n) to = rl_bytes_new(a->store ? v.s.n + v.s.n / 2 : v.s.n);
    if (!to) return RL_ENOMEM;
    memmove(to->data, v.s.p, v.s.n);
    if (to != a->store) rl_bytes_unref(a->store);
    a->store = to;
    v.s.p = to->data;
  }
  a->acc = v;
  return RL_OK;
}

static rl_status open_account(fold_pull *p, uint32_t number, rl_value v)
{
  p->accounts = rl_grow(p->accounts, &p->cap, (size_t)number + 1, sizeof *p->accounts);
  p->accounts[number] = (account){0};
  return set_acc(&p->accounts[number], v);
}

static rl_status fold_row(fold_pull *p, const rl_chunk *c, uint32_t row)
{
  rl_value pair[2];
  uint32_t number = 0, known = rl_keys_count(p->keys);
  rl_status st = rl_pair_read(c, row, &p->scratch, pair);
  if (st == RL_OK) st = rl_keys_put(p->keys, pair[0], &number);
  if (st != RL_OK) return st;
  if (number == known) return open_account(p, number, pair[1]);
  rl_value result = rl_nil();
  st = p->fn->fold(p->fn->user, p->accounts[number].acc, pair[1], &result);
  return st == RL_OK ? set_acc(&p->accounts[number], result) : st;
}

static rl_status fold_input(fold_pull *p)
{
  for (;;) {
    rl_chunk *c = NULL;
    rl_status st = check_cancelled(p->task);
    if (st == RL_OK) st = rl_pull_next(p->input, &c);
    if (st != RL_OK || !c) return st;
    for (uint32_t row = 0; row < c->n && st == RL_OK; row++) st = fold_row(p, c, row);
    rl_chunk_unref(c);
    if (st != RL_OK) return st;
  }
}

static rl_status fold_next(rl_pull *self, rl_chunk **out)
{
  fold_pull *p = (fold_pull *)self;
  *out = NULL;
  rl_status st = p->folded ? check_cancelled(p->task) : fold_input(p);
  if (st != RL_OK) return st;
  p->folded = true;
  while (p->emitted < rl_keys_count(p->keys) && !rl_builder_full(p->builder)) {
    uint32_t number = p->emitted++;
    st = rl_builder_add(p->builder, (rl_value[]){rl_keys_get(p->keys, number), p->accounts[number].acc}, 2);
    if (st != RL_OK) return st;
  }
  *out = rl_builder_finish(p->builder);
  return RL_OK;
}

static void fold_close(rl_pull *self)
{
  fold_pull *p = (fold_pull *)self;
  rl_pull_close(p->input);
  for (uint32_t i = 0; p->accounts && i < rl_keys_count(p->keys); i++) rl_bytes_unref(p->accounts[i].store);
  rl_free(p->accounts);
  rl_keys_delete(p->keys);
  rl_pair_scratch_free(&p->scratch);
  rl_builder_delete(p->builder);
  rl_fn_unref(&p->fn->base);
  rl_free(p);
}

static const rl_pull_class fold_class = {fold_next, fold_close};

static rl_pull *open_fold(rl_fn *fn, const rl_task *task, rl_pull *input)
{
  fold_pull *p = RL_NEW(fold_pull);
  p->base.cls = &fold_class;
  p->fn = (native_fn *)rl_fn_ref(fn);
  p->input = input;
  p->task = task;
  p->keys = rl_keys_new();
  p->builder = rl_builder_new();
  return &p->base;
}

/* The class. */

static native_kind kind_of(const rl_fn *fn)
{
  return ((const native_fn *)fn)->kind;
}

static rl_status native_open(rl_fn *const *fns, size_t n, const rl_task *task, rl_pull **inputs, size_t ninputs,
                             rl_pull **out)
{
  rl_pull *p = ninputs == 1 ? inputs[0] : rl_pull_concat(inputs, ninputs);
  for (size_t i = 0; i < n;) {
    size_t row = 0;
    while (i + row < n && kind_of(fns[i + row]) == KIND_MAP) row++;
    p = row ? open_maps(fns + i, row, task, p) : open_fold(fns[i], task, p);
    i += row ? row : 1;
  }
  *out = p;
  return RL_OK;
}

static void native_destroy(rl_fn *fn)
{
  native_fn *f = (native_fn *)fn;
  if (f->destroy) f->destroy(f->user);
  rl_free(f);
}

static const rl_fn_class native_class = {"native", native_open, native_destroy};

static native_fn *new_fn(native_kind kind, void *user, void (*destroy)(void *))
{
  native_fn *f = RL_NEW(native_fn);
  atomic_init(&f->base.refs, 1);
  f->base.cls = &native_class;
  f->base.idle = true;
  f->kind = kind;
  f->user = user;
  f->destroy = destroy;
  return f;
}

rl_fn *rl_fn_map(rl_native_map *f, void *user, void (*destroy)(void *))
{
  native_fn *fn = new_fn(KIND_MAP, user, destroy);
  fn->map = f;
  return &fn->base;
}

rl_fn *rl_fn_fold_by_key(rl_native_fold *f, void *user, void (*destroy)(void *))
{
  native_fn *fn = new_fn(KIND_FOLD, user, destroy);
  fn->fold = f;
  return &fn->base;
}

/* Ready-made functions. */

static bool is_number(rl_value v)
{
  return v.type == RL_T_INT || v.type == RL_T_FLOAT;
}

static double as_float(rl_value v)
{
  return v.type == RL_T_INT ? (double)v.i : v.f;
}

rl_status rl_native_sum(void *user, rl_value acc, rl_value value, rl_value *result)
{
  (void)user;
  if (!is_number(acc) || !is_number(value)) return rl_fail(RL_EINVAL, "sum of values that are not numbers");
  if (acc.type == RL_T_INT && value.type == RL_T_INT) *result = rl_int((int64_t)((uint64_t)acc.i + (uint64_t)value.i));
  else *result = rl_float(as_float(acc) + as_float(value));
  return RL_OK;
}

static bool is_space(char c)
{
  return c == ' ' || (c >= '\t' && c <= '\r');
}

rl_status rl_native_words(void *user, const rl_value *fields, uint32_t n, rl_emit *out)
{
  (void)user;
  (void)n;
  if (fields[0].type != RL_T_BYTES) return rl_fail(RL_EINVAL, "words of a value that is not a string");
  const char *p = fields[0].s.p;
  size_t len = fields[0].s.n;
  for (size_t i = 0; i < len;) {
    size_t from = i;
    while (i < len && !is_space(p[i])) i++;
    if (i > from) {
      rl_status st = rl_emit_record(out, (rl_value[]){rl_str(p + from, i - from), rl_int(1)}, 2);
      if (st != RL_OK) return st;
    }
    while (i < len && is_space(p[i])) i++;
  }
  return RL_OK;
}
