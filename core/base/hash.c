#include "base/hash.h"

#include <xxhash.h>

uint64_t rl_hash_bytes(const void *p, size_t n, uint64_t seed)
{
  return XXH3_64bits_withSeed(p, n, seed);
}

/* Two rounds of multiply and xor-shift: every bit of x reaches every bit of the result, so also the key group. */
uint64_t rl_hash_u64(uint64_t x, uint64_t seed)
{
  x ^= seed;
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}
