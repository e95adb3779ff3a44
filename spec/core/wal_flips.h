/* Groups of a log whose sizes are known, and logs with each byte flipped in turn, for tests of store/wal.h. Include
 * after cmocka.h. */
#ifndef SPEC_CORE_WAL_FLIPS_H
#define SPEC_CORE_WAL_FLIPS_H

#include "wal_text.h"

enum { COPY = 48, HEAD = 2 * COPY, FRAME = 40 }; /* of the header; both copies; a frame's head */

/* The log's thread is held in the callback of a first record, so that the next ones make one group. */
typedef struct gate {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool reached, open;
} gate;

static inline void hold(void *user, rl_status st, const rl_wal_at *at)
{
  gate *g = user;
  (void)st;
  (void)at;
  pthread_mutex_lock(&g->lock);
  g->reached = true;
  pthread_cond_broadcast(&g->changed);
  while (!g->open) pthread_cond_wait(&g->changed, &g->lock);
  pthread_mutex_unlock(&g->lock);
}

static inline void append_group(rl_wal *w, const char *const *texts)
{
  gate g = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false};
  uint64_t seq;
  assert_int_equal(rl_wal_append_async(w, 9, NULL, 0, hold, &g, &seq), RL_OK);
  pthread_mutex_lock(&g.lock);
  while (!g.reached) pthread_cond_wait(&g.changed, &g.lock);
  pthread_mutex_unlock(&g.lock);
  for (; *texts; texts++) {
    rl_wal_part part = {NULL, *texts, strlen(*texts)};
    assert_int_equal(rl_wal_append(w, 1, &part, 1, &seq), RL_OK);
  }
  pthread_mutex_lock(&g.lock);
  g.open = true;
  pthread_cond_broadcast(&g.changed);
  pthread_mutex_unlock(&g.lock);
  assert_int_equal(rl_wal_wait(w, seq), RL_OK);
}

static inline void count_damage(void *user, const rl_wal_damage *d)
{
  assert_non_null(strstr(d->message, d->path));
  ++*(unsigned *)user;
}

/* Opening and verifying agree, on an error that names file and frame or a clean cut behind all records. */
static inline void expect_found(const char *dir, const char *name, size_t at, bool may_be_cut, const char *whole)
{
  rl_buf text = {0};
  rl_wal *w = NULL;
  unsigned damages = 0;
  rl_status verified = rl_wal_verify(dir, &(rl_wal_verifier){NULL, count_damage, &damages});
  rl_status st = open_from(dir, 0, &text, &w);
  assert_int_equal(verified, st);
  assert_true(damages > 0);
  if (st == RL_OK) {
    close_log(w);
    assert_true(may_be_cut);
    assert_string_equal(rl_buf_cstr(&text), whole);
  } else {
    const char *offset = strstr(rl_error_message(), " at offset ");
    assert_int_equal(st, RL_EDATA);
    assert_non_null(strstr(rl_error_message(), name));
    assert_non_null(offset);
    size_t named = strtoul(offset + strlen(" at offset "), NULL, 10);
    assert_true(named <= at);
    assert_true(at < named + FRAME + 20);                     /* the frame's, or the header's */
    assert_memory_equal(text.p ? text.p : "", whole, text.n); /* what was replayed until then is right */
  }
  rl_buf_free(&text);
}

static inline void expect_bytes(const char *path, const rl_buf *expected)
{
  rl_buf b = {0};
  assert_int_equal(rl_file_read_all(path, &b), RL_OK);
  assert_int_equal(b.n, expected->n);
  assert_memory_equal(b.p, expected->p, b.n);
  rl_buf_free(&b);
}

/* Of the file in `b`, from `from` on. In the last segment the mark at its end can be lost; nothing else is changed. */
static inline void flip_bytes(const char *dir, const char *name, rl_buf *b, size_t from, bool last, const char *whole)
{
  char *path = rl_path_join(dir, name);
  for (size_t at = from; at < b->n; at++) {
    for (int bit = 0; bit < 9; bit += 4) {
      bool mark = last && at >= b->n - FRAME;
      char before = b->p[at];
      b->p[at] = (char)(bit == 8 ? ~before : before ^ (1 << bit));
      scratch_write_bytes(path, b->p, b->n);
      expect_found(dir, name, at, mark, whole);
      if (!mark) expect_bytes(path, b);
      b->p[at] = before;
    }
  }
  scratch_write_bytes(path, b->p, b->n);
  rl_free(path);
}

static inline void flip_each_byte(const char *dir, const char *name, bool last, const char *whole)
{
  rl_buf b = {0};
  char *path = rl_path_join(dir, name);
  assert_int_equal(rl_file_read_all(path, &b), RL_OK);
  flip_bytes(dir, name, &b, 0, last, whole);
  rl_buf_free(&b);
  rl_free(path);
}

#endif
