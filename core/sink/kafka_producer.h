/* Producers by their settings: the client that sends, kept between tasks and batches, and shared by all that send with
 * it. Counted; any thread. */
#ifndef RL_SINK_KAFKA_PRODUCER_H
#define RL_SINK_KAFKA_PRODUCER_H

#include "run/kafka_conf.h"

struct rl_kafka_line;

typedef struct rl_kafka_producer rl_kafka_producer;

/* One of its own. "bootstrap.servers" must be among the settings, which are copied; RL_EINVAL, with librdkafka's
 * reason, for those that it refuses. what: its name in warnings. Nothing is connected yet. */
rl_status rl_kafka_producer_new(const rl_kafka_setting *settings, size_t n, const char *what, rl_kafka_producer **out);

/* The process's one with these settings, made now or before. Where a value is NULL, which only a secret's should be, it
 * is not known: then it must have been made before with whatever value, or it is RL_ESTATE. */
rl_status rl_kafka_producer_get(const rl_kafka_setting *settings, size_t n, rl_kafka_producer **out);

rl_kafka_producer *rl_kafka_producer_ref(rl_kafka_producer *p);
void rl_kafka_producer_unref(rl_kafka_producer *p); /* NULL is allowed; the last drops what was not sent */

/* The client, connected now or before: another one after an error that librdkafka calls fatal, which leaves the earlier
 * one to those that use it. One reference. RL_EINVAL, with the reason, for settings that do not go together. */
rl_status rl_kafka_producer_line(rl_kafka_producer *p, struct rl_kafka_line **out);
rl_status rl_kafka_producer_connect(rl_kafka_producer *p); /* likewise, and keeps it */

const char *rl_kafka_producer_brokers(const rl_kafka_producer *p);
size_t rl_kafka_producer_queue_bytes(const rl_kafka_producer *p); /* as much as is queued at a time */
char *rl_kafka_producer_reason(rl_kafka_producer *p); /* rl_kafka_health_reason */

#endif
