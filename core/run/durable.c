/* Writing the log of a durable job. */
#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "run/budget.h"
#include "run/durable_impl.h"
#include "store/checkpoint_dir.h"

uint64_t rl_durable_floor(rl_durable *d)
{
  rl_wal_stats stats;
  rl_wal_stats_read(d->wal, &stats);
  return atomic_exchange(&d->floor, stats.next);
}

static rl_slice slice(const char *text) { return (rl_slice){text, strlen(text)}; }

/* The log cannot be written any more: what is begun ends without its marks, and is run again at the next start. */
static void log_failed(rl_streaming *s)
{
  if (!s->failed && !s->stopping) rl_streaming_report(s, RL_EIO);
  else rl_error_drop();
  s->failed = s->stop_asked = true;
  s->stop_graceful = false;
  rl_driver_wake(rl_context_driver(s->c));
}

/* For the driver: never waits. Marks are small, and there are few. */
static void append_mark(rl_streaming *s, rl_journal_type type, rl_buf *record, rl_wal_done *done, void *user)
{
  const rl_wal_part part = {.p = record->p, .n = record->n};
  if (rl_wal_append_now(s->durable->wal, (uint16_t)type, &part, 1, done, user, NULL) != RL_OK) {
    rl_free(user);
    log_failed(s);
  }
  rl_buf_free(record);
}

/* BEGIN ------------------------------------------------------------------------------------------------------------ */

static int64_t records_of(const rl_batch *b, int32_t stream)
{
  for (uint32_t i = 0; i < b->ninputs; i++)
    if (b->inputs[i].stream == stream) return b->inputs[i].records;
  return -1;
}

/* A receiver's blocks by their places in the log; without a log of its own, how many records there were. */
static void put_receiver(rl_receiver *r, const rl_blocks *blocks, rl_journal_input *in, rl_buf *out)
{
  size_t n = blocks ? blocks->n : 0;
  uint64_t *seqs = rl_calloc(n + 1, sizeof *seqs);
  uint64_t records = 0;
  for (size_t i = 0; i < n; i++) {
    seqs[i] = blocks->v[i]->seq;
    records += blocks->v[i]->records;
  }
  if (rl_receiver_is_logged(r)) {
    in->kind = RL_JOURNAL_BLOCKS;
    in->blocks = seqs;
    in->nblocks = n;
    in->position = rl_receiver_begin(r, records);
  }
  rl_journal_put_input(out, in);
  rl_free(seqs);
}

static rl_status put_input(rl_dstream *d, const rl_batch *b, rl_buf *out)
{
  rl_journal_input in = {.uid = slice(rl_dstream_uid(d)), .records = records_of(b, d->input->id)};
  rl_receiver *r = rl_input_receiver(d->input);
  if (r) {
    put_receiver(r, rl_receiver_blocks(d->s, r, b->time), &in, out);
    return RL_OK;
  }
  rl_buf bytes = {0};
  rl_status st = RL_OK;
  if (d->input->cls->save) { /* also of one that could not be read: its place is where it was */
    st = d->input->cls->save(d->input, b->time, &bytes);
    in.kind = RL_JOURNAL_SAVED;
    in.bytes = (rl_slice){bytes.p, bytes.n};
  }
  if (st == RL_OK) rl_journal_put_input(out, &in);
  rl_buf_free(&bytes);
  return st;
}

static uint64_t count_inputs(const rl_streaming *s)
{
  uint64_t n = s->durable->ncarried;
  for (const rl_dstream *d = s->nodes; d; d = d->next) n += d->kind == RL_NODE_INPUT && d->reached;
  return n;
}

/* The log's thread. */
static void on_begun(void *user, rl_status st, const rl_wal_at *at)
{
  (void)at;
  rl_durable *d = user;
  if (st != RL_OK) rl_error_take(&d->error);
  rl_driver_post(rl_context_driver(d->s->c), &d->begun);
}

