#include "data/text.h"

#include <string.h>

#include "base/mem.h"

/* A window is looked through for \r once; lines in a window without one cost a single memchr each. Windows also bound
 * how far a call looks ahead of the lines it cuts, so that no text makes cutting it quadratic. */
#define WINDOW ((size_t)64 * 1024)

/* Bytes counted at a time: few enough that an eight bit lane cannot overflow, and constant, so that the loop becomes
 * vector code. */
#define COUNT_BLOCK 128

typedef struct scan {
  const char *p;
  size_t end;
  size_t lim; /* end of the window */
  size_t nl;  /* the window's first \n behind the last line cut, or lim; before the next line: to be found anew */
  bool cr;    /* the window holds a \r */
} scan;

static size_t find(const char *p, size_t from, size_t to, char c)
{
  if (from >= to) return to;
  const char *hit = memchr(p + from, c, to - from);
  return hit ? (size_t)(hit - p) : to;
}

static void next_window(scan *s)
{
  size_t from = s->lim;
  s->lim = s->end - from > WINDOW ? from + WINDOW : s->end;
  s->cr = find(s->p, from, s->lim, '\r') < s->lim;
  s->nl = find(s->p, from, s->lim, '\n');
}

/* Where the line that starts at `at` has its end mark; the end of the text when it has none. */
static size_t line_end(scan *s, size_t at)
{
  for (;;) {
    if (s->nl < at) s->nl = find(s->p, at, s->lim, '\n');
    size_t e = s->cr ? find(s->p, at, s->nl, '\r') : s->nl;
    if (e < s->lim || s->lim == s->end) return e;
    if (at < s->lim) at = s->lim;
    next_window(s);
  }
}

static size_t behind_end(const scan *s, size_t e)
{
  if (e == s->end) return e;
  return s->p[e] == '\r' && e + 1 < s->end && s->p[e + 1] == '\n' ? e + 2 : e + 1;
}

size_t rl_text_complete(const char *p, size_t n, bool final)
{
  if (final || n == 0) return n;
  const char *nl = memrchr(p, '\n', n);
  size_t whole = nl ? (size_t)(nl - p) + 1 : 0;
  if (whole == n) return n;
  /* No \n follows, so any \r but one in the last byte is an end of its own. */
  const char *cr = memrchr(p + whole, '\r', n - whole - 1);
  return cr ? (size_t)(cr - p) + 1 : whole;
}

static inline unsigned ends_line(const char *p)
{
  return (unsigned)(p[0] == '\n') | ((unsigned)(p[0] == '\r') & (unsigned)(p[1] != '\n'));
}

static uint8_t count_block(const char *p)
{
  uint8_t ends = 0;
  for (int i = 0; i < COUNT_BLOCK; i++) ends = (uint8_t)(ends + ends_line(p + i));
  return ends;
}

uint64_t rl_text_count(const char *p, size_t n)
{
  if (n == 0) return 0;
  /* Whatever the last byte is, it ends the last line; each one before has a byte behind it to look at. */
  uint64_t lines = 1;
  size_t i = 0, last = n - 1;
  for (; last - i >= COUNT_BLOCK; i += COUNT_BLOCK) lines += count_block(p + i);
  for (; i < last; i++) lines += ends_line(p + i);
  return lines;
}

rl_chunk *rl_text_next(rl_bytes *data, size_t *at, size_t end)
{
  size_t i = *at;
  if (i >= end) return NULL;
  rl_span *spans = rl_realloc(NULL, RL_CHUNK_RECORDS * sizeof *spans);
  uint32_t n = 0;
  scan s = {.p = data->data, .end = end, .lim = i};
  next_window(&s);
  while (n < RL_CHUNK_RECORDS && i < end) {
    size_t e = line_end(&s, i);
    spans[n++] = (rl_span){(uint32_t)i, (uint32_t)(e - i)};
    i = behind_end(&s, e);
  }
  *at = i;
  if (n < RL_CHUNK_RECORDS) spans = rl_realloc(spans, n * sizeof *spans);
  return rl_chunk_from_spans(data, spans, n);
}
