#include "store/state_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "data/codec.h"

size_t rl_image_first_map = RL_IMAGE_MAP_LARGEST;

rl_status rl_image_fail(const rl_image *im, int rc, const char *what)
{
  switch (rc) {
  case MDB_READERS_FULL:
    return rl_fail(RL_ELIMIT, "the state in %s is read by more than %d at once", im->dir, RL_IMAGE_READERS);
  case MDB_CORRUPTED:
  case MDB_PAGE_NOTFOUND:
  case MDB_INVALID:
  case MDB_VERSION_MISMATCH:
    return rl_fail(RL_EDATA, "cannot %s the state in %s: %s; it is damaged: `rille inspect --verify` tells more, and "
                   "--repair puts it aside", what, im->dir, mdb_strerror(rc));
  case ENOMEM:
    return rl_fail(RL_ENOMEM, "cannot %s the state in %s: %s; it is mapped, which takes %zu MB of address space at "
                   "least: allow the process more (ulimit -v, limits of its service)", what, im->dir, mdb_strerror(rc),
                   RL_IMAGE_MAP_SMALLEST >> 20);
  case EIO: /* also for what was written in part */
    return rl_fail(RL_EIO, "cannot %s the state in %s: %s, or no space left there", what, im->dir, mdb_strerror(rc));
  default: return rl_fail(RL_EIO, "cannot %s the state in %s: %s", what, im->dir, mdb_strerror(rc));
  }
}

/* Opening ---------------------------------------------------------------------------------------------------------- */

static int open_env(rl_image *im, size_t map)
{
  unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | (im->scratch ? MDB_NOSYNC | MDB_NOMETASYNC : 0);
  int rc = mdb_env_create(&im->env);
  if (rc != 0) return rc;
  rc = mdb_env_set_mapsize(im->env, map);
  if (rc == 0) rc = mdb_env_set_maxdbs(im->env, 3 + RL_NOTE_KINDS);
  if (rc == 0) rc = mdb_env_set_maxreaders(im->env, RL_IMAGE_READERS);
  if (rc == 0) rc = mdb_env_open(im->env, im->dir, flags, 0600);
  if (rc != 0) {
    mdb_env_close(im->env);
    im->env = NULL;
  }
  return rc;
}

/* Address space is all that a large map costs; where it is short (a limit, an emulator), less is tried. */
static int open_largest(rl_image *im)
{
  int rc = 0;
  im->map = rl_image_first_map;
  while ((rc = open_env(im, im->map)) == ENOMEM && im->map / 2 >= RL_IMAGE_MAP_SMALLEST) im->map /= 2;
  return rc;
}

static int open_notes(rl_image *im, MDB_txn *txn)
{
  int rc = 0;
  for (unsigned i = 0; i < RL_NOTE_KINDS && rc == 0; i++) {
    MDB_dbi dbi = 0;
    rc = mdb_dbi_open(txn, rl_note_kinds[i], 0, &dbi);
    if (rc == MDB_NOTFOUND) rc = 0;
    atomic_store(&im->notes[i], dbi);
  }
  return rc;
}

int rl_image_tables(rl_image *im, MDB_txn *txn)
{
  int rc = mdb_dbi_open(txn, "state", MDB_CREATE, &im->state);
  if (rc == 0) rc = mdb_dbi_open(txn, "due", MDB_CREATE, &im->due);
  if (rc == 0) rc = mdb_dbi_open(txn, "meta", MDB_CREATE, &im->meta);
  return rc == 0 ? open_notes(im, txn) : rc;
}

/* An empty file, as LMDB makes it. */
static rl_status make_empty(const rl_image *im, const char *dir)
{
  MDB_env *env = NULL;
  int rc = mdb_env_create(&env);
  if (rc == 0) {
    rc = mdb_env_open(env, dir, MDB_NOLOCK, 0600);
    if (rc == 0) rc = mdb_env_sync(env, 1);
    mdb_env_close(env);
  }
  return rc == 0 ? RL_OK : rl_image_fail(im, rc, "make");
}

