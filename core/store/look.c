#include "store/look.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "data/codec.h"
#include "store/state_impl.h"

#define PREFIX_N (sizeof RL_META_OP - 1)
#define NOTE_CHECK_SIZE 8

struct rl_look {
  rl_state store; /* only its image, for what reads entries */
  MDB_txn *txn;
};

static rl_octets octets_of(const MDB_val *v)
{
  return (rl_octets){v->mv_data, v->mv_size};
}

static rl_status failed(const rl_look *l, int rc)
{
  return rl_image_fail(&l->store.image, rc, "read");
}

/* Opening ---------------------------------------------------------------------------------------------------------- */

static int open_dbis(rl_look *l)
{
  rl_image *im = &l->store.image;
  int rc = mdb_dbi_open(l->txn, "meta", 0, &im->meta);
  if (rc == 0) rc = mdb_dbi_open(l->txn, "state", 0, &im->state);
  return rc;
}

/* A first start that ended before it had made anything leaves such a file; the next one goes on with it. */
static bool is_blank(const rl_look *l)
{
  MDB_dbi names = 0;
  MDB_stat stat = {0};
  return l->txn && mdb_dbi_open(l->txn, NULL, 0, &names) == 0 && mdb_stat(l->txn, names, &stat) == 0 &&
         stat.ms_entries == 0;
}

static int open_env(rl_look *l)
{
  int rc = rl_env_open_reader(l->store.image.dir, &l->store.image.env);
  if (rc == 0) rc = mdb_txn_begin(l->store.image.env, NULL, MDB_RDONLY, &l->txn);
  return rc == 0 ? open_dbis(l) : rc;
}

static rl_status check_format(const rl_look *l)
{
  MDB_val key = {.mv_size = strlen(rl_meta_format_name), .mv_data = rl_meta_format_name}, value;
  uint64_t format = 0;
  int rc = mdb_get(l->txn, l->store.image.meta, &key, &value);
  if (rc != 0) return failed(l, rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc);
  if (!rl_meta_read(octets_of(&key), octets_of(&value), &format, 1)) return failed(l, MDB_CORRUPTED);
  return format == RL_META_FORMAT ? RL_OK : rl_meta_other_format(l->store.image.dir, format);
}

rl_status rl_look_open(const char *dir, rl_look **out)
{
  char *data = rl_path_join(dir, "data.mdb");
  uint64_t size = 0;
  rl_status st = rl_file_size(data, &size);
  if (st == RL_OK && size == 0) st = rl_fail(RL_EDATA, "%s is empty", data);
  rl_free(data);
  if (st != RL_OK) return st;
  rl_look *l = RL_NEW(rl_look);
  l->store.image.dir = rl_strdup(dir);
  int rc = open_env(l);
  if (rc == 0) st = check_format(l);
  else if (rc == MDB_NOTFOUND && is_blank(l)) st = rl_fail(RL_ENOTFOUND, "there is no state in %s yet", dir);
  else st = failed(l, rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc); /* a table that every state has is not found */
  if (st == RL_OK) *out = l;
  else rl_look_close(l);
  return st;
}

void rl_look_close(rl_look *l)
{
  if (!l) return;
  if (l->txn) mdb_txn_abort(l->txn);
  if (l->store.image.env) mdb_env_close(l->store.image.env);
  rl_free(l->store.image.dir);
  rl_free(l);
}

uint64_t rl_look_size(const rl_look *l)
{
  MDB_envinfo info;
  MDB_stat stat;
  if (mdb_env_info(l->store.image.env, &info) != 0 || mdb_env_stat(l->store.image.env, &stat) != 0) return 0;
  return ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
}

/* Operators -------------------------------------------------------------------------------------------------------- */

typedef struct known {
  uint32_t number;
  rl_look_op op;
} known;

static rl_status read_op(const rl_look *l, const MDB_val *key, const MDB_val *value, char *uid, known *out)
{
  uint64_t x[RL_META_NUMBERS];
  rl_image_op image;
  if (!rl_meta_read(octets_of(key), octets_of(value), x, RL_META_NUMBERS)) {
    return rl_fail(RL_EDATA, "the state in %s: what is noted of operator '%s' is damaged", l->store.image.dir, uid);
  }
  out->op.uid = uid;
  rl_meta_read_op(x, &out->number, &out->op.timed, &image);
  out->op.version = image.version;
  out->op.keys = image.count;
  return RL_OK;
}

