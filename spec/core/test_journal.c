/* The records of a durable job, store/journal.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "spec/core/journal_again.h"
#include "spec/core/records.h"

static rl_slice text(const char *s)
{
  return (rl_slice){s, strlen(s)};
}

static void expect_slice(rl_slice got, rl_slice expected)
{
  assert_int_equal(got.n, expected.n);
  if (got.n > 0) assert_memory_equal(got.p, expected.p, got.n);
}

static void expect_bytes(rl_buf *b, const char *bytes, size_t n)
{
  assert_int_equal(b->n, n);
  assert_memory_equal(b->p, bytes, n);
  rl_buf_clear(b);
}

#define expect_layout(b, bytes) expect_bytes(b, bytes, sizeof(bytes) - 1)

/* Byte by byte (docs/formats.md): it changes with RL_JOURNAL_VERSION only. */
static void the_layout_is_the_documented_one(void **state)
{
  (void)state;
  const uint64_t blocks[] = {1, 300};
  rl_buf b = {0};
  rl_journal_put_start(&b, &(rl_journal_start){-1, 1000, 64, 2, text("app"), text("0.1"), {0}});
  expect_layout(&b, "\1\1\xd0\x0f\x80\1\2\3app\3" "0.1");
  rl_journal_put_block(&b, &(rl_journal_block){text("in"), 5, 200, true, text("not this")});
  expect_layout(&b, "\2in\5\xc8\1\1");
  rl_journal_put_begin(&b, &(rl_journal_begin){.time = 5, .zero = 0, .batch_ms = 5, .script = 1, .ninputs = 3});
  expect_layout(&b, "\x0a\0\x0a\1\3");
  rl_journal_put_input(&b, &(rl_journal_input){.uid = text("a"), .kind = RL_JOURNAL_NONE, .records = -1});
  expect_layout(&b, "\1a\0\1");
  rl_journal_put_input(&b, &(rl_journal_input){.uid = text("b"), .kind = RL_JOURNAL_BLOCKS, .records = 7, .position = 9,
                                               .blocks = blocks, .nblocks = 2});
  expect_layout(&b, "\1b\1\x0e\x09\2\1\xac\2");
  rl_journal_put_input(&b, &(rl_journal_input){.uid = text("c"), .kind = RL_JOURNAL_SAVED, .bytes = text("xy")});
  expect_layout(&b, "\1c\2\0\2xy");
  rl_journal_put_input(&b, &(rl_journal_input){.uid = text("d"), .kind = RL_JOURNAL_PLACE, .bytes = text("z")});
  expect_layout(&b, "\1d\3\0\1z");
  rl_journal_put_state(&b, &(rl_journal_state){.time = 5, .uid = text("s"), .partition = 1, .partitions = 2,
                                               .timed = true, .changes = text("ch"), .chunks = 1});
  expect_layout(&b, "\x0a\1s\1\2\1\2ch\1");
  rl_journal_put_end(&b, &(rl_journal_end){-2, text("k")});
  expect_layout(&b, "\3\1k");
  rl_journal_put_output(&b, &(rl_journal_output){5, text("o"), text("")});
  expect_layout(&b, "\x0a\1o\0");
  rl_journal_put_complete(&b, &(rl_journal_complete){5, true, text("k")});
  expect_layout(&b, "\x0a\1\1k");
  rl_buf_free(&b);
}

/* Round trips ------------------------------------------------------------------------------------------------------ */

static const int64_t TIMES[] = {INT64_MIN, -1, 0, 1, 63, 64, INT64_C(1790000000000), INT64_MAX};
static const uint64_t NUMBERS[] = {1, 127, 128, UINT32_MAX, UINT64_C(1) << 63, UINT64_MAX};

#define COUNT(v) (sizeof(v) / sizeof *(v))

static const char LONG[5000];

static rl_slice string(size_t i)
{
  const rl_slice strings[] = {{"", 0}, {"a", 1}, {"\0\n\xff", 3}, {LONG, 127}, {LONG, 128}, {LONG, sizeof LONG}};
  return strings[i % COUNT(strings)];
}

