/* Every I/O step of a job crashed in turn, and failed in turn: no acknowledged record is lost, the state is exactly the
 * model's, every output of every batch is the model's. trial.h says how one is run again; RILLE_TEST=killed* runs those
 * tests alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "trial.h"

/* How many steps a process has that meets no fault. A little differs from run to run: threads do the steps. */
static unsigned steps_of(void **state, uint64_t seed, bool removes)
{
  trial t = {.n = 1, .faults = {{FAULT_NONE, 0, seed}}};
  trial_open(&t, *state);
  if (trial_process(&t, &t.faults[0]) != JOB_DONE) trial_fail(&t, "it does not even run: %s", t.w->error);
  trial_check(&t);
  unsigned steps = t.w->steps;
  if (removes) assert_true(t.w->removed > MODEL_BATCHES);
  trial_check_at_rest(&t);
  trial_close(&t);
  return steps;
}

static void a_job_gives_what_the_model_gives(void **state)
{
  unsigned rolling = steps_of(state, 9, true), plain = steps_of(state, 8, false);
  printf("steps of the job: %u, with a segment for each group: %u\n", plain, rolling);
  assert_true(plain > 60);
  assert_true(rolling > plain);
}

/* So many trials with one fault, spread over all its steps from a random one on; with RILLE_LONG each step. */
static void fail_steps(void **state, int kind, unsigned sample)
{
  uint64_t seed = records_seed(fault_kinds[kind].name);
  for (uint64_t rolls = 0; rolls < 2; rolls++) {
    unsigned steps = steps_of(state, rolls + 8, false) + 10, n = trial_is_long() ? steps : trial_sample(sample);
    unsigned from = (unsigned)(records_random(&seed) % steps);
    for (unsigned i = 0; i < n; i++) {
      trial t = {.n = 1};
      unsigned step = 1 + (unsigned)((from + (uint64_t)i * steps / n) % steps);
      t.faults[0] = (fault){kind, step, records_random(&seed) / 2 * 2 + rolls};
      trial_run(&t, *state);
    }
  }
}

static void killed_at_each_step(void **state) { fail_steps(state, FAULT_KILL, 90); }
static void killed_within_each_step(void **state) { fail_steps(state, FAULT_TORN, 36); }
static void the_power_fails_at_each_step(void **state) { fail_steps(state, FAULT_CUT, 75); }
static void the_disk_has_a_part_at_each_step(void **state) { fail_steps(state, FAULT_CUT_SOME, 75); }
static void the_disk_has_a_part_within_each_step(void **state) { fail_steps(state, FAULT_TORN_SOME, 36); }
static void each_step_fails(void **state) { fail_steps(state, FAULT_EIO, 75); }
static void each_step_finds_no_room(void **state) { fail_steps(state, FAULT_ENOSPC, 30); }
static void each_step_is_interrupted(void **state) { fail_steps(state, FAULT_EINTR, 36); }
static void each_step_is_short(void **state) { fail_steps(state, FAULT_SHORT, 36); }
static void the_disk_is_full_for_a_while(void **state) { fail_steps(state, FAULT_FULL, 6); }

/* Processes fail one behind the other, each somewhere, also while it recovers from the last. */
static void failures_in_a_row(void **state)
{
  uint64_t seed = records_seed("failures in a row");
  unsigned n = trial_is_long() ? 2000 : trial_sample(120);
  for (unsigned i = 0; i < n; i++) {
    trial t = {.n = 2 + (int)(records_random(&seed) % (TRIAL_FAULTS - 1))};
    for (int k = 0; k < t.n; k++) {
      uint64_t kind = records_random(&seed) % FAULT_ENOSPC;
      t.faults[k] = (fault){(int)kind, 1 + (unsigned)(records_random(&seed) % 150), records_random(&seed)};
    }
    trial_run(&t, *state);
  }
}

/* Batches that were missed wait behind the one whose log fails: the job stops, and does not wait for them. (What the
 * third process would find is not the model's: a missed batch has not what the world would have brought for it.) */
static void a_failed_log_stops_a_job_that_catches_up(void **state)
{
  for (unsigned step = 150; step <= 400; step += 50) {
    trial t = {.n = 2, .faults = {{FAULT_KILL, step, 8}, {FAULT_EIO, 2, 8}}};
    trial_open(&t, *state);
    assert_int_equal(trial_process(&t, &t.faults[0]), FAULTY_STATUS);
    t.jump = "3s";
    t.only = "fdatasync"; /* the first is that of START */
    assert_int_equal(trial_process(&t, &t.faults[1]), JOB_STOPPED);
    assert_non_null(strstr(t.w->error, "Input/output error"));
    trial_close(&t);
  }
}

static void one_again(void **state)
{
  trial t = {0};
  if (!trial_parse(getenv("RILLE_CRASH"), &t)) fail_msg("RILLE_CRASH is no trial: kind:step:seed[,kind:step:seed ...]");
  trial_run(&t, *state);
}

int main(void)
{
  const struct CMUnitTest again[] = {in_a_folder(one_again)};
  const struct CMUnitTest tests[] = {
    in_a_folder(a_job_gives_what_the_model_gives),
    in_a_folder(killed_at_each_step),
    in_a_folder(killed_within_each_step),
    in_a_folder(the_power_fails_at_each_step),
    in_a_folder(the_disk_has_a_part_at_each_step),
    in_a_folder(the_disk_has_a_part_within_each_step),
    in_a_folder(each_step_fails),
    in_a_folder(each_step_finds_no_room),
    in_a_folder(each_step_is_interrupted),
    in_a_folder(each_step_is_short),
    in_a_folder(the_disk_is_full_for_a_while),
    in_a_folder(failures_in_a_row),
    in_a_folder(a_failed_log_stops_a_job_that_catches_up),
  };
  if (getenv("RILLE_TEST")) cmocka_set_test_filter(getenv("RILLE_TEST"));
  return getenv("RILLE_CRASH") ? cmocka_run_group_tests(again, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}
