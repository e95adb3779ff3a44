#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void rl_buf_reserve(rl_buf *b, size_t more)
{
  if (more <= b->cap - b->n) return;
  size_t need = more > SIZE_MAX - b->n ? SIZE_MAX : b->n + more; /* rl_grow refuses the latter */
  if (b->cap == 0 && need < 64) need = 64;
  b->p = rl_grow(b->p, &b->cap, need, 1);
}

void rl_buf_add(rl_buf *b, const void *p, size_t n)
{
  if (n == 0) return;
  rl_buf_reserve(b, n);
  memcpy(b->p + b->n, p, n);
  b->n += n;
}

void rl_buf_putc(rl_buf *b, char c)
{
  rl_buf_reserve(b, 1);
  b->p[b->n++] = c;
}

void rl_buf_puts(rl_buf *b, const char *s)
{
  rl_buf_add(b, s, strlen(s));
}

void rl_buf_printf(rl_buf *b, const char *fmt, ...)
{
  va_list args, again;
  va_start(args, fmt);
  va_copy(again, args);
  size_t room = b->cap - b->n;
  int n = vsnprintf(room ? b->p + b->n : NULL, room, fmt, args);
  va_end(args);
  if (n > 0 && (size_t)n >= room) {
    rl_buf_reserve(b, (size_t)n + 1);
    n = vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
  }
  va_end(again);
  if (n > 0) b->n += (size_t)n;
}

void rl_buf_clear(rl_buf *b)
{
  b->n = 0;
}

void rl_buf_free(rl_buf *b)
{
  rl_free(b->p);
  *b = (rl_buf){0};
}

char *rl_buf_cstr(rl_buf *b)
{
  rl_buf_reserve(b, 1);
  b->p[b->n] = '\0';
  return b->p;
}

rl_bytes *rl_bytes_new(size_t cap)
{
  rl_bytes *b = cap < SIZE_MAX / 2 ? malloc(sizeof(rl_bytes) + cap) : NULL;
  if (!b) {
    rl_fail(RL_ENOMEM, "no memory for a buffer of %zu bytes", cap);
    return NULL;
  }
  atomic_init(&b->refs, 1);
  b->n = 0;
  b->cap = cap;
  rl_mem_add((int64_t)(sizeof(rl_bytes) + cap));
  return b;
}

rl_bytes *rl_bytes_from(const void *p, size_t n)
{
  rl_bytes *b = rl_bytes_new(n);
  if (b && n > 0) memcpy(b->data, p, n);
  if (b) b->n = n;
  return b;
}

rl_bytes *rl_bytes_ref(rl_bytes *b)
{
  atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
  return b;
}

void rl_bytes_unref(rl_bytes *b)
{
  if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1) return;
  rl_mem_add(-(int64_t)(sizeof(rl_bytes) + b->cap));
  free(b);
}
