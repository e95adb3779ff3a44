/* The write-ahead log of a process that was killed: the mark behind the last group tells damage of it from its being
 * torn. And its headers, of which there are two. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>

#include "base/hash.h"
#include "store/wal_impl.h"
#include "wal_flips.h"

#define SEGMENT "log-0000000000000001"

static const char *const GROUP[] = {"first of three", "second of three", "third of three", NULL};
#define WHOLE "1:9= 2:1=first of three 3:1=second of three 4:1=third of three "

/* Files as a process leaves them that is killed now ---------------------------------------------------------------- */

static void write_and_wait_to_be_killed(const char *dir, int pipe)
{
  rl_wal *w = NULL;
  if (rl_wal_open(&(rl_wal_spec){.dir = dir}, &w) != RL_OK) _exit(1);
  append_group(w, GROUP);
  if (write(pipe, "x", 1) != 1) _exit(2);
  for (;;) pause();
}

static void each_flip_in_the_last_group_of_a_killed_process_is_found(void **state)
{
  int ends[2], status;
  char told;
  assert_int_equal(pipe(ends), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) write_and_wait_to_be_killed(*state, ends[1]);
  assert_int_equal(read(ends[0], &told, 1), 1);
  assert_int_equal(kill(pid, SIGKILL), 0);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status));
  flip_each_byte(*state, SEGMENT, true, WHOLE);
  close(ends[0]);
  close(ends[1]);
}

static rl_buf bytes_now(const char *dir, const char *name)
{
  rl_buf b = {0};
  char *path = rl_path_join(dir, name);
  assert_int_equal(rl_file_read_all(path, &b), RL_OK);
  rl_free(path);
  return b;
}

static void put(const char *dir, const rl_buf *b)
{
  char *path = rl_path_join(dir, SEGMENT);
  if (!rl_path_is_dir(dir)) assert_int_equal(rl_dir_make_private(dir), RL_OK);
  scratch_write_bytes(path, b->p, b->n);
  rl_free(path);
}

/* Also when the process has only recovered an older log, which has no mark, and when files are closed after each
 * group. */
static void the_last_group_is_marked_whenever_it_is_acknowledged(void **state)
{
  char *dir = rl_path_join(*state, "log"), *copy = rl_path_join(*state, "copy");
  for (unsigned i = 0; i < 6; i++) {
    rl_buf text = {0};
    rl_wal *w = NULL;
    rl_wal_spec spec = {.dir = dir, .replay = add_text, .user = &text, .close_after_write = i % 2};
    assert_int_equal(rl_wal_open(&spec, &w), RL_OK);
    rl_buf_clear(&text);
    if (i != 4) {
      if (i == 3) append_group(w, GROUP);
      else write_text(w, 1, "alone");
    }
    rl_buf b = bytes_now(dir, SEGMENT);
    put(copy, &b);
    assert_int_equal(rl_wal_verify(copy, &(rl_wal_verifier){add_text, NULL, &text}), RL_OK);
    flip_bytes(copy, SEGMENT, &b, HEAD + (i < 2 ? 0 : 80), true, rl_buf_cstr(&text));
    close_log(w);
    if (i == 3) b.n -= FRAME;
    put(dir, &b); /* it was killed; once the power failed */
    rl_buf_free(&b);
    rl_buf_free(&text);
  }
  rl_free(dir);
  rl_free(copy);
}

/* Groups torn over a mark -------------------------------------------------------------------------------------------*/

/* Opens, and appends one record, which is there then. */
static void expect_goes_on(const char *dir, const char *const *states, size_t n, size_t set)
{
  rl_buf text = {0};
  rl_wal *w = open_log(dir, &text);
  bool known = false;
  for (size_t i = 0; i < n; i++) known = known || strcmp(rl_buf_cstr(&text), states[i]) == 0;
  if (!known) fail_msg("sectors %zx: %s", set, rl_buf_cstr(&text));
  rl_buf_printf(&text, "%" PRIu64 ":1=more ", model_next(w));
  write_text(w, 1, "more");
  close_log(w);
  expect_log(dir, rl_buf_cstr(&text));
  rl_buf_free(&text);
}

