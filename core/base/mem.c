#include "base/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Atomic int64_t used;

static _Noreturn void out_of_memory(size_t n)
{
  fprintf(stderr, "rille: the system has no memory left (%zu bytes asked for)\n", n);
  abort();
}

static void *checked(void *p, size_t n)
{
  if (!p) out_of_memory(n);
  return p;
}

void *rl_alloc(size_t n)
{
  return rl_calloc(n, 1);
}

void *rl_calloc(size_t n, size_t m)
{
  if (n == 0 || m == 0) n = m = 1;
  return checked(calloc(n, m), n);
}

void *rl_realloc(void *p, size_t n)
{
  if (n == 0) n = 1;
  return checked(realloc(p, n), n);
}

void rl_free(void *p)
{
  free(p);
}

char *rl_strdup(const char *s)
{
  return s ? checked(strdup(s), strlen(s) + 1) : NULL;
}

char *rl_strndup(const char *s, size_t n)
{
  size_t length = strnlen(s, n); /* s may have no end of its own */
  char *copy = rl_alloc(length + 1);
  memcpy(copy, s, length);
  return copy;
}

char *rl_format(const char *fmt, ...)
{
  va_list args;
  va_start(args, fmt);
  char *s = rl_vformat(fmt, args);
  va_end(args);
  return s;
}

char *rl_vformat(const char *fmt, va_list args)
{
  va_list again;
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, fmt, again);
  va_end(again);
  if (n < 0) return rl_strdup("(message could not be formatted)");
  char *s = checked(malloc((size_t)n + 1), (size_t)n + 1);
  vsnprintf(s, (size_t)n + 1, fmt, args);
  return s;
}

void *rl_grow(void *p, size_t *cap, size_t need, size_t elem)
{
  if (need <= *cap) return p;
  if (elem == 0 || need > SIZE_MAX / 2 / elem) out_of_memory(need);
  size_t bigger = *cap ? *cap : 4;
  while (bigger < need) bigger *= 2;
  *cap = bigger;
  return rl_realloc(p, bigger * elem);
}

void rl_mem_add(int64_t delta)
{
  atomic_fetch_add_explicit(&used, delta, memory_order_relaxed);
}

int64_t rl_mem_used(void)
{
  return atomic_load_explicit(&used, memory_order_relaxed);
}
