/* RDDs over ranges of offsets that share a pool of readers (source/kafka.h has those with one of their own). */
#ifndef RL_SOURCE_KAFKA_RDD_H
#define RL_SOURCE_KAFKA_RDD_H

#include "source/kafka_ranges.h"
#include "source/kafka_reader.h"

/* References the pool, copies the ranges. */
rl_rdd *rl_rdd_from_kafka(rl_kafka_pool *pool, rl_kafka_records form, const rl_kafka_range *ranges, uint32_t n);

#endif
