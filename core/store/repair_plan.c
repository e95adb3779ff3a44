/* What becomes of the records that are left.
 *
 * A gap is a place where records are missing. What they were is not known, only between which others they stood. So a
 * batch whose BEGIN is not known to stand behind the gap, or whose END not before it, is doubtful; and so is the one
 * that begins next behind a gap that may have swallowed whole batches, since changes of state build on those before.
 * Of doubtful batches the image has the result or not. If it has, they are over. If not, they and all later ones are
 * stripped of what was made of them, which makes them pending. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "store/repair_impl.h"

#define NONE RL_SALVAGE_NONE

/* Batches ---------------------------------------------------------------------------------------------------------- */

static size_t place_of(const rl_salvage *s, int64_t time)
{
  size_t from = 0, to = s->nbatches;
  while (from < to) {
    size_t mid = from + (to - from) / 2;
    if (s->batches[mid].time < time) from = mid + 1;
    else to = mid;
  }
  return from;
}

static rl_salvage_batch *batch_of(rl_salvage *s, int64_t time)
{
  size_t at = place_of(s, time);
  if (at < s->nbatches && s->batches[at].time == time) return &s->batches[at];
  s->batches = rl_grow(s->batches, &s->batches_cap, s->nbatches + 1, sizeof *s->batches);
  memmove(&s->batches[at + 1], &s->batches[at], (s->nbatches - at) * sizeof *s->batches);
  s->nbatches++;
  s->batches[at] = (rl_salvage_batch){.time = time, .begin = NONE, .end = NONE, .complete = NONE, .last_state = NONE};
  return &s->batches[at];
}

static void take_item(rl_salvage *s, size_t i)
{
  rl_salvage_item *item = &s->items[i];
  if (item->time == RL_NO_TIME) return;
  rl_salvage_batch *b = batch_of(s, item->time);
  switch (item->type) {
  case RL_JOURNAL_BEGIN:
    if (b->begin != NONE) s->items[b->begin].drop = true;
    b->begin = i;
    break;
  case RL_JOURNAL_STATE:
    b->last_state = i;
    s->stateful = true;
    break;
  case RL_JOURNAL_END: b->end = i; break;
  case RL_JOURNAL_COMPLETE:
    b->complete = i;
    b->discarded = item->discarded;
    break;
  default: break;
  }
}

/* Does the gap before items[gap] fall between its BEGIN and its END, as far as those are known? */
static bool is_doubtful(const rl_salvage_batch *b, size_t gap)
{
  return !b->discarded && (b->begin == NONE || b->begin < gap) && (b->end == NONE || b->end >= gap);
}

/* The newest batch that had begun before items[at]: a record of it is there. In a log that goes back to the job's
 * beginning there is none up to time zero. */
static int64_t begun_before(const rl_salvage *s, size_t at)
{
  int64_t time = s->first == 1 && s->batch_ms > 0 ? s->zero : RL_NO_TIME;
  for (size_t i = 0; i < at; i++) {
    if (s->items[i].time > time) time = s->items[i].time;
  }
  return time;
}

static void look_around(const rl_salvage *s, rl_salvage_gap *g)
{
  g->before = begun_before(s, g->at);
  for (size_t i = g->at; i < s->nitems && g->behind == INT64_MAX; i++) {
    if (s->items[i].type == RL_JOURNAL_BEGIN) g->behind = s->items[i].time;
  }
}

/* May whole batches have stood there? */
static bool may_hide(const rl_salvage *s, const rl_salvage_gap *g)
{
  return g->before == RL_NO_TIME || g->behind == INT64_MAX || g->behind - g->before > s->batch_ms;
}

/* The image -------------------------------------------------------------------------------------------------------- */

static bool has_all_parts(const rl_salvage *s, const char *uid, int64_t time)
{
  uint32_t partitions = 0, found = 0;
  bool *parts = NULL;
  for (size_t i = 0; i < s->nitems; i++) {
    const rl_salvage_item *x = &s->items[i];
    if (x->type != RL_JOURNAL_STATE || x->time != time || strcmp(s->names[x->name], uid) != 0) continue;
    if (x->partitions != partitions) {
      rl_free(parts);
      partitions = x->partitions;
      parts = rl_calloc(partitions, sizeof *parts);
      found = 0;
    }
    found += !parts[x->partition];
    parts[x->partition] = true;
  }
  rl_free(parts);
  return partitions > 0 && found == partitions;
}

static rl_status lacks(const rl_salvage_version *v, int64_t time)
{
  return rl_fail(RL_EDATA, "the image has operator '%s' up to batch %" PRId64 " and others further, and the log has "
                 "lost what comes next (batch %" PRId64 ")", v->uid, v->version, time);
}

/* An operator that is behind others in the image needs what the log has of the versions between: without its BEGIN
 * nothing is known of a batch. */
