/* What a source stores becomes blocks: cutting, holding back, ending. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>

#include "base/mem.h"
#include "lines.h"
#include "records.h"
#include "run/gather.h"
#include "scratch.h"
#include "store/journal.h"

#define MANY ((size_t)1 << 40)

typedef struct held {
  bool on;
  int changes;
} held;

static void on_hold(void *user, bool on)
{
  held *h = user;
  assert_true(h->on != on);
  h->on = on;
  h->changes++;
}

static rl_gather *make(size_t max_record, size_t max_buffered, held *h)
{
  const rl_gather_spec spec = {.max_record = max_record,
                               .max_buffered = max_buffered,
                               .hold = h ? on_hold : NULL,
                               .user = h};
  return rl_gather_new(&spec);
}

/* Gives text as a source does, in one piece; tells whether a line was cut. */
static bool give_bytes(rl_gather *g, const char *text, size_t n)
{
  bool any = false;
  while (n > 0) {
    char *p;
    size_t room;
    bool cut_line;
    assert_int_equal(rl_gather_reserve(g, 1, &p, &room), RL_OK);
    if (room > n) room = n;
    memcpy(p, text, room);
    assert_int_equal(rl_gather_commit(g, room, &cut_line), RL_OK);
    any |= cut_line;
    text += room;
    n -= room;
  }
  return any;
}

static bool give(rl_gather *g, const char *text) { return give_bytes(g, text, strlen(text)); }

/* Takes all blocks: their records, one a line, and "--" behind each block. */
static char *take(rl_gather *g)
{
  rl_blocks blocks = {0};
  rl_gather_take(g, &blocks);
  rl_buf out = {0};
  for (size_t i = 0; i < blocks.n; i++) {
    rl_chunks list = {0};
    rl_pull *p = rl_block_open(blocks.v[i]);
    assert_int_equal(rl_pull_drain(p, &list), RL_OK);
    rl_pull_close(p);
    assert_int_equal(rl_chunks_records(&list), blocks.v[i]->records);
    char *text = records_text(&list);
    rl_buf_puts(&out, text);
    rl_buf_puts(&out, "--\n");
    free(text);
    rl_chunks_clear(&list);
  }
  rl_blocks_clear(&blocks);
  char *text = rl_strdup(rl_buf_cstr(&out));
  rl_buf_free(&out);
  return text;
}

static void expect(rl_gather *g, const char *text)
{
  char *got = take(g);
  assert_string_equal(got, text);
  rl_free(got);
}

static void whole_lines_are_cut_and_the_rest_stays_open(void **state)
{
  (void)state;
  rl_gather *g = make(MANY, MANY, NULL);
  assert_true(rl_gather_is_empty(g));
  give(g, "one\ntwo\nthr");
  expect(g, "one\ntwo\n--\n");
  assert_false(rl_gather_is_empty(g));
  expect(g, "");
  give(g, "ee\r");
  expect(g, ""); /* a \n may follow */
  give(g, "\nfour\r");
  expect(g, "three\n--\n");
  give(g, "five");
  expect(g, "four\n--\n");
  rl_gather_end_text(g);
  expect(g, "five\n--\n");
  assert_true(rl_gather_is_empty(g));
  rl_gather_delete(g);
}

static void a_connection_is_not_joined_to_the_next(void **state)
{
  (void)state;
  rl_gather *g = make(MANY, MANY, NULL);
  give(g, "a\nlast of one");
  rl_gather_end_text(g);
  give(g, "first of two\n");
  expect(g, "a\nlast of one\n--\nfirst of two\n--\n");
  give(g, "x\r");
  rl_gather_end_text(g);
  give(g, "\ny\n"); /* an empty line of its own */
  expect(g, "x\n--\n\ny\n--\n");
  rl_gather_end_text(g);
  expect(g, "");
  rl_gather_delete(g);
}

static void blocks_lie_where_the_source_wrote(void **state)
{
  (void)state;
  rl_gather *g = make(MANY, MANY, NULL);
  char *p;
  size_t room;
  bool cut_line;
  rl_blocks blocks = {0};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(rl_gather_reserve(g, 16, &p, &room), RL_OK);
    memcpy(p, "line\n", 5);
    assert_int_equal(rl_gather_commit(g, 5, &cut_line), RL_OK);
    rl_gather_take(g, &blocks);
    const rl_block *b = blocks.v[i];
    assert_ptr_equal(b->data->data + b->at, p);
    assert_ptr_equal(b->data, blocks.v[0]->data); /* one buffer serves several cuts */
  }
  rl_blocks_clear(&blocks);
  rl_gather_delete(g);
}

