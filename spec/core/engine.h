/* Small helpers for tests that run jobs: integer and word RDDs, collecting as text. */
#ifndef SPEC_ENGINE_H
#define SPEC_ENGINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "data/native.h"
#include "run/context.h"

static inline rl_context *new_context_with(const rl_worker_hooks *hooks, const char *const *settings)
{
  rl_conf *conf = rl_conf_new();
  assert_int_equal(rl_conf_set(conf, "master", "local[2]"), RL_OK);
  for (; settings && *settings; settings += 2) assert_int_equal(rl_conf_set(conf, settings[0], settings[1]), RL_OK);
  rl_context *c = NULL;
  assert_int_equal(rl_context_new(conf, hooks, &c), RL_OK);
  rl_conf_delete(conf);
  return c;
}

static inline rl_context *new_context(const char *const *settings) { return new_context_with(NULL, settings); }

/* Integers from .. to, cut into parts. */
static inline rl_rdd *integers(int64_t from, int64_t to, uint32_t parts)
{
  rl_chunks *lists = rl_calloc(parts, sizeof *lists);
  int64_t n = to - from + 1;
  for (uint32_t p = 0; p < parts; p++) {
    rl_builder *b = rl_builder_new();
    for (int64_t i = n * p / parts; i < n * (p + 1) / parts; i++) {
      rl_value v = rl_int(from + i);
      assert_int_equal(rl_builder_add(b, &v, 1), RL_OK);
      if (rl_builder_full(b)) rl_chunks_add(&lists[p], rl_builder_finish(b));
    }
    rl_chunk *last = rl_builder_finish(b);
    if (last) rl_chunks_add(&lists[p], last);
    rl_builder_delete(b);
  }
  rl_rdd *r = rl_rdd_from_chunks(lists, parts);
  rl_free(lists);
  return r;
}

/* Applies `op`'s description (fns moved in) to one parent, which is given up. */
static inline rl_rdd *apply(rl_op like, rl_rdd *parent)
{
  rl_op *op = rl_op_new(&like);
  rl_fn_unref(like.fn);
  rl_fn_unref(like.map_fn);
  rl_rdd *r = NULL;
  assert_int_equal(rl_rdd_apply(op, &parent, 1, 0, &r), RL_OK);
  rl_op_unref(op);
  rl_rdd_unref(parent);
  return r;
}

static inline rl_status run(rl_context *c, rl_rdd *r, rl_job_kind kind, uint64_t limit, rl_job **job)
{
  rl_job_spec spec = {.rdd = r, .kind = kind, .limit = limit, .batch_time = RL_NO_TIME, .what = "test"};
  rl_status st = rl_job_submit(c, &spec, NULL, job);
  return st ? st : rl_job_wait(*job);
}

/* Records of all partitions, one a line, partitions in order. */
static inline char *collect(rl_context *c, rl_rdd *r)
{
  rl_job *job = NULL;
  rl_buf text = {0};
  if (run(c, r, RL_JOB_COLLECT, 0, &job)) fail_msg("job failed: %s", rl_error_message());
  for (uint32_t p = 0; p < rl_job_partitions(job); p++) {
    const rl_chunks *list = rl_job_chunks(job, p);
    for (size_t k = 0; k < list->n; k++)
      for (uint32_t row = 0; row < list->v[k]->n; row++) {
        rl_chunk_format(list->v[k], row, &text);
        rl_buf_putc(&text, '\n');
      }
  }
  rl_job_unref(job);
  char *s = rl_strdup(rl_buf_cstr(&text));
  rl_buf_free(&text);
  return s;
}

#endif