typedef rl_status op_fn(void *user, const known *op);

static rl_status each_op(rl_look *l, op_fn *fn, void *user)
{
  static char prefix[] = RL_META_OP; /* LMDB's keys are not const */
  MDB_val key = {.mv_size = PREFIX_N, .mv_data = prefix}, value;
  MDB_cursor *c = NULL;
  rl_status st = RL_OK;
  int rc = mdb_cursor_open(l->txn, l->store.image.meta, &c);
  if (rc != 0) return failed(l, rc);
  rc = mdb_cursor_get(c, &key, &value, MDB_SET_RANGE);
  while (rc == 0 && key.mv_size > PREFIX_N && memcmp(key.mv_data, RL_META_OP, PREFIX_N) == 0) {
    known op;
    char *uid = rl_strndup((const char *)key.mv_data + PREFIX_N, key.mv_size - PREFIX_N);
    st = read_op(l, &key, &value, uid, &op);
    if (st == RL_OK) st = fn(user, &op);
    rl_free(uid);
    if (st != RL_OK) break;
    rc = mdb_cursor_get(c, &key, &value, MDB_NEXT);
  }
  mdb_cursor_close(c);
  if (st != RL_OK || rc == 0 || rc == MDB_NOTFOUND) return st;
  return failed(l, rc);
}

typedef struct visitor {
  rl_status (*fn)(void *user, const rl_look_op *op);
  void *user;
} visitor;

static rl_status visit_op(void *user, const known *op)
{
  const visitor *v = user;
  return v->fn(v->user, &op->op);
}

rl_status rl_look_each_op(rl_look *l, rl_status (*fn)(void *user, const rl_look_op *op), void *user)
{
  visitor v = {fn, user};
  return each_op(l, visit_op, &v);
}

typedef struct search {
  const char *uid;
  rl_state_op *op; /* number and uid of what was found */
  bool found;
} search;

static rl_status match_op(void *user, const known *op)
{
  search *s = user;
  if (strcmp(op->op.uid, s->uid) != 0) return RL_OK;
  s->found = true;
  s->op->number = op->number;
  return RL_OK;
}

/* NULL in *out: there is none. To be freed. */
static rl_status find_op(rl_look *l, const char *uid, rl_state_op **out)
{
  search s = {uid, RL_NEW(rl_state_op), false};
  rl_status st = each_op(l, match_op, &s);
  s.op->s = &l->store;
  s.op->uid = (char *)uid;
  if (st == RL_OK && s.found) {
    *out = s.op;
    return RL_OK;
  }
  *out = NULL;
  rl_free(s.op);
  return st;
}

/* Entries ---------------------------------------------------------------------------------------------------------- */

static rl_status add_bytes(const rl_look *l, uint32_t number, uint64_t *bytes)
{
  char head[4] = {(char)(number >> 24), (char)(number >> 16), (char)(number >> 8), (char)number};
  MDB_val key = {.mv_size = sizeof head, .mv_data = head}, value;
  MDB_cursor *c = NULL;
  int rc = mdb_cursor_open(l->txn, l->store.image.state, &c);
  if (rc != 0) return failed(l, rc);
  rc = mdb_cursor_get(c, &key, &value, MDB_SET_RANGE);
  while (rc == 0 && key.mv_size >= sizeof head && memcmp(key.mv_data, head, sizeof head) == 0) {
    *bytes += key.mv_size + value.mv_size;
    rc = mdb_cursor_get(c, &key, &value, MDB_NEXT);
  }
  mdb_cursor_close(c);
  return rc == 0 || rc == MDB_NOTFOUND ? RL_OK : failed(l, rc);
}

rl_status rl_look_bytes(rl_look *l, const char *uid, uint64_t *bytes)
{
  rl_state_op *op = NULL;
  *bytes = 0;
  rl_status st = find_op(l, uid, &op);
  if (st == RL_OK && op) st = add_bytes(l, op->number, bytes);
  rl_free(op);
  return st;
}

