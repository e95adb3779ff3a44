/* Blocks: what a receiver cut out of its stream; one block is one partition of a batch. Immutable, counted, usable from
 * any thread.
 *
 * A text block is a stretch of whole lines in a buffer that may still be filled further on; workers cut the lines where
 * they lie. */
#ifndef RL_DATA_BLOCK_H
#define RL_DATA_BLOCK_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"
#include "data/chunk.h"
#include "data/fn.h"

#define RL_BLOCK_BYTES (UINT64_C(4) << 20) /* a receiver cuts a block at this size at the latest */

/* Called when a block's memory is given back (any thread), so that a source held back may go on. */
typedef struct rl_block_owner {
  void (*released)(struct rl_block_owner *o, size_t bytes);
} rl_block_owner;

/* Where the records of a block lie when they need not be in it (store/kept_block.h). */
typedef struct rl_block_home {
  const struct rl_block_home_class *cls;
} rl_block_home;

struct rl_block;
typedef struct rl_block_home_class {
  rl_pull *(*open)(struct rl_block *b);
  void (*leave)(struct rl_block *b); /* at the last unref: frees the home */
} rl_block_home_class;

typedef struct rl_block {
  _Atomic uint32_t refs;
  rl_bytes *data;   /* text: one reference, lines in [at, end); else NULL */
  size_t at, end;
  rl_chunks chunks; /* records otherwise */
  uint64_t records;
  uint64_t seq;     /* of its record in the write-ahead log; 0: it has none */
  size_t bytes;     /* end - at, or the chunks' bytes */
  rl_block_home *home; /* NULL: none. With one, `data` and `chunks` are its business */
  _Atomic(rl_block_owner *) owner; /* NULL, or to be told; it outlives the block */
} rl_block;

/* References data; counts the lines. */
rl_block *rl_block_text(rl_bytes *data, size_t at, size_t end, rl_block_owner *owner);
rl_block *rl_block_chunks(rl_chunks *chunks, rl_block_owner *owner);                   /* moves the list */
/* Tells the owner now, not only at the last unref: the block has been worked off, and what still holds it (a lineage that is
 * remembered) does not hold its source back. Once; later calls do nothing. */
void rl_block_done(rl_block *b);
rl_block *rl_block_ref(rl_block *b);
void rl_block_unref(rl_block *b);
rl_pull *rl_block_open(rl_block *b); /* an operator over its records; references the block */

#endif