static rl_status check_version(const rl_salvage *s, const rl_salvage_version *v)
{
  for (size_t k = 0; k < s->ngaps; k++) {
    const rl_salvage_gap *g = &s->gaps[k];
    bool overlaps = g->behind > v->version && g->before < s->newest;
    if (overlaps && may_hide(s, g)) return lacks(v, s->newest);
    for (size_t i = 0; i < s->nbatches; i++) {
      const rl_salvage_batch *b = &s->batches[i];
      if (b->time <= v->version || b->time > s->newest || !is_doubtful(b, g->at)) continue;
      if (b->begin == NONE || !has_all_parts(s, v->uid, b->time)) return lacks(v, b->time);
    }
  }
  return RL_OK;
}

static rl_status check_versions(rl_salvage *s)
{
  rl_status st = RL_OK;
  for (size_t i = 0; i < s->nversions && st == RL_OK; i++) {
    if (s->versions[i].version < s->newest) st = check_version(s, &s->versions[i]);
  }
  return st;
}

/* Stripping -------------------------------------------------------------------------------------------------------- */

/* The first batch whose state is doubtful and not in the image; INT64_MAX: none. */
static int64_t first_doubtful(const rl_salvage *s)
{
  int64_t first = INT64_MAX;
  for (size_t k = 0; k < s->ngaps && s->stateful; k++) {
    const rl_salvage_gap *g = &s->gaps[k];
    for (size_t i = 0; i < s->nbatches; i++) {
      const rl_salvage_batch *b = &s->batches[i];
      if (b->time > s->newest && b->time < first && is_doubtful(b, g->at)) first = b->time;
    }
    /* The image has what is hidden up to its newest version. */
    bool has = s->newest != RL_NO_TIME && g->behind != INT64_MAX && g->behind - s->newest <= s->batch_ms;
    if (may_hide(s, g) && !has && g->behind < first) first = g->behind;
  }
  return first;
}

static void strip(rl_salvage *s, int64_t from)
{
  uint64_t again = 0;
  for (size_t i = place_of(s, from); i < s->nbatches; i++) {
    rl_salvage_batch *b = &s->batches[i];
    if (b->discarded || b->time <= s->newest) continue;
    b->stripped = true;
    if (b->begin == NONE) {
      rl_salvage_say(s, "batch %" PRId64 " is lost: blocks that it had go into the next batch, what it read of files "
                     "and the like is left out", b->time);
    } else if (b->end != NONE || b->complete != NONE) {
      if (again++ > 0) continue;
      rl_salvage_say(s, "changes of state are lost from batch %" PRId64 " on: what was made runs again, from its "
                     "inputs", b->time);
    }
  }
  if (again > 0) rl_salvage_say(s, "batches that were made and run again: %" PRIu64, again);
}

static void mark_items(rl_salvage *s)
{
  for (size_t i = 0; i < s->nitems; i++) {
    rl_salvage_item *x = &s->items[i];
    if (x->time == RL_NO_TIME) continue;
    const rl_salvage_batch *b = batch_of(s, x->time);
    bool made = x->type == RL_JOURNAL_STATE || x->type == RL_JOURNAL_END || x->type == RL_JOURNAL_COMPLETE;
    if (b->stripped && (made || b->begin == NONE)) x->drop = true;
  }
}

/* An operator's changes of a batch that are there in part only cannot be used, and nobody needs them: the image has the
 * result. */
static void drop_parts(rl_salvage *s, const rl_salvage_batch *b)
{
  for (size_t i = 0; i < s->nitems; i++) {
    rl_salvage_item *x = &s->items[i];
    if (x->type != RL_JOURNAL_STATE || x->time != b->time || x->drop) continue;
    if (!has_all_parts(s, s->names[x->name], b->time)) x->drop = true;
  }
}

/* Is what was over of this batch known without its BEGIN? */
static bool is_over_without_begin(const rl_salvage_batch *b)
{
  return b->begin == NONE && !b->stripped && !b->discarded && (b->complete != NONE || b->end != NONE);
}

/* The last batch that is known to be over, whether its BEGIN is there or not; RL_NO_TIME: none. */
static int64_t last_over(const rl_salvage *s)
{
  int64_t over = s->newest;
  for (size_t i = 0; i < s->nbatches; i++) {
    if (is_over_without_begin(&s->batches[i]) && s->batches[i].time > over) over = s->batches[i].time;
  }
  return over;
}

static void note_lost(rl_salvage *s, int64_t time)
{
  if (time > s->lost) s->lost = time;
}

/* Batches that are over, and whose BEGIN may have stood where records are missing: a window with them cannot be made
 * again, and one that is kept up could not let them leave. */