static rl_wal_frame mark_at(const rl_buf *segment, uint64_t seq, uint64_t offset)
{
  rl_wal_header h;
  rl_wal_frame f = {.type = RL_WAL_MARK, .seq = seq, .payload_sum = rl_wal_payload_sum(NULL, 0)};
  memcpy(&h, segment->p, sizeof h);
  rl_wal_frame_sign(&f, h.id, offset);
  return f;
}

/* Record 1, and a group of three over the mark behind it; of the sectors, of 8 bytes for once, some have what was there
 * before: the mark, and nothing. */
static void tear(const char *root, const char *const *texts, const char *const *states)
{
  char *dir = rl_path_join(root, "whole"), *torn = rl_path_join(root, "torn");
  rl_buf text = {0};
  rl_wal *w = open_log(dir, &text);
  append_group(w, texts);
  rl_buf b = bytes_now(dir, SEGMENT);
  close_log(w);
  b.n -= FRAME;
  const size_t from = HEAD + FRAME, sectors = (b.n - from + 7) / 8;
  const rl_wal_frame mark = mark_at(&b, 2, from);
  uint64_t seed = 11;
  for (unsigned i = 0; i < 1200; i++) {
    uint64_t set = faulty_random(&seed) & faulty_random(&seed);
    if (i % 3 == 0) set |= 31; /* the mark is whole */
    if (i % 3 == 1) set = ~set;
    rl_buf x = {0};
    rl_buf_add(&x, b.p, b.n);
    for (size_t at = from; at < b.n; at++) {
      if (set >> (at - from) / 8 & 1) x.p[at] = at - from < sizeof mark ? ((const char *)&mark)[at - from] : 0;
    }
    put(torn, &x);
    expect_goes_on(torn, states, 4, set);
    rl_buf_free(&x);
  }
  assert_in_range(sectors, 15, 64);
  rl_buf_free(&b);
  rl_buf_free(&text);
  rl_free(dir);
  rl_free(torn);
}

static void a_group_that_is_torn_over_a_mark_is_cut(void **state)
{
  static const char *const states[] = {"1:9= ", "1:9= 2:1=first of three ",
                                       "1:9= 2:1=first of three 3:1=second of three ", WHOLE};
  tear(*state, GROUP, states);
}

/* The mark is as long as its first record, so the second one follows it. */
static void also_when_it_begins_with_an_empty_record(void **state)
{
  static const char *const texts[] = {"", "second", "third", NULL};
  static const char *const states[] = {"1:9= ", "1:9= 2:1= ", "1:9= 2:1= 3:1=second ",
                                       "1:9= 2:1= 3:1=second 4:1=third "};
  tear(*state, texts, states);
}

/* The next group was being written when the process was killed: the head of its first frame is there. */
static void the_head_of_a_later_group_is_enough(void **state)
{
  static const char *const texts[] = {"one", NULL};
  rl_wal *w = NULL;
  assert_int_equal(rl_wal_open(&(rl_wal_spec){.dir = *state}, &w), RL_OK);
  append_group(w, texts);
  append_group(w, GROUP);
  rl_buf b = bytes_now(*state, SEGMENT);
  close_log(w);
  b.n = HEAD + FRAME + FRAME + 3 + FRAME + FRAME + 5; /* in the payload of record 4 */
  put(*state, &b);
  expect_log(*state, "1:9= 2:1=one 3:9= ");
  b.p[HEAD + FRAME + FRAME] ^= 1; /* of record 2 */
  put(*state, &b);
  expect_refused(*state, 0, RL_EDATA, SEGMENT " at offset 136", "stands behind it");
  b.p[HEAD + FRAME + FRAME] ^= 1;
  b.p[HEAD + FRAME + FRAME + 3] ^= 1; /* of record 3, which is a group of its own */
  put(*state, &b);
  expect_refused(*state, 0, RL_EDATA, SEGMENT " at offset 179", "a later one stands behind it, at offset 219");
  unsigned damages = 0;
  assert_int_equal(rl_wal_verify(*state, &(rl_wal_verifier){NULL, count_damage, &damages}), RL_EDATA);
  assert_int_equal(damages, 1);
  rl_buf_free(&b);
}