static void starts_come_back(void **state)
{
  (void)state;
  for (size_t i = 0; i < 60; i++) {
    rl_buf b = {0};
    int64_t batch = i % 3 ? INT64_MAX : 1;
    rl_journal_start in = {TIMES[i % COUNT(TIMES)], batch, TIMES[(i + 3) % COUNT(TIMES)], (uint32_t)NUMBERS[i % 4],
                           string(i), string(i / 6), string(i / 3)};
    rl_journal_start out;
    rl_journal_put_start(&b, &in);
    assert_int_equal(rl_journal_get_start(b.p, b.n, &out), RL_OK);
    assert_true(out.zero == in.zero && out.batch_ms == in.batch_ms && out.now == in.now && out.script == in.script);
    expect_slice(out.app, in.app);
    expect_slice(out.engine, in.engine);
    expect_slice(out.graph, in.graph);
    rl_buf_free(&b);
  }
}

static void blocks_come_back(void **state)
{
  (void)state;
  for (size_t i = 0; i < 60; i++) {
    rl_buf b = {0};
    rl_journal_block in = {string(i), NUMBERS[i % COUNT(NUMBERS)], i % 2 ? UINT64_MAX : 0, i % 2 == 1, string(i / 6)};
    rl_journal_block out;
    rl_journal_put_block(&b, &in);
    rl_buf_add(&b, in.data.p, in.data.n);
    assert_int_equal(rl_journal_get_block(b.p, b.n, &out), RL_OK);
    assert_true(out.records == in.records && out.position == in.position && out.text == in.text);
    expect_slice(out.uid, in.uid);
    expect_slice(out.data, in.data);
    rl_buf_free(&b);
  }
}

static void expect_input(rl_journal_input out, const rl_journal_input *in)
{
  uint64_t seq = 0;
  expect_slice(out.uid, in->uid);
  assert_int_equal(out.kind, in->kind);
  assert_true(out.records == in->records && out.position == in->position && out.nblocks == in->nblocks);
  expect_slice(out.bytes, in->bytes);
  assert_null(out.blocks);
  for (uint64_t i = 0; i < in->nblocks; i++) {
    assert_true(rl_journal_next_block(&out, &seq));
    assert_true(seq == in->blocks[i]);
  }
  assert_false(rl_journal_next_block(&out, &seq));
}

static const rl_journal_input INPUTS[] = {
    {.uid = {"none", 4}, .records = -1},
    {.uid = {"receiver", 8}, .kind = RL_JOURNAL_BLOCKS, .records = INT64_MAX, .position = UINT64_MAX, .blocks = NUMBERS,
     .nblocks = COUNT(NUMBERS)},
    {.uid = {"", 0}, .kind = RL_JOURNAL_BLOCKS},
    {.uid = {"files", 5}, .kind = RL_JOURNAL_SAVED, .records = 1, .bytes = {LONG, sizeof LONG}},
    {.uid = {"rdd", 3}, .kind = RL_JOURNAL_SAVED},
    {.uid = {"gone", 4}, .kind = RL_JOURNAL_PLACE, .records = -1, .bytes = {"place", 5}},
};

static void put_begin(rl_buf *b, const rl_journal_begin *r)
{
  rl_journal_put_begin(b, r);
  for (uint64_t i = 0; i < r->ninputs; i++) rl_journal_put_input(b, &INPUTS[i]);
}

