/* Logs written and read as text, for tests of store/wal.h. Include after cmocka.h. */
#ifndef SPEC_CORE_WAL_TEXT_H
#define SPEC_CORE_WAL_TEXT_H

#include <inttypes.h>

#include "wal_model.h"

/* A log as text: "1:7=hello 2:1= ..." (sequence, type, payload) ------------------------------------------------------
 * */

static inline rl_status add_text(void *user, const rl_wal_record *r)
{
  rl_buf_printf(user, "%" PRIu64 ":%d=%.*s ", r->at.seq, r->at.type, (int)r->at.length, r->p);
  return RL_OK;
}

static inline rl_status open_from(const char *dir, uint64_t from, rl_buf *text, rl_wal **out)
{
  rl_wal_spec spec = {.dir = dir, .from = from, .replay = add_text, .user = text, .segment_bytes = 348};
  rl_buf_clear(text);
  return rl_wal_open(&spec, out);
}

static inline rl_wal *open_log(const char *dir, rl_buf *text)
{
  rl_wal *w = NULL;
  if (open_from(dir, 0, text, &w) != RL_OK) fail_msg("%s", rl_error_message());
  return w;
}

static inline void close_log(rl_wal *w)
{
  assert_int_equal(rl_wal_close(w), RL_OK);
}

static inline rl_wal_at write_text(rl_wal *w, uint16_t type, const char *text)
{
  rl_wal_part part = {NULL, text, strlen(text)};
  rl_wal_at at;
  if (rl_wal_write(w, type, &part, 1, &at) != RL_OK) fail_msg("%s", rl_error_message());
  return at;
}

static inline void expect_log(const char *dir, const char *expected)
{
  rl_buf text = {0};
  close_log(open_log(dir, &text));
  assert_string_equal(rl_buf_cstr(&text), expected);
  rl_buf_free(&text);
}

/* Opening fails so. */
static inline void expect_refused(const char *dir, uint64_t from, rl_status st, const char *file, const char *what)
{
  rl_buf text = {0};
  rl_wal *w = NULL;
  assert_int_equal(open_from(dir, from, &text, &w), st);
  if (!strstr(rl_error_message(), file) || !strstr(rl_error_message(), what)) fail_msg("%s", rl_error_message());
  rl_buf_free(&text);
}

#endif