/* The file is there as a whole or not at all: half of one, as a crash would leave it, could never be opened. */
static rl_status make_data(const rl_image *im)
{
  char *path = rl_path_join(im->dir, "data.mdb"), *making = rl_path_join(im->dir, "making");
  char *made = rl_path_join(making, "data.mdb");
  rl_status st = rl_dir_remove(making);
  if (st == RL_OK && access(path, F_OK) != 0) {
    st = rl_dir_make_private(making);
    if (st == RL_OK) st = make_empty(im, making);
    if (st == RL_OK) st = rl_file_rename(made, path);
    if (st == RL_OK) st = rl_dir_sync(im->dir);
    if (st == RL_OK) st = rl_dir_remove(making);
  }
  rl_free(made);
  rl_free(making);
  rl_free(path);
  return st;
}

rl_status rl_image_open(rl_image *im, const char *dir, bool scratch)
{
  *im = (rl_image){.dir = rl_strdup(dir), .scratch = scratch};
  rl_status sound = scratch ? RL_OK : make_data(im);
  if (sound == RL_OK && !scratch) sound = rl_image_sound(dir);
  if (sound != RL_OK) {
    rl_image_close(im);
    return sound;
  }
  int dead = 0;
  MDB_stat stat = {0};
  int rc = open_largest(im);
  if (rc == 0) rc = mdb_reader_check(im->env, &dead);
  if (rc == 0) rc = mdb_env_stat(im->env, &stat);
  im->page = stat.ms_psize;
  if (rc == 0) return RL_OK;
  rl_status st = rl_image_fail(im, rc, "open");
  rl_image_close(im);
  return st;
}

void rl_image_close(rl_image *im)
{
  if (im->env) mdb_env_close(im->env);
  rl_free(im->dir);
  *im = (rl_image){0};
}