rl_status rl_look_get(rl_look *l, const char *uid, rl_value key, rl_buf *value, int64_t *stamp, bool *found)
{
  rl_state_op *op = NULL;
  rl_octets stored = {0};
  rl_buf form = {0};
  rl_value v = rl_nil();
  *found = false;
  rl_status st = find_op(l, uid, &op);
  if (st == RL_OK && op) {
    st = rl_form_of_key(key, &form);
    if (st == RL_OK) {
      st = rl_image_get(op, l->txn, rl_key_group(rl_key_hash(key)), (rl_octets){form.p, form.n}, &stored);
    }
    if (st == RL_OK) st = rl_stored_read(stored, &v, stamp);
    if (st == RL_OK && v.type != RL_T_NIL) {
      *found = true;
      rl_put_value(value, v);
    }
  }
  rl_buf_free(&form);
  rl_free(op);
  return st;
}

/* Notes ------------------------------------------------------------------------------------------------------------ */

typedef rl_status note_fn(void *user, const char *dbi, const char *name, uint64_t bytes);

static rl_status each_in(const rl_look *l, MDB_dbi dbi, const char *kind, note_fn *fn, void *user)
{
  MDB_cursor *c = NULL;
  MDB_val key, value;
  rl_status st = RL_OK;
  int rc = mdb_cursor_open(l->txn, dbi, &c);
  if (rc != 0) return failed(l, rc);
  while (st == RL_OK && (rc = mdb_cursor_get(c, &key, &value, MDB_NEXT)) == 0) {
    char *name = rl_strndup(key.mv_data, key.mv_size);
    st = fn(user, kind, name, value.mv_size > NOTE_CHECK_SIZE ? value.mv_size - NOTE_CHECK_SIZE : 0);
    rl_free(name);
  }
  mdb_cursor_close(c);
  return st != RL_OK || rc == MDB_NOTFOUND ? st : failed(l, rc);
}

rl_status rl_look_each_note(rl_look *l, note_fn *fn, void *user)
{
  rl_status st = RL_OK;
  for (unsigned i = 0; i < RL_NOTE_KINDS && st == RL_OK; i++) {
    MDB_dbi dbi = 0;
    int rc = mdb_dbi_open(l->txn, rl_note_kinds[i], 0, &dbi);
    if (rc == MDB_NOTFOUND) continue;
    st = rc != 0 ? failed(l, rc) : each_in(l, dbi, rl_note_kinds[i], fn, user);
  }
  return st;
}

static rl_status note_in(const rl_look *l, MDB_dbi dbi, unsigned kind, rl_octets name, rl_buf *out, bool *found)
{
  MDB_val key = {.mv_size = name.n}, value;
  rl_octets content;
  memcpy(&key.mv_data, &name.p, sizeof key.mv_data); /* LMDB's keys are not const */
  int rc = mdb_get(l->txn, dbi, &key, &value);
  if (rc == MDB_NOTFOUND) return RL_OK;
  if (rc != 0) return failed(l, rc);
  if (!rl_note_read(kind, name, octets_of(&value), &content))
    return rl_fail(RL_EDATA, "the state in %s: the note '%s' (%s) is damaged: wrong checksum", l->store.image.dir,
                   name.p, rl_note_kinds[kind]);
  rl_buf_add(out, content.p, content.n);
  *found = true;
  return RL_OK;
}

rl_status rl_look_note(rl_look *l, const char *dbi, const char *name, rl_buf *out, bool *found)
{
  *found = false;
  for (unsigned i = 0; i < RL_NOTE_KINDS; i++) {
    MDB_dbi handle = 0;
    if (strcmp(dbi, rl_note_kinds[i]) != 0) continue;
    int rc = mdb_dbi_open(l->txn, dbi, 0, &handle);
    if (rc == MDB_NOTFOUND) return RL_OK;
    return rc != 0 ? failed(l, rc) : note_in(l, handle, i, (rl_octets){name, strlen(name)}, out, found);
  }
  return RL_OK;
}
