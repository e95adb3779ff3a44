#include "store/panes.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "data/codec.h"
#include "data/keys.h"
#include "data/pair.h"
#include "store/state.h"

/* Reducers --------------------------------------------------------------------------------------------------------- */

static bool is_number(rl_value v) { return v.type == RL_T_INT || v.type == RL_T_FLOAT; }
static double as_float(rl_value v) { return v.type == RL_T_INT ? (double)v.i : v.f; }

/* i < f (or i <= f) exactly, as Lua compares them: the float is rounded to an integer where that decides the same. */
static bool int_below_float(int64_t i, double f, bool or_equal)
{
  if (isnan(f)) return false;
  double whole = or_equal ? floor(f) : ceil(f);
  if (whole >= 0x1p63) return true;
  if (whole < -0x1p63) return false;
  return or_equal ? i <= (int64_t)whole : i < (int64_t)whole;
}

static bool float_below_int(double f, int64_t i, bool or_equal)
{
  return !isnan(f) && !int_below_float(i, f, !or_equal);
}

static bool number_below(rl_value a, rl_value b, bool or_equal)
{
  if (a.type == RL_T_INT && b.type == RL_T_INT) return or_equal ? a.i <= b.i : a.i < b.i;
  if (a.type == RL_T_FLOAT && b.type == RL_T_FLOAT) return or_equal ? a.f <= b.f : a.f < b.f;
  if (a.type == RL_T_INT) return int_below_float(a.i, b.f, or_equal);
  return float_below_int(a.f, b.i, or_equal);
}

static bool text_below(rl_value a, rl_value b, bool or_equal)
{
  int c = rl_value_compare(a, b);
  return c < 0 || (c == 0 && or_equal);
}

static rl_status cannot(rl_reducer r, rl_value a, rl_value b)
{
  rl_buf text = {0};
  rl_value_format(a, &text);
  rl_buf_puts(&text, " and ");
  rl_value_format(b, &text);
  rl_status st = rl_fail(RL_EUSER, "%.200s cannot be %s; a reducer in a window without an inverse function needs %s",
                         rl_buf_cstr(&text), r.kind == RL_REDUCE_SUM ? "added" : "compared",
                         r.kind == RL_REDUCE_SUM ? "numbers" : "numbers, or strings");
  rl_buf_free(&text);
  return st;
}

static rl_status sum(rl_reducer r, rl_value a, rl_value b, rl_value *out)
{
  if (!is_number(a) || !is_number(b)) return cannot(r, a, b);
  if (a.type == RL_T_INT && b.type == RL_T_INT) *out = rl_int((int64_t)((uint64_t)a.i + (uint64_t)b.i));
  else *out = rl_float(as_float(a) + as_float(b));
  return RL_OK;
}

static rl_status pick(rl_reducer r, rl_value a, rl_value b, rl_value *out)
{
  rl_value left = r.swapped ? b : a, right = r.swapped ? a : b;
  bool holds;
  if (is_number(a) && is_number(b)) holds = number_below(left, right, r.or_equal);
  else if (a.type == RL_T_BYTES && b.type == RL_T_BYTES) holds = text_below(left, right, r.or_equal);
  else return cannot(r, a, b);
  *out = holds != r.negated ? a : b;
  return RL_OK;
}

rl_status rl_reduce(rl_reducer r, rl_value a, rl_value b, rl_value *out)
{
  return r.kind == RL_REDUCE_SUM ? sum(r, a, b, out) : pick(r, a, b, out);
}

/* The function ----------------------------------------------------------------------------------------------------- */

typedef struct panes_fn {
  rl_fn base;
  rl_reducer reducer;
  char *label;
} panes_fn;

typedef struct entered {
  size_t at, n; /* its encoded value in `values` */
  uint32_t next; /* the key's next one, by number from 1; 0: none */
} entered;

typedef struct touched {
  uint32_t left;        /* how many panes leave */
  uint32_t first, last; /* those that enter */
} touched;

typedef struct panes_pull {
  rl_pull base;
  const panes_fn *fn;
  const rl_task *task;
  rl_pull *inputs[2];
  rl_keys *keys;
  touched *touched; /* by number of the key */
  size_t touched_cap;
  entered *entered;
  size_t nentered, entered_cap;
  rl_buf values, state;
  rl_pair_scratch scratch;
  bool done;
} panes_pull;