static void begins_come_back(void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT(TIMES) * (COUNT(INPUTS) + 1); i++) {
    rl_buf b = {0};
    rl_journal_begin in = {.time = TIMES[i % COUNT(TIMES)], .zero = TIMES[(i + 1) % COUNT(TIMES)],
                           .batch_ms = INT64_MAX, .script = UINT32_MAX, .ninputs = i % (COUNT(INPUTS) + 1)};
    rl_journal_begin out;
    put_begin(&b, &in);
    assert_int_equal(rl_journal_get_begin(b.p, b.n, &out), RL_OK);
    assert_true(out.time == in.time && out.zero == in.zero && out.batch_ms == in.batch_ms);
    assert_true(out.script == in.script && out.ninputs == in.ninputs);
    for (uint64_t j = 0; j < in.ninputs; j++) {
      rl_journal_input input;
      assert_int_equal(rl_journal_next_input(&out, &input), RL_OK);
      expect_input(input, &INPUTS[j]);
    }
    assert_ptr_equal(out.rest.p, out.rest.end);
    rl_buf_free(&b);
  }
}

static void put_chunks(rl_buf *b, uint64_t n)
{
  for (uint64_t i = 0; i < n; i++) {
    rl_chunk *c = records_one((rl_value[]){rl_int((int64_t)i), records_str("emitted")}, 2);
    rl_chunk_encode(c, b);
    rl_chunk_unref(c);
  }
}

static void states_come_back(void **state)
{
  (void)state;
  for (size_t i = 0; i < 60; i++) {
    rl_buf b = {0};
    uint32_t partitions = i % 2 ? UINT32_MAX : 1;
    rl_journal_state in = {.time = TIMES[i % COUNT(TIMES)], .uid = string(i), .partition = partitions - 1,
                           .partitions = partitions, .timed = i % 3 == 0, .changes = string(i / 6), .chunks = i % 4};
    rl_journal_state out;
    rl_journal_put_state(&b, &in);
    put_chunks(&b, in.chunks);
    assert_int_equal(rl_journal_get_state(b.p, b.n, &out), RL_OK);
    assert_true(out.time == in.time && out.timed == in.timed && out.chunks == in.chunks);
    assert_true(out.partition == in.partition && out.partitions == in.partitions);
    expect_slice(out.uid, in.uid);
    expect_slice(out.changes, in.changes);
    for (uint64_t j = 0; j < in.chunks; j++) {
      rl_chunk *c = NULL;
      assert_int_equal(rl_chunk_decode(&out.rest, &c), RL_OK);
      assert_int_equal(rl_chunk_get(c, 0, 0).i, j);
      rl_chunk_unref(c);
    }
    assert_ptr_equal(out.rest.p, out.rest.end);
    rl_buf_free(&b);
  }
}

static void marks_come_back(void **state)
{
  (void)state;
  for (size_t i = 0; i < 60; i++) {
    rl_buf b = {0};
    int64_t time = TIMES[i % COUNT(TIMES)];
    rl_journal_end end;
    rl_journal_put_end(&b, &(rl_journal_end){time, string(i)});
    assert_int_equal(rl_journal_get_end(b.p, b.n, &end), RL_OK);
    assert_true(end.time == time);
    expect_slice(end.kept, string(i));
    rl_buf_clear(&b);
    rl_journal_output output;
    rl_journal_put_output(&b, &(rl_journal_output){time, string(i), string(i + 1)});
    assert_int_equal(rl_journal_get_output(b.p, b.n, &output), RL_OK);
    assert_true(output.time == time);
    expect_slice(output.key, string(i));
    expect_slice(output.kept, string(i + 1));
    rl_buf_clear(&b);
    rl_journal_complete complete;
    rl_journal_put_complete(&b, &(rl_journal_complete){time, i % 2 == 0, string(i)});
    assert_int_equal(rl_journal_get_complete(b.p, b.n, &complete), RL_OK);
    assert_true(complete.time == time && complete.discarded == (i % 2 == 0));
    expect_slice(complete.kept, string(i));
    rl_buf_free(&b);
  }
}

/* Damage ----------------------------------------------------------------------------------------------------------- */

