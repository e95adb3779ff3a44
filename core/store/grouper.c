#include "store/grouper.h"

#include "base/mem.h"
#include "data/keys.h"
#include "data/partition.h"
#include "store/runs.h"
#include "store/spool.h"

#define PARTS 16 /* that a level spreads further keys over */
#define PART_BITS 4
#define FIRST_BIT 8      /* those below are the same for many keys of a partition (data/partition.h) */
#define DEPTH_MOST 10    /* levels; keys of the last one are kept, however many there are */
#define KEYS_LEAST ((size_t)16 << 10) /* bytes of keys that a level takes in at least */

/* What is spread: (number, side, key, value). What is sorted: (first, side, value, key), the key only with the record
 * at which it was first seen. */

typedef struct level {
  rl_keys *keys;
  uint64_t *firsts; /* by number of the key */
  size_t firsts_cap;
  uint32_t depth;
  bool full; /* further keys are spread */
  rl_builder *open[PARTS];
  rl_spool *parts[PARTS];
  size_t open_bytes;
} level;

struct rl_grouper {
  const rl_task *task;
  size_t quota;
  level top;
  uint64_t n; /* records so far */
  rl_sorter *sorter;
  rl_builder *grouped;
};

static void level_clear(level *l)
{
  rl_keys_delete(l->keys);
  rl_free(l->firsts);
  for (int i = 0; i < PARTS; i++) {
    rl_builder_delete(l->open[i]);
    rl_spool_unref(l->parts[i]);
  }
}

rl_grouper *rl_grouper_new(const rl_task *task)
{
  rl_grouper *g = RL_NEW(rl_grouper);
  *g = (rl_grouper){.task = task, .quota = task->quota, .grouped = rl_builder_new()};
  g->sorter = rl_sorter_new(task->memory, task->quota / 2, false, 0);
  g->top.keys = rl_keys_new();
  return g;
}

void rl_grouper_delete(rl_grouper *g)
{
  if (!g) return;
  level_clear(&g->top);
  rl_sorter_delete(g->sorter);
  rl_builder_delete(g->grouped);
  rl_free(g);
}

/* Records of known keys -------------------------------------------------------------------------------------------- */

static rl_status sort_on(rl_grouper *g)
{
  rl_chunk *c = rl_builder_finish(g->grouped);
  return c ? rl_sorter_add(g->sorter, c) : RL_OK;
}

/* `key`: nil but at its first record. */
static rl_status put_grouped(rl_grouper *g, uint64_t first, uint32_t side, rl_value value, rl_value key)
{
  const rl_value fields[] = {rl_int((int64_t)first), rl_int(side), value, key};
  rl_status st = rl_builder_add(g->grouped, fields, 4);
  bool much = rl_builder_full(g->grouped) || rl_builder_bytes(g->grouped) >= g->quota / 8;
  return st == RL_OK && much ? sort_on(g) : st;
}

/* Further keys ----------------------------------------------------------------------------------------------------- */

static rl_status write_part(const rl_grouper *g, level *l, int i)
{
  rl_chunk *c = rl_builder_finish(l->open[i]);
  if (!c) return RL_OK;
  if (!l->parts[i]) l->parts[i] = rl_spool_new(g->task->memory, RL_LEVEL_WORK);
  return rl_spool_add(l->parts[i], c);
}

static rl_status write_parts(const rl_grouper *g, level *l)
{
  rl_status st = RL_OK;
  for (int i = 0; i < PARTS && st == RL_OK; i++)
    if (l->open[i]) st = write_part(g, l, i);
  l->open_bytes = 0;
  return st;
}

static rl_status spread(const rl_grouper *g, level *l, uint64_t number, rl_value key, uint32_t side, rl_value value)
{
  int i = (int)(rl_key_hash(key) >> (FIRST_BIT + PART_BITS * l->depth)) & (PARTS - 1);
  if (!l->open[i]) l->open[i] = rl_builder_new();
  size_t before = rl_builder_bytes(l->open[i]);
  rl_status st = rl_builder_add(l->open[i], (rl_value[]){rl_int((int64_t)number), rl_int(side), key, value}, 4);
  l->open_bytes += rl_builder_bytes(l->open[i]) - before;
  if (st == RL_OK && rl_builder_full(l->open[i])) {
    l->open_bytes -= rl_builder_bytes(l->open[i]);
    st = write_part(g, l, i);
  }
  return st == RL_OK && l->open_bytes >= g->quota / 8 + KEYS_LEAST ? write_parts(g, l) : st;
}

static void note_first(level *l, uint32_t n, uint64_t number)
{
  l->firsts = rl_grow(l->firsts, &l->firsts_cap, (size_t)n + 1, sizeof *l->firsts);
  l->firsts[n] = number;
}

static bool is_full(const rl_grouper *g, const level *l)
{
  size_t most = g->quota / 4 > KEYS_LEAST ? g->quota / 4 : KEYS_LEAST;
  return l->depth < DEPTH_MOST && rl_keys_bytes(l->keys) + l->firsts_cap * sizeof *l->firsts > most;
}

static rl_status take(rl_grouper *g, level *l, uint64_t number, rl_value key, uint32_t side, rl_value value)
{
  uint32_t n, known = rl_keys_count(l->keys);
  if (l->full) {
    if (!rl_keys_find(l->keys, key, &n)) return spread(g, l, number, key, side, value);
    return put_grouped(g, l->firsts[n], side, value, rl_nil());
  }
  rl_status st = rl_keys_put(l->keys, key, &n);
  if (st != RL_OK) return st;
  if (n < known) return put_grouped(g, l->firsts[n], side, value, rl_nil());
  note_first(l, n, number);
  l->full = is_full(g, l);
  return put_grouped(g, number, side, value, key);
}

