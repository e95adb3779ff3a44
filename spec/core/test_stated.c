/* RDDs over keyed state without Lua: versions made by a native function, snapshots, stages that fail or are cancelled
 * half-way, windows by panes. */
#include "engine.h"

#include <math.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "data/codec.h"
#include "data/keys.h"
#include "data/pair.h"
#include "plan/stated.h"
#include "records.h"
#include "run/engine.h"
#include "scratch.h"
#include "store/panes.h"
#include "store/state_impl.h"

#define PARTS 3

/* A state function: adds the values of each key to its state, and gives (key, sum) for each that came. */
typedef struct adds {
  rl_fn base;
  _Atomic int opened, done; /* tasks */
  _Atomic int failing;      /* so many fail behind their records */
  _Atomic bool closed;      /* they wait */
  bool retriable;
} adds;

typedef struct adds_pull {
  rl_pull base;
  adds *fn;
  const rl_task *task;
  rl_pull *input;
  rl_keys *keys;
  bool over;
} adds_pull;

static rl_status add_row(adds_pull *p, const rl_chunk *c, uint32_t row)
{
  rl_pair_scratch scratch = {0};
  rl_value pair[2], old;
  uint32_t slot, before = rl_keys_count(p->keys);
  int64_t stamp;
  rl_status st = rl_pair_read(c, row, &scratch, pair);
  if (!st) st = rl_keys_put(p->keys, pair[0], &slot);
  if (!st && slot == before) st = rl_state_slot(p->task->state, pair[0], &old, &stamp);
  if (!st && slot == before) st = rl_state_set(p->task->state, slot, rl_int((old.type ? old.i : 0) + pair[1].i), 0);
  rl_pair_scratch_free(&scratch);
  return st;
}

