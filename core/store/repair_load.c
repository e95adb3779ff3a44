/* Which records there are: those of the damaged log, and where it lacks some, those of a backup of the same log. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "store/repair_impl.h"
#include "store/wal_impl.h"

typedef struct loader {
  rl_salvage *s;
  bool backup;
  uint64_t last; /* sequence of the last record met, and of the last that is known to have been there */
  uint64_t expected;
} loader;

uint32_t rl_salvage_name(const rl_salvage *s, rl_slice uid)
{
  uint32_t i = 0;
  while (i < s->nnames && (strlen(s->names[i]) != uid.n || memcmp(s->names[i], uid.p, uid.n) != 0)) i++;
  return i;
}

static uint32_t name_of(rl_salvage *s, rl_slice uid)
{
  uint32_t known = rl_salvage_name(s, uid);
  if (known < s->nnames) return known;
  s->names = rl_grow(s->names, &s->names_cap, s->nnames + 1, sizeof *s->names);
  s->names[s->nnames] = rl_strndup(uid.p, uid.n);
  return (uint32_t)s->nnames++;
}

static void note_grid(rl_salvage *s, int64_t zero, int64_t batch_ms, uint32_t script)
{
  s->zero = zero;
  s->batch_ms = batch_ms;
  s->script = script;
}

/* Of the newest mark that has any. */
static void note_kept(rl_salvage *s, rl_slice kept)
{
  if (kept.n == 0) return;
  rl_buf_clear(&s->kept);
  rl_buf_add(&s->kept, kept.p, kept.n);
}

/* They were checked: nothing fails. */
static void describe_batch(rl_salvage *s, const rl_wal_record *r, rl_salvage_item *item)
{
  rl_journal_begin begin;
  rl_journal_state state;
  rl_journal_end end;
  rl_journal_output output;
  rl_journal_complete complete;
  if (r->at.type == RL_JOURNAL_BEGIN && rl_journal_get_begin(r->p, r->at.length, &begin) == RL_OK) {
    item->time = begin.time;
    note_grid(s, begin.zero, begin.batch_ms, begin.script);
  } else if (r->at.type == RL_JOURNAL_STATE && rl_journal_get_state(r->p, r->at.length, &state) == RL_OK) {
    item->time = state.time;
    item->name = name_of(s, state.uid);
    item->partition = state.partition;
    item->partitions = state.partitions;
  } else if (r->at.type == RL_JOURNAL_END && rl_journal_get_end(r->p, r->at.length, &end) == RL_OK) {
    item->time = end.time;
    note_kept(s, end.kept);
  } else if (r->at.type == RL_JOURNAL_OUTPUT && rl_journal_get_output(r->p, r->at.length, &output) == RL_OK) {
    item->time = output.time;
    note_kept(s, output.kept);
  } else if (r->at.type == RL_JOURNAL_COMPLETE && rl_journal_get_complete(r->p, r->at.length, &complete) == RL_OK) {
    item->time = complete.time;
    item->discarded = complete.discarded;
    note_kept(s, complete.kept);
  }
}

static void describe(rl_salvage *s, const rl_wal_record *r, rl_salvage_item *item)
{
  rl_journal_start start;
  rl_journal_block block;
  if (r->at.type == RL_JOURNAL_START && rl_journal_get_start(r->p, r->at.length, &start) == RL_OK) {
    note_grid(s, start.zero, start.batch_ms, start.script);
  } else if (r->at.type == RL_JOURNAL_BLOCK && rl_journal_get_block(r->p, r->at.length, &block) == RL_OK) {
    item->name = name_of(s, block.uid);
    item->records = block.records;
    item->position = block.position;
  } else {
    describe_batch(s, r, item);
  }
}

static rl_status visit(void *user, const rl_wal_record *r)
{
  loader *l = user;
  rl_salvage *s = l->s;
  if (r->at.seq <= l->last || rl_inspect_check_record(r) != RL_OK) return RL_OK;
  l->last = r->at.seq;
  rl_salvage_item item = {.seq = r->at.seq, .offset = r->at.offset, .segment = r->at.segment, .time = RL_NO_TIME,
                          .length = r->at.length, .type = r->at.type, .backup = l->backup};
  describe(s, r, &item);
  s->items = rl_grow(s->items, &s->cap, s->nitems + 1, sizeof *s->items);
  s->items[s->nitems++] = item;
  return RL_OK;
}

static void damaged(void *user, const rl_wal_damage *d)
{
  loader *l = user;
  if (!d->torn && d->seq > l->expected) l->expected = d->seq;
}

static rl_status load_log(rl_salvage *s, const char *path, bool backup, bool *tail)
{
  loader l = {.s = s, .backup = backup};
  rl_status st = rl_wal_verify_by(path, backup ? NULL : s->backup_log, &(rl_wal_verifier){visit, damaged, &l});
  *tail = l.expected > l.last;
  return st == RL_EDATA ? RL_OK : st;
}

/* The backup ------------------------------------------------------------------------------------------------------- */

/* With the headers that the other log has where its own are lost. */
static bool opens(rl_wal_cursor *c, const char *log, const char *other, uint64_t first)
{
  rl_status st = rl_wal_cursor_open(c, log, first);
  if (st == RL_EDATA && c->header == 0) st = rl_wal_cursor_adopt(c, other);
  rl_error_drop();
  return st == RL_OK || (st == RL_EDATA && c->header > 0);
}