rl_status rl_durable_begin(rl_streaming *s, rl_batch *b)
{
  rl_durable *d = s->durable;
  rl_buf record = {0};
  const rl_journal_begin head = {
    .time = b->time, .zero = s->zero, .batch_ms = s->batch_ms, .script = 1, .ninputs = count_inputs(s)};
  rl_journal_put_begin(&record, &head);
  rl_status st = RL_OK;
  for (rl_dstream *n = s->nodes; n && !st; n = n->next)
    if (n->kind == RL_NODE_INPUT && n->reached) st = put_input(n, b, &record);
  for (size_t i = 0; i < d->ncarried; i++) rl_journal_put_input(&record, &d->carried[i]);
  const rl_wal_part part = {.p = record.p, .n = record.n};
  if (!st) st = rl_wal_append_now(d->wal, RL_JOURNAL_BEGIN, &part, 1, on_begun, d, NULL);
  if (!st) rl_durable_retain(d, b->time, b->floor);
  rl_buf_free(&record);
  return st;
}

/* Marks ------------------------------------------------------------------------------------------------------------ */

/* What the embedding language keeps goes with every mark: what is marked is not done again, and so not counted again.
 * Nothing when it is what the mark before had, unless it is `always` wanted. */
static rl_slice save_kept(rl_streaming *s, int64_t time, bool always, rl_buf *kept)
{
  if (!s->keeper.save) return (rl_slice){0};
  s->keeper.save(s->keeper.user, time, kept);
  uint64_t hash = rl_hash_bytes(kept->p, kept->n, RL_HASH_SEED);
  bool same = hash == s->durable->kept;
  s->durable->kept = hash;
  return same && !always ? (rl_slice){0} : (rl_slice){kept->p, kept->n};
}

void rl_durable_end(rl_streaming *s, const rl_batch *b)
{
  rl_buf record = {0}, kept = {0};
  rl_journal_put_end(&record, &(rl_journal_end){.time = b->time, .kept = save_kept(s, b->time, false, &kept)});
  rl_buf_free(&kept);
  append_mark(s, RL_JOURNAL_END, &record, NULL, NULL);
}

void rl_durable_output(rl_streaming *s, const rl_output_run *r)
{
  rl_buf record = {0}, kept = {0};
  char *key = rl_output_key(r->output);
  const rl_journal_output mark = {
    .time = r->batch->time, .key = slice(key), .kept = save_kept(s, r->batch->time, false, &kept)};
  rl_journal_put_output(&record, &mark);
  rl_free(key);
  rl_buf_free(&kept);
  append_mark(s, RL_JOURNAL_OUTPUT, &record, NULL, NULL);
}

typedef struct settled {
  rl_durable *durable;
  struct rl_state *store;
  int64_t time;
} settled;

/* The log's thread: it is closed before the store. */
static void on_complete(void *user, rl_status st, const rl_wal_at *at)
{
  (void)at;
  settled *d = user;
  if (st == RL_OK) {
    rl_state_end(d->store, d->time);
    atomic_store(&d->durable->settled, d->time);
  }
  rl_free(d);
}

void rl_durable_complete(rl_streaming *s, const rl_batch *b, int64_t time)
{
  rl_buf record = {0}, kept = {0};
  const rl_journal_complete r = {
    .time = b->time, .discarded = b->discarded, .kept = save_kept(s, b->time, true, &kept)};
  rl_journal_put_complete(&record, &r);
  rl_buf_free(&kept);
  settled *d = RL_NEW(settled);
  *d = (settled){s->durable, s->store, time};
  append_mark(s, RL_JOURNAL_COMPLETE, &record, on_complete, d);
}

/* STATE ------------------------------------------------------------------------------------------------------------ */

static rl_status put_chunks(rl_spool *emitted, rl_buf *out)
{
  rl_pull *pull = rl_spool_open(emitted);
  rl_chunk *c = NULL;
  rl_status st;
  while ((st = rl_pull_next(pull, &c)) == RL_OK && c) {
    rl_chunk_encode(c, out);
    rl_chunk_unref(c);
  }
  rl_pull_close(pull);
  return st;
}

/* A worker, without the scheduler's lock; it may wait for room in the log. A stage that a stop left behind may still
 * come here when the log is closed. */
