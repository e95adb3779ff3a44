/* Hashing: XXH3 (libxxhash) with a seed, and a mixer for integers. Results are stable over runs and machines of one
 * byte order; they decide partitions, so they never change without a format version. */
#ifndef RL_BASE_HASH_H
#define RL_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define RL_HASH_SEED UINT64_C(0x52696c6c65000001)

uint64_t rl_hash_bytes(const void *p, size_t n, uint64_t seed);
uint64_t rl_hash_parts(const struct iovec *v, size_t n, uint64_t seed); /* as if they lay one behind the other */
uint64_t rl_hash_u64(uint64_t x, uint64_t seed);

#endif
