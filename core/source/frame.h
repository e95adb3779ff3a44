/* Frames of the raw socket: 4 bytes big-endian length, then that many bytes holding chunks as rl_chunk_encode writes
 * them. A parser that takes the bytes as they come.
 *
 * Nothing in a frame is trusted: memory grows with what has come, not with what is announced. */
#ifndef RL_SOURCE_FRAME_H
#define RL_SOURCE_FRAME_H

#include "base/buf.h"
#include "data/chunk.h"

#define RL_FRAME_HEAD 4

/* One owner; {0} with a limit is valid and at the start of a frame. */
typedef struct rl_frames {
  size_t limit;  /* a longer frame is an error */
  uint64_t count; /* whole frames so far */
  uint8_t head[RL_FRAME_HEAD];
  size_t nhead;
  size_t length; /* of the frame under way, once nhead == RL_FRAME_HEAD */
  rl_buf body;
} rl_frames;

/* Called for each whole frame with at least one record; takes the chunks, also on failure. */
typedef rl_status rl_frame_fn(void *user, rl_chunks *chunks);

/* RL_EDATA for a malformed frame, RL_ELIMIT for one that is too long, or what `fn` returned. The parser must then be
 * reset. */
rl_status rl_frames_feed(rl_frames *f, const char *p, size_t n, rl_frame_fn *fn, void *user);
bool rl_frames_is_open(const rl_frames *f); /* in the middle of a frame */
void rl_frames_reset(rl_frames *f);         /* to the start of a frame; frees what was gathered */

#endif
