/* Child processes, and records through them. */
#include "engine.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/process.h"
#include "data/pipe.h"

/* Writes `in` and reads all there is, `step` bytes at a time. */
static rl_status exchange(rl_process *p, const char *in, size_t n, size_t step, rl_buf *out)
{
  rl_process_io io = {.in = in, .in_n = n};
  rl_status st = RL_OK;
  if (n == 0) rl_process_end_input(p);
  while (!st && !io.ended) {
    rl_buf_reserve(out, step);
    io.out = out->p + out->n;
    io.room = step;
    size_t left = io.in_n;
    st = rl_process_move(p, &io);
    out->n += step - io.room;
    if (left > 0 && io.in_n == 0) rl_process_end_input(p);
  }
  return st;
}

static rl_process *started(const char *const *argv, const char *const *env)
{
  rl_process *p = NULL;
  if (rl_process_start(argv, env, NULL, &p) != RL_OK) fail_msg("%s", rl_error_message());
  return p;
}

static rl_status run_shell(const char *script, const char *const *env, const char *in, rl_buf *out)
{
  rl_process *p = started((const char *const[]){"sh", "-c", script, NULL}, env);
  rl_status st = exchange(p, in, strlen(in), 64, out);
  if (!st) st = rl_process_wait(p);
  rl_process_delete(p);
  return st;
}

static void expect_output(const char *script, const char *const *env, const char *in, const char *text)
{
  rl_buf out = {0};
  if (run_shell(script, env, in, &out) != RL_OK) fail_msg("%s", rl_error_message());
  assert_string_equal(rl_buf_cstr(&out), text);
  rl_buf_free(&out);
}

static void bytes_pass(void **state)
{
  (void)state;
  expect_output("cat", NULL, "one\ntwo\n", "one\ntwo\n");
  expect_output("cat", NULL, "", "");
  expect_output("cat >/dev/null; echo done", NULL, "ignored", "done\n");
}

static void environment_is_passed_on(void **state)
{
  (void)state;
  setenv("RILLE_SPEC_A", "old", 1);
  setenv("RILLE_SPEC_B", "kept", 1);
  const char *const env[] = {"RILLE_SPEC_A=new", "RILLE_SPEC_C=more", NULL};
  expect_output("echo $RILLE_SPEC_A $RILLE_SPEC_B $RILLE_SPEC_C", env, "", "new kept more\n");
  expect_output("echo $RILLE_SPEC_A", NULL, "", "old\n");
}

/* More than any pipe holds, both ways at once: whoever only writes, or only reads, would wait for ever. */
static void neither_side_blocks_the_other(void **state)
{
  (void)state;
  size_t n = 4 << 20;
  char *big = rl_alloc(n);
  for (size_t i = 0; i < n; i++) big[i] = (char)('a' + i % 23);
  rl_process *p = started((const char *const[]){"cat", NULL}, NULL);
  rl_buf out = {0};
  assert_int_equal(exchange(p, big, n, 1 << 16, &out), RL_OK);
  assert_int_equal(rl_process_wait(p), RL_OK);
  assert_int_equal(out.n, n);
  assert_memory_equal(out.p, big, n);
  rl_process_delete(p);
  rl_buf_free(&out);
  rl_free(big);
}

static void status_is_judged(void **state)
{
  (void)state;
  rl_buf out = {0};
  assert_int_equal(run_shell("cat; exit 3", NULL, "x", &out), RL_EUSER);
  assert_string_equal(rl_error_message(), "'sh -c cat; exit 3' ended with status 3");
  assert_int_equal(run_shell("kill -KILL $$", NULL, "", &out), RL_EUSER);
  assert_non_null(strstr(rl_error_message(), "was ended by signal 9"));
  rl_buf_free(&out);
}