static void a_long_line_is_cut_at_the_limit(void **state)
{
  (void)state;
  rl_gather *g = make(4, MANY, NULL);
  assert_false(give(g, "1234\nabcd\r\n123\r"));
  assert_false(give(g, "\n4444\r"));
  assert_false(give(g, "x\n"));
  expect(g, "1234\nabcd\n123\n4444\nx\n--\n");
  assert_true(give(g, "12345\nab\n"));
  expect(g, "1234\n--\n5\nab\n--\n");
  assert_true(give(g, "123456789"));
  rl_gather_end_text(g);
  expect(g, "1234\n--\n5678\n--\n9\n--\n");
  rl_gather_delete(g);
}

/* Lines longer than max as the pieces they are cut into. */
static void split_long(const rl_buf *lines, size_t max, rl_buf *out)
{
  for (size_t at = 0; at < lines->n;) {
    size_t n;
    memcpy(&n, lines->p + at, sizeof n);
    const char *p = lines->p + at + sizeof n;
    at += sizeof n + n;
    for (; n > max; p += max, n -= max) lines_add(out, p, max);
    lines_add(out, p, n);
  }
}

static void drain(rl_gather *g, rl_buf *lines)
{
  rl_blocks blocks = {0};
  rl_gather_take(g, &blocks);
  for (size_t i = 0; i < blocks.n; i++) lines_cut(blocks.v[i]->data, blocks.v[i]->at, blocks.v[i]->end, lines);
  rl_blocks_clear(&blocks);
}

/* Random text in random pieces with cuts at random moments gives the lines of the whole text. */
static void any_text_in_any_pieces(void **state)
{
  (void)state;
  uint64_t seed = records_seed(__func__);
  static const char *const alphabets[] = {"x\n", "abcdefghijklmnopqrstuvw\n", "x\r\n", "ab\r", "abcdefghijklmnop\r\n"};
  char text[3000];
  for (int round = 0; round < 300; round++) {
    const char *alphabet = alphabets[records_random(&seed) % (sizeof alphabets / sizeof *alphabets)];
    size_t n = records_random(&seed) % sizeof text, letters = strlen(alphabet);
    for (size_t i = 0; i < n; i++) text[i] = alphabet[records_random(&seed) % letters];
    size_t max = round % 2 ? MANY : 1 + records_random(&seed) % 20;
    rl_buf naive = {0}, split = {0}, got = {0};
    lines_naive(text, n, &naive);
    split_long(&naive, max, &split);
    held h = {0};
    rl_gather *g = make(max, 1 + records_random(&seed) % 1000, &h);
    for (size_t at = 0, piece; at < n; at += piece) {
      piece = 1 + records_random(&seed) % 100;
      if (piece > n - at) piece = n - at;
      give_bytes(g, text + at, piece);
      if (records_random(&seed) % 3 == 0) drain(g, &got);
    }
    rl_gather_close(g);
    drain(g, &got);
    assert_true(lines_equal(&split, &got));
    assert_false(h.on);
    rl_gather_delete(g);
    rl_buf_free(&naive);
    rl_buf_free(&split);
    rl_buf_free(&got);
  }
}

static void large_text_fills_many_buffers(void **state)
{
  (void)state;
  size_t n = (size_t)12 << 20;
  char *text = rl_alloc(n);
  uint64_t seed = records_seed(__func__), expected = 0, got = 0;
  for (size_t i = 0; i < n; i++) text[i] = records_random(&seed) % 64 == 0 ? '\n' : 'x';
  for (size_t i = 0; i < n; i++) expected += text[i] == '\n' || i == n - 1;
  rl_gather *g = make(MANY, MANY, NULL);
  give_bytes(g, text, n);
  rl_gather_end_text(g);
  rl_blocks blocks = {0};
  rl_gather_take(g, &blocks);
  assert_true(blocks.n >= 3);
  size_t bytes = 0;
  for (size_t i = 0; i < blocks.n; i++) {
    assert_memory_equal(blocks.v[i]->data->data + blocks.v[i]->at, text + bytes, blocks.v[i]->bytes);
    bytes += blocks.v[i]->bytes;
    got += blocks.v[i]->records;
    assert_true(blocks.v[i]->bytes <= RL_BLOCK_BYTES);
  }
  assert_int_equal(bytes, n);
  assert_int_equal(got, expected);
  rl_blocks_clear(&blocks);
  rl_gather_delete(g);
  rl_free(text);
}

