#include "data/block.h"

#include "base/mem.h"
#include "data/text.h"

static rl_block *new_block(rl_block_owner *owner)
{
  rl_block *b = RL_NEW(rl_block);
  atomic_init(&b->refs, 1);
  atomic_init(&b->owner, owner);
  return b;
}

rl_block *rl_block_text(rl_bytes *data, size_t at, size_t end, rl_block_owner *owner)
{
  rl_block *b = new_block(owner);
  b->data = rl_bytes_ref(data);
  b->at = at;
  b->end = end;
  b->bytes = end - at;
  b->records = rl_text_count(data->data + at, b->bytes);
  return b;
}

rl_block *rl_block_chunks(rl_chunks *chunks, rl_block_owner *owner)
{
  rl_block *b = new_block(owner);
  b->chunks = *chunks;
  *chunks = (rl_chunks){0};
  b->bytes = rl_chunks_bytes(&b->chunks);
  b->records = rl_chunks_records(&b->chunks);
  return b;
}

rl_block *rl_block_ref(rl_block *b)
{
  atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
  return b;
}

void rl_block_unref(rl_block *b)
{
  if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1) return;
  if (b->home) b->home->cls->leave(b);
  rl_bytes_unref(b->data);
  rl_chunks_clear(&b->chunks);
  rl_block_done(b);
  rl_free(b);
}

void rl_block_done(rl_block *b)
{
  rl_block_owner *owner = atomic_exchange(&b->owner, NULL);
  if (owner) owner->released(owner, b->bytes);
}

/* The lines of a text block, cut as they are asked for. */

typedef struct text_pull {
  rl_pull base;
  rl_block *block;
  size_t at;
} text_pull;

static rl_status text_next(rl_pull *self, rl_chunk **out)
{
  text_pull *p = (text_pull *)self;
  *out = rl_text_next(p->block->data, &p->at, p->block->end);
  return RL_OK;
}

static void text_close(rl_pull *self)
{
  text_pull *p = (text_pull *)self;
  rl_block_unref(p->block);
  rl_free(p);
}

static const rl_pull_class text_class = {text_next, text_close};

/* The chunks of a block of records. The block is held, not only its chunks: as long as it is worked on it counts for
 * its source. */

typedef struct chunk_pull {
  rl_pull base;
  rl_block *block;
  size_t next;
} chunk_pull;

static rl_status chunk_next(rl_pull *self, rl_chunk **out)
{
  chunk_pull *p = (chunk_pull *)self;
  const rl_chunks *list = &p->block->chunks;
  *out = NULL;
  while (p->next < list->n && !*out) {
    rl_chunk *c = list->v[p->next++];
    if (c->n > 0) *out = rl_chunk_ref(c);
  }
  return RL_OK;
}

static void chunk_close(rl_pull *self)
{
  chunk_pull *p = (chunk_pull *)self;
  rl_block_unref(p->block);
  rl_free(p);
}

static const rl_pull_class chunk_class = {chunk_next, chunk_close};

rl_pull *rl_block_open(rl_block *b)
{
  if (b->home) return b->home->cls->open(b);
  if (b->data) {
    text_pull *p = RL_NEW(text_pull);
    p->base.cls = &text_class;
    p->block = rl_block_ref(b);
    p->at = b->at;
    return &p->base;
  }
  chunk_pull *p = RL_NEW(chunk_pull);
  p->base.cls = &chunk_class;
  p->block = rl_block_ref(b);
  return &p->base;
}
