#include "run/gather.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/text.h"
#include "run/backlog.h"
#include "store/journal.h"
#include "store/kept_block.h"

/* Sizes of text buffers: begun small, doubled while they fill up within a block interval, halved when they last long.
 */
#define BUFFER_MIN ((size_t)64 << 10)
#define BUFFER_MAX ((size_t)4 << 20)
#define CUTS_LONG 16
#define PIECES 16 /* a stored block is logged in pieces of 1/16 of what a block in the log may have */

void rl_blocks_add(rl_blocks *l, rl_block *b)
{
  l->v = rl_grow(l->v, &l->cap, l->n + 1, sizeof *l->v);
  l->v[l->n++] = b;
}

void rl_blocks_clear(rl_blocks *l)
{
  for (size_t i = 0; i < l->n; i++) rl_block_unref(l->v[i]);
  rl_free(l->v);
  *l = (rl_blocks){0};
}

/* The gatherer. */

struct rl_gather {
  rl_backlog *backlog;
  rl_memory *memory;
  size_t max_record, most_logged;
  pthread_mutex_t lock; /* guards all below */
  bool closed;
  rl_level level;
  bool due; /* blocks were cut by a thread that cannot make room for them */
  rl_bytes *data; /* the open text buffer; NULL until the first reserve */
  size_t at, whole, fill;
  size_t size;   /* of the next buffer */
  unsigned cuts; /* by time since the buffer was begun */
  rl_builder *builder; /* the open records: a chunk being built behind finished ones */
  rl_chunks chunks;
  size_t chunk_bytes; /* of `chunks` */
  size_t counted;     /* what the open records have in the budget */
  rl_blocks ready;

  rl_gather_log log;  /* log.position: of what was cut. log.wal NULL: not logged. Set before anything is stored */
  _Atomic uint64_t durable;
  atomic_bool log_failed;
  char *why; /* it could not take a block */
};

rl_gather *rl_gather_new(const rl_gather_spec *spec)
{
  rl_gather *g = RL_NEW(rl_gather);
  if (pthread_mutex_init(&g->lock, NULL) != 0) abort();
  g->backlog = rl_backlog_new(spec->max_buffered, spec->hold, spec->user);
  g->max_record = spec->max_record;
  g->most_logged = spec->most_logged ? spec->most_logged : RL_GATHER_MOST_LOGGED;
  g->memory = spec->memory;
  g->level = spec->level;
  g->size = BUFFER_MIN;
  g->builder = rl_builder_new();
  return g;
}

void rl_gather_set_level(rl_gather *g, rl_level level)
{
  pthread_mutex_lock(&g->lock);
  g->level = level;
  pthread_mutex_unlock(&g->lock);
}

void rl_gather_delete(rl_gather *g)
{
  if (!g) return;
  rl_gather_let_go(g);
  rl_blocks_clear(&g->ready);
  rl_chunks_clear(&g->chunks);
  rl_builder_delete(g->builder);
  rl_bytes_unref(g->data);
  rl_backlog_unref(g->backlog);
  rl_free((char *)g->log.uid);
  rl_free(g->why);
  pthread_mutex_destroy(&g->lock);
  rl_free(g);
}

/* All with the lock held, up to the calls of the header. */

static rl_status check_open(const rl_gather *g)
{
  if (atomic_load(&g->log_failed))
    return rl_fail(RL_EIO, "what was received cannot be logged: %s", g->why ? g->why : "the log has failed");
  return g->closed ? rl_fail(RL_ECANCELLED, "the receiver was stopped") : RL_OK;
}

static rl_block_owner *new_owner(rl_gather *g)
{
  atomic_fetch_add(&g->backlog->refs, 1);
  return &g->backlog->owner;
}

/* What the log's thread says of one block. */
typedef struct logged {
  rl_gather *g;
  uint64_t position;
} logged;

static void tell_logged(void *user, rl_status st, const rl_wal_at *at)
{
  (void)at;
  logged *l = user;
  rl_gather *g = l->g;
  pthread_mutex_lock(&g->backlog->gate);
  if (st == RL_OK) atomic_store(&g->durable, l->position);
  else atomic_store(&g->log_failed, true);
  pthread_cond_broadcast(&g->backlog->open);
  bool told = st == RL_OK && g->log.durable && !g->backlog->let_go;
  if (told) g->log.durable(g->log.user, l->position);
  pthread_mutex_unlock(&g->backlog->gate);
  rl_free(l);
}

