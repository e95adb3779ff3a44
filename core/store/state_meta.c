/* The dbi `meta`. Values are varints of the codec behind a checksum of 4 bytes:
 *
 *   "format"          the number below
 *   "applied"         number of the last layer that was moved
 *   "op:" and a uid   what is known of the operator, and of its set of entries
 *   "notes:", a kind  how many notes there are, and the sum of their hashes
 *   "sum"             how many transactions there were; the sum of the hashes of all other records of this dbi */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "data/codec.h"
#include "store/state_impl.h"

#define OP_PREFIX_N (sizeof RL_META_OP - 1)
#define CHECK_SIZE 4

/* LMDB's keys are not const. */
char rl_meta_format_name[] = "format", rl_meta_applied_name[] = "applied", rl_meta_sum_name[] = "sum";
static char op_name[] = RL_META_OP;

/* Records ---------------------------------------------------------------------------------------------------------- */

uint64_t rl_meta_hash(rl_octets key, rl_octets value)
{
  return rl_hash_bytes(value.p, value.n, rl_hash_bytes(key.p, key.n, RL_HASH_SEED));
}

static uint32_t check_of(rl_octets key, rl_octets numbers)
{
  return (uint32_t)rl_meta_hash(key, numbers);
}

bool rl_meta_read(rl_octets key, rl_octets value, uint64_t *x, int n)
{
  uint32_t check;
  if (value.n <= CHECK_SIZE) return false;
  memcpy(&check, value.p, CHECK_SIZE);
  if (check != check_of(key, (rl_octets){value.p + CHECK_SIZE, value.n - CHECK_SIZE})) return false;
  rl_reader r = {value.p + CHECK_SIZE, value.p + value.n};
  for (int i = 0; i < n; i++) {
    if (rl_get_varint(&r, &x[i]) != RL_OK) return false;
  }
  return r.p == r.end;
}

static rl_octets octets_of(const MDB_val *v)
{
  return (rl_octets){v->mv_data, v->mv_size};
}

static MDB_val name_val(char *name)
{
  return (MDB_val){.mv_size = strlen(name), .mv_data = name};
}

/* Zeros when it is not there. */
static int get_numbers(const rl_image *im, MDB_txn *txn, char *name, uint64_t *x, int n)
{
  MDB_val key = name_val(name), value;
  memset(x, 0, (size_t)n * sizeof *x);
  int rc = mdb_get(txn, im->meta, &key, &value);
  if (rc == MDB_NOTFOUND) return 0;
  if (rc != 0) return rc;
  return rl_meta_read(octets_of(&key), octets_of(&value), x, n) ? 0 : MDB_CORRUPTED;
}

int rl_meta_applied(const rl_image *im, MDB_txn *txn, uint64_t *seq)
{
  return get_numbers(im, txn, rl_meta_applied_name, seq, 1);
}

/* Writing ---------------------------------------------------------------------------------------------------------- */

int rl_meta_begin(rl_meta *m, const rl_image *im, MDB_txn *txn)
{
  uint64_t x[2];
  int rc = get_numbers(im, txn, rl_meta_sum_name, x, 2);
  *m = (rl_meta){.im = im, .txn = txn, .generation = x[0] + 1, .sum = x[1]};
  return rc;
}

static int put_numbers(rl_meta *m, char *name, const uint64_t *x, int n)
{
  rl_buf b = {0};
  MDB_val key = name_val(name), value;
  int rc = mdb_get(m->txn, m->im->meta, &key, &value);
  if (rc == 0) m->sum -= rl_meta_hash(octets_of(&key), octets_of(&value));
  if (rc != 0 && rc != MDB_NOTFOUND) return rc;
  rl_buf_add(&b, "\0\0\0\0", CHECK_SIZE);
  for (int i = 0; i < n; i++) rl_put_varint(&b, x[i]);
  uint32_t check = check_of(octets_of(&key), (rl_octets){b.p + CHECK_SIZE, b.n - CHECK_SIZE});
  memcpy(b.p, &check, CHECK_SIZE);
  value = (MDB_val){.mv_size = b.n, .mv_data = b.p};
  rc = mdb_put(m->txn, m->im->meta, &key, &value, 0);
  m->sum += rl_meta_hash(octets_of(&key), (rl_octets){b.p, b.n});
  rl_buf_free(&b);
  return rc;
}

int rl_meta_put_applied(rl_meta *m, uint64_t seq)
{
  return put_numbers(m, rl_meta_applied_name, &seq, 1);
}

int rl_meta_put_op(rl_meta *m, const rl_state_op *op, const rl_image_op *image)
{
  char *name = rl_format(RL_META_OP "%s", op->uid);
  const uint64_t x[RL_META_NUMBERS] = {op->number,   op->timed,      (uint64_t)image->version,
                                       image->count, image->whole,   image->entries,
                                       image->sum,   image->lists,   image->lists_sum};
  int rc = put_numbers(m, name, x, RL_META_NUMBERS);
  rl_free(name);
  return rc;
}

