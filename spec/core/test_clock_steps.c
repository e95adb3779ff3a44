/* A wall clock that is set while a job runs, ahead and back; and batches that merely take long. This program has a
 * clock_gettime of its own, whose real time is off by `step_ms`. */
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine.h"
#include "streams.h"

static _Atomic int64_t step_ms;

int clock_gettime(clockid_t id, struct timespec *t)
{
  if (syscall(SYS_clock_gettime, id, t) != 0) return -1;
  if (id == CLOCK_REALTIME) t->tv_sec += atomic_load(&step_ms) / 1000; /* whole seconds */
  return 0;
}

#define BATCH_MS 200
#define HOUR_MS INT64_C(3600000)
#define MOST 4000

/* An input that gives the batch's number in its run of the job, and notes the times that it was asked for. */
typedef struct counter {
  rl_input base;
  int64_t asked[MOST];
  size_t n;
} counter;

static rl_status counter_compute(rl_input *self, int64_t time, rl_rdd **out, rl_input_info *info)
{
  counter *in = (counter *)self;
  assert_true(in->n < MOST);
  in->asked[in->n++] = time;
  info->records = 1;
  *out = integers((int64_t)in->n, (int64_t)in->n, 1);
  return RL_OK;
}

static void counter_destroy(rl_input *self) { rl_free(self); }

static const rl_input_class counter_class = {.name = "Counter", .compute = counter_compute, .destroy = counter_destroy};

/* The job: a window over three batches of the counter. */
typedef struct job {
  streams f;
  counter *input;
  int64_t times[MOST];  /* of its batches */
  int64_t counts[MOST]; /* records in its windows */
  size_t n, wanted;
  int64_t stall_ms;     /* the next output takes so long */
  atomic_size_t lines;  /* of the log */
  rl_buf log;           /* to be read once the job has stopped */
} job;

static void note(void *user, rl_rdd *rdd, int64_t time, rl_output_run *out)
{
  job *j = user;
  rl_job *counted = NULL;
  rl_status st = run(j->f.c, rdd, RL_JOB_COUNT, 0, &counted);
  assert_true(j->n < MOST);
  j->counts[j->n] = 0;
  for (uint32_t p = 0; counted && p < rl_job_partitions(counted); p++)
    j->counts[j->n] += (int64_t)rl_job_count(counted, p);
  j->times[j->n++] = time;
  if (counted) rl_job_unref(counted);
  if (j->stall_ms) {
    struct timespec t = {.tv_sec = j->stall_ms / 1000};
    j->stall_ms = 0;
    nanosleep(&t, NULL);
  }
  rl_output_done(out, st);
}

static void catch_line(void *user, rl_log_level level, const char *line)
{
  job *j = user;
  if (level < RL_LOG_WARN) return;
  rl_buf_printf(&j->log, "%s\n", line);
  j->lines++;
  rl_driver_wake(rl_context_driver(j->f.c));
}

static void begin_long(job *j, int64_t batch_ms, const char *how, const char *limit)
{
  const char *settings[] = {"rille.streaming.catchUp", how, "rille.streaming.catchUpLimit", limit, NULL};
  rl_dstream *d, *windowed;
  *j = (job){0};
  atomic_store(&step_ms, 0);
  streams_begin(&j->f, batch_ms, settings);
  j->input = RL_NEW(counter);
  j->input->base.cls = &counter_class;
  assert_int_equal(rl_streaming_add_input(j->f.s, &j->input->base, NULL, &d), RL_OK);
  const rl_op named = {.name = "window"};
  assert_int_equal(rl_dstream_window(d, &named, 3 * batch_ms, batch_ms, &windowed), RL_OK);
  assert_int_equal(rl_dstream_output(windowed, "note", NULL, NULL, note, j, NULL), RL_OK);
  rl_log_set_sink(catch_line, j);
  assert_int_equal(rl_streaming_start(j->f.s), RL_OK);
}

static void begin(job *j, const char *how, const char *limit) { begin_long(j, BATCH_MS, how, limit); }

static bool has_batches(void *user) { return ((job *)user)->n >= ((job *)user)->wanted; }
static bool has_any(void *user) { return ((job *)user)->n > 0; }
static bool has_line(void *user) { return atomic_load(&((job *)user)->lines) > 0; }

static bool is_hour_behind(void *user)
{
  const job *j = user;
  return j->n > 10 && j->times[j->n - 10] - j->times[0] > HOUR_MS / 2;
}

static void until(job *j, bool (*done)(void *user))
{
  if (!rl_driver_serve(rl_context_driver(j->f.c), done, j, INT64_C(100000000000))) fail_msg("after %zu batches", j->n);
}

static void run_batches(job *j, size_t more)
{
  j->wanted = j->n + more;
  until(j, has_batches);
}

static int64_t in_window(const job *j, size_t i)
{
  int64_t n = 0;
  for (size_t k = 0; k <= i; k++) n += j->times[k] > j->times[i] - (int64_t)3 * BATCH_MS;
  return n;
}

/* Whatever the clock did, no time is there twice, the input was asked for what batches there were, in order, and
 * windows have those of them that are in reach. */
static void stop(job *j)
{
  assert_int_equal(rl_streaming_stop(j->f.s, false, true), RL_OK);
  rl_log_set_sink(NULL, NULL);
  assert_int_equal(j->input->n, j->n);
  for (size_t i = 0; i < j->n; i++) {
    assert_true(i == 0 || j->times[i] > j->times[i - 1]);
    assert_int_equal(j->input->asked[i], j->times[i]);
    assert_int_equal(j->counts[i], in_window(j, i));
  }
}

