/* What a stream asks the brokers for: which partitions there are, where they begin and end, what its group committed;
 * and commits. One client of its own, so that answers do not wait behind those to readers. Driver thread. All waiting
 * is bounded. */
#ifndef RL_SOURCE_KAFKA_CONTROL_H
#define RL_SOURCE_KAFKA_CONTROL_H

#include "run/kafka_conf.h"
#include "source/kafka_ranges.h"

typedef struct rl_kafka_control rl_kafka_control;

rl_status rl_kafka_control_new(rl_kafka_conf *c, rl_kafka_health *h, rl_kafka_control **out);
/* Waits up to wait_ms for commits that are under way. NULL is allowed. */
void rl_kafka_control_delete(rl_kafka_control *k, int wait_ms);

/* Appends the partitions of the topics (from and until 0), in order of topic, as given, and partition. `all`:
 * RL_ENOTFOUND names a topic that is not there; else it has none. */
rl_status rl_kafka_find_topics(rl_kafka_control *k, const char *const *topics, size_t n, bool all, int wait_ms,
                               rl_kafka_ranges *out);
/* Those of all topics whose names match, in order of name. */
rl_status rl_kafka_find_matching(rl_kafka_control *k, const char *pattern, int wait_ms, rl_kafka_ranges *out);
/* RL_EINVAL for what is no regular expression. */
rl_status rl_kafka_check_pattern(const char *pattern);
/* Would rl_kafka_find_matching take a topic of this name? */
bool rl_kafka_matches(const char *pattern, const char *topic);

/* Sets `from` to each partition's first offset and `until` to the one behind its last (for read_committed: the last
 * that is decided); both to -1 of a partition that has no answer. Fails when there is none at all. */
rl_status rl_kafka_bounds(rl_kafka_control *k, rl_kafka_ranges *parts, int wait_ms);
/* Sets `from` to what the group committed, -1: nothing. Asks again, for wait_ms, while its coordinator changes. */
rl_status rl_kafka_committed(rl_kafka_control *k, rl_kafka_ranges *parts, int wait_ms);

/* Sends a commit of the ranges' ends; the answer comes to rl_kafka_control_poll. As rl_kafka_commit. */
void rl_kafka_control_commit(rl_kafka_control *k, const rl_kafka_range *ranges, size_t n, rl_kafka_committed_fn *done,
                             void *user, void (*destroy)(void *));
/* Calls back for the commits that have ended. */
void rl_kafka_control_poll(rl_kafka_control *k, int wait_ms);

#endif