static rl_status write_state(void *user, rl_state_op *op, int64_t time, uint32_t partition, uint32_t n,
                             const rl_state_update *update, rl_spool *emitted)
{
  rl_log_gate *gate = user;
  rl_buf changes = {0}, record = {0};
  rl_state_update_encode(update, &changes);
  const rl_journal_state head = {.time = time,
                                 .uid = slice(rl_state_uid(op)),
                                 .partition = partition,
                                 .partitions = n,
                                 .timed = rl_state_is_timed(op),
                                 .changes = {changes.p, changes.n},
                                 .chunks = emitted ? rl_spool_chunks(emitted) : 0};
  rl_journal_put_state(&record, &head);
  rl_buf_free(&changes);
  rl_status st = emitted ? put_chunks(emitted, &record) : RL_OK;
  const rl_wal_part part = {.p = record.p, .n = record.n};
  rl_wal *w = st == RL_OK ? rl_log_gate_enter(gate) : NULL;
  if (w) {
    st = rl_wal_append(w, RL_JOURNAL_STATE, &part, 1, NULL);
    rl_log_gate_leave(gate);
    if (st == RL_ELIMIT)
      rl_error_prefix("'%s' changes too much in one partition, use more (rille.default.parallelism): ",
                      rl_state_uid(op));
  } else if (st == RL_OK) {
    st = rl_fail(RL_ECLOSED, "the context was stopped before the state of batch %" PRId64 " ms was made", time);
  }
  rl_buf_free(&record);
  return st;
}

static void ref_gate(void *user) { rl_log_gate_ref(user); }
static void unref_gate(void *user) { rl_log_gate_unref(user); }

const rl_state_log *rl_durable_state_log(rl_streaming *s) { return s->durable ? &s->durable->state_log : NULL; }

/* Cleaning --------------------------------------------------------------------------------------------------------- */

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

void rl_durable_retain(rl_durable *d, int64_t time, uint64_t floor)
{
  d->retained = rl_grow(d->retained, &d->retained_cap, d->nretained + 1, sizeof *d->retained);
  d->retained[d->nretained++] = (rl_retained){time, floor};
}

/* A start that does not find a batch's COMPLETE asks for all that the batch may look at. The newest batch that nobody
 * looks at stays, too: it tells that those behind it are all there are. */
void rl_durable_forget(rl_streaming *s, int64_t settled, int64_t remember)
{
  rl_durable *d = s->durable;
  int64_t unapplied = rl_state_unapplied_time(s->store), known = atomic_load(&d->settled);
  if (known == RL_NO_TIME) return;
  int64_t until = smaller(settled, known) - remember;
  size_t n = 0;
  until -= d->retain_ms;
  while (n + 1 < d->nretained && d->retained[n + 1].time <= until && d->retained[n].time < unapplied) n++;
  if (n == 0) return;
  d->nretained -= n;
  memmove(d->retained, d->retained + n, d->nretained * sizeof *d->retained);
  if (rl_wal_trim(d->wal, d->retained[0].floor) == RL_OK) return;
  rl_error e;
  rl_error_take(&e);
  rl_warn("%s; the log keeps what nobody needs any more", e.message);
  rl_error_clear(&e);
}

/* Opening and closing ---------------------------------------------------------------------------------------------- */

static void on_begun_message(rl_message *m)
{
  rl_durable *d = (rl_durable *)((char *)m - offsetof(rl_durable, begun));
  rl_status st = d->error.code == RL_OK ? RL_OK : rl_error_raise(&d->error);
  rl_batch_begun(d->s, st);
}

#define RECEIVER "rille.streaming.receiver.writeAheadLog."
#define DRIVER "rille.streaming.driver.writeAheadLog."
#define SEGMENT_BYTES (UINT64_C(16) << 20) /* a start reads the log from a segment's beginning: up to this much in vain */

/* A start makes the log before the image: a log that is missing beside one is lost, and a new one does not go back to
 * the job's beginning. */
static bool has_image(const char *dir)
{
  char *data = rl_path_join(dir, "state/data.mdb");
  uint64_t size;
  bool has = rl_file_size(data, &size) == RL_OK;
  if (!has) rl_error_drop();
  rl_free(data);
  return has;
}

static rl_status open_log(rl_durable *d, const rl_conf *conf, const char *dir)
{
  char *path = rl_path_join(dir, "log");
  const rl_wal_spec spec = {
    .dir = path,
    .first = has_image(dir) ? 2 : 1,
    .replay = rl_found_visit,
    .user = &d->found,
    .segment_bytes = SEGMENT_BYTES,
    .roll_ms = (smaller(rl_conf_us(conf, RECEIVER "rollingInterval"), rl_conf_us(conf, DRIVER "rollingInterval")) +
                999) / 1000, /* up: 0 is never */
    .max_failures =
      (uint32_t)larger(rl_conf_int(conf, RECEIVER "maxFailures"), rl_conf_int(conf, DRIVER "maxFailures")),
    .close_after_write =
      rl_conf_bool(conf, RECEIVER "closeFileAfterWrite") || rl_conf_bool(conf, DRIVER "closeFileAfterWrite"),
    .accept_missing = rl_conf_bool(conf, "rille.checkpoint.allowDropped"),
  };
  rl_status st = rl_wal_open(&spec, &d->wal);
  rl_free(path);
  return st;
}

