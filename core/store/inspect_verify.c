/* Checking every byte, for store/inspect.h. */
#include <inttypes.h>
#include <string.h>

#include "base/apart.h"
#include "base/file.h"
#include "base/mem.h"
#include "data/chunk.h"
#include "store/changes.h"
#include "store/inspect.h"
#include "store/state.h"
#include "store/wal_impl.h"

#define TRIES 5 /* segments may be removed while they are read */

/* Records ---------------------------------------------------------------------------------------------------------- */

/* Chunks one behind the other; *records is how many records they have. */
static rl_status check_chunks(rl_reader r, uint64_t most, uint64_t *chunks, uint64_t *records)
{
  *chunks = *records = 0;
  while (r.p < r.end && *chunks < most) {
    rl_chunk *c = NULL;
    rl_status st = rl_chunk_decode(&r, &c);
    if (st != RL_OK) return st;
    ++*chunks;
    *records += c->n;
    rl_chunk_unref(c);
  }
  return r.p == r.end ? RL_OK : rl_fail(RL_EDATA, "bytes behind its last chunk");
}

static uint64_t count_lines(rl_slice text)
{
  uint64_t n = 0;
  for (const char *p = text.p, *end = text.p + text.n; p < end; n++) {
    const char *line_end = memchr(p, '\n', (size_t)(end - p));
    p = line_end ? line_end + 1 : end;
  }
  return n;
}

static rl_status check_block(const rl_wal_record *r)
{
  rl_journal_block b;
  uint64_t chunks, records = 0;
  rl_status st = rl_journal_get_block(r->p, r->at.length, &b);
  if (st != RL_OK) return st;
  if (b.text) records = count_lines(b.data);
  else st = check_chunks((rl_reader){b.data.p, b.data.p + b.data.n}, UINT64_MAX, &chunks, &records);
  if (st == RL_OK && records != b.records) {
    st = rl_fail(RL_EDATA, "a block of %" PRIu64 " records has %" PRIu64, b.records, records);
  }
  return st;
}

static rl_status check_state(const rl_wal_record *r)
{
  rl_journal_state x;
  uint64_t chunks, records;
  rl_status st = rl_journal_get_state(r->p, r->at.length, &x);
  if (st == RL_OK) st = rl_changes_each(&x, NULL, NULL);
  if (st == RL_OK) st = check_chunks(x.rest, x.chunks, &chunks, &records);
  if (st == RL_OK && chunks != x.chunks) st = rl_fail(RL_EDATA, "chunks are missing");
  return st;
}

rl_status rl_inspect_check_record(const rl_wal_record *r)
{
  union {
    rl_journal_start start;
    rl_journal_begin begin;
    rl_journal_end end;
    rl_journal_output output;
    rl_journal_complete complete;
    rl_journal_lost lost;
  } x;
  switch (r->at.type) {
  case RL_JOURNAL_START: return rl_journal_get_start(r->p, r->at.length, &x.start);
  case RL_JOURNAL_BLOCK: return check_block(r);
  case RL_JOURNAL_BEGIN: return rl_journal_get_begin(r->p, r->at.length, &x.begin);
  case RL_JOURNAL_STATE: return check_state(r);
  case RL_JOURNAL_END: return rl_journal_get_end(r->p, r->at.length, &x.end);
  case RL_JOURNAL_OUTPUT: return rl_journal_get_output(r->p, r->at.length, &x.output);
  case RL_JOURNAL_COMPLETE: return rl_journal_get_complete(r->p, r->at.length, &x.complete);
  case RL_JOURNAL_LOST: return rl_journal_get_lost(r->p, r->at.length, &x.lost);
  default: return rl_fail(RL_EDATA, "a record of type %u, which this Rille does not know", (unsigned)r->at.type);
  }
}

/* The log ---------------------------------------------------------------------------------------------------------- */

