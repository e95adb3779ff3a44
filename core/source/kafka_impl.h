/* What the files of the direct stream's input share: kafka.c the input; kafka_partitions.c which partitions it reads
 * and where it begins to; kafka_lags.c how much of them a batch takes. Driver thread. */
#ifndef RL_SOURCE_KAFKA_IMPL_H
#define RL_SOURCE_KAFKA_IMPL_H

#include "source/kafka_control.h"
#include "source/kafka_reader.h"

typedef struct rl_kafka_part {
  char *topic;
  int32_t partition;
  int64_t position; /* the next batch begins here; -1: at the partition's beginning */
  unsigned missing; /* looks at the metadata in a row in which it was not there */
  unsigned beyond;  /* batches in a row in which the position was behind the partition's end */
} rl_kafka_part;

typedef struct rl_kafka_input {
  rl_input base;
  rl_kafka_conf *conf;
  rl_kafka_health *health;
  rl_kafka_pool *pool;
  rl_kafka_control *control; /* between start and stop */
  rl_kafka_records form;
  char **topics;
  size_t ntopics;
  char *pattern;
  rl_kafka_ranges assign; /* partitions only */
  rl_kafka_ranges from;   /* where to begin */
  rl_kafka_part *parts;
  size_t nparts, parts_cap;
  bool restored;
  int64_t looked_ns;    /* when the metadata was last looked at */
  rl_kafka_ranges last; /* of the newest batch, for save */
  int64_t last_time;    /* its time */
} rl_kafka_input;

static inline const rl_conf *rl_kafka_input_conf(const rl_kafka_input *in)
{
  return rl_context_conf(rl_streaming_context(in->base.streaming));
}

/* kafka_partitions.c */
bool rl_kafka_ranges_have(const rl_kafka_ranges *l, const rl_kafka_part *p); /* its topic and partition */
void rl_kafka_parts_add(rl_kafka_input *in, const char *topic, int32_t partition, int64_t position);
void rl_kafka_parts_clear(rl_kafka_input *in);
rl_kafka_ranges rl_kafka_parts_ranges(const rl_kafka_input *in); /* from and until: the positions. Owned */
/* Finds the partitions, and where those begin that the checkpoint does not have. Fails as rl_source_kafka says of a
 * start. */
rl_status rl_kafka_parts_begin(rl_kafka_input *in, int wait_ms);
/* New ones join, those that are long gone leave, when it is time to look at the metadata. */
void rl_kafka_parts_look_again(rl_kafka_input *in, int wait_ms);

/* kafka_lags.c */
/* lags[i] (out, 0 at first): how many records partition i has to be read. A position that is no longer there is moved,
 * or it is RL_EDATA. While no broker answers all are 0. */
rl_status rl_kafka_ask_lags(rl_kafka_input *in, int wait_ms, int64_t *lags);
void rl_kafka_limit_lags(const rl_kafka_input *in, int64_t *lags); /* to what the batch may take */

#endif
