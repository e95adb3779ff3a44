/* Byte buffers: rl_buf grows and has one owner; rl_bytes is counted and shared between threads. */
#ifndef RL_BASE_BUF_H
#define RL_BASE_BUF_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* A growable buffer; {0} is empty and valid. */
typedef struct rl_buf {
  char *p;
  size_t n, cap;
} rl_buf;

void rl_buf_reserve(rl_buf *b, size_t more); /* room for `more` bytes beyond n */
void rl_buf_add(rl_buf *b, const void *p, size_t n);
void rl_buf_putc(rl_buf *b, char c);
void rl_buf_puts(rl_buf *b, const char *s);
void rl_buf_printf(rl_buf *b, const char *fmt, ...) RL_PRINTF(2, 3);
void rl_buf_clear(rl_buf *b); /* n = 0, memory kept */
void rl_buf_free(rl_buf *b);
char *rl_buf_cstr(rl_buf *b); /* NUL behind the bytes (not counted); valid until the next change */

/* A counted buffer. Whoever holds the only reference may write data[0 .. cap); once shared it is immutable.
 * Creation and the last unref are counted in rl_mem_used. */
typedef struct rl_bytes {
  _Atomic uint32_t refs;
  size_t n;   /* bytes in use */
  size_t cap; /* bytes allocated */
  char data[];
} rl_bytes;

/* N = 0, contents undefined; NULL with RL_ENOMEM set when the system has no memory. */
rl_bytes *rl_bytes_new(size_t cap);
rl_bytes *rl_bytes_from(const void *p, size_t n);
rl_bytes *rl_bytes_ref(rl_bytes *b);
void rl_bytes_unref(rl_bytes *b); /* NULL is allowed */

#endif
