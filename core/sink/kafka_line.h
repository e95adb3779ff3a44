/* A producer that several tasks use, and what became of what one of them sent. Between the files of the Kafka sink; not
 * public. Any thread. */
#ifndef RL_SINK_KAFKA_LINE_H
#define RL_SINK_KAFKA_LINE_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "run/kafka_conf.h"

/* Counted. What it has not sent when the last one lets go of it is dropped. */
typedef struct rl_kafka_line {
  _Atomic uint32_t refs;
  rd_kafka_t *rk;
} rl_kafka_line;

rl_status rl_kafka_line_new(const rl_kafka_conf *conf, rl_kafka_use use, rl_kafka_health *h, rl_kafka_line **out);
rl_kafka_line *rl_kafka_line_ref(rl_kafka_line *l);
void rl_kafka_line_unref(rl_kafka_line *l); /* NULL is allowed */

/* What became of the messages of one attempt. Messages under way hold a reference: they may outlive it. It is their
 * opaque. */
typedef struct rl_kafka_tally {
  _Atomic uint32_t refs;
  _Atomic uint64_t under_way;
  pthread_mutex_t lock;
  rd_kafka_resp_err_t err; /* of the first that was not delivered */
  char *topic;
  int32_t partition; /* -1: it had none yet */
} rl_kafka_tally;

rl_kafka_tally *rl_kafka_tally_new(void);
void rl_kafka_tally_add(rl_kafka_tally *t); /* a message is about to be sent */
void rl_kafka_tally_take(rl_kafka_tally *t); /* it could not be queued, or was delivered */
void rl_kafka_tally_unref(rl_kafka_tally *t);

#endif