static rl_status touch(panes_pull *p, rl_value key, touched **out)
{
  uint32_t number, before = rl_keys_count(p->keys);
  rl_status st = rl_keys_put(p->keys, key, &number);
  if (st) return st;
  p->touched = rl_grow(p->touched, &p->touched_cap, number + (size_t)1, sizeof *p->touched);
  if (number == before) p->touched[number] = (touched){0, 0, 0};
  *out = &p->touched[number];
  return RL_OK;
}

static void enter(panes_pull *p, touched *t, rl_value v)
{
  p->entered = rl_grow(p->entered, &p->entered_cap, p->nentered + 1, sizeof *p->entered);
  entered *e = &p->entered[p->nentered++];
  *e = (entered){.at = p->values.n};
  rl_put_value(&p->values, v);
  e->n = p->values.n - e->at;
  if (t->last) p->entered[t->last - 1].next = (uint32_t)p->nentered;
  else t->first = (uint32_t)p->nentered;
  t->last = (uint32_t)p->nentered;
}

static rl_status read_row(panes_pull *p, const rl_chunk *c, uint32_t row, int side)
{
  rl_value pair[2];
  touched *t;
  rl_status st = rl_pair_read(c, row, &p->scratch, pair);
  if (!st) st = touch(p, pair[0], &t);
  if (st) return st;
  if (side == 0) t->left++;
  else enter(p, t, pair[1]);
  return RL_OK;
}

static rl_status read_side(panes_pull *p, int side)
{
  for (;;) {
    rl_chunk *c;
    if (atomic_load_explicit(p->task->cancelled, memory_order_relaxed)) return rl_fail(RL_ECANCELLED, "cancelled");
    rl_status st = rl_pull_next(p->inputs[side], &c);
    if (st || !c) return st;
    for (uint32_t row = 0; !st && row < c->n; row++) st = read_row(p, c, row, side);
    rl_chunk_unref(c);
    if (st) return st;
  }
}

/* The window of a key, being put together. */
typedef struct window {
  rl_buf *panes;  /* those that are in it, encoded */
  uint64_t n;
  rl_value value; /* what the first `folded` of them are reduced to */
  uint64_t folded;
} window;

/* Takes a pane that leaves out of what all were reduced to. False where that cannot be told without the others: a float
 * would come out a little different, and where it was the pick there must be another. */
static bool take_out(rl_reducer r, rl_value *all, rl_value pane)
{
  if (r.kind == RL_REDUCE_SUM) { /* if the sum is an integer, so are all that are in it */
    if (all->type != RL_T_INT || pane.type != RL_T_INT) return false;
    *all = rl_int((int64_t)((uint64_t)all->i - (uint64_t)pane.i));
    return true;
  }
  if (is_number(*all) && is_number(pane)) return number_below(*all, pane, false) || number_below(pane, *all, false);
  return all->type == RL_T_BYTES && pane.type == RL_T_BYTES && rl_value_compare(*all, pane) != 0;
}

/* Behind a NaN a pick begins anew, so what came before it counts. */
static bool has_nan(rl_reader r)
{
  rl_value v;
  if (!memchr(r.p, RL_TAG_FLOAT, (size_t)(r.end - r.p))) return false;
  while (r.p < r.end && rl_get_value(&r, &v) == RL_OK)
    if (v.type == RL_T_FLOAT && isnan(v.f)) return true;
  return false;
}

/* The panes of the state that stay; the value is theirs where that can be told. */
static rl_status old_panes(const panes_pull *p, window *w, rl_value old, uint32_t left)
{
  rl_reader r;
  uint64_t count = 1;
  rl_value all = rl_nil(), pane;
  rl_status st = old.type == RL_T_NIL ? RL_OK : rl_walk_tuple(old, &r, &count);
  if (!st && left > count - 1) return rl_fail(RL_ESTATE, "more panes leave the window than are in it");
  if (st || count == 1) return st;
  st = rl_get_value(&r, &all);
  bool known = true;
  for (uint32_t i = 0; !st && i < left; i++) {
    st = rl_get_value(&r, &pane);
    if (!st && known) known = take_out(p->fn->reducer, &all, pane);
  }
  if (st) return st;
  w->n = count - 1 - left;
  rl_buf_add(w->panes, r.p, (size_t)(r.end - r.p));
  if (known && p->fn->reducer.kind == RL_REDUCE_PICK) known = !has_nan(r);
  if (known && w->n > 0) {
    w->value = all;
    w->folded = w->n;
  }
  return RL_OK;
}

static void new_panes(const panes_pull *p, window *w, const touched *t)
{
  for (uint32_t i = t->first; i; i = p->entered[i - 1].next) {
    const entered *e = &p->entered[i - 1];
    rl_buf_add(w->panes, p->values.p + e->at, e->n);
    w->n++;
  }
}