/* One of each type, with all there may be in it. */
static void sample(unsigned type, rl_buf *b)
{
  rl_buf_clear(b);
  switch (type) {
  case RL_JOURNAL_START:
    rl_journal_put_start(b, &(rl_journal_start){1790000000000, 500, 1790000001234, 3, text("orders"), text("0.1.0"),
                                                text("graph")});
    break;
  case RL_JOURNAL_BLOCK:
    rl_journal_put_block(b, &(rl_journal_block){text("socket"), 2, 300, true, {0}});
    rl_buf_puts(b, "one\ntwo\n");
    break;
  case RL_JOURNAL_BEGIN:
    put_begin(b, &(rl_journal_begin){.time = 1790000000500, .zero = 1790000000000, .batch_ms = 500, .script = 3,
                                     .ninputs = COUNT(INPUTS)});
    break;
  case RL_JOURNAL_STATE:
    rl_journal_put_state(b, &(rl_journal_state){.time = 1790000000500, .uid = text("counts"), .partition = 1,
                                                .partitions = 2, .changes = text("changes"), .chunks = 2});
    put_chunks(b, 2);
    break;
  case RL_JOURNAL_END: rl_journal_put_end(b, &(rl_journal_end){1790000000500, text("")}); break;
  case RL_JOURNAL_OUTPUT: rl_journal_put_output(b, &(rl_journal_output){1790000000500, text("counts/print/1"), text("")}); break;
  case RL_JOURNAL_COMPLETE:
    rl_journal_put_complete(b, &(rl_journal_complete){1790000000500, false, text("accumulators")});
    break;
  default:
    rl_journal_put_lost(b, &(rl_journal_lost){1790000000500});
    break;
  }
}

/* Refused, or a record that encodes to these bytes. In memory of just that size, so that the address sanitizer sees
 * what is read beyond. */
static rl_status expect_sound(unsigned type, const char *p, size_t n)
{
  char *copy = malloc(n > 0 ? n : 1);
  rl_buf again = {0};
  assert_non_null(copy);
  memcpy(copy, p, n);
  rl_status st = journal_again(type, copy, n, &again);
  if (st == RL_OK) {
    assert_int_equal(again.n, n);
    if (n > 0) assert_memory_equal(again.p, p, n);
  } else if (st == RL_EUNSUPPORTED) {
    assert_int_equal(type, RL_JOURNAL_START);
  } else {
    assert_int_equal(st, RL_EDATA);
    assert_non_null(strstr(rl_error_message(), rl_journal_name(type)));
  }
  rl_buf_free(&again);
  free(copy);
  return st;
}

static void truncations_are_refused(void **state)
{
  (void)state;
  rl_buf b = {0};
  for (unsigned type = 1; type < RL_JOURNAL_TYPES; type++) {
    sample(type, &b);
    assert_int_equal(expect_sound(type, b.p, b.n), RL_OK);
    size_t chunks = 0;
    if (type == RL_JOURNAL_STATE) { /* they are not looked at */
      rl_journal_state r;
      assert_int_equal(rl_journal_get_state(b.p, b.n, &r), RL_OK);
      chunks = (size_t)(r.rest.end - r.rest.p);
    }
    for (size_t n = 0; n < b.n; n++) {
      rl_status st = expect_sound(type, b.p, n);
      bool data = type == RL_JOURNAL_BLOCK && n >= b.n - strlen("one\ntwo\n");
      if (!data && n <= b.n - chunks) assert_int_equal(st, RL_EDATA);
    }
    rl_buf_putc(&b, 0); /* and one byte more */
    rl_status st = expect_sound(type, b.p, b.n);
    assert_int_equal(st, type == RL_JOURNAL_BLOCK || type == RL_JOURNAL_STATE ? RL_OK : RL_EDATA);
  }
  rl_buf_free(&b);
}

static void flipped_bytes_make_no_other_than_sound_records(void **state)
{
  (void)state;
  rl_buf b = {0};
  for (unsigned type = 1; type < RL_JOURNAL_TYPES; type++) {
    sample(type, &b);
    for (size_t at = 0; at < b.n; at++) {
      char before = b.p[at];
      for (int x = 1; x < 256; x++) {
        if (at > 300 && x % 85 != 0) continue; /* within the long string */
        b.p[at] = (char)(before ^ x);
        (void)expect_sound(type, b.p, b.n);
      }
      b.p[at] = before;
    }
  }
  rl_buf_free(&b);
}