rl_status rl_grouper_add(rl_grouper *g, rl_value key, uint32_t side, rl_value value)
{
  return take(g, &g->top, g->n++, key, side, value);
}

/* The end ---------------------------------------------------------------------------------------------------------- */

static rl_status take_part(rl_grouper *g, rl_spool *part, uint32_t depth);

/* Works off what a level has spread. Its keys are not needed any more. */
static rl_status take_parts(rl_grouper *g, level *l) /* NOLINT(misc-no-recursion) */
{
  rl_status st = write_parts(g, l);
  for (int i = 0; i < PARTS; i++) {
    rl_builder_delete(l->open[i]);
    l->open[i] = NULL;
  }
  rl_keys_delete(l->keys);
  l->keys = NULL;
  for (int i = 0; i < PARTS && st == RL_OK; i++) {
    if (!l->parts[i]) continue;
    rl_spool_seal(l->parts[i]);
    st = take_part(g, l->parts[i], l->depth + 1);
    rl_spool_unref(l->parts[i]);
    l->parts[i] = NULL;
  }
  return st;
}

static rl_status take_chunk(rl_grouper *g, level *l, const rl_chunk *c)
{
  rl_status st = RL_OK;
  for (uint32_t row = 0; row < c->n && st == RL_OK; row++) {
    rl_value number = rl_chunk_get(c, 0, row), side = rl_chunk_get(c, 1, row);
    st = take(g, l, (uint64_t)number.i, rl_chunk_get(c, 2, row), (uint32_t)side.i, rl_chunk_get(c, 3, row));
  }
  return st;
}

static rl_status take_part(rl_grouper *g, rl_spool *part, uint32_t depth) /* NOLINT(misc-no-recursion) */
{
  level l = {.keys = rl_keys_new(), .depth = depth};
  rl_pull *in = rl_spool_open(part);
  rl_chunk *c = NULL;
  rl_status st;
  while ((st = rl_pull_next(in, &c)) == RL_OK && c) {
    st = rl_task_check(g->task);
    if (st == RL_OK) st = take_chunk(g, &l, c);
    rl_chunk_unref(c);
    if (st != RL_OK) break;
  }
  rl_pull_close(in);
  if (st == RL_OK) st = take_parts(g, &l);
  level_clear(&l);
  return st;
}

struct rl_groups {
  rl_runs *runs;
  rl_pull *in;
  rl_chunk *chunk; /* NULL: at the end */
  uint32_t row;    /* the next record */
  int64_t first;   /* of the group; -1 before the first one */
  rl_chunk *read;  /* holds what a value points into */
  rl_buf key;
};

static rl_status next_chunk(rl_groups *s)
{
  rl_chunk_unref(s->read);
  s->read = s->chunk;
  s->chunk = NULL;
  s->row = 0;
  return rl_pull_next(s->in, &s->chunk);
}

rl_status rl_grouper_finish(rl_grouper *g, rl_groups **out)
{
  rl_groups *s = RL_NEW(rl_groups);
  s->first = -1;
  rl_status st = take_parts(g, &g->top);
  if (st == RL_OK) st = sort_on(g);
  if (st == RL_OK) st = rl_sorter_finish(g->sorter, &s->runs);
  const rl_merge m = {.runs = &s->runs, .n = 1, .task = g->task};
  if (st == RL_OK) st = rl_merge_open(&m, &s->in);
  if (st == RL_OK) st = next_chunk(s);
  if (st == RL_OK) *out = s;
  else rl_groups_delete(s);
  return st;
}

void rl_groups_delete(rl_groups *s)
{
  if (!s) return;
  rl_pull_close(s->in);
  rl_chunk_unref(s->chunk);
  rl_chunk_unref(s->read);
  rl_runs_delete(s->runs);
  rl_buf_free(&s->key);
  rl_free(s);
}

static int64_t first_of_next(const rl_groups *s) { return rl_chunk_get(s->chunk, 0, s->row).i; }

rl_status rl_groups_value(rl_groups *s, uint32_t *side, rl_value *value, bool *any)
{
  *any = s->chunk && first_of_next(s) == s->first;
  if (!*any) return RL_OK;
  *side = (uint32_t)rl_chunk_get(s->chunk, 1, s->row).i;
  *value = rl_chunk_get(s->chunk, 2, s->row);
  return ++s->row == s->chunk->n ? next_chunk(s) : RL_OK;
}

rl_status rl_groups_next(rl_groups *s, rl_value *key, bool *any)
{
  rl_value value;
  uint32_t side;
  rl_status st;
  while ((st = rl_groups_value(s, &side, &value, any)) == RL_OK && *any) {}
  if (st != RL_OK) return st;
  *any = s->chunk != NULL;
  if (!*any) return RL_OK;
  s->first = first_of_next(s);
  *key = rl_chunk_get(s->chunk, 3, s->row);
  if (key->type < RL_T_BYTES) return RL_OK;
  rl_buf_clear(&s->key);
  if (key->s.n > 0) rl_buf_add(&s->key, key->s.p, key->s.n);
  key->s.p = s->key.p;
  return RL_OK;
}