/* Who reads meanwhile ---------------------------------------------------------------------------------------------- */

typedef struct verifying {
  const char *dir;
  atomic_bool over;
  unsigned times;
} verifying;

static void *verify_until_over(void *arg)
{
  verifying *v = arg;
  for (; !atomic_load(&v->over) || v->times == 0; v->times++) {
    if (rl_wal_verify(v->dir, &(rl_wal_verifier){0}) != RL_OK) return rl_strdup(rl_error_message());
  }
  return NULL;
}

static void a_log_that_is_written_is_never_taken_for_damaged(void **state)
{
  verifying v = {.dir = *state};
  rl_wal *w = NULL;
  rl_wal_spec spec = {.dir = *state, .segment_bytes = 20000};
  pthread_t thread;
  void *damage;
  assert_int_equal(rl_wal_open(&spec, &w), RL_OK);
  assert_int_equal(pthread_create(&thread, NULL, verify_until_over, &v), 0);
  uint64_t seed = 3, seq = 0;
  static const char bytes[8000];
  for (unsigned i = 0; i < 1500; i++) {
    rl_wal_part part = {NULL, bytes, faulty_random(&seed) % (i % 4 ? 100 : sizeof bytes)};
    assert_int_equal(rl_wal_append(w, 1, &part, 1, &seq), RL_OK);
    if (i % 3 == 0) assert_int_equal(rl_wal_wait(w, seq), RL_OK);
  }
  atomic_store(&v.over, true);
  assert_int_equal(pthread_join(thread, &damage), 0);
  if (damage) fail_msg("%s", (char *)damage);
  close_log(w);
}

/* Headers ---------------------------------------------------------------------------------------------------------- */

static void write_log(const char *dir)
{
  rl_buf text = {0};
  rl_wal *w = open_log(dir, &text);
  append_group(w, GROUP);
  close_log(w);
  rl_buf_free(&text);
}

/* Refused at opening; nevertheless all records can be read. */
static void expect_readable(const char *dir, const char *where)
{
  rl_buf text = {0};
  expect_refused(dir, 0, RL_EDATA, where, "the header");
  assert_int_equal(rl_wal_verify(dir, &(rl_wal_verifier){add_text, NULL, &text}), RL_EDATA);
  assert_string_equal(rl_buf_cstr(&text), WHOLE);
  rl_buf_free(&text);
}

static void a_damaged_header_costs_no_record(void **state)
{
  write_log(*state);
  rl_buf b = bytes_now(*state, SEGMENT);
  for (size_t at = 0; at < HEAD; at++) {
    b.p[at] ^= 4;
    put(*state, &b);
    if (at % COPY >= 8) expect_readable(*state, at < COPY ? SEGMENT " at offset 0" : SEGMENT " at offset 48");
    b.p[(at + 7) % HEAD] ^= 4; /* two bytes, in one copy or both */
    put(*state, &b);
    rl_buf text = {0};
    assert_int_equal(rl_wal_verify(*state, &(rl_wal_verifier){add_text, NULL, &text}), RL_EDATA);
    assert_string_equal(rl_buf_cstr(&text), WHOLE);
    rl_buf_free(&text);
    b.p[(at + 7) % HEAD] ^= 4;
    b.p[at] ^= 4;
  }
  memset(b.p, 0, COPY);
  put(*state, &b);
  expect_refused(*state, 0, RL_EDATA, SEGMENT " at offset 0", "no segment of a log begins there");
  b.p[COPY + 12] ^= 1; /* of the other one the id is left */
  b.p[COPY + 40] ^= 1;
  put(*state, &b);
  rl_buf text = {0};
  assert_int_equal(rl_wal_verify(*state, &(rl_wal_verifier){add_text, NULL, &text}), RL_EDATA);
  assert_string_equal(rl_buf_cstr(&text), WHOLE);
  b.p[COPY + 20] ^= 1; /* nothing is left */
  put(*state, &b);
  rl_buf_clear(&text);
  assert_int_equal(rl_wal_verify(*state, &(rl_wal_verifier){add_text, NULL, &text}), RL_EDATA);
  assert_int_equal(text.n, 0);
  rl_buf_free(&text);
  rl_buf_free(&b);
}

