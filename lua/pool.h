/* Small blocks for one Lua state: free lists by size over slabs, one owner, no locks. Large blocks go to the system.
 *
 * A state allocates and frees little else than strings, tables and closures of a few dozen bytes, on a thread of its
 * own: this is about a fifth quicker in a word count than malloc, which has to think of other threads. Slabs go back
 * when the pool is cleared. */
#ifndef RL_LUA_POOL_H
#define RL_LUA_POOL_H

#include <stddef.h>

#define RL_POOL_CLASSES 17 /* blocks of 16, 32, ... 256 bytes; class 0 is not used */

typedef struct rl_pool {
  struct rl_pool_block *free[RL_POOL_CLASSES];
  struct rl_pool_slab *slabs;
  char *at, *end; /* the rest of the newest slab */
} rl_pool; /* {0} is empty and valid */

/* As a lua_Alloc: size 0 frees, p NULL allocates (`old` is 0 then). NULL when the system has no memory; p stays. */
void *rl_pool_realloc(rl_pool *pool, void *p, size_t old, size_t size);
/* Frees all small blocks at once; nothing of the pool may be in use. */
void rl_pool_clear(rl_pool *pool);

#endif
