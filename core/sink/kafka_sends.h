/* What a task, or another part of a job, sends to Kafka: counted until the brokers have acknowledged it. Used by one
 * thread. What is queued in the producer is bounded (queue.buffering.max.kbytes), and then sending waits. */
#ifndef RL_SINK_KAFKA_SENDS_H
#define RL_SINK_KAFKA_SENDS_H

#include "data/value.h"
#include "sink/kafka_producer.h"
#include "sink/kafka_txn.h"

typedef struct rl_kafka_sends rl_kafka_sends;

typedef struct rl_kafka_sends_spec {
  rl_kafka_producer *producer;
  rl_kafka_txn *transaction;      /* NULL: none; else it has the client, and messages are part of it */
  rl_status (*go_on)(void *user); /* asked at least ten times a second while it waits; what is not RL_OK ends that */
  void *user;
  int64_t until_ns; /* monotonic: waiting longer is RL_EIO; 0: no limit. A message has one: message.timeout.ms */
} rl_kafka_sends_spec;

#define RL_KAFKA_ANY_PARTITION (-1)

/* Key and value: bytes as they are, numbers and booleans as their text, nil and null as null. Tables and tuples are
 * RL_EINVAL. */
typedef struct rl_kafka_message {
  rl_value key, value;
  int32_t partition; /* RL_KAFKA_ANY_PARTITION: the partitioner's choice */
  int64_t timestamp; /* ms; 0: now */
} rl_kafka_message;

/* Connects the producer, or takes part in the transaction. */
rl_status rl_kafka_sends_open(const rl_kafka_sends_spec *spec, rl_kafka_sends **out);
/* Of the next message. value as in messages. */
rl_status rl_kafka_sends_header(rl_kafka_sends *s, const char *name, rl_value value);
void rl_kafka_sends_drop_headers(rl_kafka_sends *s); /* those that were meant for a message that does not come */
/* All is copied. The failure may be of a message that was sent before. */
rl_status rl_kafka_sends_message(rl_kafka_sends *s, const char *topic, const rl_kafka_message *m);
rl_status rl_kafka_sends_serve(rl_kafka_sends *s); /* takes acknowledgements, without waiting; now and then */
/* Waits until all is acknowledged. until_ns: as in the spec, whichever is earlier; 0: no other. A failure stays: it is
 * told again by all that follows. RL_ELIMIT, RL_ENOTFOUND, RL_EIO: the message names topic, brokers and reason. */
rl_status rl_kafka_sends_settle(rl_kafka_sends *s, int64_t until_ns);
/* Likewise; but where a message fails it still waits for what becomes of the others. */
rl_status rl_kafka_sends_drain(rl_kafka_sends *s, int64_t until_ns);
uint64_t rl_kafka_sends_under_way(const rl_kafka_sends *s);
/* st: how the attempt ended. Messages under way go on by themselves, those of a transaction spoil it if st is a failure
 * (the current error). NULL is allowed. */
void rl_kafka_sends_close(rl_kafka_sends *s, rl_status st);

#endif
