/* Kafka, through librdkafka: the direct stream (section 18 of the reference) and RDDs over ranges of offsets.
 *
 * A stream has one partition for each topic partition. What a batch reads of each is settled on the driver thread when
 * the batch is made, [from, until), and the same range gives the same records whenever it is computed. Workers read
 * with consumers that are kept between batches and fetch ahead; payloads go from librdkafka's buffers into columns.
 *
 * Offsets have gaps where a topic is compacted or transactional; a range ends where the position reaches its end,
 * however many records that were. There is no consumer group: partitions are found in the cluster's metadata, so
 * streams do not take partitions from one another; `group.id` names where offsets are committed. */
#ifndef RL_SOURCE_KAFKA_H
#define RL_SOURCE_KAFKA_H

#include "run/kafka_conf.h"
#include "run/streaming.h"

typedef struct rl_kafka_range {
  char *topic;
  int32_t partition;
  int64_t from, until; /* until is not part of it */
} rl_kafka_range;

typedef struct rl_kafka_offset {
  const char *topic;
  int32_t partition;
  int64_t offset;
} rl_kafka_offset;

/* The form of a record. A null key is rille.null. */
typedef enum rl_kafka_records {
  RL_KAFKA_PAIRS, /* (key, value); the value of a tombstone is nil */
  RL_KAFKA_VALUES, /* the value alone; of a tombstone it is rille.null, as a record's first value is never nil */
  RL_KAFKA_FULL, /* (key, value, topic, partition, offset, timestamp, headers): timestamp in ms or nil, headers a table
                    from name to value, of a name that is there several times to an array of its values */
} rl_kafka_records;

typedef struct rl_kafka_stream {
  const rl_kafka_setting *settings; /* "bootstrap.servers" must be among them */
  size_t nsettings;
  rl_kafka_records records;
  /* One of the three. Topics and pattern: partitions that appear while the stream runs (new topics, too) are read from
   * their beginning, from the next look at the metadata on, which is every topic.metadata.refresh.interval.ms (here: 10
   * s where it is not set). */
  const char *const *topics;
  size_t ntopics;
  const char *pattern; /* POSIX extended regular expression for the whole name; names that begin with __ never match */
  const rl_kafka_offset *assign; /* offsets are not looked at */
  size_t nassign;
  /* Where to begin; the others begin at what the group committed, else where auto.offset.reset says. Not looked at
   * when the job goes on from a checkpoint. */
  const rl_kafka_offset *from;
  size_t nfrom;
} rl_kafka_stream;

/* Everything in spec is copied. Start fails when no broker answers within rille.streaming.kafka.consumer.poll, or when
 * a topic is not there. While no broker answers later, batches are empty, with one warning when that begins and one
 * when it is over; their records come with later batches. A position that is no longer there (expired, deleted):
 * auto.offset.reset, if it was set to earliest or latest, with a warning; else the batch fails (RL_EDATA). */
rl_status rl_source_kafka(rl_streaming *s, const rl_kafka_stream *spec, const char *site, rl_dstream **out);

/* Commits the ends of the ranges to the stream's group, in the background; of a partition never less than before.
 * `done` (may be NULL) is called on the driver thread, at the next batch or at the stop, with NULL or what went wrong.
 * RL_ESTATE before start and after stop, RL_EINVAL without group.id, or for a stream that is none of Kafka's. Takes
 * over user, also on failure. Driver thread. */
typedef void rl_kafka_committed_fn(void *user, const char *failure);
rl_status rl_kafka_commit(rl_dstream *d, const rl_kafka_range *ranges, size_t n, rl_kafka_committed_fn *done,
                          void *user, void (*destroy)(void *));

/* One partition a range, in their order. conf gives the limits of waiting. Nothing is asked before it is computed.
 * RL_EINVAL: a range that ends before it begins. */
rl_status rl_rdd_kafka(const rl_conf *conf, const rl_kafka_setting *settings, size_t nsettings,
                       rl_kafka_records records, const rl_kafka_range *ranges, uint32_t n, rl_rdd **out);
/* The ranges of an RDD that is a Kafka stream's own, or made by rl_rdd_kafka; valid as long as the RDD. False: another
 * RDD. */
bool rl_rdd_kafka_ranges(const rl_rdd *r, const rl_kafka_range **ranges, uint32_t *n);

#endif