/* LMDB gives the old map up first: without a new one it would have none. */
static bool has_room(size_t more)
{
  void *p = mmap(NULL, more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p != MAP_FAILED && munmap(p, more) == 0;
}

int rl_image_grow(rl_image *im)
{
  if (!has_room(im->map)) return ENOMEM;
  int rc = mdb_env_set_mapsize(im->env, im->map * 2);
  if (rc == 0) im->map *= 2;
  return rc;
}

/* Keys ------------------------------------------------------------------------------------------------------------- */

static void put_be(char *p, uint64_t x, int n)
{
  for (int i = n - 1; i >= 0; i--, x >>= 8) p[i] = (char)(x & 0xff);
}

static void put_head(char *p, uint32_t number, uint32_t group)
{
  put_be(p, number, 4);
  p[4] = (char)group;
}

bool rl_image_hashed(rl_octets form)
{
  return RL_IMAGE_HEAD + form.n > RL_IMAGE_KEY_MAX;
}

static void hash_form(rl_octets form, XXH128_canonical_t *out)
{
  XXH128_canonicalFromHash(out, XXH3_128bits_withSeed(form.p, form.n, RL_HASH_SEED));
}

MDB_val rl_image_key(uint32_t number, uint32_t group, rl_octets form, char *room)
{
  put_head(room, number, group);
  if (!rl_image_hashed(form)) {
    memcpy(room + RL_IMAGE_HEAD, form.p, form.n);
    return (MDB_val){.mv_size = RL_IMAGE_HEAD + form.n, .mv_data = room};
  }
  XXH128_canonical_t hash;
  hash_form(form, &hash);
  room[RL_IMAGE_HEAD] = (char)RL_IMAGE_HASHED;
  memcpy(room + RL_IMAGE_HEAD + 1, &hash, sizeof hash);
  return (MDB_val){.mv_size = RL_IMAGE_HEAD + 1 + sizeof hash, .mv_data = room};
}

static int compare_bytes(rl_octets a, rl_octets b)
{
  int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
  return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

int rl_form_compare(rl_octets a, rl_octets b)
{
  bool hashed = rl_image_hashed(a);
  if (hashed != rl_image_hashed(b)) return hashed ? 1 : -1;
  if (!hashed) return compare_bytes(a, b);
  XXH128_canonical_t x, y;
  hash_form(a, &x);
  hash_form(b, &y);
  int order = memcmp(&x, &y, sizeof x);
  return order != 0 ? order : compare_bytes(a, b);
}

void rl_due_key(char *p, uint32_t number, uint32_t group, int64_t stamp, uint64_t seq, uint32_t piece)
{
  put_head(p, number, group);
  put_be(p + RL_IMAGE_HEAD, (uint64_t)stamp ^ (UINT64_C(1) << 63), 8); /* negative ones come first */
  put_be(p + RL_DUE_HEAD, seq, 8);
  put_be(p + RL_DUE_HEAD + 8, piece, 4);
}

/* Entries ---------------------------------------------------------------------------------------------------------- */

/* The key is in it too: an entry that got under another key is found out. */
uint64_t rl_image_hash(uint32_t number, uint32_t group, rl_octets form, rl_octets stored)
{
  uint64_t seed = rl_hash_u64((uint64_t)number << 8 | group, RL_HASH_SEED);
  seed = rl_hash_bytes(form.p, form.n, seed);
  return rl_hash_bytes(stored.p, stored.n, seed);
}

bool rl_image_read(uint32_t number, uint32_t group, rl_octets form, rl_octets entry, rl_octets *stored, uint64_t *hash)
{
  uint32_t check;
  if (entry.n < RL_IMAGE_CHECK) return false;
  memcpy(&check, entry.p, RL_IMAGE_CHECK);
  *stored = (rl_octets){entry.p + RL_IMAGE_CHECK, entry.n - RL_IMAGE_CHECK};
  *hash = rl_image_hash(number, group, form, *stored);
  return check == (uint32_t)*hash;
}

static rl_status bad_entry(const rl_state_op *op, rl_octets form, const char *what)
{
  rl_value key = rl_nil();
  rl_buf text = {0};
  if (rl_form_read(form, &key) == RL_OK) rl_value_format(key, &text);
  if (text.n > 200) text.n = 200;
  rl_status st = rl_fail(RL_EDATA, "state of '%s', key %s: %s; the image in %s is damaged", op->uid,
                         rl_buf_cstr(&text), what, op->s->image.dir);
  rl_buf_free(&text);
  return st;
}

rl_status rl_image_entry(const rl_state_op *op, uint32_t group, rl_octets form, rl_octets entry, rl_octets *stored)
{
  uint64_t hash;
  if (entry.n < RL_IMAGE_CHECK + 2) return bad_entry(op, form, "the entry is too short");
  if (!rl_image_read(op->number, group, form, entry, stored, &hash)) return bad_entry(op, form, "wrong checksum");
  return RL_OK;
}

static int bucket_part(rl_reader *r, rl_octets *part)
{
  uint64_t n = 0;
  if (rl_get_varint(r, &n) != RL_OK || n > (size_t)(r->end - r->p)) return MDB_CORRUPTED;
  *part = (rl_octets){r->p, (size_t)n};
  r->p += n;
  return 0;
}

int rl_bucket_next(rl_octets *rest, rl_octets *form, rl_octets *entry, bool *found)
{
  *found = rest->n > 0;
  if (!*found) return 0;
  rl_reader r = {rest->p, rest->p + rest->n};
  int rc = bucket_part(&r, form);
  if (rc == 0) rc = bucket_part(&r, entry);
  *rest = (rl_octets){r.p, (size_t)(r.end - r.p)};
  return rc;
}

static bool same_form(rl_octets a, rl_octets b)
{
  return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

/* The key's entry in its bucket; n = 0: none. */
static int find_in_bucket(rl_octets bucket, rl_octets form, rl_octets *entry)
{
  rl_octets key;
  bool found = true;
  int rc = 0;
  while ((rc = rl_bucket_next(&bucket, &key, entry, &found)) == 0 && found) {
    if (same_form(key, form)) return 0;
  }
  *entry = (rl_octets){0};
  return rc;
}

rl_status rl_image_get(const rl_state_op *op, MDB_txn *txn, uint32_t group, rl_octets form, rl_octets *stored)
{
  char room[RL_IMAGE_KEY_MAX];
  MDB_val key = rl_image_key(op->number, group, form, room), value;
  *stored = (rl_octets){0};
  int rc = mdb_get(txn, op->s->image.state, &key, &value);
  if (rc == MDB_NOTFOUND) return RL_OK;
  rl_octets entry = {0};
  if (rc == 0) entry = (rl_octets){value.mv_data, value.mv_size};
  if (rc == 0 && rl_image_hashed(form)) {
    rc = find_in_bucket(entry, form, &entry);
    if (rc == 0 && entry.n == 0) return RL_OK;
  }
  if (rc == 0) return rl_image_entry(op, group, form, entry, stored);
  rl_status st = rl_image_fail(&op->s->image, rc, "read");
  rl_error_prefix("state of '%s': ", op->uid);
  return st;
}
