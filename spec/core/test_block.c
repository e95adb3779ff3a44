#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "data/block.h"
#include "records.h"

typedef struct counting_owner {
  rl_block_owner base;
  int calls;
  size_t bytes;
} counting_owner;

static void on_released(rl_block_owner *owner, size_t bytes)
{
  counting_owner *o = (counting_owner *)owner;
  o->calls++;
  o->bytes += bytes;
}

static void expect_records(rl_block *b, const char *text)
{
  rl_pull *p = rl_block_open(b);
  rl_chunks list = {0};
  assert_int_equal(rl_pull_drain(p, &list), RL_OK);
  rl_chunk *more = NULL;
  assert_int_equal(rl_pull_next(p, &more), RL_OK);
  assert_null(more);
  rl_pull_close(p);
  records_expect(&list, text);
  rl_chunks_clear(&list);
}

static void a_text_block_is_a_stretch_of_its_buffer(void **state)
{
  (void)state;
  counting_owner owner = {.base.released = on_released};
  rl_bytes *data = rl_bytes_from("before\none\r\ntwo\rthree\nbehind", 28);
  rl_block *b = rl_block_text(data, 7, 22, &owner.base);
  assert_int_equal(b->records, 3);
  assert_int_equal(b->bytes, 15);
  rl_bytes_unref(data);
  expect_records(b, "one\ntwo\nthree\n");
  expect_records(b, "one\ntwo\nthree\n");
  assert_int_equal(owner.calls, 0);
  rl_block_unref(b);
  assert_int_equal(owner.calls, 1);
  assert_int_equal(owner.bytes, 15);
}

static void a_block_lives_while_it_is_read(void **state)
{
  (void)state;
  counting_owner owner = {.base.released = on_released};
  rl_bytes *data = rl_bytes_from("one\ntwo\n", 8);
  rl_block *b = rl_block_text(data, 0, 8, &owner.base);
  rl_bytes_unref(data);
  rl_pull *p = rl_block_open(b);
  rl_block_unref(b);
  assert_int_equal(owner.calls, 0);
  rl_chunk *c = NULL;
  assert_int_equal(rl_pull_next(p, &c), RL_OK);
  rl_pull_close(p);
  assert_int_equal(owner.calls, 1);
  rl_value line = rl_chunk_get(c, 0, 1); /* the chunk holds the bytes itself */
  assert_memory_equal(line.s.p, "two", 3);
  rl_chunk_unref(c);
}

static void a_block_of_records_moves_its_chunks(void **state)
{
  (void)state;
  int64_t before = rl_mem_used();
  counting_owner owner = {.base.released = on_released};
  rl_chunks list = {0};
  rl_builder *builder = rl_builder_new();
  for (int64_t i = 0; i < 3; i++) {
    rl_value v[2] = {rl_int(i), records_str("x")};
    records_add(builder, &list, v, 2);
  }
  records_end(builder, &list);
  size_t bytes = rl_chunks_bytes(&list);
  rl_block *b = rl_block_ref(rl_block_chunks(&list, &owner.base));
  assert_int_equal(list.n, 0);
  assert_int_equal(b->records, 3);
  assert_int_equal(b->bytes, bytes);
  expect_records(b, "(0,x)\n(1,x)\n(2,x)\n");
  rl_block_unref(b);
  assert_int_equal(owner.calls, 0);
  rl_block_unref(b);
  assert_int_equal(owner.bytes, bytes);
  assert_int_equal(rl_mem_used(), before);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_text_block_is_a_stretch_of_its_buffer),
    cmocka_unit_test(a_block_lives_while_it_is_read),
    cmocka_unit_test(a_block_of_records_moves_its_chunks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