static void missing_command_is_named(void **state)
{
  (void)state;
  rl_process *p = NULL;
  const char *const missing[] = {"rille-no-such-command", "-x", NULL};
  assert_int_not_equal(rl_process_start(missing, NULL, NULL, &p), RL_OK);
  assert_non_null(strstr(rl_error_message(), "cannot run 'rille-no-such-command -x': No such file"));
  assert_null(p);
}

/* A process that has read enough is no error; its input goes nowhere. */
static void early_end_of_input(void **state)
{
  (void)state;
  size_t n = 1 << 20;
  char *big = rl_alloc(n + 1);
  memset(big, 'x', n);
  memcpy(big, "first\n", 6);
  expect_output("head -n 1", NULL, big, "first\n");
  rl_free(big);
}

static int open_descriptors(void)
{
  int n = 0;
  DIR *d = opendir("/proc/self/fd");
  assert_non_null(d);
  while (readdir(d)) n++;
  closedir(d);
  return n;
}

/* A line that it writes. */
static pid_t read_number(rl_process *p)
{
  char line[32] = "";
  rl_process_io io = {.out = line, .room = sizeof line - 1};
  while (!strchr(line, '\n') && !io.ended) assert_int_equal(rl_process_move(p, &io), RL_OK);
  long n = strtol(line, NULL, 10);
  assert_true(n > 0);
  return (pid_t)n;
}

/* And no zombie, whom nobody has waited for yet. */
static bool is_alive(pid_t pid)
{
  char *path = rl_format("/proc/%d/stat", (int)pid);
  rl_buf b = {0};
  rl_status st = rl_file_read_all(path, &b);
  const char *behind = st == RL_OK ? strrchr(rl_buf_cstr(&b), ')') : NULL;
  bool alive = behind && !strchr("ZX", behind[2]);
  rl_buf_free(&b);
  rl_free(path);
  return alive;
}

static void nothing_is_left(void **state)
{
  (void)state;
  int before = open_descriptors();
  rl_process *p = started((const char *const[]){"sh", "-c", "sleep 600 & echo $!; cat; wait", NULL}, NULL);
  pid_t started_by_it = read_number(p);
  assert_true(is_alive(started_by_it));
  rl_process_delete(p); /* with what it has started: the sleep holds our pipe, too */
  while (is_alive(started_by_it)) usleep(1000);
  rl_process *missing = NULL;
  rl_process_start((const char *const[]){"rille-no-such-command", NULL}, NULL, NULL, &missing);
  assert_int_equal(open_descriptors(), before);
}

/* Descriptors of other processes do not leak into a child: the first sees its end of input while the second runs. */
static void ends_are_not_inherited(void **state)
{
  (void)state;
  rl_process *first = started((const char *const[]){"cat", NULL}, NULL);
  rl_process *second = started((const char *const[]){"cat", NULL}, NULL);
  rl_buf out = {0};
  assert_int_equal(exchange(first, "x", 1, 64, &out), RL_OK);
  assert_int_equal(rl_process_wait(first), RL_OK);
  rl_process_delete(first);
  rl_process_delete(second);
  rl_buf_free(&out);
}

static void waiting_can_be_cancelled(void **state)
{
  (void)state;
  atomic_bool cancelled;
  atomic_init(&cancelled, true);
  rl_process *p = NULL;
  assert_int_equal(rl_process_start((const char *const[]){"cat", NULL}, NULL, &cancelled, &p), RL_OK);
  char room[8];
  rl_process_io io = {.out = room, .room = sizeof room};
  assert_int_equal(rl_process_move(p, &io), RL_ECANCELLED);
  rl_process_delete(p);
}

/* Records ---------------------------------------------------------------------------------------------------------- */

static rl_rdd *piped(rl_rdd *r, const char *script)
{
  rl_fn *fn = rl_fn_pipe((const char *const[]){"sh", "-c", script, NULL}, NULL, "job.lua:7");
  return apply((rl_op){.kind = RL_OP_NARROW, .name = "pipe", .fn = fn}, r);
}