typedef struct verification {
  const char *dir, *log;
  rl_inspect_damage_fn *fn;
  void *user;
  rl_inspect_verified *out;
  rl_error first;
  uint64_t begins; /* sequence in the name of the first segment; 0: there is none */
} verification;

/* d->message is the thread's current error, if that is not torn. */
static void report(verification *v, const rl_inspect_damage *d)
{
  if (d->torn) v->out->torn++;
  else v->out->damages++;
  if (v->fn) v->fn(v->user, d);
  if (d->torn || v->first.code != RL_OK) return;
  rl_fail(RL_EDATA, "%s", d->message);
  rl_error_take(&v->first);
}

static rl_status visit(void *user, const rl_wal_record *r)
{
  verification *v = user;
  v->out->records++;
  if (rl_inspect_check_record(r) == RL_OK) return RL_OK;
  char *path = rl_wal_path(v->log, r->at.segment);
  char *why = rl_strdup(rl_error_message());
  char *line = rl_format("damaged record: %s at offset %" PRIu64 ": record %" PRIu64 ": %s", path, r->at.offset,
                         r->at.seq, why);
  report(v, &(rl_inspect_damage){.file = path, .offset = r->at.offset, .message = line});
  rl_free(path);
  rl_free(why);
  rl_free(line);
  return RL_OK;
}

static void log_damage(void *user, const rl_wal_damage *d)
{
  char *message = rl_strdup(d->message);
  report(user, &(rl_inspect_damage){.file = d->path, .offset = d->offset, .message = message, .torn = d->torn});
  rl_free(message);
}

static rl_status count_segments(verification *v)
{
  rl_wal_firsts firsts = {0};
  rl_status st = rl_wal_list(v->log, false, &firsts);
  v->begins = firsts.n > 0 ? firsts.v[0] : 0;
  for (size_t i = 0; i < firsts.n && st == RL_OK; i++) {
    char *path = rl_wal_path(v->log, firsts.v[i]);
    uint64_t bytes = 0;
    st = rl_file_size(path, &bytes);
    v->out->bytes += bytes;
    v->out->segments++;
    rl_free(path);
  }
  rl_free(firsts.v);
  return st;
}

static rl_status verify_log(verification *v)
{
  rl_status st = RL_ENOTFOUND;
  for (int i = 0; i < TRIES && st == RL_ENOTFOUND && v->out->damages == 0; i++) {
    v->out->segments = v->out->records = v->out->bytes = 0;
    st = count_segments(v);
    if (st == RL_OK) st = rl_wal_verify(v->log, &(rl_wal_verifier){visit, log_damage, v});
  }
  return st == RL_EDATA ? RL_OK : st; /* all of that was reported */
}

/* The image -------------------------------------------------------------------------------------------------------- */

/* Messages of the child: a letter, then what belongs to it. */
enum { DAMAGE = 'd', TOTALS = 't' };

typedef struct child {
  rl_apart *a;
  rl_buf b;
} child;

static void put_text(rl_buf *b, const char *text)
{
  if (text) rl_put_bytes(b, text, strlen(text));
  else rl_put_value(b, rl_nil());
}

static void tell_damage(void *user, const rl_state_damage *d)
{
  child *c = user;
  rl_buf_clear(&c->b);
  rl_buf_putc(&c->b, DAMAGE);
  put_text(&c->b, d->uid);
  put_text(&c->b, d->key);
  put_text(&c->b, d->what);
  rl_apart_tell(c->a, c->b.p, c->b.n);
}

static rl_status verify_in_child(void *user, rl_apart *a)
{
  const verification *v = user;
  child c = {.a = a};
  char *state = rl_checkpoint_state(v->dir);
  rl_state_verified totals = {0};
  rl_status st = rl_state_verify(state, tell_damage, &c, &totals);
  char message[1 + sizeof totals] = {TOTALS};
  memcpy(message + 1, &totals, sizeof totals);
  rl_apart_tell(a, message, sizeof message);
  return st; /* the process ends */
}

