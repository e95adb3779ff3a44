#include "data/partition.h"

#include "base/mem.h"
#include "data/pair.h"

struct rl_splitter {
  rl_partkind kind;
  bool pair;
  uint32_t n;
  uint32_t turn; /* ROUND_ROBIN: the output of the next record */
  rl_builder **open;
  rl_chunks *done;
  rl_pair_scratch scratch;
};

void rl_partition_groups(uint32_t partition, uint32_t n, uint32_t *from, uint32_t *to)
{
  *from = (uint32_t)(((uint64_t)partition * RL_KEY_GROUPS + n - 1) / n);
  *to = (uint32_t)(((uint64_t)(partition + 1) * RL_KEY_GROUPS + n - 1) / n);
}

rl_splitter *rl_splitter_new(rl_partkind kind, uint32_t n, bool pair, uint64_t seed)
{
  rl_splitter *s = RL_NEW(rl_splitter);
  *s = (rl_splitter){.kind = kind, .pair = pair, .n = n, .turn = n ? (uint32_t)(seed % n) : 0};
  s->open = rl_calloc(n, sizeof(rl_builder *));
  s->done = rl_calloc(n, sizeof *s->done);
  for (uint32_t i = 0; i < n; i++) s->open[i] = rl_builder_new();
  return s;
}

/* Keys of these columns are normalised as they stand. */
static bool has_plain_keys(const rl_chunk *c)
{
  const rl_column *k = &c->cols[0];
  return (k->type == RL_COL_INT || k->type == RL_COL_BYTES) && !k->nulls;
}

static rl_value plain_key(const rl_column *k, uint32_t row)
{
  if (k->type == RL_COL_INT) return rl_int(k->i[row]);
  return rl_str(k->data->data + k->s[row].at, k->s[row].n);
}

static uint32_t choose(rl_splitter *s, rl_value key)
{
  if (s->kind == RL_PART_HASH) return rl_group_partition(rl_key_group(rl_key_hash(key)), s->n);
  uint32_t to = s->turn;
  s->turn = to + 1 == s->n ? 0 : to + 1;
  return to;
}

static void settle(rl_splitter *s, uint32_t to)
{
  if (rl_builder_full(s->open[to])) rl_chunks_add(&s->done[to], rl_builder_finish(s->open[to]));
}

/* Records that go on as they are, plain keys or none needed. */
static rl_status add_plain(rl_splitter *s, const rl_chunk *c)
{
  bool keyed = s->kind == RL_PART_HASH;
  for (uint32_t row = 0; row < c->n; row++) {
    uint32_t to = choose(s, keyed ? plain_key(&c->cols[0], row) : rl_nil());
    rl_status st = rl_builder_add_row(s->open[to], c, row);
    if (st != RL_OK) return st;
    settle(s, to);
  }
  return RL_OK;
}

/* Records that go on as they are, by a key that must be looked at. */
static rl_status add_whole(rl_splitter *s, const rl_chunk *c)
{
  for (uint32_t row = 0; row < c->n; row++) {
    rl_value key = rl_chunk_get(c, 0, row);
    rl_status st = rl_key_read(&key, &s->scratch.key);
    if (st != RL_OK) return st;
    uint32_t to = choose(s, key);
    st = rl_builder_add_row(s->open[to], c, row);
    if (st != RL_OK) return st;
    settle(s, to);
  }
  return RL_OK;
}

static rl_status add_pairs(rl_splitter *s, const rl_chunk *c)
{
  for (uint32_t row = 0; row < c->n; row++) {
    rl_value pair[2];
    rl_status st = rl_pair_read(c, row, &s->scratch, pair);
    if (st != RL_OK) return st;
    uint32_t to = choose(s, pair[0]);
    st = rl_builder_add(s->open[to], pair, 2);
    if (st != RL_OK) return st;
    settle(s, to);
  }
  return RL_OK;
}

rl_status rl_splitter_add(rl_splitter *s, const rl_chunk *c)
{
  if (s->n == 0 || (s->kind != RL_PART_HASH && s->kind != RL_PART_ROUND_ROBIN)) {
    return rl_fail(RL_EINVAL, "partitioner of kind %d cannot split records into %u partitions", (int)s->kind, s->n);
  }
  if (c->n == 0) return RL_OK;
  if (s->pair) return has_plain_keys(c) && c->ncols == 2 && !c->arity ? add_plain(s, c) : add_pairs(s, c);
  return s->kind == RL_PART_ROUND_ROBIN || has_plain_keys(c) ? add_plain(s, c) : add_whole(s, c);
}

static rl_status flush_output(rl_splitter *s, uint32_t i, bool all, rl_split_sink *sink, void *to)
{
  rl_chunks done = s->done[i];
  s->done[i] = (rl_chunks){0};
  rl_chunk *rest = all ? rl_builder_finish(s->open[i]) : NULL;
  if (rest) rl_chunks_add(&done, rest);
  rl_status st = RL_OK;
  for (size_t k = 0; k < done.n && st == RL_OK; k++) {
    st = sink(to, i, done.v[k]);
    done.v[k] = NULL;
  }
  rl_chunks_clear(&done);
  return st;
}

rl_status rl_splitter_flush(rl_splitter *s, bool all, rl_split_sink *sink, void *to)
{
  rl_status st = RL_OK;
  for (uint32_t i = 0; i < s->n && st == RL_OK; i++)
    if (all || s->done[i].n > 0) st = flush_output(s, i, all, sink, to);
  return st;
}

size_t rl_splitter_bytes(const rl_splitter *s)
{
  size_t n = 0;
  for (uint32_t i = 0; i < s->n; i++) n += rl_chunks_bytes(&s->done[i]) + rl_builder_bytes(s->open[i]);
  return n;
}

void rl_splitter_finish(rl_splitter *s, rl_chunks *out)
{
  for (uint32_t i = 0; i < s->n; i++) {
    rl_chunk *rest = rl_builder_finish(s->open[i]);
    if (rest) rl_chunks_add(&s->done[i], rest);
    out[i] = s->done[i];
    s->done[i] = (rl_chunks){0};
  }
}

void rl_splitter_delete(rl_splitter *s)
{
  if (!s) return;
  for (uint32_t i = 0; i < s->n; i++) {
    rl_builder_delete(s->open[i]);
    rl_chunks_clear(&s->done[i]);
  }
  rl_free(s->open);
  rl_free(s->done);
  rl_pair_scratch_free(&s->scratch);
  rl_free(s);
}
