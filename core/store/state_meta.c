/* The dbi `meta`: "format" -> number; "applied" -> seq; "op:" and a uid -> what is known of the operator. Numbers are
 * little endian varints of the codec; each value begins with its checksum. */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "data/codec.h"
#include "store/state_impl.h"

#define FORMAT 1
#define OP_PREFIX "op:"
#define OP_PREFIX_N 3
#define CHECK_SIZE 4
#define MAX_NUMBERS 4

/* LMDB's keys are not const. */
static char format_name[] = "format", applied_name[] = "applied", op_name[] = OP_PREFIX;

static uint32_t check_of(const MDB_val *key, const char *p, size_t n)
{
  return (uint32_t)rl_hash_bytes(p, n, rl_hash_bytes(key->mv_data, key->mv_size, RL_HASH_SEED));
}

static int put_numbers(const rl_image *im, MDB_txn *txn, MDB_val *key, const uint64_t *x, int n)
{
  rl_buf b = {0};
  rl_buf_add(&b, "\0\0\0\0", CHECK_SIZE);
  for (int i = 0; i < n; i++) rl_put_varint(&b, x[i]);
  uint32_t check = check_of(key, b.p + CHECK_SIZE, b.n - CHECK_SIZE);
  memcpy(b.p, &check, CHECK_SIZE);
  MDB_val value = {.mv_size = b.n, .mv_data = b.p};
  int rc = mdb_put(txn, im->meta, key, &value, 0);
  rl_buf_free(&b);
  return rc;
}

static int read_numbers(const MDB_val *key, const MDB_val *value, uint64_t *x, int n)
{
  const char *p = value->mv_data;
  if (value->mv_size <= CHECK_SIZE) return MDB_CORRUPTED;
  uint32_t check;
  memcpy(&check, p, CHECK_SIZE);
  if (check != check_of(key, p + CHECK_SIZE, value->mv_size - CHECK_SIZE)) return MDB_CORRUPTED;
  rl_reader r = {p + CHECK_SIZE, p + value->mv_size};
  for (int i = 0; i < n; i++) {
    if (rl_get_varint(&r, &x[i]) != RL_OK) return MDB_CORRUPTED;
  }
  return 0;
}

static MDB_val name_val(char *name)
{
  return (MDB_val){.mv_size = strlen(name), .mv_data = name};
}

/* 0 when it is not there. */
static int get_number(const rl_image *im, MDB_txn *txn, char *name, uint64_t *x)
{
  MDB_val key = name_val(name), value;
  *x = 0;
  int rc = mdb_get(txn, im->meta, &key, &value);
  if (rc == MDB_NOTFOUND) return 0;
  return rc != 0 ? rc : read_numbers(&key, &value, x, 1);
}

int rl_meta_applied(const rl_image *im, MDB_txn *txn, uint64_t *seq)
{
  return get_number(im, txn, applied_name, seq);
}

int rl_meta_put_applied(const rl_image *im, MDB_txn *txn, uint64_t seq)
{
  MDB_val key = name_val(applied_name);
  return put_numbers(im, txn, &key, &seq, 1);
}

int rl_meta_put_op(const rl_image *im, MDB_txn *txn, const rl_state_op *op, int64_t version, uint64_t count)
{
  char *name = rl_format(OP_PREFIX "%s", op->uid);
  MDB_val key = name_val(name);
  const uint64_t x[MAX_NUMBERS] = {op->number, op->timed, (uint64_t)version, count};
  int rc = put_numbers(im, txn, &key, x, MAX_NUMBERS);
  rl_free(name);
  return rc;
}

static int load_op(rl_state *s, const MDB_val *key, const MDB_val *value)
{
  uint64_t x[MAX_NUMBERS];
  int rc = read_numbers(key, value, x, MAX_NUMBERS);
  if (rc != 0) return rc;
  rl_state_op *op = NULL;
  if (x[0] >= UINT32_MAX || rl_state_add_op(s, (const char *)key->mv_data + OP_PREFIX_N, key->mv_size - OP_PREFIX_N,
                                            x[1] != 0, &op) != RL_OK) {
    return MDB_CORRUPTED;
  }
  op->number = (uint32_t)x[0];
  if (op->number >= s->next_number) s->next_number = op->number + 1;
  op->sealed = op->retired = (int64_t)x[2];
  op->count = x[3];
  return 0;
}

static int load_ops(rl_state *s, MDB_txn *txn)
{
  MDB_cursor *c = NULL;
  int rc = mdb_cursor_open(txn, s->image.meta, &c);
  if (rc != 0) return rc;
  MDB_val key = name_val(op_name), value;
  rc = mdb_cursor_get(c, &key, &value, MDB_SET_RANGE);
  while (rc == 0 && key.mv_size > OP_PREFIX_N && memcmp(key.mv_data, OP_PREFIX, OP_PREFIX_N) == 0) {
    rc = load_op(s, &key, &value);
    if (rc == 0) rc = mdb_cursor_get(c, &key, &value, MDB_NEXT);
  }
  mdb_cursor_close(c);
  return rc == MDB_NOTFOUND ? 0 : rc;
}

static int load(rl_state *s, MDB_txn *txn, uint64_t *format)
{
  int rc = get_number(&s->image, txn, format_name, format);
  if (rc == 0 && *format == 0) {
    const uint64_t x = *format = FORMAT;
    MDB_val key = name_val(format_name);
    rc = put_numbers(&s->image, txn, &key, &x, 1);
  }
  if (rc != 0 || *format != FORMAT) return rc;
  rc = rl_meta_applied(&s->image, txn, &s->applied);
  return rc == 0 ? load_ops(s, txn) : rc;
}

rl_status rl_meta_load(rl_state *s)
{
  MDB_txn *txn = NULL;
  uint64_t format = FORMAT;
  int rc = mdb_txn_begin(s->image.env, NULL, 0, &txn);
  if (rc == 0) {
    rc = load(s, txn, &format);
    if (rc != 0) {
      mdb_txn_abort(txn);
    } else {
      rc = mdb_txn_commit(txn);
    }
  }
  s->last_seq = s->applied;
  if (rc != 0) return rl_image_fail(&s->image, rc, "open");
  if (format == FORMAT) return RL_OK;
  return rl_fail(RL_EUNSUPPORTED, "the state in %s has format %llu; this version of Rille reads %d", s->image.dir,
                 (unsigned long long)format, FORMAT);
}