/* Records go into the log as chunks; text as it lies in the buffer, which the log holds until it is written. A failure
 * is that of the log: no batch begins any more, and what stands here is told to stop. */
static bool log_block(rl_gather *g, rl_block *block)
{
  rl_buf head = {0}, records = {0};
  uint64_t position = g->log.position + block->records;
  const rl_journal_block j = {.uid = {g->log.uid, strlen(g->log.uid)},
                              .records = block->records,
                              .position = position,
                              .text = block->data != NULL};
  rl_journal_put_block(&head, &j);
  for (size_t i = 0; i < block->chunks.n; i++) rl_chunk_encode(block->chunks.v[i], &records);
  rl_wal_part parts[2] = {{.p = head.p, .n = head.n}, {.p = records.p, .n = records.n}};
  if (block->data) parts[1] = (rl_wal_part){block->data, block->data->data + block->at, block->bytes};
  logged *l = RL_NEW(logged);
  *l = (logged){g, position};
  bool logged = rl_wal_append_now(g->log.wal, RL_JOURNAL_BLOCK, parts, 2, tell_logged, l, &block->seq) == RL_OK;
  if (logged) {
    g->log.position = position;
  } else {
    if (!g->why) g->why = rl_strdup(rl_error_message());
    rl_error_drop();
    atomic_store(&g->log_failed, true);
    rl_free(l);
  }
  rl_buf_free(&head);
  rl_buf_free(&records);
  return logged;
}

/* What is not logged is in no batch: it would not be there again. */
static void add_ready(rl_gather *g, rl_block *block)
{
  if (g->log.wal && !log_block(g, block)) {
    rl_block_unref(block);
    return;
  }
  if (g->memory) rl_block_keep(block, g->memory, g->level);
  rl_blocks_add(&g->ready, block);
}

/* On the source's threads, without the lock: whoever brings more makes room for it. */
void rl_gather_make_room(rl_gather *g)
{
  if (g->memory) rl_blocks_make_room(g->memory);
}

size_t rl_gather_used(const rl_gather *g) { return atomic_load(&g->backlog->used); }

static void move_whole(rl_gather *g, size_t whole)
{
  atomic_fetch_add(&g->backlog->used, whole - g->whole);
  g->whole = whole;
}

static void cut_text(rl_gather *g)
{
  if (g->whole == g->at) return;
  add_ready(g, rl_block_text(g->data, g->at, g->whole, new_owner(g)));
  g->at = g->whole;
}

static void cut_records(rl_gather *g)
{
  rl_chunk *last = rl_builder_finish(g->builder);
  if (last) rl_chunks_add(&g->chunks, last);
  if (g->chunks.n == 0) return;
  rl_block *block = rl_block_chunks(&g->chunks, new_owner(g));
  atomic_fetch_add(&g->backlog->used, block->bytes - g->counted); /* may be negative: sizes wrap round */
  g->counted = g->chunk_bytes = 0;
  add_ready(g, block);
}

static rl_status next_buffer(rl_gather *g, size_t least)
{
  size_t rest = g->fill - g->whole;
  if (g->data && g->cuts <= 1 && g->size < BUFFER_MAX) g->size *= 2;
  if (g->cuts > CUTS_LONG && g->size > BUFFER_MIN) g->size /= 2;
  size_t size = 2 * rest + least;
  rl_bytes *next = rl_bytes_new(size > g->size ? size : g->size);
  if (!next) return RL_ENOMEM;
  cut_text(g);
  if (rest > 0) memcpy(next->data, g->data->data + g->whole, rest);
  rl_bytes_unref(g->data);
  g->data = next;
  g->at = g->whole = 0;
  g->fill = rest;
  g->cuts = 0;
  return RL_OK;
}

rl_status rl_gather_reserve(rl_gather *g, size_t least, char **p, size_t *room)
{
  pthread_mutex_lock(&g->lock);
  rl_status st = check_open(g);
  if (st == RL_OK && (!g->data || g->data->cap - g->fill < least)) st = next_buffer(g, least);
  if (st == RL_OK) {
    *p = g->data->data + g->fill;
    *room = g->data->cap - g->fill;
  }
  pthread_mutex_unlock(&g->lock);
  return st;
}

/* How many bytes can be looked at before a line that is too long must have shown: one more than a record may have, and
 * behind a \r there the byte that tells what it is. */