static rl_status adds_next(rl_pull *self, rl_chunk **out)
{
  adds_pull *p = (adds_pull *)self;
  rl_status st = RL_OK;
  *out = NULL;
  if (p->over) return RL_OK;
  p->over = true;
  while (atomic_load(&p->fn->closed)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  for (rl_chunk *c; !(st = rl_pull_next(p->input, &c)) && c; rl_chunk_unref(c))
    for (uint32_t row = 0; !st && row < c->n; row++) st = add_row(p, c, row);
  if (st) return st;
  if (atomic_fetch_sub(&p->fn->failing, 1) > 0) {
    st = rl_fail(RL_EUSER, "it cannot add");
    rl_error_set_retriable(p->fn->retriable);
    return st;
  }
  rl_builder *b = rl_builder_new();
  for (uint32_t i = 0; !st && i < rl_keys_count(p->keys); i++) {
    const rl_value pair[2] = {rl_keys_get(p->keys, i), rl_int(i)};
    st = rl_builder_add(b, pair, 2);
  }
  *out = rl_builder_finish(b);
  rl_builder_delete(b);
  atomic_fetch_add(&p->fn->done, 1);
  return st;
}

static void adds_close(rl_pull *self)
{
  adds_pull *p = (adds_pull *)self;
  rl_pull_close(p->input);
  rl_keys_delete(p->keys);
  rl_free(p);
}

static const rl_pull_class adds_pull_class = {adds_next, adds_close};

static rl_status adds_open(rl_fn *const *fns, size_t n, const rl_task *task, rl_pull **inputs, size_t ninputs,
                           rl_pull **out)
{
  assert_true(n == 1 && ninputs == 1 && task->state);
  adds_pull *p = RL_NEW(adds_pull);
  *p = (adds_pull){.base.cls = &adds_pull_class, .fn = (adds *)fns[0], .task = task, .input = inputs[0]};
  p->keys = rl_keys_new();
  atomic_fetch_add(&p->fn->opened, 1);
  *out = &p->base;
  return RL_OK;
}

static void adds_destroy(rl_fn *fn) { rl_free(fn); }

static const rl_fn_class adds_class = {"adds", adds_open, adds_destroy};

/* A world: a context, a store, one operator of it, and one function. */
typedef struct world {
  rl_context *c;
  rl_state *store;
  rl_state_op *op;
  adds *fn;
} world;

static void ok(rl_status st)
{
  if (st != RL_OK) fail_msg("%s", rl_error_message());
}

static void begin(world *w, const char *dir, size_t overlay)
{
  static const char *const quiet[] = {"rille.log.level", "off", NULL};
  w->c = new_context(quiet);
  ok(rl_state_open(&(rl_state_spec){.dir = dir, .scratch = true, .overlay_bytes = overlay}, &w->store));
  ok(rl_state_operator(w->store, "sums", false, &w->op));
  w->fn = RL_NEW(adds);
  w->fn->base.cls = &adds_class;
  atomic_init(&w->fn->base.refs, 1);
}

static void end(world *w)
{
  rl_fn_unref(&w->fn->base);
  rl_context_stop(w->c);
  rl_context_unref(w->c);
  rl_state_close(w->store);
}

/* (0, value) ... (keys - 1, value) */
static rl_rdd *pairs(int64_t keys, int64_t value)
{
  rl_chunks lists[2] = {{0}, {0}};
  for (int p = 0; p < 2; p++) {
    rl_builder *b = rl_builder_new();
    for (int64_t i = p; i < keys; i += 2) records_add(b, &lists[p], (rl_value[]){rl_int(i), rl_int(value)}, 2);
    records_end(b, &lists[p]);
  }
  return rl_rdd_from_chunks(lists, 2);
}

/* The version `time`, to which every key brings `value`. */
static rl_rdd *update(world *w, int64_t time, int64_t keys, int64_t value)
{
  rl_rdd *input = apply((rl_op){.kind = RL_OP_SHUFFLE,
                                .name = "update",
                                .part = RL_PART_HASH,
                                .partitions = PARTS,
                                .fn = rl_fn_ref(&w->fn->base)},
                        pairs(keys, value));
  rl_op *op = rl_op_new(&(rl_op){.kind = RL_OP_STATE, .name = "sums", .uid = "sums"});
  rl_rdd *r = rl_rdd_update_state(op, input, w->op, time);
  rl_op_unref(op);
  rl_rdd_unref(input);
  return r;
}

static rl_status snapshot(rl_rdd *updated, rl_rdd **out)
{
  rl_op *op = rl_op_new(&(rl_op){.kind = RL_OP_SNAPSHOT, .name = "snapshots"});
  rl_status st = rl_rdd_snapshot(op, updated, out);
  rl_op_unref(op);
  return st;
}

static void expect_records(rl_context *c, rl_rdd *r, const char *text)
{
  char *got = collect(c, r);
  assert_string_equal(got, text);
  rl_free(got);
}

static rl_status make(world *w, rl_rdd *r)
{
  rl_job *job = NULL;
  rl_status st = run(w->c, r, RL_JOB_STATE, 0, &job);
  if (job) rl_job_unref(job);
  return st;
}

/* Of two keys: both have this sum. */
static void expect_sums(world *w, int64_t sum)
{
  for (int64_t key = 0; key < 2; key++) {
    rl_buf bytes = {0};
    bool found = false;
    ok(rl_state_get(w->op, rl_int(key), &bytes, &found));
    assert_int_equal(found, sum != 0);
    rl_reader r = {bytes.p, bytes.p + bytes.n};
    rl_value v = rl_int(0);
    if (found) ok(rl_get_value(&r, &v));
    assert_int_equal(v.i, sum);
    rl_buf_free(&bytes);
  }
}

static void a_version_is_made_once(void **state)
{
  world w;
  begin(&w, *state, 1 << 20);
  rl_rdd *r = update(&w, 1, 2, 5);
  assert_int_equal(rl_rdd_partitions(r), PARTS);
  ok(make(&w, r));
  ok(make(&w, r));
  char *first = collect(w.c, r), *second = collect(w.c, r);
  assert_string_equal(first, second);
  assert_true(*first);
  assert_int_equal(atomic_load(&w.fn->opened), PARTS);
  expect_sums(&w, 5);
  rl_free(first);
  rl_free(second);
  rl_rdd_unref(r);
  end(&w);
}

static void a_snapshot_keeps_its_version(void **state)
{
  world w;
  begin(&w, *state, 1 << 20);
  rl_rdd *one = update(&w, 1, 1, 1), *two = update(&w, 2, 1, 1), *before, *after, *late;
  ok(snapshot(one, &before));
  ok(make(&w, one));
  ok(snapshot(one, &after));
  ok(make(&w, two));
  rl_state_end(w.store, 2);
  expect_records(w.c, before, "(0,1)\n");
  expect_records(w.c, after, "(0,1)\n");
  ok(snapshot(one, &late)); /* as others were made in time */
  expect_records(w.c, late, "(0,1)\n");
  rl_rdd_unref(late);
  rl_rdd_unref(before);
  rl_rdd_unref(after);
  rl_rdd_unref(one);
  ok(rl_state_flush(w.store));
  rl_rdd *three = update(&w, 3, 1, 1);
  ok(make(&w, three));
  assert_int_equal(snapshot(two, &late), RL_ESTATE); /* nobody wanted it */
  assert_int_equal(rl_state_scan_open(w.op, 1, 0, RL_KEY_GROUPS, NULL, 0, &(rl_state_scan *){NULL}), RL_ESTATE);
  rl_rdd_unref(two);
  rl_rdd_unref(three);
  end(&w);
}

static void a_task_that_is_tried_again_counts_once(void **state)
{
  world w;
  begin(&w, *state, 1 << 20);
  w.fn->retriable = true;
  atomic_store(&w.fn->failing, 2);
  rl_rdd *r = update(&w, 1, 2, 5);
  ok(make(&w, r));
  assert_int_equal(atomic_load(&w.fn->opened), PARTS + 2);
  expect_sums(&w, 5);
  rl_rdd_unref(r);
  end(&w);
}

/* Several jobs wait for one stage: it fails for both, leaves nothing, and can be run again. */
static void a_stage_that_fails_fails_all_that_wait(void **state)
{
  world w;
  begin(&w, *state, 1 << 20);
  atomic_store(&w.fn->failing, PARTS);
  rl_rdd *r = update(&w, 1, 2, 5), *whole;
  ok(snapshot(r, &whole));
  const rl_job_spec specs[] = {{.rdd = r, .kind = RL_JOB_STATE, .batch_time = 1, .what = "one"},
                               {.rdd = r, .kind = RL_JOB_COLLECT, .batch_time = 1, .what = "two"},
                               {.rdd = whole, .kind = RL_JOB_COUNT, .batch_time = 1, .what = "three"}};
  rl_job *jobs[3];
  atomic_store(&w.fn->closed, true);
  for (int i = 0; i < 3; i++) ok(rl_job_submit(w.c, &specs[i], NULL, &jobs[i]));
  atomic_store(&w.fn->closed, false);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(rl_job_wait(jobs[i]), RL_EUSER);
    assert_non_null(strstr(rl_error_message(), "it cannot add"));
    rl_job_unref(jobs[i]);
  }
  atomic_store(&w.fn->failing, 0);
  ok(make(&w, r));
  expect_sums(&w, 5);
  rl_rdd_unref(whole);
  rl_rdd_unref(r);
  end(&w);
}