rl_status rl_salvage_is_same_log(const char *log, const char *backup, bool *same)
{
  rl_wal_firsts firsts = {0};
  rl_status st = rl_wal_list(backup, false, &firsts);
  *same = false;
  for (size_t i = 0; i < firsts.n && st == RL_OK && !*same; i++) {
    rl_wal_cursor a = {.fd = -1}, b = {.fd = -1};
    *same = opens(&a, log, backup, firsts.v[i]) && opens(&b, backup, log, firsts.v[i]) && a.id == b.id;
    rl_wal_cursor_close(&a);
    rl_wal_cursor_close(&b);
  }
  rl_free(firsts.v);
  return st;
}

static int by_seq(const void *a, const void *b)
{
  const rl_salvage_item *x = a, *y = b;
  if (x->seq != y->seq) return x->seq < y->seq ? -1 : 1;
  return x->backup - y->backup;
}

/* One of each sequence, the log's own first. */
static void unite(rl_salvage *s)
{
  size_t n = 0;
  if (s->nitems > 0) qsort(s->items, s->nitems, sizeof *s->items, by_seq);
  for (size_t i = 0; i < s->nitems; i++) {
    if (n == 0 || s->items[n - 1].seq != s->items[i].seq) s->items[n++] = s->items[i];
  }
  s->nitems = n;
}

static void add_gap(rl_salvage *s, size_t at)
{
  s->gaps = rl_grow(s->gaps, &s->gaps_cap, s->ngaps + 1, sizeof *s->gaps);
  s->gaps[s->ngaps++] = (rl_salvage_gap){at, RL_NO_TIME, INT64_MAX};
}

static rl_status find_first(rl_salvage *s, const char *path)
{
  rl_wal_firsts firsts = {0};
  rl_status st = rl_wal_list(path, false, &firsts);
  if (st == RL_OK && firsts.n > 0 && (s->first == 0 || firsts.v[0] < s->first)) s->first = firsts.v[0];
  rl_free(firsts.v);
  return st;
}

static void find_gaps(rl_salvage *s, bool tail)
{
  if (s->nitems > 0 && s->items[0].seq != s->first) add_gap(s, 0);
  for (size_t i = 1; i < s->nitems; i++) {
    if (s->items[i].seq != s->items[i - 1].seq + 1) add_gap(s, i);
  }
  if (tail) add_gap(s, s->nitems);
}

rl_status rl_salvage_load(rl_salvage *s)
{
  bool tail, ignored, same = false;
  uint64_t last = 0;
  rl_status st = s->backup_log ? rl_salvage_is_same_log(s->log, s->backup_log, &same) : RL_OK;
  if (st == RL_OK && same) st = load_log(s, s->backup_log, true, &ignored);
  if (st == RL_OK) st = load_log(s, s->log, false, &tail);
  if (st == RL_OK && s->backup_log && !same && s->nitems == 0) { /* better than nothing */
    st = load_log(s, s->backup_log, true, &ignored);
  } else if (!same) {
    rl_free(s->backup_log);
    s->backup_log = NULL;
  }
  if (st == RL_OK) st = find_first(s, s->log);
  if (st == RL_OK && s->backup_log) st = find_first(s, s->backup_log);
  if (st != RL_OK) return st;
  for (size_t i = 0; i < s->nitems; i++) {
    if (!s->items[i].backup && s->items[i].seq > last) last = s->items[i].seq;
  }
  unite(s);
  find_gaps(s, tail && (s->nitems == 0 || s->items[s->nitems - 1].seq == last || last == 0));
  return RL_OK;
}

const rl_salvage_item *rl_salvage_find(const rl_salvage *s, uint64_t seq)
{
  size_t from = 0, to = s->nitems;
  while (from < to) {
    size_t mid = from + (to - from) / 2;
    if (s->items[mid].seq < seq) from = mid + 1;
    else to = mid;
  }
  return from < s->nitems && s->items[from].seq == seq ? &s->items[from] : NULL;
}

rl_status rl_salvage_read(const rl_salvage *s, const rl_salvage_item *item, rl_buf *out)
{
  char *path = rl_wal_path(item->backup ? s->backup_log : s->log, item->segment);
  size_t got = 0;
  int fd;
  rl_status st = rl_file_open(path, O_RDONLY, &fd);
  if (st == RL_OK) {
    rl_buf_reserve(out, item->length);
    st = rl_file_pread(fd, path, out->p + out->n, item->length, (int64_t)(item->offset + RL_WAL_FRAME_BYTES), &got);
    rl_fs_get()->close(fd);
  }
  if (st == RL_OK && got < item->length) st = rl_wal_damaged(path, item->offset, "it became shorter meanwhile");
  if (st == RL_OK) out->n += got;
  rl_free(path);
  return st;
}

void rl_salvage_free(rl_salvage *s)
{
  for (size_t i = 0; i < s->nnames; i++) rl_free(s->names[i]);
  for (size_t i = 0; i < s->nversions; i++) rl_free(s->versions[i].uid);
  rl_free(s->names);
  rl_free(s->versions);
  rl_free(s->items);
  rl_free(s->gaps);
  rl_free(s->batches);
  rl_free(s->reached);
  rl_free(s->log);
  rl_free(s->backup_log);
  rl_buf_free(&s->kept);
}