int rl_meta_notes(const rl_meta *m, unsigned kind, uint64_t *count, uint64_t *sum)
{
  char *name = rl_format(RL_META_NOTES "%s", rl_note_kinds[kind]);
  uint64_t x[2];
  int rc = get_numbers(m->im, m->txn, name, x, 2);
  *count = x[0];
  *sum = x[1];
  rl_free(name);
  return rc;
}

int rl_meta_put_notes(rl_meta *m, unsigned kind, uint64_t count, uint64_t sum)
{
  char *name = rl_format(RL_META_NOTES "%s", rl_note_kinds[kind]);
  const uint64_t x[2] = {count, sum};
  int rc = put_numbers(m, name, x, 2);
  rl_free(name);
  return rc;
}

/* The sum has no part in itself. */
int rl_meta_end(rl_meta *m)
{
  const uint64_t x[2] = {m->generation, m->sum};
  return put_numbers(m, rl_meta_sum_name, x, 2);
}

/* Opening ---------------------------------------------------------------------------------------------------------- */

void rl_meta_read_op(const uint64_t *x, uint32_t *number, bool *timed, rl_image_op *image)
{
  *number = (uint32_t)x[0];
  *timed = x[1] != 0;
  *image = (rl_image_op){.version = (int64_t)x[2],
                         .count = x[3],
                         .whole = x[4] != 0,
                         .entries = x[5],
                         .sum = x[6],
                         .lists = x[7],
                         .lists_sum = x[8]};
}

static int load_op(rl_state *s, const MDB_val *key, const MDB_val *value)
{
  uint64_t x[RL_META_NUMBERS];
  rl_state_op *op = NULL;
  if (!rl_meta_read(octets_of(key), octets_of(value), x, RL_META_NUMBERS) || x[0] >= UINT32_MAX) return MDB_CORRUPTED;
  const char *uid = (const char *)key->mv_data + OP_PREFIX_N;
  if (rl_state_add_op(s, uid, key->mv_size - OP_PREFIX_N, false, &op) != RL_OK) return MDB_CORRUPTED;
  rl_meta_read_op(x, &op->number, &op->timed, &op->image);
  if (op->number >= s->next_number) s->next_number = op->number + 1;
  op->sealed = op->retired = op->image.version;
  op->count = op->image.count;
  return 0;
}

static int load_ops(rl_state *s, MDB_txn *txn)
{
  MDB_cursor *c = NULL;
  int rc = mdb_cursor_open(txn, s->image.meta, &c);
  if (rc != 0) return rc;
  MDB_val key = name_val(op_name), value;
  rc = mdb_cursor_get(c, &key, &value, MDB_SET_RANGE);
  while (rc == 0 && key.mv_size > OP_PREFIX_N && memcmp(key.mv_data, RL_META_OP, OP_PREFIX_N) == 0) {
    rc = load_op(s, &key, &value);
    if (rc == 0) rc = mdb_cursor_get(c, &key, &value, MDB_NEXT);
  }
  mdb_cursor_close(c);
  return rc == MDB_NOTFOUND ? 0 : rc;
}

static int put_format(rl_state *s, MDB_txn *txn)
{
  const uint64_t x = RL_META_FORMAT;
  rl_meta m;
  int rc = rl_meta_begin(&m, &s->image, txn);
  if (rc == 0) rc = put_numbers(&m, rl_meta_format_name, &x, 1);
  return rc == 0 ? rl_meta_end(&m) : rc;
}

static int load(rl_state *s, MDB_txn *txn, uint64_t *format)
{
  int rc = rl_image_tables(&s->image, txn);
  if (rc == 0) rc = get_numbers(&s->image, txn, rl_meta_format_name, format, 1);
  if (rc == 0 && *format == 0) {
    *format = RL_META_FORMAT;
    rc = put_format(s, txn);
  }
  if (rc != 0 || *format != RL_META_FORMAT) return rc;
  rc = rl_meta_applied(&s->image, txn, &s->applied);
  return rc == 0 ? load_ops(s, txn) : rc;
}

rl_status rl_meta_other_format(const char *dir, uint64_t format)
{
  return rl_fail(RL_EUNSUPPORTED,
                 "the state in %s has format %llu, and this version of Rille reads %d; read it with the version that "
                 "wrote it, or begin anew in another directory",
                 dir, (unsigned long long)format, RL_META_FORMAT);
}

rl_status rl_meta_load(rl_state *s)
{
  MDB_txn *txn = NULL;
  uint64_t format = RL_META_FORMAT;
  int rc = mdb_txn_begin(s->image.env, NULL, 0, &txn);
  if (rc == 0) {
    rc = load(s, txn, &format);
    if (rc != 0 || format != RL_META_FORMAT) {
      mdb_txn_abort(txn);
    } else {
      rc = mdb_txn_commit(txn);
    }
  }
  s->last_seq = s->applied;
  if (rc != 0) return rl_image_fail(&s->image, rc, "open");
  return format == RL_META_FORMAT ? RL_OK : rl_meta_other_format(s->image.dir, format);
}
