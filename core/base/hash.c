#include "base/hash.h"

#include <stdlib.h>
#include <xxhash.h>

uint64_t rl_hash_bytes(const void *p, size_t n, uint64_t seed)
{
  return XXH3_64bits_withSeed(p, n, seed);
}

uint64_t rl_hash_parts(const struct iovec *v, size_t n, uint64_t seed)
{
  if (n == 1) return rl_hash_bytes(v->iov_base, v->iov_len, seed);
  XXH3_state_t *state = XXH3_createState();
  if (!state || XXH3_64bits_reset_withSeed(state, seed) != XXH_OK) abort();
  for (size_t i = 0; i < n; i++) {
    if (XXH3_64bits_update(state, v[i].iov_base, v[i].iov_len) != XXH_OK) abort();
  }
  uint64_t sum = XXH3_64bits_digest(state);
  XXH3_freeState(state);
  return sum;
}

/* Two rounds of multiply and xor-shift: every bit of x reaches every bit of the result, so also the key group. */
uint64_t rl_hash_u64(uint64_t x, uint64_t seed)
{
  x ^= seed;
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}
