#include "sink/lmdb.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "sink/lmdb_form.h"
#include "sink/lmdb_impl.h"

#define DEFAULT_MAP ((size_t)1 << 30)
#define TIME_FORM "1 %" PRId64 /* version, ms */
#define TIME_ROOM 32

/* The sink --------------------------------------------------------------------------------------------------------- */

static rl_status check_spec(const rl_lmdb_sink_spec *spec)
{
  if (!*spec->path) return rl_fail(RL_EINVAL, "the path of an LMDB environment is empty");
  if (!*spec->db || strcmp(spec->db, RL_LMDB_TIMES) == 0) {
    return rl_fail(RL_EINVAL, "'%s' cannot be the database: choose another name", spec->db);
  }
  return *spec->output ? RL_OK : rl_fail(RL_EINVAL, "an output into %s has no name", spec->path);
}

static rl_status open_parts(rl_lmdb_sink *s, const rl_lmdb_sink_spec *spec)
{
  rl_status st = rl_lmdb_open(spec->path, true, spec->map ? spec->map : DEFAULT_MAP, &s->env);
  if (st == RL_OK && strlen(spec->output) > rl_lmdb_max_key(s->env)) {
    return rl_fail(RL_EINVAL, "the name of the output is too long (%zu bytes, %zu at most): '%s'",
                   strlen(spec->output), rl_lmdb_max_key(s->env), spec->output);
  }
  if (st == RL_OK) st = rl_lmdb_db(s->env, spec->db, true, &s->data);
  return st == RL_OK ? rl_lmdb_db(s->env, RL_LMDB_TIMES, true, &s->times) : st;
}

rl_status rl_lmdb_sink_open(const rl_lmdb_sink_spec *spec, rl_lmdb_sink **out)
{
  rl_status st = check_spec(spec);
  if (st != RL_OK) return st;
  rl_lmdb_sink *s = RL_NEW(rl_lmdb_sink);
  atomic_init(&s->refs, 1);
  s->format = spec->format;
  s->output = rl_strdup(spec->output);
  st = open_parts(s, spec);
  if (st != RL_OK) rl_lmdb_sink_unref(s);
  else *out = s;
  return st;
}

rl_lmdb_sink *rl_lmdb_sink_ref(rl_lmdb_sink *s)
{
  atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
  return s;
}

void rl_lmdb_sink_unref(rl_lmdb_sink *s)
{
  if (!s || atomic_fetch_sub(&s->refs, 1) != 1) return;
  rl_lmdb_unref(s->env);
  rl_free(s->output);
  rl_free(s);
}

bool rl_lmdb_sink_again(rl_lmdb_sink *s)
{
  return atomic_exchange(&s->again, false);
}

/* Times ------------------------------------------------------------------------------------------------------------ */

static MDB_val val(const void *p, size_t n)
{
  return (MDB_val){.mv_size = n, .mv_data = (void *)p};
}

static rl_status read_time(const rl_lmdb_sink *s, MDB_val v, int64_t *time)
{
  char text[TIME_ROOM], again[TIME_ROOM];
  size_t n = v.mv_size < sizeof text ? v.mv_size : sizeof text - 1;
  memcpy(text, v.mv_data, n);
  text[n] = '\0';
  if (sscanf(text, TIME_FORM, time) == 1) {
    int written = snprintf(again, sizeof again, TIME_FORM, *time);
    if ((size_t)written == v.mv_size && memcmp(again, text, v.mv_size) == 0) return RL_OK;
  }
  return rl_fail(RL_EDATA, "%s, database '" RL_LMDB_TIMES "': what is kept for '%s' is no time of a batch ('%s')",
                 rl_lmdb_path(s->env), s->output, text);
}

