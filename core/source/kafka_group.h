/* A Kafka receiver: a member of a consumer group, on a thread of its own (run/receiver.h).
 *
 * It stores what the group gives it, at the pace that the receiver is held to, and commits offsets when the records are
 * stored: with the receiver's log on, when they are on disk. So each record is stored at least once: what was stored and
 * not yet committed when the process died, or when a partition went to another member, comes again. Without the log,
 * what was not worked off when the process dies is lost.
 *
 * What the group's brokers or topics lack is one warning, and one when it is mended; a client that cannot go on is made
 * anew after rille.streaming.receiverRestartDelay. */
#ifndef RL_SOURCE_KAFKA_GROUP_H
#define RL_SOURCE_KAFKA_GROUP_H

#include "source/kafka.h"

typedef struct rl_kafka_group {
  const rl_kafka_setting *settings; /* "bootstrap.servers" and "group.id" must be among them */
  size_t nsettings;
  rl_kafka_records records;
  const char *const *topics; /* one that begins with ^ is a regular expression for names */
  size_t ntopics;
} rl_kafka_group;

/* Everything in spec is copied. Driver thread, before start. RL_EINVAL: settings that cannot be. */
rl_status rl_source_kafka_group(rl_streaming *s, const rl_kafka_group *spec, const char *site, rl_dstream **out);

#endif