/* Every job has an image from its first start on. The log makes it anew, if it has all that was in it. */
static rl_status check_missing_state(const rl_streaming *s, const char *path)
{
  const rl_found *f = &s->durable->found;
  const char *drop = "rille.checkpoint.allowDropped";
  uint64_t size;
  char *data = rl_path_join(path, "data.mdb");
  rl_status st = f->started ? rl_file_size(data, &size) : RL_OK;
  if (st == RL_ENOTFOUND) {
    st = RL_OK;
    if (!f->whole && !rl_conf_bool(rl_context_conf(s->c), drop)) {
      st = rl_fail(RL_EDATA, "%s is missing, and the log does not go back to the job's beginning, so the state cannot "
                   "be made of it: put back a copy made by rille backup (`rille inspect %s --repair --from BACKUP`), or "
                   "go on without what is lost, with %s = true", data, s->checkpoint, drop);
    } else if (!f->whole) {
      rl_warn("%s is missing: state that did not change since batch %" PRId64 " ms is lost (%s)", data,
              f->nbatches ? f->batches[0]->time : f->zero, drop);
    } else if (f->nbatches) {
      rl_warn("%s is missing: the state is made anew of the log, which goes back to the job's beginning", data);
    }
  }
  rl_free(data);
  return st;
}

static rl_status open_state(rl_streaming *s, const rl_conf *conf, const char *dir)
{
  char *path = rl_path_join(dir, "state");
  rl_budget budget;
  rl_status st = check_missing_state(s, path);
  if (st == RL_OK) st = rl_budget_read(conf, &budget);
  const rl_state_spec spec = {.dir = path,
                              .overlay_bytes = (size_t)larger(1, rl_conf_size(conf, "rille.checkpoint.applyLag")),
                              .pinned_bytes = (size_t)(budget.chunks / 4), /* as without a directory */
                              .update_bytes = (size_t)budget.chunks};
  if (st == RL_OK) st = rl_state_open(&spec, &s->store);
  rl_free(path);
  return st;
}

typedef struct starting {
  rl_driver *driver;
  _Atomic bool over;
  rl_error failure; /* none: START is on disk */
} starting;

/* The log's thread. The driver may be gone on when `over` is set. */
static void on_started(void *user, rl_status st, const rl_wal_at *at)
{
  (void)at;
  starting *x = user;
  rl_driver *driver = x->driver;
  if (st != RL_OK) rl_error_take(&x->failure);
  atomic_store(&x->over, true);
  rl_driver_wake(driver);
}

static bool is_over(void *arg) { return atomic_load(&((starting *)arg)->over); }

/* On a full disk it waits for room, which may be for ever: signals are caught meanwhile. */
static rl_status write_start(rl_streaming *s, const rl_wal_part *part)
{
  rl_driver *driver = rl_context_driver(s->c);
  starting x = {.driver = driver, .failure = RL_ERROR_NONE};
  bool stopped = false;
  rl_status st = rl_wal_append_now(s->durable->wal, RL_JOURNAL_START, part, 1, on_started, &x, NULL);
  if (st) return st;
  if (!rl_streaming_serve_or_signal(s, is_over, &x)) {
    stopped = true;
    rl_wal_stop(s->durable->wal);
    rl_driver_serve(driver, is_over, &x, -1);
  }
  if (x.failure.code == RL_OK && !stopped) return RL_OK;
  if (!stopped) return rl_error_raise(&x.failure);
  rl_error_clear(&x.failure);
  return rl_fail(RL_ECANCELLED, "%s: stopped by a signal while the start waited for the disk, which is full or does not "
                 "answer; nothing was begun: make room, then start again", s->checkpoint);
}