static void note_lost_begins(rl_salvage *s)
{
  int64_t over = last_over(s);
  for (size_t k = 0; k < s->ngaps && over != RL_NO_TIME; k++) {
    const rl_salvage_gap *g = &s->gaps[k];
    if (!may_hide(s, g)) continue;
    int64_t last = g->behind != INT64_MAX && g->behind - s->batch_ms < over ? g->behind - s->batch_ms : over;
    if ((g->before == RL_NO_TIME || last > g->before) && last > s->lost_begin) s->lost_begin = last;
  }
  note_lost(s, s->lost_begin);
}

/* What the image proves: a batch that it has was made, and was over, as batches go into it only then. */
static void add_proofs(rl_salvage *s)
{
  int64_t last = RL_NO_TIME;
  for (size_t i = 0; i < s->nbatches; i++) {
    const rl_salvage_batch *b = &s->batches[i];
    if (b->begin == NONE) continue;
    last = b->time;
    if (b->time > s->newest || b->discarded) continue;
    bool whole = true;
    for (size_t k = 0; k < s->ngaps; k++) whole = whole && !is_doubtful(b, s->gaps[k].at);
    if (!whole) drop_parts(s, b);
    bool state = b->last_state != NONE && b->last_state > b->begin && !s->items[b->last_state].drop;
    size_t at = state ? b->last_state : b->begin;
    s->items[at].end = b->end == NONE;
    s->items[b->end != NONE && b->end > at ? b->end : at].complete = b->complete == NONE;
  }
  int64_t over = last_over(s);
  s->ghost = over != RL_NO_TIME && last < over && s->batch_ms > 0 ? over : RL_NO_TIME;
}

/* Blocks ----------------------------------------------------------------------------------------------------------- */

/* Blocks that no BEGIN names belong to the next batch, unless a lost BEGIN named them and its batch is over. That one
 * is behind all that had begun before the block. */
static bool may_be_used_up(const rl_salvage *s, size_t block)
{
  int64_t begun = begun_before(s, block);
  for (size_t k = 0; k < s->ngaps; k++) {
    const rl_salvage_gap *g = &s->gaps[k];
    if (g->at <= block || g->behind <= begun) continue;
    bool imaged = s->newest != RL_NO_TIME && (begun == RL_NO_TIME || s->newest - begun >= s->batch_ms);
    if (imaged && may_hide(s, g)) return true;
    for (size_t i = 0; i < s->nbatches; i++) {
      const rl_salvage_batch *b = &s->batches[i];
      if (b->time > begun && b->time < g->behind && is_over_without_begin(b)) return true;
    }
  }
  return false;
}

typedef struct uses {
  bool *named;        /* of items: a BEGIN names it */
  uint64_t *made;     /* of names: position of the newest batch that is made */
  rl_buf payload;
} uses;

static void use_input(rl_salvage *s, uses *u, const rl_salvage_batch *b, rl_journal_input *in)
{
  uint64_t seq, missing = 0;
  uint32_t name = rl_salvage_name(s, in->uid);
  bool pending = b->stripped || (b->complete == NONE && b->end == NONE && b->time > s->newest);
  if (in->kind == RL_JOURNAL_NONE && b->stripped) {
    rl_salvage_say(s, "batch %" PRId64 ": its input '%.*s' cannot give the same again", b->time, (int)in->uid.n,
                   in->uid.p);
  }
  while (rl_journal_next_block(in, &seq)) {
    const rl_salvage_item *x = rl_salvage_find(s, seq);
    if (x && x->type == RL_JOURNAL_BLOCK) u->named[x - s->items] = true;
    else missing++;
  }
  if (missing > 0 && pending) {
    rl_salvage_say(s, "batch %" PRId64 " runs without %" PRIu64 " of %" PRIu64 " blocks of input '%.*s', which are "
                   "lost", b->time, missing, in->nblocks, (int)in->uid.n, in->uid.p);
  }
  if (missing > 0 && !pending && s->ngaps > 0) note_lost(s, b->time);
  if (in->kind != RL_JOURNAL_BLOCKS || name == s->nnames) return;
  if (!pending && in->position > u->made[name]) u->made[name] = in->position;
  if (in->position > s->reached[name]) s->reached[name] = in->position;
}

static rl_status use_batch(rl_salvage *s, uses *u, const rl_salvage_batch *b)
{
  rl_journal_begin begin;
  rl_journal_input in;
  rl_buf_clear(&u->payload);
  rl_status st = rl_salvage_read(s, &s->items[b->begin], &u->payload);
  if (st == RL_OK) st = rl_journal_get_begin(u->payload.p, u->payload.n, &begin);
  for (uint64_t i = 0; st == RL_OK && i < begin.ninputs; i++) {
    st = rl_journal_next_input(&begin, &in);
    if (st == RL_OK) use_input(s, u, b, &in);
  }
  return st;
}