static rl_status get_newest(const rl_lmdb_sink *s, MDB_txn *txn, int64_t *time)
{
  MDB_val key = val(s->output, strlen(s->output)), value;
  *time = RL_NO_TIME;
  int rc = mdb_get(txn, s->times, &key, &value);
  if (rc == MDB_NOTFOUND) return RL_OK;
  return rc != 0 ? rl_lmdb_fail(s->env, rc, "read") : read_time(s, value, time);
}

rl_status rl_lmdb_sink_newest(rl_lmdb_sink *s, int64_t *time)
{
  MDB_txn *txn = NULL;
  rl_status st = rl_lmdb_begin(s->env, false, false, &txn);
  if (st != RL_OK) return st;
  st = get_newest(s, txn, time);
  rl_lmdb_abort(s->env, txn);
  return st;
}

/* Writing a batch -------------------------------------------------------------------------------------------------- */

typedef struct writing {
  rl_lmdb_sink *sink;
  const rl_task *task;
  rl_pull *input;
  MDB_txn *txn;
  uint64_t records;
  bool full; /* the map is */
  rl_buf key, value;
} writing;

static rl_status fail_writing(writing *w, int rc)
{
  w->full |= rc == MDB_MAP_FULL;
  return rl_lmdb_fail(w->sink->env, rc, "write to");
}

static rl_status of_key(const rl_chunk *c, uint32_t row, const char *what, rl_status st)
{
  rl_buf text = {0};
  rl_lmdb_show(rl_chunk_get(c, 0, row), &text);
  rl_error_prefix("%s '%s': ", what, rl_buf_cstr(&text));
  rl_buf_free(&text);
  return st;
}

rl_status rl_lmdb_form_key(const rl_lmdb_sink *s, const rl_chunk *c, uint32_t row, rl_buf *out)
{
  rl_buf_clear(out);
  rl_status st = rl_lmdb_put_key(s->format, rl_chunk_get(c, 0, row), out);
  size_t most = rl_lmdb_max_key(s->env);
  if (st == RL_OK && (out->n == 0 || out->n > most)) {
    st = rl_fail(RL_ELIMIT, "it has %zu bytes; keys of LMDB have 1 to %zu", out->n, most);
  }
  return st != RL_OK ? of_key(c, row, "the key", st) : RL_OK;
}

static rl_status put_row(writing *w, const rl_chunk *c, uint32_t row)
{
  rl_lmdb_sink *s = w->sink;
  if (rl_chunk_arity(c, row) != 2) {
    return of_key(c, row, "the record of",
                  rl_fail(RL_EINVAL, "(key, value) is needed, it has %" PRIu32 " fields", rl_chunk_arity(c, row)));
  }
  rl_status st = rl_lmdb_form_key(s, c, row, &w->key);
  if (st != RL_OK) return st;
  MDB_val key = val(w->key.p, w->key.n);
  rl_value v = rl_chunk_get(c, 1, row);
  w->records++;
  if (v.type == RL_T_NIL) {
    int rc = mdb_del(w->txn, s->data, &key, NULL);
    return rc == 0 || rc == MDB_NOTFOUND ? RL_OK : fail_writing(w, rc);
  }
  rl_buf_clear(&w->value);
  st = rl_lmdb_put_value(s->format, v, &w->value);
  if (st != RL_OK) return of_key(c, row, "the value of the key", st);
  MDB_val value = val(w->value.p, w->value.n);
  int rc = mdb_put(w->txn, s->data, &key, &value, 0);
  return rc != 0 ? fail_writing(w, rc) : RL_OK;
}

static rl_status put_all(writing *w)
{
  for (;;) {
    rl_chunk *c = NULL;
    rl_status st = rl_task_check(w->task);
    if (st == RL_OK) st = rl_pull_next(w->input, &c);
    if (st != RL_OK || !c) return st;
    for (uint32_t row = 0; row < c->n && st == RL_OK; row++) st = put_row(w, c, row);
    rl_chunk_unref(c);
    if (st != RL_OK) return st;
  }
}