static void the_source_is_held_back_until_half_is_worked_off(void **state)
{
  (void)state;
  held h = {0};
  rl_gather *g = make(MANY, 100, &h);
  char line[60];
  memset(line, 'x', sizeof line - 1);
  line[sizeof line - 1] = '\n';
  give_bytes(g, line, sizeof line);
  rl_blocks first = {0}, second = {0};
  rl_gather_take(g, &first);
  assert_false(h.on);
  give_bytes(g, line, sizeof line);
  assert_true(h.on); /* the open block counts */
  rl_gather_take(g, &second);
  rl_blocks_clear(&second);
  assert_true(h.on); /* 60 of 100 wait */
  rl_blocks_clear(&first);
  assert_false(h.on);
  assert_int_equal(h.changes, 2);
  rl_gather_delete(g);
}

static void a_partial_line_never_holds_back(void **state)
{
  (void)state;
  held h = {0};
  rl_gather *g = make(1000, 100, &h);
  for (int i = 0; i < 50; i++) give(g, "0123456789");
  assert_int_equal(h.changes, 0);
  give(g, "\n");
  assert_true(h.on);
  char *text = take(g);
  rl_free(text);
  assert_false(h.on);
  rl_gather_delete(g);
}

static void records_are_kept_in_order(void **state)
{
  (void)state;
  rl_gather *g = make(MANY, MANY, NULL);
  rl_value v = rl_int(1);
  assert_int_equal(rl_gather_store(g, &v, 1), RL_OK);
  v = rl_int(2);
  assert_int_equal(rl_gather_store(g, &v, 1), RL_OK);
  rl_chunks own = {0};
  rl_value pair[2] = {records_str("own"), rl_int(3)};
  rl_chunks_add(&own, records_one(pair, 2));
  assert_int_equal(rl_gather_store_block(g, &own), RL_OK);
  assert_int_equal(own.n, 0);
  v = rl_int(4);
  assert_int_equal(rl_gather_store(g, &v, 1), RL_OK);
  expect(g, "1\n2\n--\n(own,3)\n--\n4\n--\n");
  v = rl_nil();
  assert_int_equal(rl_gather_store(g, &v, 1), RL_EINVAL);
  expect(g, "");
  rl_gather_delete(g);
}

static void a_block_of_records_is_cut_by_size(void **state)
{
  (void)state;
  held h = {0};
  rl_gather *g = make(MANY, MANY, &h);
  static char bytes[64 << 10];
  rl_value v = rl_str(bytes, sizeof bytes);
  for (int i = 0; i < 200; i++) assert_int_equal(rl_gather_store(g, &v, 1), RL_OK);
  rl_blocks blocks = {0};
  rl_gather_take(g, &blocks);
  assert_int_equal(blocks.n, 4); /* 12.5 MiB in blocks of 4 */
  rl_blocks_clear(&blocks);
  rl_gather_delete(g);
}

/* A thread that stores 1000 records with room for few; the caller takes blocks until all have come. */
typedef struct storing {
  rl_gather *g;
  rl_status status;
} storing;

static void *store_many(void *arg)
{
  storing *s = arg;
  for (int64_t i = 0; i < 1000 && s->status == RL_OK; i++) {
    rl_value v = rl_int(i);
    s->status = rl_gather_store(s->g, &v, 1);
  }
  return NULL;
}

static void stores_wait_for_room(void **state)
{
  (void)state;
  storing s = {.g = make(MANY, 500, NULL)};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, store_many, &s), 0);
  uint64_t records = 0;
  while (records < 1000) {
    rl_blocks blocks = {0};
    rl_gather_take(s.g, &blocks);
    for (size_t i = 0; i < blocks.n; i++) {
      assert_true(blocks.v[i]->records < 200);
      records += blocks.v[i]->records;
    }
    rl_blocks_clear(&blocks);
  }
  pthread_join(thread, NULL);
  assert_int_equal(s.status, RL_OK);
  rl_gather_delete(s.g);
}

