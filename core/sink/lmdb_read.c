/* What is in an LMDB environment: by key for the batch that is being written, or all of it. */
#include <string.h>

#include "base/mem.h"
#include "sink/lmdb_form.h"
#include "sink/lmdb_impl.h"

/* Values that are there -------------------------------------------------------------------------------------------- */

/* A read transaction of its own, begun when the batch's write transaction has begun (which pulls): it sees what was
 * there before the batch, and nobody else can have changed that since. */
typedef struct old_pull {
  rl_pull base;
  rl_lmdb_sink *sink; /* its task holds it */
  rl_pull *input;
  MDB_txn *txn;
  rl_chunk *chunk; /* NULL: between two */
  uint32_t row;
  rl_builder *builder;
  rl_buf key;
} old_pull;

static rl_status find_old(old_pull *p, rl_value *old)
{
  rl_status st = rl_lmdb_form_key(p->sink, p->chunk, p->row, &p->key);
  if (st != RL_OK) return st;
  MDB_val key = {.mv_size = p->key.n, .mv_data = p->key.p}, value;
  *old = rl_nil();
  int rc = mdb_get(p->txn, p->sink->data, &key, &value);
  if (rc == MDB_NOTFOUND) return RL_OK;
  if (rc != 0) return rl_lmdb_fail(p->sink->env, rc, "read");
  st = rl_lmdb_get_value(p->sink->format, value.mv_data, value.mv_size, old);
  if (st != RL_OK) {
    rl_buf text = {0};
    rl_lmdb_show(rl_chunk_get(p->chunk, 0, p->row), &text);
    rl_error_prefix("%s, the value of the key '%s': ", rl_lmdb_path(p->sink->env), rl_buf_cstr(&text));
    rl_buf_free(&text);
  }
  return st;
}

static rl_status add_rows(old_pull *p)
{
  rl_status st = RL_OK;
  for (; p->row < p->chunk->n && !rl_builder_full(p->builder) && st == RL_OK; p->row++) {
    rl_value fields[3] = {rl_chunk_get(p->chunk, 0, p->row), rl_chunk_get(p->chunk, 1, p->row)};
    st = find_old(p, &fields[2]);
    if (st == RL_OK) st = rl_builder_add(p->builder, fields, 3);
  }
  if (st == RL_OK && p->row == p->chunk->n) {
    rl_chunk_unref(p->chunk);
    p->chunk = NULL;
    p->row = 0;
  }
  return st;
}

static rl_status old_next(rl_pull *self, rl_chunk **out)
{
  old_pull *p = (old_pull *)self;
  *out = NULL;
  rl_status st = p->txn ? RL_OK : rl_lmdb_begin(p->sink->env, false, true, &p->txn);
  if (st == RL_OK && !p->chunk) st = rl_pull_next(p->input, &p->chunk);
  if (st == RL_OK && p->chunk) st = add_rows(p);
  if (st == RL_OK) *out = rl_builder_finish(p->builder);
  return st;
}

static void old_close(rl_pull *self)
{
  old_pull *p = (old_pull *)self;
  rl_pull_close(p->input);
  if (p->txn) rl_lmdb_abort(p->sink->env, p->txn);
  rl_chunk_unref(p->chunk);
  rl_builder_delete(p->builder);
  rl_buf_free(&p->key);
  rl_free(p);
}

static const rl_pull_class old_pull_class = {old_next, old_close};

static rl_status old_open(rl_fn *const *fns, size_t n, const rl_task *task, rl_pull **inputs, size_t ninputs,
                          rl_pull **out)
{
  (void)task;
  rl_pull *in = ninputs == 1 ? inputs[0] : rl_pull_concat(inputs, ninputs);
  for (size_t i = 0; i < n; i++) {
    old_pull *p = RL_NEW(old_pull);
    *p = (old_pull){.base = {&old_pull_class}, .sink = ((rl_lmdb_fn *)fns[i])->sink, .input = in};
    p->builder = rl_builder_new();
    in = &p->base;
  }
  *out = in;
  return RL_OK;
}

static const rl_fn_class old_class = {"LMDB look-up", old_open, rl_lmdb_fn_destroy};

rl_fn *rl_lmdb_old_fn(rl_lmdb_sink *s)
{
  return rl_lmdb_fn_new(&old_class, s);
}

/* All that is there ------------------------------------------------------------------------------------------------ */

struct rl_lmdb_reader {
  rl_lmdb *env;
  rl_lmdb_format format;
  MDB_txn *txn;
  MDB_cursor *cursor;
};

static rl_status open_reader(rl_lmdb_reader *r, const char *path, const char *db)
{
  MDB_dbi dbi;
  rl_status st = rl_lmdb_open(path, false, 0, &r->env);
  if (st == RL_OK) st = rl_lmdb_db(r->env, db, false, &dbi);
  if (st == RL_OK) st = rl_lmdb_begin(r->env, false, false, &r->txn);
  if (st != RL_OK) return st;
  int rc = mdb_cursor_open(r->txn, dbi, &r->cursor);
  return rc != 0 ? rl_lmdb_fail(r->env, rc, "read") : RL_OK;
}

rl_status rl_lmdb_reader_open(const char *path, const char *db, rl_lmdb_format format, rl_lmdb_reader **out)
{
  rl_lmdb_reader *r = RL_NEW(rl_lmdb_reader);
  r->format = format;
  rl_status st = open_reader(r, path, db);
  if (st != RL_OK) rl_lmdb_reader_close(r);
  else *out = r;
  return st;
}

rl_status rl_lmdb_reader_next(rl_lmdb_reader *r, rl_value *key, rl_value *value, bool *found)
{
  MDB_val k, v;
  int rc = mdb_cursor_get(r->cursor, &k, &v, MDB_NEXT);
  *found = rc == 0;
  if (rc == MDB_NOTFOUND) return RL_OK;
  if (rc != 0) return rl_lmdb_fail(r->env, rc, "read");
  rl_status st = rl_lmdb_get_key(r->format, k.mv_data, k.mv_size, key);
  if (st == RL_OK) st = rl_lmdb_get_value(r->format, v.mv_data, v.mv_size, value);
  if (st != RL_OK) rl_error_prefix("%s is not in the format 'binary': ", rl_lmdb_path(r->env));
  return st;
}

void rl_lmdb_reader_close(rl_lmdb_reader *r)
{
  if (!r) return;
  if (r->cursor) mdb_cursor_close(r->cursor);
  if (r->txn) rl_lmdb_abort(r->env, r->txn);
  rl_lmdb_unref(r->env);
  rl_free(r);
}
