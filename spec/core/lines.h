/* Lines cut the slow, obvious way, and as the engine does it, for tests of data/text.h. A list of lines is bytes
 * (length, then content, each), to be compared whole. */
#ifndef SPEC_CORE_LINES_H
#define SPEC_CORE_LINES_H

#include <string.h>

#include "base/buf.h"
#include "data/text.h"

static inline void lines_add(rl_buf *lines, const char *p, size_t n)
{
  rl_buf_add(lines, &n, sizeof n);
  if (n > 0) rl_buf_add(lines, p, n);
}

/* All lines of p[0..n); returns how many. */
static inline uint64_t lines_naive(const char *p, size_t n, rl_buf *lines)
{
  uint64_t count = 0;
  size_t from = 0;
  for (size_t i = 0; i < n; i++) {
    if (p[i] != '\n' && p[i] != '\r') continue;
    lines_add(lines, p + from, i - from);
    count++;
    if (p[i] == '\r' && i + 1 < n && p[i + 1] == '\n') i++;
    from = i + 1;
  }
  if (from == n) return count;
  lines_add(lines, p + from, n - from);
  return count + 1;
}

/* All lines of a block, by rl_text_next. */
static inline uint64_t lines_cut(rl_bytes *data, size_t at, size_t end, rl_buf *lines)
{
  uint64_t count = 0;
  for (rl_chunk *c = rl_text_next(data, &at, end); c; c = rl_text_next(data, &at, end)) {
    count += c->n;
    for (uint32_t row = 0; row < c->n; row++) {
      rl_value line = rl_chunk_get(c, 0, row);
      lines_add(lines, line.s.p, line.s.n);
    }
    rl_chunk_unref(c);
  }
  return count;
}

/* The same from a text that arrives in pieces, as a receiver does it: what is complete is cut, the rest waits for more.
 * `piece` gives the size of the next one (0 counts as 1). */
static inline uint64_t lines_stream(const char *p, size_t n, size_t (*piece)(void *), void *state, rl_buf *lines)
{
  uint64_t count = 0;
  size_t from = 0, seen = 0;
  while (from < n) {
    size_t more = piece(state);
    seen = n - seen > more ? seen + more + (more == 0) : n;
    size_t whole = rl_text_complete(p + from, seen - from, seen == n);
    rl_bytes *block = rl_bytes_from(p + from, whole);
    count += lines_cut(block, 0, whole, lines);
    rl_bytes_unref(block);
    from += whole;
  }
  return count;
}

static inline bool lines_equal(const rl_buf *a, const rl_buf *b)
{
  return a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n) == 0);
}

#endif
