/* Between receiver.c (one receiver) and tracker.c (all of a context). Not public. */
#ifndef RL_RUN_RECEIVER_IMPL_H
#define RL_RUN_RECEIVER_IMPL_H

#include "run/gather.h"
#include "run/pace.h"
#include "run/receiver.h"

/* Takes over self. */
rl_receiver *rl_receiver_new(rl_streaming *s, int32_t stream, const char *label, const rl_receiver_class *cls,
                             void *self);
void rl_receiver_delete(rl_receiver *r); /* stops it if need be */

rl_status rl_receiver_start(rl_receiver *r);
void rl_receiver_prepare_stop(rl_receiver *r); /* tells the source's threads; rl_receiver_stop then waits for them */
void rl_receiver_stop(rl_receiver *r);         /* only a started one is */
rl_gather *rl_receiver_gather(rl_receiver *r);
rl_pace *rl_receiver_pace(rl_receiver *r);
rl_pressure *rl_tracker_pressure(rl_tracker *t); /* of all its receivers on memory */
/* Before the start: what it stores is logged. */
void rl_receiver_log(rl_receiver *r, rl_wal *wal, const char *uid, uint64_t position);
/* Positions of batches: so many records more are in one that begins; what it and those before it have together. Driver. */
uint64_t rl_receiver_begin(rl_receiver *r, uint64_t records);
/* tracker.c: the receiver of an input, NULL when it has none; its blocks in a batch, NULL when there are none. Driver. */
rl_receiver *rl_input_receiver(const rl_input *in);
const rl_blocks *rl_receiver_blocks(rl_streaming *s, const rl_receiver *r, int64_t time);

#endif
