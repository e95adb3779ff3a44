/* Kafka producers of jobs (rille.kafka.producer): made in the driver, captured by functions, used wherever those run.
 * A shared object (shared.h) that stands for the process's producer with its settings (sink/kafka_producer.h).
 *
 * What is sent is kept by whose it is, in outboxes: a task's is settled at its end, before it counts as done, that of a
 * driver function of an output at its end; in the script and in receivers flush does it.
 *
 *   producer.c       the objects, and their durable form's part
 *   producer_send.c  send, flush, outboxes */
#ifndef RL_LUA_PRODUCER_H
#define RL_LUA_PRODUCER_H

#include "shared.h"
#include "sink/kafka_producer.h"

extern const rl_shared_class rl_producer_class;

/* Driver: core.kafkaProducer { settings =, mute = } -> holder. Connected at once; mute: never, and what is sent is
 * checked and dropped. */
int rl_lua_kafka_producer(lua_State *L);

/* The process's producer for it, one reference; *out NULL: it is mute. */
rl_status rl_producer_resolve(rl_shared *s, rl_kafka_producer **out);

/* False: it is none. The settings are its own, values of secrets included. */
bool rl_producer_settings(const rl_shared *s, const rl_kafka_setting **settings, size_t *n);
/* One that came out of a checkpoint: settings as rl_kafka_producer_get takes them, copied. Nothing is made or checked
 * before it is used. */
rl_shared *rl_producer_of(const rl_kafka_setting *settings, size_t n);
/* Are those that this thread makes so from now on mute? */
void rl_producers_come_mute(bool mute);

/* --- producer_send.c ---------------------------------------------------------------------------------------------- */

typedef struct rl_outboxes {
  struct rl_outbox *first;
} rl_outboxes;

void rl_producer_prepare_driver(lua_State *L);
void rl_producer_prepare_worker(lua_State *L);

/* A worker's, at the end of a task. Takes them all in, whatever becomes of it. The current error names the line that
 * sent. */
rl_status rl_outboxes_settle(rl_outboxes *boxes);
void rl_outboxes_drop(rl_outboxes *boxes); /* what is under way goes on by itself */
/* When their state goes: waits a little for what is under way, and says what it did not come to. */
void rl_outboxes_finish(rl_outboxes *boxes);

/* Driver: those of an output that has ended, however. Raises nothing. */
void rl_outboxes_forget(lua_State *L, const void *owner);
/* Driver: core.settleProducers(): waits for what the output that runs now has sent; raises what became of it. */
int rl_lua_settle_producers(lua_State *L);

#endif