/* In every process anew: who reads the log sees when the job was started again. */
static rl_status log_start(rl_streaming *s, const rl_buf *graph)
{
  rl_buf record = {0};
  const rl_journal_start r = {.zero = s->zero,
                              .batch_ms = s->batch_ms,
                              .now = rl_clock_now(s->clock),
                              .script = 1,
                              .app = slice(rl_conf_text(rl_context_conf(s->c), "rille.app.name")),
                              .engine = slice(RILLE_VERSION),
                              .graph = {graph->p, graph->n}};
  rl_journal_put_start(&record, &r);
  const rl_wal_part part = {.p = record.p, .n = record.n};
  rl_status st = write_start(s, &part);
  rl_buf_free(&record);
  return st;
}

static rl_status check_batch(const rl_streaming *s, const rl_found *f)
{
  if (!f->started || f->batch_ms == s->batch_ms) return RL_OK;
  return rl_fail(RL_EINVAL,
                 "the job in %s has batches of %g s, this one of %g s: its batch times and windows would not fit; keep "
                 "the batch duration, or use another directory",
                 s->checkpoint, (double)f->batch_ms / 1000, (double)s->batch_ms / 1000);
}

/* A line is in one block, and a block is one record of the log. */
static rl_status check_record_size(const rl_durable *d, const rl_conf *conf)
{
  const char *most = "rille.streaming.receiver.maxRecordBytes";
  if (!d->logs_receivers || rl_conf_size(conf, most) <= (int64_t)RL_GATHER_MOST_LOGGED) return RL_OK;
  return rl_fail(RL_EINVAL, "%s = %s is more than the log of what is received can take in one piece; it takes %zum",
                 most, rl_conf_text(conf, most), RL_GATHER_MOST_LOGGED >> 20);
}

rl_status rl_durable_open(rl_streaming *s)
{
  const rl_conf *conf = rl_context_conf(s->c);
  rl_durable *d = s->durable = RL_NEW(rl_durable);
  d->s = s;
  d->begun.run = on_begun_message;
  d->other_code = d->found.kept_time = d->found.image = d->found.lost = RL_NO_TIME;
  atomic_init(&d->settled, RL_NO_TIME);
  d->retain_ms = smaller(rl_conf_int(conf, "rille.history.retain"), INT64_MAX / 4 / s->batch_ms) * s->batch_ms;
  const char *enable = RECEIVER "enable";
  d->logs_receivers = !rl_conf_is_set(conf, enable) || rl_conf_bool(conf, enable);
  rl_buf graph = {0};
  bool changed = false;
  rl_status st = check_record_size(d, conf);
  if (!st) st = rl_dir_make_durable(s->checkpoint);
  if (!st) st = rl_checkpoint_claim(s->checkpoint);
  if (!st) st = open_log(d, conf, s->checkpoint);
  if (!st) st = check_batch(s, &d->found);
  if (!st) st = open_state(s, conf, s->checkpoint);
  if (!st) st = rl_durable_compare_graph(s, &graph, &changed);
  if (!st && d->found.started) s->zero = d->found.zero;
  if (!st) st = log_start(s, &graph);
  if (!st && changed) st = rl_durable_record_graph(s, &graph);
  rl_buf_free(&graph);
  if (st) return st;
  d->gate = rl_log_gate_new(d->wal);
  d->state_log = (rl_state_log){write_state, ref_gate, unref_gate, d->gate};
  return RL_OK;
}

bool rl_durable_is_paused(const rl_streaming *s)
{
  return s->durable && s->durable->wal && rl_wal_is_paused(s->durable->wal);
}

void rl_durable_give_up(rl_streaming *s)
{
  if (s->durable && s->durable->wal) rl_wal_stop(s->durable->wal);
}

void rl_durable_close(rl_streaming *s)
{
  rl_durable *d = s->durable;
  if (!d) return;
  if (d->gate) rl_log_gate_close(d->gate);
  if (rl_wal_close(d->wal) != RL_OK) {
    rl_error e;
    rl_error_take(&e);
    if (s->failed || rl_streaming_state(s) != RL_ACTIVE) {
      rl_error_clear(&e);
    } else { /* marks of the last batches are not on disk; the log has said so */
      rl_error_clear(&s->error);
      s->error = e;
      s->has_error = true;
    }
  }
  rl_driver_cancel(rl_context_driver(s->c), &d->begun);
  rl_log_gate_unref(d->gate);
  rl_found_clear(&d->found);
  rl_error_clear(&d->error);
  rl_free(d->carried);
  for (size_t i = 0; i < d->njoined; i++) rl_buf_free(&d->joined[i]);
  rl_free(d->joined);
  rl_free(d->retained);
  rl_free(d);
  s->durable = NULL;
}