static void end(job *j)
{
  streams_end(&j->f);
  rl_buf_free(&j->log);
}

/* The batch behind the hour. (On a machine that is busy enough there may be smaller jumps as well.) */
static size_t behind_hour(const job *j)
{
  size_t at = 0;
  for (size_t i = 1; i < j->n; i++) {
    if (j->times[i] - j->times[i - 1] < HOUR_MS / 2) continue;
    assert_int_equal(at, 0);
    at = i;
  }
  assert_int_not_equal(at, 0);
  return at;
}

static size_t jump_ahead(job *j, const char *how, const char *limit, const char *told)
{
  begin(j, how, limit);
  run_batches(j, 4);
  atomic_store(&step_ms, HOUR_MS);
  until(j, is_hour_behind);
  stop(j);
  const char *log = rl_buf_cstr(&j->log);
  assert_non_null(strstr(log, "the clock went ahead, or this process stood still, for 3"));
  assert_non_null(strstr(log, "batches were missed since "));
  assert_non_null(strstr(log, told));
  return behind_hour(j);
}

/* What was before the jump is not in the windows behind it: see stop. */
static void missed_batches_are_left_out_by_skip(void **state)
{
  (void)state;
  job j;
  size_t at = jump_ahead(&j, "skip", "10000", "left to the next one");
  assert_int_equal(j.counts[at], 1);
  end(&j);
}

static void missed_batches_are_one_by_merge(void **state)
{
  (void)state;
  job j;
  size_t at = jump_ahead(&j, "merge", "10000", "run as one");
  assert_int_equal(j.times[at + 1] - j.times[at], BATCH_MS);
  end(&j);
}

static void missed_batches_are_bounded_with_all(void **state)
{
  (void)state;
  job j;
  size_t at = jump_ahead(&j, "all", "7", "the oldest of them as one (rille.streaming.catchUpLimit)");
  for (size_t i = at; i < at + 7; i++) assert_int_equal(j.times[i + 1] - j.times[i], BATCH_MS);
  end(&j);
}

/* A batch that takes long delays those behind it; they are none the less there, all of them. */
static void batches_that_wait_for_a_long_one_are_not_missed(void **state)
{
  (void)state;
  job j;
  begin(&j, "skip", "10000");
  j.stall_ms = 4000;
  run_batches(&j, 22);
  stop(&j);
  if (j.lines == 0) /* else the machine was so busy that even the ticks were late */
    for (size_t i = 1; i < j.n; i++) assert_int_equal(j.times[i] - j.times[i - 1], BATCH_MS);
  else assert_non_null(strstr(rl_buf_cstr(&j.log), "stood still"));
  end(&j);
}

static void a_clock_that_goes_back_is_waited_for(void **state)
{
  (void)state;
  job j;
  begin(&j, "all", "10000");
  run_batches(&j, 4);
  atomic_store(&step_ms, -HOUR_MS);
  until(&j, has_line);
  size_t before = j.n;
  atomic_store(&step_ms, 0); /* it was a mistake */
  run_batches(&j, 4);
  assert_true(j.n >= before + 4);
  stop(&j);
  assert_non_null(strstr(rl_buf_cstr(&j.log), "the clock went back by 3"));
  end(&j);
}

static void a_graceful_stop_does_not_wait_for_it(void **state)
{
  (void)state;
  job j;
  begin(&j, "all", "10000");
  run_batches(&j, 2);
  atomic_store(&step_ms, -HOUR_MS);
  until(&j, has_line);
  size_t before = j.n;
  stop(&j);
  assert_true(j.n >= before + 2); /* the pending tick and one more */
  assert_null(strstr(rl_buf_cstr(&j.log), "cut short"));
  end(&j);
}

static void end_at_once(job *j)
{
  assert_int_equal(rl_streaming_stop(j->f.s, false, false), RL_OK);
  rl_log_set_sink(NULL, NULL);
  end(j);
}

/* The wait for the first batch looks at the wall clock, too. */
static void a_clock_may_be_set_before_the_first_batch(void **state)
{
  (void)state;
  job j;
  begin_long(&j, 24 * HOUR_MS, "all", "10000");
  atomic_store(&step_ms, 24 * HOUR_MS);
  run_batches(&j, 1);
  assert_int_equal(j.n, 1);
  end_at_once(&j);
}

/* Nanoseconds until then do not fit into a number. */
static void a_batch_of_centuries_is_waited_for(void **state)
{
  (void)state;
  job j;
  begin_long(&j, INT64_C(12000000000000), "all", "10000");
  struct timespec before, after;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
  rl_driver_serve(rl_context_driver(j.f.c), has_any, &j, INT64_C(2000000000));
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
  assert_int_equal(j.n, 0);
  assert_true(after.tv_sec - before.tv_sec + (after.tv_nsec - before.tv_nsec) / 1e9 < 1);
  end_at_once(&j);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(missed_batches_are_left_out_by_skip),
    cmocka_unit_test(missed_batches_are_one_by_merge),
    cmocka_unit_test(missed_batches_are_bounded_with_all),
    cmocka_unit_test(batches_that_wait_for_a_long_one_are_not_missed),
    cmocka_unit_test(a_clock_that_goes_back_is_waited_for),
    cmocka_unit_test(a_graceful_stop_does_not_wait_for_it),
    cmocka_unit_test(a_clock_may_be_set_before_the_first_batch),
    cmocka_unit_test(a_batch_of_centuries_is_waited_for),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
