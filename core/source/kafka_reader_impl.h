/* Between kafka_pool.c (clients and readers, and who has them) and kafka_reader.c (reading a range with one). Not
 * public. */
#ifndef RL_SOURCE_KAFKA_READER_IMPL_H
#define RL_SOURCE_KAFKA_READER_IMPL_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>

#include "source/kafka_ranges.h"
#include "source/kafka_reader.h"

typedef struct rl_kafka_client {
  struct rl_kafka_client *next;
  rd_kafka_t *rk;
} rl_kafka_client;

typedef struct rl_kafka_reader {
  struct rl_kafka_reader *next;
  rl_kafka_client *client;
  char *topic;
  int32_t partition;
  rd_kafka_topic_t *rkt;
  rd_kafka_queue_t *queue; /* NULL: not started */
  bool busy;
  int64_t position;        /* the next offset that was not handed out */
  rd_kafka_message_t *held[RL_CHUNK_RECORDS];
  size_t at, n; /* those of held that are still to be looked at */
  size_t usual; /* bytes of a message, on the average of late */
  bool full;    /* the queue was nearly full, and fetching may rest */
} rl_kafka_reader;

struct rl_kafka_pool {
  _Atomic uint32_t refs;
  rl_kafka_conf *conf;
  rl_kafka_health *health;
  bool ahead;
  int64_t queue_bytes, queue_messages; /* as much as librdkafka fetches ahead of a partition */
  int64_t wait_ns;  /* for the next record */
  int64_t total_ns; /* from the begin of a read, while it waits; 0: no limit */
  pthread_mutex_t lock; /* the lists, `busy` and `position` of readers that are not, `passed` */
  rl_kafka_client *clients;
  rl_kafka_reader *readers;
  rl_kafka_ranges passed; /* of each partition what was last said to be passed over */
};

/* An idle reader of the range's partition, one at its beginning where there is any, or a new one. It is the caller's
 * until rl_kafka_pool_release. */
rl_status rl_kafka_pool_acquire(rl_kafka_pool *p, const rl_kafka_range *range, rl_kafka_reader **out);
void rl_kafka_pool_release(rl_kafka_pool *p, rl_kafka_reader *r);
/* That what is between the reader's position and `to` is passed over, is that to be told, or was it the last time? */
bool rl_kafka_pool_is_news(rl_kafka_pool *p, const rl_kafka_reader *r, int64_t to);

/* Of one that the caller has. A failed start leaves it stopped. */
rl_status rl_kafka_reader_start(rl_kafka_reader *r, int64_t from);
void rl_kafka_reader_stop(rl_kafka_reader *r); /* drops what it holds */

#endif
