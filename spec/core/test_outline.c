/* The recorded graph: what is written is read back, nothing else is, and what tells whether state may go on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "data/codec.h"
#include "store/outline.h"

static rl_outline_shape shape(char *uid, char *operation, char *form, int64_t window, int64_t slide)
{
  return (rl_outline_shape){uid, operation, form, window, slide};
}

/* Two inputs, a join of both that keeps a window, one output, and state that nobody takes. */
static void encode_some(rl_buf *out)
{
  uint32_t both[] = {0, 1};
  rl_outline_stream streams[] = {
    {.uid = "a", .operation = "File stream [0]", .site = "job.lua:1", .form = ""},
    {.uid = "b", .operation = "File stream [1]", .site = "", .form = ""},
    {.uid = "c", .operation = "countByWindow", .site = "job.lua:3", .parents = both, .nparents = 2,
     .form = "inverse window", .window_ms = 4000, .slide_ms = 1000},
  };
  rl_outline_output outputs[] = {{2, "print at job.lua:4", "c/print#0"}};
  rl_outline_shape kept[] = {shape("old", "updateStateByKey", "values", 0, 0)};
  const rl_outline g = {.code = UINT64_MAX - 1, .since = 1790000000000, .streams = streams, .nstreams = 3,
                        .outputs = outputs, .noutputs = 1, .kept = kept, .nkept = 1};
  rl_outline_encode(&g, out);
}

static void what_is_written_is_read_back(void **state)
{
  (void)state;
  rl_buf bytes = {0}, again = {0};
  rl_outline g;
  encode_some(&bytes);
  assert_int_equal(rl_outline_decode(bytes.p, bytes.n, &g), RL_OK);
  assert_true(g.code == UINT64_MAX - 1 && g.since == 1790000000000);
  assert_int_equal(g.nstreams, 3);
  assert_string_equal(g.streams[2].uid, "c");
  assert_int_equal(g.streams[2].parents[1], 1);
  assert_int_equal(g.streams[2].window_ms, 4000);
  assert_string_equal(g.outputs[0].key, "c/print#0");
  rl_outline_shape found;
  assert_true(rl_outline_find_shape(&g, "c", &found));
  assert_string_equal(found.operation, "countByWindow");
  assert_true(rl_outline_find_shape(&g, "old", &found));
  assert_string_equal(found.form, "values");
  assert_false(rl_outline_find_shape(&g, "a", &found)); /* it keeps nothing */
  rl_outline_encode(&g, &again);
  assert_int_equal(again.n, bytes.n);
  assert_memory_equal(again.p, bytes.p, bytes.n);
  rl_outline_free(&g);
  rl_buf_free(&bytes);
  rl_buf_free(&again);
}

/* Bytes come from a disk: cut off, or with any byte another one, they are an outline or refused, and never read past. */
static void malformed_bytes_are_refused(void **state)
{
  (void)state;
  rl_buf bytes = {0};
  rl_outline g;
  encode_some(&bytes);
  for (size_t n = 0; n < bytes.n; n++) {
    char *exact = rl_alloc(n + 1);
    memcpy(exact, bytes.p, n);
    assert_int_equal(rl_outline_decode(exact, n, &g), RL_EDATA);
    assert_null(g.streams);
    rl_free(exact);
  }
  for (size_t at = 1; at < bytes.n; at++) {
    for (int bit = 0; bit < 8; bit++) {
      bytes.p[at] = (char)(bytes.p[at] ^ (1 << bit));
      rl_status st = rl_outline_decode(bytes.p, bytes.n, &g);
      for (size_t i = 0; i < g.nstreams; i++)
        for (uint32_t k = 0; k < g.streams[i].nparents; k++) assert_true(g.streams[i].parents[k] < i);
      for (size_t i = 0; i < g.noutputs; i++) assert_true(g.outputs[i].stream < g.nstreams);
      assert_true(st == RL_OK || !g.streams);
      rl_outline_free(&g);
      bytes.p[at] = (char)(bytes.p[at] ^ (1 << bit));
    }
  }
  rl_buf_clear(&bytes);
  rl_put_int(&bytes, 3);
  assert_int_equal(rl_outline_decode(bytes.p, bytes.n, &g), RL_EUNSUPPORTED);
  rl_buf_free(&bytes);
}

static void state_goes_on_under_the_same_meaning(void **state)
{
  (void)state;
  const rl_outline_shape update = shape("u", "updateStateByKey", "values", 0, 0);
  const rl_outline_shape map = shape("u", "mapWithState", "values", 0, 0);
  const rl_outline_shape window = shape("u", "reduceByKeyAndWindow", "sum window", 4000, 1000);
  const rl_outline_shape others[] = {
    map,
    shape("u", "reduceByKeyAndWindow", "max window", 4000, 1000),
    shape("u", "reduceByKeyAndWindow", "inverse window", 4000, 1000),
    shape("u", "reduceByWindow", "sum window", 4000, 1000),
    shape("u", "reduceByKeyAndWindow", "sum window", 5000, 1000),
    shape("u", "reduceByKeyAndWindow", "sum window", 4000, 2000),
  };
  assert_true(rl_outline_fits(&update, &map));
  assert_true(rl_outline_fits(&map, &update));
  assert_true(rl_outline_fits(&window, &window));
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    assert_false(rl_outline_fits(&window, &others[i]));
    assert_false(rl_outline_fits(&others[i], &window));
  }
  rl_buf text = {0};
  rl_outline_describe(&window, &text);
  assert_string_equal(rl_buf_cstr(&text), "reduceByKeyAndWindow (sum window of 4 s, every 1 s)");
  rl_buf_free(&text);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_is_written_is_read_back),
    cmocka_unit_test(malformed_bytes_are_refused),
    cmocka_unit_test(state_goes_on_under_the_same_meaning),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