static char *get_text(rl_reader *r)
{
  rl_value v = rl_nil();
  (void)rl_get_value(r, &v); /* our own child has written it */
  return v.type == RL_T_BYTES ? rl_strndup(v.s.p, v.s.n) : NULL;
}

static void image_damage(verification *v, rl_reader r)
{
  char *uid = get_text(&r), *key = get_text(&r), *what = get_text(&r), *state = rl_checkpoint_state(v->dir);
  rl_buf line = {0};
  rl_buf_printf(&line, "damaged state: %s: ", state);
  if (uid) rl_buf_printf(&line, "operator '%s': ", uid);
  if (key) rl_buf_printf(&line, uid ? "key %s: " : "%s: ", key);
  rl_buf_puts(&line, what ? what : "it cannot be read");
  report(v, &(rl_inspect_damage){.uid = uid, .key = key, .message = rl_buf_cstr(&line)});
  rl_buf_free(&line);
  rl_free(uid);
  rl_free(key);
  rl_free(what);
  rl_free(state);
}

static void hear(void *user, const char *p, size_t n)
{
  verification *v = user;
  rl_state_verified totals;
  if (*p == DAMAGE) {
    image_damage(v, (rl_reader){p + 1, p + n});
    return;
  }
  memcpy(&totals, p + 1, sizeof totals);
  v->out->operators = totals.operators;
  v->out->entries = totals.entries;
  v->out->due_lists = totals.due_lists;
  v->out->notes = totals.notes;
}

/* Without an image all has to be in the log. */
static void check_missing(verification *v)
{
  if (v->begins <= 1) return;
  char *state = rl_checkpoint_state(v->dir);
  char *line = rl_format("damaged state: %s is missing, and the log begins with record %" PRIu64, state, v->begins);
  report(v, &(rl_inspect_damage){.message = line});
  rl_free(state);
  rl_free(line);
}

static rl_status verify_image(verification *v)
{
  bool crashed;
  uint64_t before = v->out->damages;
  rl_status st = rl_apart_run(&(rl_apart_spec){.work = verify_in_child, .told = hear, .user = v}, &crashed);
  if (st == RL_ENOTFOUND) {
    check_missing(v);
    return RL_OK;
  }
  if (st != RL_EDATA || (v->out->damages > before && !crashed)) return st == RL_EDATA ? RL_OK : st;
  char *state = rl_checkpoint_state(v->dir), *why = rl_strdup(rl_error_message());
  char *line = rl_format("damaged state: %s: %s%s", state, crashed ? "while it was read: " : "", why);
  report(v, &(rl_inspect_damage){.message = line});
  rl_free(state);
  rl_free(why);
  rl_free(line);
  return RL_OK;
}

/* Where both are sound by themselves. */
static rl_status verify_fit(verification *v)
{
  rl_inspect_image image;
  if (v->out->damages > 0) return RL_OK;
  rl_status st = rl_inspect_image_read(v->dir, false, &image);
  char *line = st == RL_OK ? rl_inspect_misfit(v->dir, &image) : NULL;
  if (line) report(v, &(rl_inspect_damage){.file = v->log, .message = line, .ahead = true});
  rl_free(line);
  rl_inspect_image_free(&image);
  return st;
}

rl_status rl_inspect_verify(const char *dir, rl_inspect_damage_fn *fn, void *user, rl_inspect_verified *out)
{
  char *log = rl_checkpoint_log(dir);
  verification v = {.dir = dir, .log = log, .fn = fn, .user = user, .out = out, .first = RL_ERROR_NONE};
  *out = (rl_inspect_verified){0};
  rl_status st = verify_log(&v);
  if (st == RL_OK) st = verify_image(&v);
  if (st == RL_OK) st = verify_fit(&v);
  rl_free(log);
  if (st == RL_OK && v.first.code != RL_OK) return rl_error_raise(&v.first);
  rl_error_clear(&v.first);
  return st;
}
