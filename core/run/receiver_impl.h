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

#endif