static void records_pass_as_lines(void **state)
{
  (void)state;
  rl_context *c = new_context(NULL);
  const char *const cases[][2] = {
    {"cat", "1\n2\n3\n"}, {"wc -l | tr -d ' '", "1\n2\n"}, {"cat; printf end", "1\nend\n2\n3\nend\n"},
    {"tr '\\n' '\\r'", "1\n2\n3\n"},
    {"cat >/dev/null", ""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    rl_rdd *r = piped(integers(1, 3, 2), cases[i][0]);
    char *text = collect(c, r);
    assert_string_equal(text, cases[i][1]);
    rl_free(text);
    rl_rdd_unref(r);
  }
  rl_context_unref(c);
}

/* Output in pieces, lines longer than a piece among it. */
static void long_output_is_cut_well(void **state)
{
  (void)state;
  rl_context *c = new_context(NULL);
  rl_rdd *r = piped(integers(1, 100000, 1), "cat; head -c 1000000 /dev/zero | tr '\\0' z; echo; echo last");
  rl_job *job = NULL;
  if (run(c, r, RL_JOB_COLLECT, 0, &job)) fail_msg("%s", rl_error_message());
  const rl_chunks *list = rl_job_chunks(job, 0);
  assert_int_equal(rl_chunks_records(list), 100002);
  uint64_t digits = 0;
  size_t longest = 0;
  for (size_t k = 0; k < list->n; k++)
    for (uint32_t row = 0; row < list->v[k]->n; row++) {
      size_t n = rl_chunk_get(list->v[k], 0, row).s.n;
      if (n > longest) longest = n;
      digits += n;
    }
  assert_int_equal(longest, 1000000);
  assert_int_equal(digits, 488895 + 1000000 + 4); /* the digits of 1 .. 100000 */
  rl_job_unref(job);
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static void failing_command_fails_the_job(void **state)
{
  (void)state;
  rl_context *c = new_context(NULL);
  rl_rdd *r = piped(piped(integers(1, 3, 2), "cat"), "exit 4");
  rl_job *job = NULL;
  assert_int_equal(run(c, r, RL_JOB_COUNT, 0, &job), RL_EUSER);
  assert_non_null(strstr(rl_error_message(), "job.lua:7: pipe: 'sh -c exit 4' ended with status 4"));
  rl_job_unref(job);
  rl_rdd_unref(r);
  rl_context_unref(c);
}

/* A process that would go on for ever is ended with its job. */
static void limit_ends_the_process(void **state)
{
  (void)state;
  rl_context *c = new_context(NULL);
  rl_rdd *r = piped(integers(1, 3, 1), "yes");
  rl_job *job = NULL;
  assert_int_equal(run(c, r, RL_JOB_COLLECT, 2, &job), RL_OK);
  assert_int_equal(rl_chunks_records(rl_job_chunks(job, 0)), 2);
  rl_job_unref(job);
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static int block_sigpipe(void **state)
{
  (void)state;
  sigset_t pipe_signal;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  return pthread_sigmask(SIG_BLOCK, &pipe_signal, NULL);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(bytes_pass),
    cmocka_unit_test(environment_is_passed_on),
    cmocka_unit_test(neither_side_blocks_the_other),
    cmocka_unit_test(status_is_judged),
    cmocka_unit_test(missing_command_is_named),
    cmocka_unit_test(early_end_of_input),
    cmocka_unit_test(nothing_is_left),
    cmocka_unit_test(ends_are_not_inherited),
    cmocka_unit_test(waiting_can_be_cancelled),
    cmocka_unit_test(records_pass_as_lines),
    cmocka_unit_test(long_output_is_cut_well),
    cmocka_unit_test(failing_command_fails_the_job),
    cmocka_unit_test(limit_ends_the_process),
  };
  return cmocka_run_group_tests(tests, block_sigpipe, NULL);
}