static void sign_header(rl_wal_header *h, uint32_t version)
{
  h->version = version;
  h->sum = rl_hash_bytes(h, offsetof(rl_wal_header, sum), RL_HASH_SEED);
}

static void add_frame(rl_buf *b, uint64_t id, uint64_t seq, const char *text)
{
  rl_wal_frame f = {.type = 1, .length = (uint32_t)strlen(text), .seq = seq};
  struct iovec v = {(void *)text, strlen(text)};
  f.payload_sum = rl_wal_payload_sum(&v, 1);
  rl_wal_frame_sign(&f, id, b->n);
  rl_buf_add(b, &f, sizeof f);
  rl_buf_puts(b, text);
}

/* As it was written before there were two headers. */
static void a_log_of_the_first_version_is_read_and_goes_on(void **state)
{
  rl_buf b = {0}, text = {0};
  rl_wal_header h = rl_wal_header_make(7, 1, 0);
  sign_header(&h, 1);
  rl_buf_add(&b, &h, sizeof h);
  put(*state, &b);
  expect_log(*state, "");
  add_frame(&b, h.id, 1, "one");
  add_frame(&b, h.id, 2, "two");
  put(*state, &b);
  rl_wal *w = open_log(*state, &text);
  rl_wal_at at = write_text(w, 1, "three");
  assert_int_equal(at.segment, 1);
  for (int i = 0; i < 8; i++) at = write_text(w, 1, "more");
  assert_true(at.segment > 1);
  close_log(w);
  const char *all = "1:1=one 2:1=two 3:1=three 4:1=more 5:1=more 6:1=more 7:1=more 8:1=more 9:1=more 10:1=more "
                    "11:1=more ";
  expect_log(*state, all);
  rl_buf_free(&b);
  b = bytes_now(*state, SEGMENT);
  b.p[8] ^= 1; /* its header's version */
  put(*state, &b);
  expect_refused(*state, 0, RL_EDATA, SEGMENT " at offset 0", "wrong checksum of the header");
  rl_buf_clear(&text);
  assert_int_equal(rl_wal_verify(*state, &(rl_wal_verifier){add_text, NULL, &text}), RL_EDATA);
  assert_string_equal(rl_buf_cstr(&text), all);
  rl_buf_free(&text);
  rl_buf_free(&b);
}

static void a_log_of_a_later_version_is_refused_and_not_called_damaged(void **state)
{
  write_log(*state);
  rl_buf b = bytes_now(*state, SEGMENT);
  rl_wal_header h;
  memcpy(&h, b.p, sizeof h);
  sign_header(&h, 3);
  memcpy(b.p, &h, sizeof h);
  put(*state, &b);
  expect_refused(*state, 0, RL_EUNSUPPORTED, SEGMENT, "in format 3");
  assert_int_equal(rl_wal_verify(*state, &(rl_wal_verifier){0}), RL_EUNSUPPORTED);
  rl_buf_free(&b);
}

int main(void)
{
  rl_log_set_sink(model_quiet, NULL);
  if (access("/dev/shm", W_OK) == 0) (void)setenv("TMPDIR", "/dev/shm", 0); /* no power is cut */
  const struct CMUnitTest tests[] = {
      in_a_folder(each_flip_in_the_last_group_of_a_killed_process_is_found),
      in_a_folder(the_last_group_is_marked_whenever_it_is_acknowledged),
      in_a_folder(a_group_that_is_torn_over_a_mark_is_cut),
      in_a_folder(also_when_it_begins_with_an_empty_record),
      in_a_folder(the_head_of_a_later_group_is_enough),
      in_a_folder(a_log_that_is_written_is_never_taken_for_damaged),
      in_a_folder(a_damaged_header_costs_no_record),
      in_a_folder(a_log_of_the_first_version_is_read_and_goes_on),
      in_a_folder(a_log_of_a_later_version_is_refused_and_not_called_damaged),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
