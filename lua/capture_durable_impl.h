/* Between the two directions of the durable form (capture_durable.c, capture_decode.c). */
#ifndef RL_LUA_CAPTURE_DURABLE_IMPL_H
#define RL_LUA_CAPTURE_DURABLE_IMPL_H

#include "capture_internal.h"

#define RL_DURABLE_RECORD 0x20 /* where a value's tag (data/codec.h) stands: the value is a record, its number follows */
#define RL_DURABLE_DEPTH 4     /* broadcasts in broadcasts */

enum { RL_DURABLE_BROADCAST = 1, RL_DURABLE_ACCUMULATOR, RL_DURABLE_PRODUCER };

extern const uint8_t rl_durable_kind[]; /* by rl_record: as on disk, never to be changed */

#endif
