#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "records.h"
#include "source/frame.h"

/* What was delivered: the records of each frame, "--" behind it. */
static rl_status deliver(void *user, rl_chunks *chunks)
{
  rl_buf *out = user;
  char *text = records_text(chunks);
  rl_buf_puts(out, text);
  rl_buf_puts(out, "--\n");
  free(text);
  rl_chunks_clear(chunks);
  return RL_OK;
}

static rl_status refuse(void *user, rl_chunks *chunks)
{
  (void)user;
  rl_chunks_clear(chunks);
  return rl_fail(RL_ECANCELLED, "no");
}

static void put_length(rl_buf *b, size_t n)
{
  for (int shift = 24; shift >= 0; shift -= 8) rl_buf_putc(b, (char)(n >> shift & 0xff));
}

/* A frame with one chunk for each letter. */
static void put_frame(rl_buf *b, const char *letters)
{
  rl_buf body = {0};
  for (; *letters; letters++) {
    rl_value v = rl_str(letters, 1);
    rl_chunk *c = records_one(&v, 1);
    rl_chunk_encode(c, &body);
    rl_chunk_unref(c);
  }
  put_length(b, body.n);
  rl_buf_add(b, body.p, body.n);
  rl_buf_free(&body);
}

static void frames_come_in_any_pieces(void **state)
{
  (void)state;
  rl_buf bytes = {0};
  put_frame(&bytes, "ab");
  put_frame(&bytes, "");
  put_frame(&bytes, "c");
  for (size_t piece = 1; piece <= bytes.n; piece++) {
    rl_frames f = {.limit = 1000};
    rl_buf got = {0};
    for (size_t at = 0; at < bytes.n; at += piece) {
      size_t n = bytes.n - at < piece ? bytes.n - at : piece;
      assert_int_equal(rl_frames_feed(&f, bytes.p + at, n, deliver, &got), RL_OK);
    }
    assert_string_equal(rl_buf_cstr(&got), "a\nb\n--\nc\n--\n");
    assert_false(rl_frames_is_open(&f));
    assert_int_equal(f.count, 3);
    rl_frames_reset(&f);
    rl_buf_free(&got);
  }
  rl_buf_free(&bytes);
}

static void a_frame_under_way_is_dropped_by_reset(void **state)
{
  (void)state;
  rl_frames f = {.limit = 1000};
  rl_buf bytes = {0}, got = {0};
  put_frame(&bytes, "a");
  assert_int_equal(rl_frames_feed(&f, bytes.p, bytes.n - 1, deliver, &got), RL_OK);
  assert_true(rl_frames_is_open(&f));
  rl_frames_reset(&f);
  assert_int_equal(rl_frames_feed(&f, bytes.p, bytes.n, deliver, &got), RL_OK);
  assert_string_equal(rl_buf_cstr(&got), "a\n--\n");
  rl_frames_reset(&f);
  rl_buf_free(&bytes);
  rl_buf_free(&got);
}

static void malformed_frames_are_errors(void **state)
{
  (void)state;
  rl_buf bytes = {0}, got = {0};
  put_frame(&bytes, "a");
  put_frame(&bytes, "b");
  bytes.p[bytes.n - 1] ^= 1;
  rl_frames f = {.limit = 1000};
  assert_int_equal(rl_frames_feed(&f, bytes.p, bytes.n, deliver, &got), RL_EDATA);
  assert_ptr_equal(strstr(rl_error_message(), "frame 2 is malformed"), rl_error_message());
  assert_string_equal(rl_buf_cstr(&got), "a\n--\n"); /* what came before counts */
  rl_frames_reset(&f);
  rl_buf_free(&bytes);
  rl_buf_free(&got);
}

static void an_announced_length_costs_no_memory(void **state)
{
  (void)state;
  rl_frames f = {.limit = 0x10000000};
  rl_buf got = {0};
  assert_int_equal(rl_frames_feed(&f, "\x10\0\0\0only this", 13, deliver, &got), RL_OK);
  assert_true(f.body.cap < 4096);
  rl_frames_reset(&f);
  assert_int_equal(rl_frames_feed(&f, "\x10\0\0\1", 4, deliver, &got), RL_ELIMIT);
  rl_frames_reset(&f);
}

static void the_receivers_failure_is_passed_on(void **state)
{
  (void)state;
  rl_buf bytes = {0};
  put_frame(&bytes, "a");
  rl_frames f = {.limit = 1000};
  assert_int_equal(rl_frames_feed(&f, bytes.p, bytes.n, refuse, NULL), RL_ECANCELLED);
  rl_frames_reset(&f);
  rl_buf_free(&bytes);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(frames_come_in_any_pieces),
    cmocka_unit_test(a_frame_under_way_is_dropped_by_reset),
    cmocka_unit_test(malformed_frames_are_errors),
    cmocka_unit_test(an_announced_length_costs_no_memory),
    cmocka_unit_test(the_receivers_failure_is_passed_on),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
