/* Chunks packed into bytes, as they are spilled, and unpacked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "data/packed.h"
#include "spec/core/records.h"

static void expect_packs(rl_chunk *c)
{
  rl_buf image = {0};
  rl_chunk_pack(c, &image);
  rl_chunk *back = NULL;
  if (rl_chunk_unpack(image.p, image.n, &back) != RL_OK) fail_msg("%s", rl_error_message());
  rl_chunks one = {0};
  rl_chunks_add(&one, rl_chunk_ref(c));
  char *text = records_text(&one);
  rl_chunks_clear(&one);
  rl_chunks_add(&one, back);
  records_expect(&one, text);
  assert_int_equal(back->ncols, c->ncols);
  for (uint32_t i = 0; i < c->ncols; i++) assert_int_equal(back->cols[i].type, c->cols[i].type);
  for (uint32_t row = 0; row < c->n; row++) assert_int_equal(rl_chunk_arity(back, row), rl_chunk_arity(c, row));
  for (size_t n = 0; n < image.n; n++) { /* cut anywhere, it is refused */
    rl_chunk *none = NULL;
    char *part = rl_alloc(n + 1);
    memcpy(part, image.p, n);
    assert_int_equal(rl_chunk_unpack(part, n, &none), RL_EDATA);
    rl_free(part);
  }
  rl_chunks_clear(&one);
  free(text);
  rl_buf_free(&image);
  rl_chunk_unref(c);
}

static void all_kinds_of_columns_are_packed(void **state)
{
  (void)state;
  rl_builder *b = rl_builder_new();
  const rl_value a[] = {rl_int(1), rl_float(1.5), rl_bool(true), rl_str("one", 3), rl_nil(), rl_int(9)};
  const rl_value c[] = {rl_int(2), rl_nil(), rl_nil(), rl_nil(), rl_nil(), rl_str("mixed", 5)};
  const rl_value d[] = {rl_int(3), rl_float(-0.0), rl_bool(false), rl_str("", 0)};
  assert_int_equal(rl_builder_add(b, a, 6), RL_OK);
  assert_int_equal(rl_builder_add(b, c, 6), RL_OK);
  assert_int_equal(rl_builder_add(b, d, 4), RL_OK);
  expect_packs(rl_builder_finish(b));
  assert_int_equal(rl_builder_add(b, d, 1), RL_OK);
  expect_packs(rl_builder_finish(b));
  rl_builder_delete(b);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(all_kinds_of_columns_are_packed),
  };
  return cmocka_run_group_tests_name("packed", tests, NULL, NULL);
}