static void who_waits_is_let_go(void **state)
{
  (void)state;
  storing s = {.g = make(MANY, 500, NULL)};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, store_many, &s), 0);
  rl_gather_let_go(s.g);
  pthread_join(thread, NULL);
  assert_int_equal(s.status, RL_ECANCELLED);
  rl_gather_delete(s.g);
}

static void what_was_stored_before_the_end_stays(void **state)
{
  (void)state;
  rl_gather *g = make(MANY, MANY, NULL);
  rl_value v = rl_int(7);
  assert_int_equal(rl_gather_store(g, &v, 1), RL_OK);
  give(g, "no line end");
  rl_gather_close(g);
  assert_int_equal(rl_gather_store(g, &v, 1), RL_ECANCELLED);
  rl_chunks own = {0};
  rl_chunks_add(&own, records_one(&v, 1));
  assert_int_equal(rl_gather_store_block(g, &own), RL_ECANCELLED);
  assert_int_equal(own.n, 0);
  char *p;
  size_t room;
  assert_int_equal(rl_gather_reserve(g, 1, &p, &room), RL_ECANCELLED);
  expect(g, "no line end\n--\n7\n--\n");
  rl_gather_delete(g);
}

static void blocks_may_outlive_their_gatherer(void **state)
{
  (void)state;
  int64_t before = rl_mem_used();
  held h = {0};
  rl_gather *g = make(MANY, 5, &h);
  give(g, "a line\n");
  assert_true(h.on);
  rl_blocks blocks = {0};
  rl_gather_take(g, &blocks);
  rl_gather_delete(g);
  rl_blocks_clear(&blocks);
  assert_true(h.on); /* nobody is told any more */
  assert_int_equal(rl_mem_used(), before);
}

/* A reader works on blocks while the source writes on in the same buffer (for the thread sanitizer). */
static void *write_lines(void *arg)
{
  for (int i = 0; i < 20000; i++) give(arg, "a word and another\n");
  return NULL;
}

static void reading_and_writing_at_once(void **state)
{
  (void)state;
  rl_gather *g = make(MANY, MANY, NULL);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, write_lines, g), 0);
  for (uint64_t lines = 0; lines < 20000;) {
    rl_blocks blocks = {0};
    rl_gather_take(g, &blocks);
    for (size_t i = 0; i < blocks.n; i++) {
      const rl_block *b = blocks.v[i];
      rl_buf cut = {0};
      lines += lines_cut(b->data, b->at, b->end, &cut);
      rl_buf_free(&cut);
    }
    rl_blocks_clear(&blocks);
  }
  pthread_join(thread, NULL);
  rl_gather_delete(g);
}

/* Logged --------------------------------------------------------------------------------------------------------- */

#define LOGGED_MOST ((size_t)160 << 10)

static rl_gather *make_logged(rl_wal *w)
{
  const rl_gather_spec spec = {.max_record = MANY, .max_buffered = MANY, .most_logged = LOGGED_MOST};
  rl_gather *g = rl_gather_new(&spec);
  rl_gather_log_to(g, &(rl_gather_log){.wal = w, .uid = "in"});
  return g;
}

static rl_chunk *chunk_of(size_t bytes)
{
  rl_builder *b = rl_builder_new();
  char *p = rl_calloc(1, bytes);
  rl_value v = rl_str(p, bytes);
  assert_int_equal(rl_builder_add(b, &v, 1), RL_OK);
  rl_chunk *c = rl_builder_finish(b);
  rl_builder_delete(b);
  rl_free(p);
  return c;
}

typedef struct read_back {
  uint64_t blocks, records, longest;
} read_back;

static rl_status look_at_block(void *user, const rl_wal_record *r)
{
  read_back *seen = user;
  rl_journal_block block;
  assert_int_equal(rl_journal_get_block(r->p, r->at.length, &block), RL_OK);
  seen->blocks++;
  seen->records += block.records;
  assert_int_equal(block.position, seen->records);
  if (r->at.length > seen->longest) seen->longest = r->at.length;
  return RL_OK;
}

static void expect_too_large(rl_gather *g, size_t bytes)
{
  rl_chunk *c = chunk_of(bytes);
  rl_value v = rl_chunk_get(c, 0, 0);
  assert_int_equal(rl_gather_store(g, &v, 1), RL_ELIMIT);
  assert_non_null(strstr(rl_error_message(), "too large for the log of what was received, which takes 163840; store it"));
  rl_chunks chunks = {0};
  rl_chunks_add(&chunks, chunk_of(10));
  rl_chunks_add(&chunks, c);
  assert_int_equal(rl_gather_store_block(g, &chunks), RL_ELIMIT);
  assert_int_equal(chunks.n, 0);
}