static size_t next_step(const rl_gather *g)
{
  size_t partial = g->fill - g->whole;
  return partial > g->max_record ? 1 : g->max_record + 1 - partial;
}

/* The partial line holds no line end, except that its last byte may be a \r; so the search begins there. */
static void take_in(rl_gather *g, size_t n)
{
  size_t from = g->fill > g->whole ? g->fill - 1 : g->fill;
  g->fill += n;
  size_t whole = rl_text_complete(g->data->data + from, g->fill - from, false);
  if (whole > 0) move_whole(g, from + whole);
}

static bool cut_long_line(rl_gather *g)
{
  if (g->fill - g->whole <= g->max_record || g->data->data[g->fill - 1] == '\r') return false;
  move_whole(g, g->whole + g->max_record);
  cut_text(g);
  return true;
}

rl_status rl_gather_commit_only(rl_gather *g, size_t n, bool *cut_line)
{
  *cut_line = false;
  pthread_mutex_lock(&g->lock);
  rl_status st = check_open(g);
  while (st == RL_OK && n > 0) {
    size_t step = next_step(g);
    if (step > n) step = n;
    take_in(g, step);
    n -= step;
    if (cut_long_line(g)) *cut_line = true;
    if (g->whole - g->at >= RL_BLOCK_BYTES) cut_text(g);
  }
  pthread_mutex_unlock(&g->lock);
  rl_backlog_changed(g->backlog);
  return st;
}

rl_status rl_gather_commit(rl_gather *g, size_t n, bool *cut_line)
{
  rl_status st = rl_gather_commit_only(g, n, cut_line);
  rl_gather_make_room(g);
  return st;
}

/* What is left becomes a line. It is cut off at once, so that what the next connection brings is not joined to it. */
static void end_line(rl_gather *g)
{
  if (g->fill == g->whole) return;
  move_whole(g, g->fill);
  cut_text(g);
}

void rl_gather_end_text(rl_gather *g)
{
  pthread_mutex_lock(&g->lock);
  end_line(g);
  pthread_mutex_unlock(&g->lock);
  rl_backlog_changed(g->backlog);
}

static rl_status too_large(const rl_gather *g, size_t bytes)
{
  return rl_fail(RL_ELIMIT, "a record of %zu bytes is too large for the log of what was received, which takes %zu; store "
                 "it in parts, or without that log (rille.streaming.receiver.writeAheadLog.enable = false)", bytes,
                 g->most_logged);
}

static size_t record_bytes(const rl_value *fields, uint32_t n)
{
  size_t bytes = 0;
  for (uint32_t i = 0; i < n; i++) bytes += fields[i].type >= RL_T_BYTES ? fields[i].s.n : sizeof(int64_t);
  return bytes;
}

/* A large record is a block of its own, so that what is open never gets too large. */
static rl_status make_way(rl_gather *g, const rl_value *fields, uint32_t n)
{
  size_t bytes = g->log.wal ? record_bytes(fields, n) : 0;
  if (bytes > g->most_logged) return too_large(g, bytes);
  if (bytes > g->most_logged / PIECES) cut_records(g);
  return RL_OK;
}

static rl_status add_record(rl_gather *g, const rl_value *fields, uint32_t n)
{
  rl_status st = make_way(g, fields, n);
  if (st == RL_OK) st = rl_builder_add(g->builder, fields, n);
  if (st != RL_OK) return st;
  if (rl_builder_full(g->builder)) {
    rl_chunk *full = rl_builder_finish(g->builder);
    g->chunk_bytes += full->bytes;
    rl_chunks_add(&g->chunks, full);
  }
  size_t bytes = g->chunk_bytes + rl_builder_bytes(g->builder);
  atomic_fetch_add(&g->backlog->used, bytes - g->counted);
  g->counted = bytes;
  if (bytes >= RL_BLOCK_BYTES) cut_records(g);
  return RL_OK;
}

rl_status rl_gather_store(rl_gather *g, const rl_value *fields, uint32_t n)
{
  rl_status st = rl_backlog_wait(g->backlog);
  if (st != RL_OK) return st;
  pthread_mutex_lock(&g->lock);
  st = check_open(g);
  size_t before = g->ready.n;
  if (st == RL_OK) st = add_record(g, fields, n);
  bool cut = g->due || g->ready.n > before;
  g->due = false;
  pthread_mutex_unlock(&g->lock);
  rl_backlog_changed(g->backlog);
  if (cut) rl_gather_make_room(g);
  return st;
}

