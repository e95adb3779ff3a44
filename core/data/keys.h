/* Keys: a set of keys, numbered from 0 in the order of first sight. What is gathered by key lies in arrays beside it, by
 * number. One owner. */
#ifndef RL_DATA_KEYS_H
#define RL_DATA_KEYS_H

#include <stdbool.h>

#include "base/status.h"
#include "data/value.h"

typedef struct rl_keys rl_keys;

rl_keys *rl_keys_new(void);
void rl_keys_delete(rl_keys *k); /* NULL is allowed */

uint32_t rl_keys_count(const rl_keys *k);
size_t rl_keys_bytes(const rl_keys *k); /* what it takes, about */
/* A view, valid until the set is deleted. */
rl_value rl_keys_get(const rl_keys *k, uint32_t number);
/* The number of a normalised key (rl_key_normalise); one that is new is copied, and gets the number that
 * rl_keys_count gave before. RL_ELIMIT for too many. */
rl_status rl_keys_put(rl_keys *k, rl_value key, uint32_t *number);
/* Likewise for n keys, at most RL_KEYS_AT_ONCE: in a large set much faster than one by one, as the memory is asked for
 * in advance. */
#define RL_KEYS_AT_ONCE 64
rl_status rl_keys_put_all(rl_keys *k, const rl_value *keys, uint32_t n, uint32_t *numbers);
/* Only looks: false when the normalised key is not there. */
bool rl_keys_find(const rl_keys *k, rl_value key, uint32_t *number);

#endif