/* A record of the log is limited: what is large is logged in pieces, what cannot be is refused, and nothing else. */
static void what_is_too_large_for_the_log_is_cut_or_refused(void **state)
{
  rl_wal *w = NULL;
  assert_int_equal(rl_wal_open(&(rl_wal_spec){.dir = *state}, &w), RL_OK);
  rl_gather *g = make_logged(w);
  rl_chunks chunks = {0};
  for (int i = 0; i < 100; i++) rl_chunks_add(&chunks, chunk_of(6000));
  assert_int_equal(rl_gather_store_block(g, &chunks), RL_OK);
  expect_too_large(g, LOGGED_MOST + 1);
  for (int i = 0; i < 20; i++) { /* small ones and large ones in turn */
    rl_chunk *c = chunk_of(i % 2 ? 30 : LOGGED_MOST - 2000);
    rl_value v = rl_chunk_get(c, 0, 0);
    assert_int_equal(rl_gather_store(g, &v, 1), RL_OK);
    rl_chunk_unref(c);
  }
  rl_blocks blocks = {0};
  rl_gather_take(g, &blocks);
  uint64_t last = 0, records = 0;
  for (size_t i = 0; i < blocks.n; i++) {
    assert_true(blocks.v[i]->seq > last);
    last = blocks.v[i]->seq;
    records += blocks.v[i]->records;
  }
  assert_int_equal(records, 120);
  assert_int_equal(rl_wal_wait(w, last), RL_OK);
  read_back seen = {0};
  assert_int_equal(rl_wal_close(w), RL_OK);
  assert_int_equal(rl_wal_open(&(rl_wal_spec){.dir = *state, .replay = look_at_block, .user = &seen}, &w), RL_OK);
  assert_int_equal(seen.blocks, blocks.n);
  assert_int_equal(seen.records, 120);
  assert_true(seen.longest <= LOGGED_MOST);
  rl_blocks_clear(&blocks);
  rl_gather_delete(g);
  assert_int_equal(rl_wal_close(w), RL_OK);
}

/* A log that takes no more is no loss that nobody hears of: the block is in no batch, and the source is told. */
static void what_cannot_be_logged_is_in_no_batch(void **state)
{
  rl_wal *w = NULL;
  assert_int_equal(rl_wal_open(&(rl_wal_spec){.dir = *state}, &w), RL_OK);
  rl_gather *g = make_logged(w);
  rl_value v = rl_int(1);
  assert_int_equal(rl_gather_store(g, &v, 1), RL_OK);
  rl_wal_stop(w);
  rl_blocks blocks = {0};
  rl_gather_take(g, &blocks);
  assert_int_equal(blocks.n, 0);
  assert_int_equal(rl_gather_store(g, &v, 1), RL_EIO);
  assert_non_null(strstr(rl_error_message(), "what was received cannot be logged: "));
  rl_gather_delete(g);
  assert_int_equal(rl_wal_close(w), RL_OK);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(whole_lines_are_cut_and_the_rest_stays_open),
    cmocka_unit_test(a_connection_is_not_joined_to_the_next),
    cmocka_unit_test(blocks_lie_where_the_source_wrote),
    cmocka_unit_test(a_long_line_is_cut_at_the_limit),
    cmocka_unit_test(any_text_in_any_pieces),
    cmocka_unit_test(large_text_fills_many_buffers),
    cmocka_unit_test(the_source_is_held_back_until_half_is_worked_off),
    cmocka_unit_test(a_partial_line_never_holds_back),
    cmocka_unit_test(records_are_kept_in_order),
    cmocka_unit_test(a_block_of_records_is_cut_by_size),
    cmocka_unit_test(stores_wait_for_room),
    cmocka_unit_test(who_waits_is_let_go),
    cmocka_unit_test(what_was_stored_before_the_end_stays),
    cmocka_unit_test(blocks_may_outlive_their_gatherer),
    cmocka_unit_test(reading_and_writing_at_once),
    in_a_folder(what_is_too_large_for_the_log_is_cut_or_refused),
    in_a_folder(what_cannot_be_logged_is_in_no_batch),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
