/* Reading ranges of offsets on workers. A pool keeps one reader for each topic partition that was read, which fetches
 * ahead from where it was left, so the next batch finds its first records here. A reader in use is never shared: who
 * reads the same partition meanwhile gets another one. Readers that met a failure are not used again.
 *
 * librdkafka's simple consumer is used: it takes a position and a queue of its own for each partition, and a new start
 * leaves nothing of the old position in the queue. */
#ifndef RL_SOURCE_KAFKA_READER_H
#define RL_SOURCE_KAFKA_READER_H

#include "data/fn.h"
#include "source/kafka.h"
#include "run/kafka_conf.h"

typedef struct rl_kafka_pool rl_kafka_pool; /* counted; any thread */

/* Limits of waiting: rille.streaming.kafka.consumer.poll, and well within rille.task.maxSeconds. ahead: readers go on
 * fetching behind the range that was read; else they stop there. */
rl_kafka_pool *rl_kafka_pool_new(rl_kafka_conf *c, rl_kafka_health *h, const rl_conf *conf, bool ahead);
rl_kafka_pool *rl_kafka_pool_ref(rl_kafka_pool *p);
void rl_kafka_pool_unref(rl_kafka_pool *p);
/* Ends the idle readers of partitions that are not among the ranges, and clients that are left without any. A later
 * read makes new ones. */
void rl_kafka_pool_prune(rl_kafka_pool *p, const rl_kafka_range *ranges, uint32_t n);

/* The records of a range (copied), to its end or a failure: RL_EIO, retriable, when none comes for the time of the
 * pool; RL_EDATA when the range is no longer there and no auto.offset.reset was set. */
rl_status rl_kafka_read(rl_kafka_pool *p, const rl_kafka_range *range, rl_kafka_records form, const rl_task *task,
                        rl_pull **out);

#endif
