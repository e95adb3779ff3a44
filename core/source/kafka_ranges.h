/* Lists of ranges and of what is known of partitions. */
#ifndef RL_SOURCE_KAFKA_RANGES_H
#define RL_SOURCE_KAFKA_RANGES_H

#include "source/kafka.h"

typedef struct rl_kafka_ranges {
  rl_kafka_range *v;
  size_t n, cap;
} rl_kafka_ranges;

void rl_kafka_ranges_add(rl_kafka_ranges *l, const char *topic, int32_t partition, int64_t from, int64_t until);
void rl_kafka_ranges_clear(rl_kafka_ranges *l);
/* Offsets that they span: the number of records, where there are no gaps. */
int64_t rl_kafka_ranges_sum(const rl_kafka_ranges *l);
/* "topic: orders\tpartition: 0\toffsets: 5 to 9", a line for each that is not empty; NULL: all are. Owned. */
char *rl_kafka_ranges_describe(const rl_kafka_ranges *l);

/* Version 1: a byte 1, varint count, then each: varint length of the topic, the topic, varints partition, from,
 * until. rl_kafka_ranges_decode: RL_EDATA unless the bytes are that and no more. */
void rl_kafka_ranges_encode(const rl_kafka_ranges *l, rl_buf *out);
rl_status rl_kafka_ranges_decode(const char *p, size_t n, rl_kafka_ranges *out);

#endif
