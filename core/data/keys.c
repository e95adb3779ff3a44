#include "data/keys.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

#define ARENA_BLOCK ((size_t)64 * 1024)
#define FIRST_SLOTS 256

/* Open addressing. The place comes from the hash's upper half: the keys of one partition share some of the lower bits
 * (data/partition.h), which tell apart the keys that meet. */
typedef struct slot {
  uint32_t next; /* number + 1; 0: free */
  uint32_t hash; /* lower half */
} slot;

typedef struct entry {
  uint64_t hash;
  rl_value key;
} entry;

struct rl_keys {
  entry *entries;
  size_t n, cap;
  slot *slots;
  size_t nslots; /* a power of two */
  rl_bytes **blocks; /* bytes of the keys */
  size_t nblocks, blocks_cap;
  size_t bytes; /* of the keys in them */
};

rl_keys *rl_keys_new(void)
{
  rl_keys *k = RL_NEW(rl_keys);
  k->nslots = FIRST_SLOTS;
  k->slots = rl_calloc(k->nslots, sizeof *k->slots);
  return k;
}

void rl_keys_delete(rl_keys *k)
{
  if (!k) return;
  for (size_t i = 0; i < k->nblocks; i++) rl_bytes_unref(k->blocks[i]);
  rl_free(k->blocks);
  rl_free(k->entries);
  rl_free(k->slots);
  rl_free(k);
}

uint32_t rl_keys_count(const rl_keys *k)
{
  return (uint32_t)k->n;
}

size_t rl_keys_bytes(const rl_keys *k)
{
  return k->bytes + k->cap * sizeof *k->entries + k->nslots * sizeof *k->slots;
}

rl_value rl_keys_get(const rl_keys *k, uint32_t number)
{
  return k->entries[number].key;
}

static rl_status arena_room(rl_keys *k, size_t n, rl_bytes **out)
{
  rl_bytes *last = k->nblocks ? k->blocks[k->nblocks - 1] : NULL;
  if (!last || last->cap - last->n < n) {
    last = rl_bytes_new(n > ARENA_BLOCK ? n : ARENA_BLOCK);
    if (!last) return RL_ENOMEM;
    k->blocks = rl_grow(k->blocks, &k->blocks_cap, k->nblocks + 1, sizeof(rl_bytes *));
    k->blocks[k->nblocks++] = last;
  }
  *out = last;
  return RL_OK;
}

/* Moves a key's bytes into the set's own memory. */
static rl_status own_key(rl_keys *k, rl_value *key)
{
  if (key->type < RL_T_BYTES) return RL_OK;
  rl_bytes *block = NULL;
  rl_status st = arena_room(k, key->s.n, &block);
  if (st != RL_OK) return st;
  char *p = block->data + block->n;
  if (key->s.n > 0) memcpy(p, key->s.p, key->s.n);
  block->n += key->s.n;
  k->bytes += key->s.n;
  key->s.p = p;
  return RL_OK;
}

static size_t place_of(const rl_keys *k, uint64_t hash)
{
  return (size_t)(hash >> 32) & (k->nslots - 1);
}

static size_t following(const rl_keys *k, size_t at)
{
  return (at + 1) & (k->nslots - 1);
}

static void grow_slots(rl_keys *k)
{
  rl_free(k->slots);
  k->nslots *= 2;
  k->slots = rl_calloc(k->nslots, sizeof *k->slots);
  for (size_t i = 0; i < k->n; i++) {
    uint64_t hash = k->entries[i].hash;
    size_t at = place_of(k, hash);
    while (k->slots[at].next) at = following(k, at);
    k->slots[at] = (slot){(uint32_t)(i + 1), (uint32_t)hash};
  }
}

static rl_status add(rl_keys *k, uint64_t hash, rl_value key, size_t at)
{
  if (k->n == UINT32_MAX - 1) return rl_fail(RL_ELIMIT, "too many keys in one partition; use more partitions");
  rl_status st = own_key(k, &key);
  if (st != RL_OK) return st;
  k->entries = rl_grow(k->entries, &k->cap, k->n + 1, sizeof *k->entries);
  k->entries[k->n++] = (entry){hash, key};
  k->slots[at] = (slot){(uint32_t)k->n, (uint32_t)hash};
  return RL_OK;
}

/* Where the key is, or where it would go; *number when it is there. */
static bool find(const rl_keys *k, rl_value key, uint64_t hash, size_t *at, uint32_t *number)
{
  for (*at = place_of(k, hash); k->slots[*at].next; *at = following(k, *at)) {
    if (k->slots[*at].hash != (uint32_t)hash) continue;
    *number = k->slots[*at].next - 1;
    if (rl_key_equal(k->entries[*number].key, key)) return true;
  }
  return false;
}

static rl_status put(rl_keys *k, rl_value key, uint64_t hash, uint32_t *number)
{
  if (k->n >= k->nslots / 4 * 3) grow_slots(k);
  size_t at;
  if (find(k, key, hash, &at, number)) return RL_OK;
  *number = (uint32_t)k->n;
  return add(k, hash, key, at);
}

bool rl_keys_find(const rl_keys *k, rl_value key, uint32_t *number)
{
  size_t at;
  return find(k, key, rl_key_hash(key), &at, number);
}

rl_status rl_keys_put(rl_keys *k, rl_value key, uint32_t *number)
{
  return put(k, key, rl_key_hash(key), number);
}

rl_status rl_keys_put_all(rl_keys *k, const rl_value *keys, uint32_t n, uint32_t *numbers)
{
  uint64_t hashes[RL_KEYS_AT_ONCE];
  for (uint32_t i = 0; i < n; i++) {
    hashes[i] = rl_key_hash(keys[i]);
    __builtin_prefetch(&k->slots[place_of(k, hashes[i])]);
  }
  for (uint32_t i = 0; i < n; i++) {
    uint32_t next = k->slots[place_of(k, hashes[i])].next;
    if (next) __builtin_prefetch(&k->entries[next - 1]);
  }
  rl_status st = RL_OK;
  for (uint32_t i = 0; st == RL_OK && i < n; i++) st = put(k, keys[i], hashes[i], &numbers[i]);
  return st;
}
