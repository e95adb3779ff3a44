/* A chunk as one stretch of bytes, column by column as it lies in memory: for what leaves memory and comes back in this
 * process (spools). Quick, and exact to the types of the columns. Byte order is the machine's and there is no checksum:
 * what goes to a disk is framed by store/spill.h; what is kept for longer is written by rl_chunk_encode. */
#ifndef RL_DATA_PACKED_H
#define RL_DATA_PACKED_H

#include "base/buf.h"
#include "base/status.h"
#include "data/chunk.h"

void rl_chunk_pack(const rl_chunk *c, rl_buf *out); /* appends */
/* RL_EDATA when p[0..n) is not exactly one packed chunk, RL_ENOMEM. */
rl_status rl_chunk_unpack(const char *p, size_t n, rl_chunk **out);

#endif
