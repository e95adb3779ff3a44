/* Records as pairs: how keyed operations see a record. The key is the first field, normalised; the value is the
 * second, or one tuple of all the others where there are more. */
#ifndef RL_DATA_PAIR_H
#define RL_DATA_PAIR_H

#include "base/buf.h"
#include "base/status.h"
#include "data/chunk.h"

/* A record as one value: the value itself, or one tuple of the fields where there are several. A view, valid while the
 * chunk is held and until `scratch` changes. RL_ELIMIT for a tuple nested too deep. */
rl_status rl_record_pack(const rl_chunk *c, uint32_t row, rl_buf *scratch, rl_value *out);

/* What a pair may point into besides its chunk; {0} is valid. */
typedef struct rl_pair_scratch {
  rl_buf key, rest;
} rl_pair_scratch;

/* Reads a record as (key, value): views, valid while the chunk is held and until the next read with the same scratch.
 * RL_EINVAL for nil and NaN keys and for "a record of one value where (key, value) is needed", RL_ELIMIT for a tuple
 * nested too deep. */
rl_status rl_pair_read(const rl_chunk *c, uint32_t row, rl_pair_scratch *scratch, rl_value pair[2]);
void rl_pair_scratch_free(rl_pair_scratch *scratch);

#endif