static void say_lost(const rl_salvage *s, uint32_t name, uint64_t from, uint64_t to, uint64_t made)
{
  if (from < made) from = made;
  if (from >= to) return;
  rl_salvage_say(s, "input '%s': %" PRIu64 " records are lost, %" PRIu64 " to %" PRIu64 " of its stream",
                 s->names[name], to - from, from + 1, to);
}

/* Positions count records: where one block does not begin where the one before ends, others stood between. */
static void say_lost_blocks(rl_salvage *s, const uses *u)
{
  uint64_t *reached = rl_calloc(s->nnames + 1, sizeof *reached);
  bool *met = rl_calloc(s->nnames + 1, sizeof *met);
  for (size_t i = 0; i < s->nnames && s->first == 1; i++) met[i] = true; /* every stream begins with 0 */
  for (size_t i = 0; i < s->nitems; i++) {
    const rl_salvage_item *x = &s->items[i];
    if (x->type != RL_JOURNAL_BLOCK) continue;
    uint64_t from = x->position >= x->records ? x->position - x->records : 0;
    if (met[x->name] && from > reached[x->name]) say_lost(s, x->name, reached[x->name], from, u->made[x->name]);
    met[x->name] = true;
    reached[x->name] = x->position;
  }
  for (uint32_t i = 0; i < s->nnames; i++) {
    if (met[i]) say_lost(s, i, reached[i], s->reached[i], u->made[i]);
    if (reached[i] > s->reached[i]) s->reached[i] = reached[i];
  }
  rl_free(reached);
  rl_free(met);
}

static void drop_used_up(rl_salvage *s, const uses *u)
{
  uint64_t blocks = 0, records = 0;
  for (size_t i = 0; i < s->nitems; i++) {
    rl_salvage_item *x = &s->items[i];
    if (x->type != RL_JOURNAL_BLOCK || u->named[i] || !may_be_used_up(s, i)) continue;
    x->drop = true;
    blocks++;
    records += x->records;
  }
  if (blocks == 0) return;
  rl_salvage_say(s, "%" PRIu64 " blocks (%" PRIu64 " records) are taken for what lost batches had, whose results are "
                 "there", blocks, records);
}

static rl_status settle_blocks(rl_salvage *s)
{
  uses u = {rl_calloc(s->nitems + 1, sizeof(bool)), rl_calloc(s->nnames + 1, sizeof(uint64_t)), {0}};
  s->reached = rl_calloc(s->nnames + 1, sizeof *s->reached);
  rl_status st = RL_OK;
  for (size_t i = 0; i < s->nbatches && st == RL_OK; i++) {
    if (s->batches[i].begin != NONE) st = use_batch(s, &u, &s->batches[i]);
  }
  if (st == RL_OK) {
    drop_used_up(s, &u);
    if (s->ngaps > 0) say_lost_blocks(s, &u);
  }
  rl_free(u.named);
  rl_free(u.made);
  rl_buf_free(&u.payload);
  return st;
}

/* -------------------------------------------------------------------------------------------------------------------*/

static void say_gaps(const rl_salvage *s)
{
  for (size_t k = 0; k < s->ngaps; k++) {
    size_t at = s->gaps[k].at;
    uint64_t from = at > 0 ? s->items[at - 1].seq + 1 : s->first > 0 ? s->first : 1;
    if (at < s->nitems && s->items[at].seq == from) continue; /* of another kind: rl_repair_run has told it */
    if (at == s->nitems) {
      rl_salvage_say(s, "records of the log from %" PRIu64 " on are lost", from);
    } else if (s->items[at].seq == from + 1) {
      rl_salvage_say(s, "record %" PRIu64 " of the log is lost", from);
    } else {
      rl_salvage_say(s, "records %" PRIu64 " to %" PRIu64 " of the log are lost", from, s->items[at].seq - 1);
    }
  }
}

rl_status rl_salvage_plan(rl_salvage *s)
{
  s->newest = RL_NO_TIME;
  s->stateful = s->nversions > 0;
  for (size_t i = 0; i < s->nversions; i++) {
    if (s->versions[i].version > s->newest) s->newest = s->versions[i].version;
  }
  for (size_t i = 0; i < s->nitems; i++) take_item(s, i);
  for (size_t i = 0; i < s->ngaps; i++) look_around(s, &s->gaps[i]);
  rl_status st = check_versions(s);
  if (st != RL_OK) return st;
  say_gaps(s);
  int64_t doubtful = first_doubtful(s);
  if (doubtful != INT64_MAX) strip(s, doubtful);
  mark_items(s);
  add_proofs(s);
  note_lost_begins(s);
  st = settle_blocks(s);
  return st == RL_OK ? rl_salvage_say_places(s) : st;
}