/* Folds what is not folded yet: `done` bytes of the panes are. The value points into them. */
static rl_status fold(const panes_pull *p, window *w, size_t done)
{
  rl_reader r = {w->panes->p + done, w->panes->p + w->panes->n};
  rl_status st = RL_OK;
  while (!st && w->folded < w->n) {
    rl_value pane;
    st = rl_get_value(&r, &pane);
    if (!st && w->folded > 0) st = rl_reduce(p->fn->reducer, w->value, pane, &pane);
    w->value = pane;
    w->folded++;
  }
  return st;
}

static rl_status set_window(panes_pull *p, uint32_t slot, const window *w)
{
  if (w->n == 0) return rl_state_set(p->task->state, slot, rl_nil(), p->task->batch_time);
  rl_buf_clear(&p->state);
  rl_put_tuple(&p->state, w->n + 1);
  rl_put_value(&p->state, w->value);
  rl_buf_add(&p->state, w->panes->p, w->panes->n);
  rl_value v = {.type = RL_T_TUPLE, .s = {p->state.p, p->state.n}};
  return rl_state_set(p->task->state, slot, v, p->task->batch_time);
}

static rl_status update_key(panes_pull *p, uint32_t number, rl_buf *panes)
{
  rl_value old, key = rl_keys_get(p->keys, number);
  int64_t stamp;
  rl_buf_clear(panes);
  window w = {.panes = panes};
  rl_status st = rl_state_slot(p->task->state, key, &old, &stamp);
  if (!st) st = old_panes(p, &w, old, p->touched[number].left);
  size_t done = w.folded > 0 ? panes->n : 0;
  if (!st) new_panes(p, &w, &p->touched[number]);
  if (!st) st = fold(p, &w, done);
  if (!st) st = set_window(p, number, &w);
  if (st == RL_OK) return RL_OK;
  rl_buf text = {0};
  rl_value_format(key, &text);
  rl_error_prefix("%s: key %.100s: ", p->fn->label, rl_buf_cstr(&text));
  rl_buf_free(&text);
  return st;
}

static rl_status panes_next(rl_pull *self, rl_chunk **out)
{
  panes_pull *p = (panes_pull *)self;
  *out = NULL;
  if (p->done) return RL_OK;
  p->done = true;
  rl_status st = read_side(p, 0);
  if (!st) st = read_side(p, 1);
  rl_buf panes = {0};
  for (uint32_t i = 0; !st && i < rl_keys_count(p->keys); i++) st = update_key(p, i, &panes);
  rl_buf_free(&panes);
  return st;
}

static void panes_close(rl_pull *self)
{
  panes_pull *p = (panes_pull *)self;
  rl_pull_close(p->inputs[0]);
  rl_pull_close(p->inputs[1]);
  rl_keys_delete(p->keys);
  rl_free(p->touched);
  rl_free(p->entered);
  rl_buf_free(&p->values);
  rl_buf_free(&p->state);
  rl_pair_scratch_free(&p->scratch);
  rl_free(p);
}

static const rl_pull_class panes_pull_class = {panes_next, panes_close};

static rl_status panes_open(rl_fn *const *fns, size_t n, const rl_task *task, rl_pull **inputs, size_t ninputs,
                            rl_pull **out)
{
  if (n != 1 || ninputs != 2 || !task->state) {
    for (size_t i = 0; i < ninputs; i++) rl_pull_close(inputs[i]);
    return rl_fail(RL_ESTATE, "%s: panes belong in a state stage with two inputs", ((const panes_fn *)fns[0])->label);
  }
  panes_pull *p = RL_NEW(panes_pull);
  p->base.cls = &panes_pull_class;
  p->fn = (const panes_fn *)fns[0];
  p->task = task;
  memcpy(p->inputs, inputs, sizeof p->inputs);
  p->keys = rl_keys_new();
  *out = &p->base;
  return RL_OK;
}

static void panes_destroy(rl_fn *fn)
{
  rl_free(((panes_fn *)fn)->label);
  rl_free(fn);
}

static const rl_fn_class panes_class = {"panes", panes_open, panes_destroy};

rl_fn *rl_fn_panes(rl_reducer reducer, const char *label)
{
  panes_fn *f = RL_NEW(panes_fn);
  atomic_init(&f->base.refs, 1);
  f->base.cls = &panes_class;
  f->reducer = reducer;
  f->label = rl_strdup(label);
  return &f->base;
}