static void add_piece(rl_gather *g, rl_chunks *chunks)
{
  rl_block *block = rl_block_chunks(chunks, new_owner(g));
  atomic_fetch_add(&g->backlog->used, block->bytes);
  add_ready(g, block);
}

/* What is open is cut first, so that blocks stand in the order in which they were stored. */
static void add_block(rl_gather *g, rl_chunks *chunks)
{
  size_t most = g->log.wal ? g->most_logged / PIECES : SIZE_MAX, bytes = 0;
  rl_chunks piece = {0};
  cut_text(g);
  cut_records(g);
  for (size_t i = 0; i < chunks->n; i++) {
    if (piece.n > 0 && chunks->v[i]->bytes > most - bytes) {
      add_piece(g, &piece);
      bytes = 0;
    }
    rl_chunks_add(&piece, rl_chunk_ref(chunks->v[i]));
    bytes = chunks->v[i]->bytes > most - bytes ? most : bytes + chunks->v[i]->bytes;
  }
  add_piece(g, &piece);
}

/* Chunks hold no more than a few large records. */
static rl_status check_chunks(const rl_gather *g, const rl_chunks *chunks)
{
  for (size_t i = 0; g->log.wal && i < chunks->n; i++)
    if (chunks->v[i]->bytes > g->most_logged) return too_large(g, chunks->v[i]->bytes);
  return RL_OK;
}

rl_status rl_gather_store_block(rl_gather *g, rl_chunks *chunks)
{
  rl_status st = rl_backlog_wait(g->backlog);
  uint64_t position = 0;
  if (st == RL_OK) {
    pthread_mutex_lock(&g->lock);
    st = check_open(g);
    if (st == RL_OK) st = check_chunks(g, chunks);
    if (st == RL_OK && chunks->n > 0) add_block(g, chunks);
    position = g->log.position;
    pthread_mutex_unlock(&g->lock);
    rl_backlog_changed(g->backlog);
    rl_gather_make_room(g);
  }
  rl_chunks_clear(chunks);
  if (st != RL_OK || !g->log.wal || rl_backlog_wait_durable(g->backlog, &g->durable, position, &g->log_failed)) return st;
  return rl_fail(RL_ECANCELLED, "the receiver is stopping, and what it stored last may not be on disk");
}

void rl_gather_log_to(rl_gather *g, const rl_gather_log *log)
{
  g->log = *log;
  g->log.uid = rl_strdup(log->uid);
  atomic_store(&g->durable, log->position);
}

bool rl_gather_is_logged(const rl_gather *g) { return g->log.wal != NULL; }

uint64_t rl_gather_position(rl_gather *g) { return atomic_load(&g->durable); }

void rl_gather_restore(rl_gather *g, rl_block *b)
{
  pthread_mutex_lock(&g->lock);
  rl_blocks_add(&g->ready, b);
  pthread_mutex_unlock(&g->lock);
}

void rl_gather_cut(rl_gather *g)
{
  pthread_mutex_lock(&g->lock);
  g->cuts++;
  cut_text(g);
  cut_records(g);
  g->due = g->ready.n > 0;
  pthread_mutex_unlock(&g->lock);
  rl_backlog_changed(g->backlog);
}

void rl_gather_take(rl_gather *g, rl_blocks *out)
{
  rl_gather_cut(g);
  pthread_mutex_lock(&g->lock);
  for (size_t i = 0; i < g->ready.n; i++) rl_blocks_add(out, g->ready.v[i]);
  g->ready.n = 0;
  pthread_mutex_unlock(&g->lock);
}

bool rl_gather_is_empty(rl_gather *g)
{
  pthread_mutex_lock(&g->lock);
  bool empty = g->ready.n == 0 && g->fill == g->at && g->chunks.n == 0 && rl_builder_count(g->builder) == 0;
  pthread_mutex_unlock(&g->lock);
  return empty;
}

void rl_gather_let_go(rl_gather *g)
{
  rl_backlog *b = g->backlog;
  pthread_mutex_lock(&b->gate);
  b->let_go = true;
  pthread_cond_broadcast(&b->open);
  pthread_mutex_unlock(&b->gate);
}

void rl_gather_close(rl_gather *g)
{
  pthread_mutex_lock(&g->lock);
  g->closed = true;
  end_line(g);
  cut_text(g);
  cut_records(g);
  pthread_mutex_unlock(&g->lock);
  rl_backlog_changed(g->backlog);
}
