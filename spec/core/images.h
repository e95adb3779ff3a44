/* Images of the state in tests: making them, verifying them, and reading them as LMDB does. Include after cmocka.h. */
#ifndef SPEC_CORE_IMAGES_H
#define SPEC_CORE_IMAGES_H

#include <lmdb.h>

#include "base/hash.h"
#include "base/mem.h"
#include "spec/core/states.h"
#include "store/state_impl.h"

/* Keys of all kinds and values of all sizes over three operators, removed ones, due ones, notes. */
static inline void make_image(const char *dir, int keys, size_t large)
{
  static const char *const uids[] = {"orders", "visits", "empty"};
  rl_state *s = open_at(dir, false, 64 * MIB);
  rl_buf room = {0};
  char *text = rl_alloc(large + 1);
  memset(text, 't', large);
  for (int64_t time = 1; time <= 6; time++) {
    for (int i = 0; i < 2; i++) {
      rl_state_op *op = op_of(s, uids[i], i == 0);
      rl_state_update *u = update_of(op, 0, 1);
      for (int k = 0; k < keys; k++) {
        if ((k + time) % 3 == 0) continue;
        rl_value v = (k + time) % 4 == 0 ? rl_nil() : k % 10 == 0 ? rl_str(text, large) : rl_int(k * time);
        put(u, states_key(&room, k), v, time);
      }
      if (i == 0 && time == 4) {
        rl_state_due *d = NULL;
        rl_value key;
        bool found = true;
        ok(rl_state_due_open(u, 2, &d));
        while (ok(rl_state_due_next(d, &key, &found)), found) put(u, key, rl_nil(), 0);
        rl_state_due_close(d);
      }
      seal(op, time, u);
    }
    rl_state_end(s, time);
    ok(rl_state_flush(s));
  }
  seal(op_of(s, uids[2], true), 7, update_of(op_of(s, uids[2], true), 0, 1));
  rl_state_end(s, 7);
  ok(rl_state_flush(s));
  ok(rl_state_put_note(s, "script", "main", "print('a script')", 17));
  ok(rl_state_put_note(s, "script", "other", text, large));
  ok(rl_state_put_note(s, "graph", "now", "edges", 5));
  rl_state_close(s);
  rl_buf_free(&room);
  rl_free(text);
}

static inline void note_damage(void *user, const rl_state_damage *d)
{
  rl_buf_printf(user, "%s|%s|%s\n", d->uid ? d->uid : "", d->key ? d->key : "", d->what);
}

static inline rl_state_verified expect_whole(const char *dir)
{
  rl_state_verified seen;
  rl_buf damage = {0};
  rl_status st = rl_state_verify(dir, note_damage, &damage, &seen);
  if (st != RL_OK) fail_msg("%s\n%s", rl_error_message(), rl_buf_cstr(&damage));
  assert_int_equal(damage.n, 0);
  return seen;
}

/* All that LMDB reads of a data file, in order, and key by key: as one number. */
static inline int dump_table(MDB_txn *txn, MDB_dbi dbi, uint64_t *sum, int deep)
{
  MDB_cursor *c = NULL;
  MDB_val key, value, again;
  int rc = mdb_cursor_open(txn, dbi, &c);
  while (rc == 0 && (rc = mdb_cursor_get(c, &key, &value, MDB_NEXT)) == 0) {
    *sum = rl_hash_bytes(key.mv_data, key.mv_size, *sum);
    if (deep) {
      char name[32] = "";
      MDB_dbi table;
      if (key.mv_size >= sizeof name) return -1;
      memcpy(name, key.mv_data, key.mv_size);
      if (mdb_dbi_open(txn, name, 0, &table) != 0) return -1;
      rc = dump_table(txn, table, sum, 0);
    } else {
      *sum = rl_hash_bytes(value.mv_data, value.mv_size, *sum);
      rc = mdb_get(txn, dbi, &key, &again);
      if (rc == 0 && (again.mv_size != value.mv_size || again.mv_data != value.mv_data)) return -1;
    }
  }
  if (c) mdb_cursor_close(c);
  return rc == MDB_NOTFOUND ? 0 : rc;
}

static inline int dump(const char *dir, uint64_t *sum)
{
  MDB_env *env = NULL;
  MDB_txn *txn = NULL;
  *sum = 0;
  int rc = mdb_env_create(&env);
  if (rc == 0) rc = mdb_env_set_maxdbs(env, 16);
  if (rc == 0) rc = mdb_env_set_mapsize(env, RL_IMAGE_MAP_SMALLEST); /* what the store had may be too much */
  if (rc == 0) rc = mdb_env_open(env, dir, MDB_RDONLY | MDB_NOTLS, 0600);
  if (rc == 0) rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
  if (rc == 0) rc = dump_table(txn, 1, sum, 1);
  if (txn) mdb_txn_abort(txn);
  mdb_env_close(env);
  return rc;
}

#endif
