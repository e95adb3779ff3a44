/* Records to Kafka topics, at least once: a task succeeds when the brokers have acknowledged all it sent. A task that
 * is tried again, and a batch that is run again, sends again. The producer is idempotent, so that its own retries send
 * nothing twice. */
#ifndef RL_SINK_KAFKA_H
#define RL_SINK_KAFKA_H

#include "data/fn.h"
#include "run/conf.h"
#include "run/kafka_conf.h"
#include "sink/kafka_txn.h"

typedef struct rl_kafka_sink {
  const rl_kafka_setting *settings; /* "bootstrap.servers" must be among them */
  size_t nsettings;
  const char *topic; /* NULL: a record's first value names it, and the rest is what is sent */
  rl_kafka_txn *transaction; /* NULL: none; else it has the producer, and tells what is sent how often */
} rl_kafka_sink;

/* The last function of a job of kind RL_JOB_RUN: takes all, gives nothing. A record is (value) or (key, value): strings
 * as they are, numbers and booleans as their text, nil and rille.null as null. Tables and tuples are RL_EINVAL. One
 * producer is made at the first record and kept as long as the function; what it has queued is bounded
 * (queue.buffering.max.kbytes), and then tasks wait. conf gives the limit of waiting, as for sources. All of spec is
 * copied. */
rl_status rl_sink_kafka_fn(const rl_kafka_sink *spec, const rl_conf *conf, rl_fn **out);

#endif
