/* Allocation and its accounting.
 *
 * Small structures come from rl_alloc and friends, which never return NULL: on a system that cannot give a few hundred
 * bytes the process says so in one line and aborts (docs/decisions/002). Data (buffers, chunks) is counted in
 * `rl_mem_used`, so that queues can be bounded by bytes. All functions may be called on any thread. */
#ifndef RL_BASE_MEM_H
#define RL_BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

void *rl_alloc(size_t n);            /* zeroed */
void *rl_calloc(size_t n, size_t m); /* zeroed, overflow checked */
void *rl_realloc(void *p, size_t n);
void rl_free(void *p);
char *rl_strdup(const char *s); /* NULL gives NULL */
char *rl_strndup(const char *s, size_t n);
char *rl_format(const char *fmt, ...) RL_PRINTF(1, 2); /* owned by the caller */
char *rl_vformat(const char *fmt, va_list args);

#define RL_NEW(type) ((type *)rl_alloc(sizeof(type)))

/* Grows the array `p` of elements to hold `need`, doubling; updates *cap. */
void *rl_grow(void *p, size_t *cap, size_t need, size_t elem);

/* Bytes held by buffers and chunks (rl_bytes, rl_chunk) now. */
void rl_mem_add(int64_t delta);
int64_t rl_mem_used(void);

#endif
