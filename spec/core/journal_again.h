/* A record of store/journal.h decoded and encoded again, for its tests and its fuzz target. */
#ifndef SPEC_CORE_JOURNAL_AGAIN_H
#define SPEC_CORE_JOURNAL_AGAIN_H

#include "base/mem.h"
#include "store/journal.h"

static inline rl_status journal_again_begin(const char *p, size_t n, rl_buf *out)
{
  rl_journal_begin r;
  rl_journal_input in;
  rl_status st = rl_journal_get_begin(p, n, &r);
  if (st == RL_OK) rl_journal_put_begin(out, &r);
  for (uint64_t i = 0; st == RL_OK && i < r.ninputs; i++) {
    st = rl_journal_next_input(&r, &in);
    uint64_t *blocks = NULL, seq, count = 0;
    size_t cap = 0;
    while (rl_journal_next_block(&in, &seq)) {
      blocks = rl_grow(blocks, &cap, count + 1, sizeof *blocks);
      blocks[count++] = seq;
    }
    if (count != in.nblocks) st = RL_ESTATE;
    in.blocks = blocks;
    if (st == RL_OK) rl_journal_put_input(out, &in);
    rl_free(blocks);
  }
  return st;
}

#define JOURNAL_AGAIN(kind)                               \
  do {                                                    \
    rl_journal_##kind r;                                  \
    rl_status st = rl_journal_get_##kind(p, n, &r);       \
    if (st == RL_OK) rl_journal_put_##kind(out, &r);      \
    return st;                                            \
  } while (0)

static inline rl_status journal_again_start(const char *p, size_t n, rl_buf *out) { JOURNAL_AGAIN(start); }
static inline rl_status journal_again_end(const char *p, size_t n, rl_buf *out) { JOURNAL_AGAIN(end); }
static inline rl_status journal_again_output(const char *p, size_t n, rl_buf *out) { JOURNAL_AGAIN(output); }
static inline rl_status journal_again_complete(const char *p, size_t n, rl_buf *out) { JOURNAL_AGAIN(complete); }
static inline rl_status journal_again_lost(const char *p, size_t n, rl_buf *out) { JOURNAL_AGAIN(lost); }

static inline rl_status journal_again_block(const char *p, size_t n, rl_buf *out)
{
  rl_journal_block r;
  rl_status st = rl_journal_get_block(p, n, &r);
  if (st != RL_OK) return st;
  rl_journal_put_block(out, &r);
  rl_buf_add(out, r.data.p, r.data.n);
  return RL_OK;
}

static inline rl_status journal_again_state(const char *p, size_t n, rl_buf *out)
{
  rl_journal_state r;
  rl_status st = rl_journal_get_state(p, n, &r);
  if (st != RL_OK) return st;
  rl_journal_put_state(out, &r);
  rl_buf_add(out, r.rest.p, (size_t)(r.rest.end - r.rest.p));
  return RL_OK;
}

/* The status of decoding it; RL_ESTATE when a BEGIN that was accepted cannot be walked. Appends. */
static inline rl_status journal_again(unsigned type, const char *p, size_t n, rl_buf *out)
{
  switch (type) {
  case RL_JOURNAL_START: return journal_again_start(p, n, out);
  case RL_JOURNAL_BLOCK: return journal_again_block(p, n, out);
  case RL_JOURNAL_BEGIN: return journal_again_begin(p, n, out);
  case RL_JOURNAL_STATE: return journal_again_state(p, n, out);
  case RL_JOURNAL_END: return journal_again_end(p, n, out);
  case RL_JOURNAL_OUTPUT: return journal_again_output(p, n, out);
  case RL_JOURNAL_COMPLETE: return journal_again_complete(p, n, out);
  default: return journal_again_lost(p, n, out);
  }
}

#endif
