#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lines.h"
#include "records.h"

static void complete_ends_behind_the_last_whole_line(void **state)
{
  (void)state;
  static const struct {
    const char *text;
    size_t open, final;
  } cases[] = {
    {"", 0, 0},           {"abc", 0, 3},       {"abc\n", 4, 4},     {"abc\ndef", 4, 7}, {"abc\r", 0, 4},
    {"abc\r\n", 5, 5},    {"abc\rd", 4, 5},    {"a\nb\r", 2, 4},    {"a\nb\rc", 4, 5},  {"\r\r", 1, 2},
    {"\r\n\r", 2, 3},     {"\n", 1, 1},        {"\r", 0, 1},        {"a\rb\nc", 4, 5},  {"\n\r\n\r\r", 4, 5},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    size_t n = strlen(cases[i].text);
    assert_int_equal(rl_text_complete(cases[i].text, n, false), cases[i].open);
    assert_int_equal(rl_text_complete(cases[i].text, n, true), cases[i].final);
  }
}

static void count_knows_all_line_ends(void **state)
{
  (void)state;
  assert_int_equal(rl_text_count(NULL, 0), 0);
  assert_int_equal(rl_text_count("a", 1), 1);
  assert_int_equal(rl_text_count("a\n", 2), 1);
  assert_int_equal(rl_text_count("a\nb", 3), 2);
  assert_int_equal(rl_text_count("a\r\nb\rc\n", 7), 3);
  assert_int_equal(rl_text_count("\r", 1), 1);
  assert_int_equal(rl_text_count("\n\n\n", 3), 3);
  assert_int_equal(rl_text_count("\0\n\0", 3), 2);
}

static void lines_are_spans_over_the_bytes_received(void **state)
{
  (void)state;
  rl_bytes *data = rl_bytes_from("skip\none\r\n\rtwo\nthree", 20);
  size_t at = 5;
  rl_chunk *c = rl_text_next(data, &at, 20);
  assert_non_null(c);
  assert_int_equal(at, 20);
  assert_int_equal(c->n, 4);
  static const char *const expected[] = {"one", "", "two", "three"};
  for (uint32_t row = 0; row < c->n; row++) {
    rl_value line = rl_chunk_get(c, 0, row);
    assert_int_equal(line.s.n, strlen(expected[row]));
    assert_memory_equal(line.s.p, expected[row], line.s.n);
    assert_true(line.s.p >= data->data && line.s.p + line.s.n <= data->data + data->n);
  }
  assert_null(rl_text_next(data, &at, 20));
  rl_chunk_unref(c);
  rl_bytes_unref(data);
}

static void chunks_hold_no_more_than_their_records(void **state)
{
  (void)state;
  size_t n = 2 * RL_CHUNK_RECORDS + 3, at = 0;
  rl_bytes *data = rl_bytes_new(n);
  memset(data->data, '\n', n);
  data->n = n;
  for (int i = 0; i < 3; i++) {
    rl_chunk *c = rl_text_next(data, &at, n);
    assert_non_null(c);
    assert_int_equal(c->n, i < 2 ? RL_CHUNK_RECORDS : 3);
    rl_chunk_unref(c);
  }
  assert_int_equal(at, n);
  assert_null(rl_text_next(data, &at, n));
  rl_bytes_unref(data);
}

static void expect_same(const char *p, size_t n)
{
  rl_buf naive = {0}, cut = {0};
  rl_bytes *data = rl_bytes_from(p, n);
  uint64_t count = lines_naive(p, n, &naive);
  assert_int_equal(lines_cut(data, 0, n, &cut), count);
  assert_int_equal(rl_text_count(p, n), count);
  assert_true(lines_equal(&naive, &cut));
  rl_bytes_unref(data);
  rl_buf_free(&naive);
  rl_buf_free(&cut);
}

/* The cutter looks ahead in windows of 64 KiB: line ends at, before, behind and across their borders. */
static void line_ends_at_window_borders(void **state)
{
  (void)state;
  static const char *const ends[] = {"\n", "\r", "\r\n", "\n\r", "\r\r", "\r\n\n"};
  size_t n = 3 * 65536;
  char *p = malloc(n);
  assert_non_null(p);
  for (size_t e = 0; e < sizeof ends / sizeof *ends; e++) {
    for (size_t at = 65533; at <= 65538; at++) {
      memset(p, 'x', n);
      memcpy(p + at, ends[e], strlen(ends[e]));
      memcpy(p + 65536 + at, ends[e], strlen(ends[e]));
      expect_same(p, n);
    }
  }
  free(p);
}

static size_t random_piece(void *state)
{
  return records_random(state) % 200;
}

/* Texts of random lines and ends, cut whole and in random pieces. */
static void any_text_in_any_pieces(void **state)
{
  (void)state;
  uint64_t seed = records_seed(__func__);
  static const char *const alphabets[] = {"x\n", "abcdefghijklmnopqrstuvwxyz\n", "x\r\n", "ab\r", "abcdefghijklm\r\n"};
  char text[3000];
  for (int round = 0; round < 300; round++) {
    const char *alphabet = alphabets[records_random(&seed) % (sizeof alphabets / sizeof *alphabets)];
    size_t n = records_random(&seed) % sizeof text, letters = strlen(alphabet);
    for (size_t i = 0; i < n; i++) text[i] = alphabet[records_random(&seed) % letters];
    expect_same(text, n);
    rl_buf naive = {0}, streamed = {0};
    assert_int_equal(lines_naive(text, n, &naive), lines_stream(text, n, random_piece, &seed, &streamed));
    assert_true(lines_equal(&naive, &streamed));
    rl_buf_free(&naive);
    rl_buf_free(&streamed);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(complete_ends_behind_the_last_whole_line),
    cmocka_unit_test(count_knows_all_line_ends),
    cmocka_unit_test(lines_are_spans_over_the_bytes_received),
    cmocka_unit_test(chunks_hold_no_more_than_their_records),
    cmocka_unit_test(line_ends_at_window_borders),
    cmocka_unit_test(any_text_in_any_pieces),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