static rl_status put_time(writing *w)
{
  char text[TIME_ROOM];
  int n = snprintf(text, sizeof text, TIME_FORM, w->task->batch_time);
  MDB_val key = val(w->sink->output, strlen(w->sink->output)), value = val(text, (size_t)n);
  int rc = mdb_put(w->txn, w->sink->times, &key, &value, 0);
  return rc != 0 ? fail_writing(w, rc) : RL_OK;
}

/* Records and time, or neither. What came before is left alone, and so is a batch without records: it would be without
 * the next time, too. */
static rl_status write_in(writing *w)
{
  int64_t newest;
  rl_status st = get_newest(w->sink, w->txn, &newest);
  if (st == RL_OK && w->task->batch_time > newest) {
    st = put_all(w);
    if (st == RL_OK && w->records > 0) st = put_time(w);
  }
  if (st != RL_OK || w->records == 0) {
    rl_lmdb_abort(w->sink->env, w->txn);
    return st;
  }
  int rc = rl_lmdb_commit(w->sink->env, w->txn);
  return rc != 0 ? fail_writing(w, rc) : RL_OK;
}

static rl_status write_batch(writing *w)
{
  rl_lmdb_sink *s = w->sink;
  if (w->task->batch_time == RL_NO_TIME) {
    return rl_fail(RL_EINVAL, "an output into %s is written by batches only", rl_lmdb_path(s->env));
  }
  size_t map = rl_lmdb_map(s->env);
  rl_status st = rl_lmdb_begin(s->env, true, false, &w->txn);
  if (st == RL_OK) st = write_in(w);
  if (!w->full) return st;
  rl_pull_close(w->input); /* what reads in it ends */
  w->input = NULL;
  st = rl_lmdb_grow(s->env, map);
  if (st == RL_OK) atomic_store(&s->again, true);
  return st;
}

/* The function ----------------------------------------------------------------------------------------------------- */

typedef struct write_pull {
  rl_pull base;
  writing w;
  bool done;
} write_pull;

static rl_status write_next(rl_pull *self, rl_chunk **out)
{
  write_pull *p = (write_pull *)self;
  *out = NULL;
  if (p->done) return RL_OK;
  p->done = true;
  return write_batch(&p->w);
}

static void write_close(rl_pull *self)
{
  write_pull *p = (write_pull *)self;
  rl_pull_close(p->w.input);
  rl_buf_free(&p->w.key);
  rl_buf_free(&p->w.value);
  rl_free(p);
}

static const rl_pull_class write_pull_class = {write_next, write_close};

static rl_status write_open(rl_fn *const *fns, size_t n, const rl_task *task, rl_pull **inputs, size_t ninputs,
                            rl_pull **out)
{
  rl_pull *in = ninputs == 1 ? inputs[0] : rl_pull_concat(inputs, ninputs);
  for (size_t i = 0; i < n; i++) {
    write_pull *p = RL_NEW(write_pull);
    p->base.cls = &write_pull_class;
    p->w = (writing){.sink = ((rl_lmdb_fn *)fns[i])->sink, .task = task, .input = in};
    in = &p->base;
  }
  *out = in;
  return RL_OK;
}

static const rl_fn_class write_class = {"LMDB sink", write_open, rl_lmdb_fn_destroy};

rl_fn *rl_lmdb_fn_new(const rl_fn_class *cls, rl_lmdb_sink *s)
{
  rl_lmdb_fn *f = RL_NEW(rl_lmdb_fn);
  atomic_init(&f->base.refs, 1);
  f->base.cls = cls;
  f->sink = rl_lmdb_sink_ref(s);
  return &f->base;
}

void rl_lmdb_fn_destroy(rl_fn *f)
{
  rl_lmdb_sink_unref(((rl_lmdb_fn *)f)->sink);
  rl_free(f);
}

rl_fn *rl_lmdb_write_fn(rl_lmdb_sink *s)
{
  return rl_lmdb_fn_new(&write_class, s);
}
