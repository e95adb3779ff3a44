/* One change of the image. What is replaced or removed is read first: the operator's set (rl_image_op) tells of what is
 * there at every commit, also where a version that a crash cut off is moved again over a part of itself. */
#include <string.h>

#include "data/codec.h"
#include "store/state_impl.h"

static void add(rl_image_op *set, uint64_t hash)
{
  set->entries++;
  set->sum += hash;
}

/* An entry that is going. One that is damaged is not written over: nobody would learn of it. */
static int take(const rl_state_op *op, rl_image_op *set, uint32_t group, rl_octets form, rl_octets entry)
{
  rl_octets stored;
  uint64_t hash;
  if (!rl_image_read(op->number, group, form, entry, &stored, &hash)) return MDB_CORRUPTED;
  set->entries--;
  set->sum -= hash;
  return 0;
}

static rl_octets octets_of(const MDB_val *v)
{
  return (rl_octets){v->mv_data, v->mv_size};
}

static int remove_entry(const rl_state_op *op, rl_image_op *set, MDB_cursor *c, MDB_val *key, uint32_t group,
                        rl_octets form)
{
  MDB_val old;
  int rc = mdb_cursor_get(c, key, &old, MDB_SET);
  if (rc == MDB_NOTFOUND) return 0;
  if (rc == 0) rc = take(op, set, group, form, octets_of(&old));
  return rc == 0 ? mdb_cursor_del(c, 0) : rc;
}

static int put_entry(const rl_state_op *op, rl_image_op *set, MDB_cursor *c, MDB_val *key, uint32_t group,
                     rl_octets form, rl_octets stored)
{
  uint64_t hash = rl_image_hash(op->number, group, form, stored);
  uint32_t check = (uint32_t)hash;
  MDB_val value = {.mv_size = RL_IMAGE_CHECK + stored.n};
  int rc = mdb_cursor_put(c, key, &value, MDB_RESERVE | MDB_NOOVERWRITE);
  if (rc == MDB_KEYEXIST) { /* `value` is the old one, and the cursor is on it */
    rc = take(op, set, group, form, octets_of(&value));
    value = (MDB_val){.mv_size = RL_IMAGE_CHECK + stored.n};
    if (rc == 0) rc = mdb_cursor_put(c, key, &value, MDB_RESERVE | MDB_CURRENT);
  }
  if (rc != 0) return rc;
  memcpy(value.mv_data, &check, RL_IMAGE_CHECK);
  memcpy((char *)value.mv_data + RL_IMAGE_CHECK, stored.p, stored.n);
  add(set, hash);
  return 0;
}

/* Buckets ---------------------------------------------------------------------------------------------------------- */

/* The bucket without the key; its old entry is taken out of the set. */
static int copy_others(const rl_state_op *op, rl_image_op *set, uint32_t group, rl_octets old, rl_octets form,
                       rl_buf *out)
{
  rl_octets key, entry;
  bool found = true;
  int rc = 0;
  rl_buf_clear(out);
  while (rc == 0 && (rc = rl_bucket_next(&old, &key, &entry, &found)) == 0 && found) {
    if (key.n == form.n && memcmp(key.p, form.p, form.n) == 0) {
      rc = take(op, set, group, form, entry);
      continue;
    }
    rl_put_varint(out, key.n);
    rl_buf_add(out, key.p, key.n);
    rl_put_varint(out, entry.n);
    rl_buf_add(out, entry.p, entry.n);
  }
  return rc;
}

static void append(const rl_state_op *op, rl_image_op *set, uint32_t group, rl_octets form, rl_octets stored,
                   rl_buf *out)
{
  uint64_t hash = rl_image_hash(op->number, group, form, stored);
  uint32_t check = (uint32_t)hash;
  rl_put_varint(out, form.n);
  rl_buf_add(out, form.p, form.n);
  rl_put_varint(out, RL_IMAGE_CHECK + stored.n);
  rl_buf_add(out, &check, RL_IMAGE_CHECK);
  rl_buf_add(out, stored.p, stored.n);
  add(set, hash);
}

static int put_hashed(const rl_state_op *op, rl_image_op *set, MDB_cursor *c, MDB_val *key, uint32_t group,
                      rl_octets form, rl_octets stored, rl_buf *scratch)
{
  MDB_val value = {0};
  int rc = mdb_cursor_get(c, key, &value, MDB_SET);
  bool exists = rc == 0;
  if (rc == MDB_NOTFOUND) {
    value = (MDB_val){0};
  } else if (rc != 0) {
    return rc;
  }
  rc = copy_others(op, set, group, octets_of(&value), form, scratch);
  if (rc != 0) return rc;
  if (stored.n > 0) append(op, set, group, form, stored, scratch);
  if (scratch->n == 0) return exists ? mdb_cursor_del(c, 0) : 0;
  value = (MDB_val){.mv_size = scratch->n, .mv_data = scratch->p};
  return mdb_cursor_put(c, key, &value, 0);
}

int rl_image_put(const rl_state_op *op, rl_image_op *set, MDB_cursor *c, uint32_t group, rl_octets form,
                 rl_octets stored, rl_buf *scratch)
{
  char room[RL_IMAGE_KEY_MAX];
  MDB_val key = rl_image_key(op->number, group, form, room);
  if (rl_image_hashed(form)) return put_hashed(op, set, c, &key, group, form, stored, scratch);
  if (stored.n == 0) return remove_entry(op, set, c, &key, group, form);
  return put_entry(op, set, c, &key, group, form, stored);
}