static void random_bytes_make_no_other_than_sound_records(void **state)
{
  (void)state;
  uint64_t seed = records_seed("random_bytes");
  for (int i = 0; i < 100000; i++) {
    char bytes[24];
    size_t n = records_random(&seed) % (sizeof bytes + 1);
    for (size_t j = 0; j < n; j++) bytes[j] = (char)(records_random(&seed) % (i % 2 ? 4 : 256));
    (void)expect_sound(1 + (unsigned)i % (RL_JOURNAL_TYPES - 1), bytes, n);
  }
}

static void refuse(unsigned type, const char *p, size_t n, const char *why)
{
  rl_buf again = {0};
  assert_true(journal_again(type, p, n, &again) != RL_OK);
  if (!strstr(rl_error_message(), why)) fail_msg("\"%s\" does not say \"%s\"", rl_error_message(), why);
  rl_buf_free(&again);
}

#define refused(type, bytes, why) refuse(RL_JOURNAL_##type, bytes, sizeof(bytes) - 1, why)

static void each_fault_is_named(void **state)
{
  (void)state;
  refused(START, "\3", "of format 3, and this Rille knows those up to 2");
  refused(START, "\1\0\0", "START record: the batch interval is not above 0");
  refused(START, "\1\0\2\0\xff\xff\xff\xff\x1f", "more than 32 bits");
  refused(START, "\1\0\2\0\1\5ab", "cut short within a string");
  refused(BLOCK, "\1a\0\0\0", "a block of no records");
  refused(BLOCK, "\1a\1\0\2", "neither 0 nor 1");
  refused(BEGIN, "\0\0\0\0\0", "the batch interval");
  refused(BEGIN, "\0\0\2\0\1\1a\4\0", "an unknown kind");
  refused(BEGIN, "\0\0\2\0\1\1a\0\3", "less than no records");
  refused(BEGIN, "\0\0\2\0\1\1a\1\0\0\1\0", "blocks out of order");
  refused(BEGIN, "\0\0\2\0\1\1a\1\0\0\2\5\5", "blocks out of order");
  refused(BEGIN, "\0\0\2\0\1\1a\1\0\0\x7f\5", "BEGIN record: malformed value: cut short");
  refused(BEGIN, "\0\0\2\0\0x", "bytes behind its end");
  refused(STATE, "\0\1a\2\2\0\0\0", "a partition beyond the last");
  refused(STATE, "\0\1a\0\1\0\0\1", "cut short before its chunks");
  refused(STATE, "\0\1a\0\1\0\0\0x", "bytes behind its end");
  refused(COMPLETE, "\0\2\0", "COMPLETE record: a mark that is neither 0 nor 1");
}

static void types_have_names(void **state)
{
  (void)state;
  assert_string_equal(rl_journal_name(RL_JOURNAL_START), "START");
  assert_string_equal(rl_journal_name(RL_JOURNAL_COMPLETE), "COMPLETE");
  for (unsigned type = 1; type < RL_JOURNAL_TYPES; type++) assert_non_null(rl_journal_name(type));
  assert_null(rl_journal_name(0));
  assert_null(rl_journal_name(RL_JOURNAL_TYPES));
  assert_null(rl_journal_name(99));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_layout_is_the_documented_one),
      cmocka_unit_test(starts_come_back),
      cmocka_unit_test(blocks_come_back),
      cmocka_unit_test(begins_come_back),
      cmocka_unit_test(states_come_back),
      cmocka_unit_test(marks_come_back),
      cmocka_unit_test(truncations_are_refused),
      cmocka_unit_test(flipped_bytes_make_no_other_than_sound_records),
      cmocka_unit_test(random_bytes_make_no_other_than_sound_records),
      cmocka_unit_test(each_fault_is_named),
      cmocka_unit_test(types_have_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
