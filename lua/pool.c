#include "pool.h"

#include <stdlib.h>
#include <string.h>

#define STEP 16
#define SLAB_BYTES (32 * 1024)

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RL_NO_POOL
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define RL_NO_POOL
#endif

/* Sanitizers see more when each block is the system's. */
#ifdef RL_NO_POOL
#define LARGEST 0
#else
#define LARGEST ((size_t)(RL_POOL_CLASSES - 1) * STEP)
#endif

typedef struct rl_pool_block {
  struct rl_pool_block *next;
} block;

typedef struct rl_pool_slab {
  struct rl_pool_slab *next;
  _Alignas(STEP) char data[];
} slab;

static size_t class_of(size_t size)
{
  return (size + STEP - 1) / STEP;
}

static void *carve(rl_pool *pool, size_t class)
{
  size_t size = class * STEP;
  if ((size_t)(pool->end - pool->at) < size) {
    slab *s = malloc(SLAB_BYTES);
    if (!s) return NULL;
    s->next = pool->slabs;
    pool->slabs = s;
    pool->at = s->data;
    pool->end = (char *)s + SLAB_BYTES;
  }
  void *p = pool->at;
  pool->at += size;
  return p;
}

static void *take(rl_pool *pool, size_t size)
{
  if (size > LARGEST) return malloc(size);
  size_t class = class_of(size);
  block *b = pool->free[class];
  if (!b) return carve(pool, class);
  pool->free[class] = b->next;
  return b;
}

static void give_back(rl_pool *pool, void *p, size_t size)
{
  if (size > LARGEST) {
    free(p);
    return;
  }
  block *b = p;
  b->next = pool->free[class_of(size)];
  pool->free[class_of(size)] = b;
}

void *rl_pool_realloc(rl_pool *pool, void *p, size_t old, size_t size)
{
  if (size == 0) {
    if (p) give_back(pool, p, old);
    return NULL;
  }
  if (!p) return take(pool, size);
  if (old > LARGEST && size > LARGEST) return realloc(p, size);
  if (old <= LARGEST && size <= LARGEST && class_of(old) == class_of(size)) return p;
  void *moved = take(pool, size);
  if (!moved) return NULL;
  memcpy(moved, p, old < size ? old : size);
  give_back(pool, p, old);
  return moved;
}

void rl_pool_clear(rl_pool *pool)
{
  slab *next;
  for (slab *s = pool->slabs; s; s = next) {
    next = s->next;
    free(s);
  }
  *pool = (rl_pool){0};
}