static bool is_sealing(world *w, rl_rdd *r)
{
  pthread_mutex_lock(&w->c->lock);
  const rl_stage *s = r->stated->stage;
  bool sealing = s && s->sealing;
  pthread_mutex_unlock(&w->c->lock);
  return sealing;
}

/* A seal waits for room: while a scan of version 1 holds back version 2, which takes more than there is. */
static rl_rdd *sealing(world *w, rl_state_scan **scan, rl_job **job)
{
  rl_rdd *one = update(w, 1, 2, 1), *two = update(w, 2, 1000, 1);
  ok(make(w, one));
  ok(rl_state_scan_open(w->op, 1, 0, RL_KEY_GROUPS, NULL, 0, scan));
  ok(make(w, two));
  rl_state_end(w->store, 2);
  rl_rdd_unref(one);
  rl_rdd_unref(two);
  atomic_store(&w->fn->opened, 0);
  rl_rdd *r = update(w, 3, 2, 5);
  const rl_job_spec spec = {.rdd = r, .kind = RL_JOB_STATE, .batch_time = 3, .what = "sums"};
  ok(rl_job_submit(w->c, &spec, NULL, job));
  while (!is_sealing(w, r)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  return r;
}

static void a_stage_that_seals_is_not_begun_anew_when_it_is_cancelled(void **state)
{
  world w;
  rl_state_scan *scan = NULL;
  rl_job *first, *second;
  begin(&w, *state, 4096);
  rl_rdd *r = sealing(&w, &scan, &first);
  rl_job_cancel(first);
  assert_int_equal(rl_job_wait(first), RL_ECANCELLED);
  rl_job_unref(first);
  const rl_job_spec spec = {.rdd = r, .kind = RL_JOB_COLLECT, .batch_time = 3, .what = "again"};
  ok(rl_job_submit(w.c, &spec, NULL, &second));
  assert_true(is_sealing(&w, r));
  rl_state_scan_close(scan);
  ok(rl_job_wait(second));
  rl_job_unref(second);
  assert_int_equal(atomic_load(&w.fn->opened), PARTS);
  expect_sums(&w, 7);
  rl_rdd_unref(r);
  end(&w);
}

/* The context goes meanwhile, and the RDD with it. */
static void a_stage_may_seal_for_nobody(void **state)
{
  world w;
  rl_state_scan *scan = NULL;
  rl_job *job;
  begin(&w, *state, 4096);
  rl_rdd *r = sealing(&w, &scan, &job);
  rl_context_cancel_jobs(w.c);
  assert_int_equal(rl_job_wait(job), RL_ECANCELLED);
  rl_job_unref(job);
  rl_rdd_unref(r);
  rl_state_scan_close(scan);
  end(&w);
}

/* What a stage is logged by. */
typedef struct some_log {
  _Atomic int refs;
  _Atomic bool entered, closed;
} some_log;

static void ref_log(void *user) { atomic_fetch_add(&((some_log *)user)->refs, 1); }
static void unref_log(void *user) { atomic_fetch_sub(&((some_log *)user)->refs, 1); }

static rl_status write_late(void *user, rl_state_op *op, int64_t time, uint32_t partition, uint32_t n,
                            const rl_state_update *update, rl_spool *emitted)
{
  (void)op, (void)time, (void)partition, (void)n, (void)update, (void)emitted;
  some_log *l = user;
  atomic_store(&l->entered, true);
  while (!atomic_load(&l->closed)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  assert_true(atomic_load(&l->refs) > 0);
  return rl_fail(RL_ECLOSED, "too late");
}

/* Its job was given up long ago, and who gave it the log is gone. */
static void a_stage_keeps_what_it_is_logged_by(void **state)
{
  world w;
  some_log l = {.refs = 1};
  rl_job *job;
  begin(&w, *state, 4096);
  rl_rdd *r = update(&w, 1, 2, 1);
  rl_rdd_log_state(r, &(rl_state_log){write_late, ref_log, unref_log, &l});
  const rl_job_spec spec = {.rdd = r, .kind = RL_JOB_STATE, .batch_time = 1, .what = "sums"};
  ok(rl_job_submit(w.c, &spec, NULL, &job));
  while (!atomic_load(&l.entered)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  rl_job_cancel(job);
  assert_int_equal(rl_job_wait(job), RL_ECANCELLED);
  rl_job_unref(job);
  rl_rdd_unref(r);
  unref_log(&l);
  assert_int_equal(atomic_load(&l.refs), 1);
  atomic_store(&l.closed, true);
  end(&w);
  assert_int_equal(atomic_load(&l.refs), 0);
}

static void a_version_is_undone(void **state)
{
  world w;
  begin(&w, *state, 1 << 20);
  rl_rdd *one = update(&w, 1, 2, 5), *two = update(&w, 2, 2, 5), *three = update(&w, 3, 2, 7);
  ok(make(&w, one));
  rl_state_end(w.store, 1);
  rl_stated_undo(two); /* was not made */
  ok(make(&w, two));
  expect_sums(&w, 10);
  rl_stated_undo(two);
  expect_sums(&w, 5);
  ok(make(&w, three));
  expect_sums(&w, 12);
  rl_rdd_unref(one);
  rl_rdd_unref(two);
  rl_rdd_unref(three);
  end(&w);
}

/* Windows by panes ------------------------------------------------------------------------------------------------- */

#define KEYS 8
#define BATCHES 60
#define LENGTH 5 /* batches a window */

typedef struct panes_model {
  rl_value value[BATCHES + 1][KEYS];
  bool has[BATCHES + 1][KEYS];
} panes_model;

static rl_value some_number(uint64_t *seed)
{
  static const double floats[] = {0.1, 0.2, 0.3, -0.0, 1e300, -1e300, 9007199254740993.0};
  switch (records_random(seed) % 8) {
  case 0: return rl_float(NAN);
  case 1: return rl_float((double)(int64_t)(records_random(seed) % 4));
  case 2:
  case 3: return rl_float(floats[records_random(seed) % (sizeof floats / sizeof *floats)]);
  default: return rl_int((int64_t)(records_random(seed) % 5) - 2);
  }
}

/* All values of batches (after, until], one batch after the other. */
static rl_rdd *panes_of(const panes_model *m, int64_t after, int64_t until)
{
  rl_chunks list = {0};
  rl_builder *b = rl_builder_new();
  for (int64_t t = after > 0 ? after + 1 : 1; t <= until; t++)
    for (int64_t k = 0; k < KEYS; k++)
      if (m->has[t][k]) records_add(b, &list, (rl_value[]){rl_int(k), m->value[t][k]}, 2);
  records_end(b, &list);
  return rl_rdd_from_chunks(&list, 1);
}

static void slide(world *w, const panes_model *m, rl_reducer reducer, int64_t from, int64_t to)
{
  rl_rdd *sides[2] = {panes_of(m, from - LENGTH, to - LENGTH), panes_of(m, from, to)}, *input = NULL;
  rl_fn *fn = rl_fn_panes(reducer, "panes");
  rl_op *shuffle = rl_op_new(
    &(rl_op){.kind = RL_OP_SHUFFLE, .name = "window", .part = RL_PART_HASH, .partitions = PARTS, .fn = fn});
  ok(rl_rdd_apply(shuffle, sides, 2, 0, &input));
  rl_op *op = rl_op_new(&(rl_op){.kind = RL_OP_STATE, .name = "window", .uid = "sums"});
  rl_rdd *r = rl_rdd_update_state(op, input, w->op, to);
  ok(make(w, r));
  rl_state_end(w->store, to);
  rl_rdd_unref(r);
  rl_rdd_unref(input);
  rl_op_unref(op);
  rl_op_unref(shuffle);
  rl_fn_unref(fn);
  rl_rdd_unref(sides[0]);
  rl_rdd_unref(sides[1]);
}

static void expect_window(world *w, const panes_model *m, rl_reducer reducer, int64_t time)
{
  for (int64_t k = 0; k < KEYS; k++) {
    rl_value want = rl_nil(), got = rl_nil();
    for (int64_t t = time > LENGTH ? time - LENGTH + 1 : 1; t <= time; t++) {
      if (!m->has[t][k]) continue;
      if (want.type == RL_T_NIL) want = m->value[t][k];
      else ok(rl_reduce(reducer, want, m->value[t][k], &want));
    }
    rl_buf bytes = {0};
    bool found = false;
    uint64_t fields;
    ok(rl_state_get(w->op, rl_int(k), &bytes, &found));
    rl_reader r = {bytes.p, bytes.p + bytes.n};
    if (found) {
      rl_value tuple;
      ok(rl_get_value(&r, &tuple));
      ok(rl_walk_tuple(tuple, &r, &fields));
      ok(rl_get_value(&r, &got));
    }
    if (!rl_value_equal(want, got)) fail_msg("key %lld at %lld is another", (long long)k, (long long)time);
    rl_buf_free(&bytes);
  }
}

static void check_panes(const char *dir, rl_reducer reducer, uint64_t seed)
{
  world w;
  panes_model *m = RL_NEW(panes_model);
  begin(&w, dir, 1 << 20);
  for (int64_t t = 1; t <= BATCHES; t++)
    for (int64_t k = 0; k < KEYS; k++) {
      m->has[t][k] = records_random(&seed) % 3 > 0;
      m->value[t][k] = k < 2 ? rl_int((int64_t)(records_random(&seed) % 9)) : some_number(&seed);
    }
  for (int64_t from = 0, to; from < BATCHES; from = to) {
    to = from + 1 + (int64_t)(records_random(&seed) % 2);
    if (to > BATCHES) to = BATCHES;
    slide(&w, m, reducer, from, to);
    expect_window(&w, m, reducer, to);
  }
  rl_free(m);
  end(&w);
}

static void panes_give_what_reducing_all_anew_gives(void **state)
{
  uint64_t seed = records_seed("panes");
  for (int kind = 0; kind < 9; kind++) {
    rl_reducer reducer = {.kind = kind == 8 ? RL_REDUCE_SUM : RL_REDUCE_PICK,
                          .or_equal = kind & 1,
                          .swapped = kind & 2,
                          .negated = kind & 4};
    check_panes(*state, reducer, seed + (uint64_t)kind);
  }
}

static void panes_name_the_key_that_cannot_be_reduced(void **state)
{
  world w;
  begin(&w, *state, 1 << 20);
  panes_model *m = RL_NEW(panes_model);
  for (int64_t t = 1; t <= 2; t++) {
    m->has[t][1] = true;
    m->value[t][1] = t == 1 ? rl_int(1) : rl_str("x", 1);
  }
  rl_rdd *sides[2] = {panes_of(m, 0, 0), panes_of(m, 0, 2)}, *input = NULL;
  rl_fn *fn = rl_fn_panes((rl_reducer){.kind = RL_REDUCE_SUM}, "job.lua:9: reduceByKeyAndWindow");
  rl_op *shuffle = rl_op_new(&(rl_op){.kind = RL_OP_SHUFFLE, .name = "w", .part = RL_PART_HASH, .partitions = 1, .fn = fn});
  ok(rl_rdd_apply(shuffle, sides, 2, 0, &input));
  rl_op *op = rl_op_new(&(rl_op){.kind = RL_OP_STATE, .name = "w", .uid = "sums"});
  rl_rdd *r = rl_rdd_update_state(op, input, w.op, 2);
  assert_int_equal(make(&w, r), RL_EUSER);
  assert_non_null(strstr(rl_error_message(), "job.lua:9: reduceByKeyAndWindow: key 1: "));
  assert_int_equal(rl_state_sealed(w.op), RL_NO_TIME);
  rl_job *job = NULL;
  assert_int_equal(run(w.c, input, RL_JOB_COUNT, 0, &job), RL_ESTATE); /* outside of a state stage */
  rl_job_unref(job);
  rl_rdd_unref(r);
  rl_rdd_unref(input);
  rl_op_unref(op);
  rl_op_unref(shuffle);
  rl_fn_unref(fn);
  rl_rdd_unref(sides[0]);
  rl_rdd_unref(sides[1]);
  rl_free(m);
  end(&w);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    in_a_folder(a_version_is_made_once),
    in_a_folder(a_snapshot_keeps_its_version),
    in_a_folder(a_task_that_is_tried_again_counts_once),
    in_a_folder(a_stage_that_fails_fails_all_that_wait),
    in_a_folder(a_stage_that_seals_is_not_begun_anew_when_it_is_cancelled),
    in_a_folder(a_stage_may_seal_for_nobody),
    in_a_folder(a_stage_keeps_what_it_is_logged_by),
    in_a_folder(a_version_is_undone),
    in_a_folder(panes_give_what_reducing_all_anew_gives),
    in_a_folder(panes_name_the_key_that_cannot_be_reduced),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
