/* Exactly once into Kafka: an output's records of a batch, the offsets of what the batch read, and the batch's time, in
 * one transaction of the brokers (docs/decisions/022).
 *
 * The time is kept as metadata of a committed offset: that of partition 0 of the `marker` topic, in the consumer group
 * that is called as the transactional id. A batch that comes again, after whatever failed or was killed, is told by it:
 * what is up to the time on record is in already, and is left out. Batches come in the order of their times, one after
 * another; who runs them sees to that. Times of another epoch (the zero time of the job) are of a job that is no more,
 * and count for nothing.
 *
 * A batch is three jobs of kind RL_JOB_RUN with its time:
 *   rl_kafka_txn_begin_fn   over an RDD of one partition. The first of a process takes the transactional id over: an
 *                           open transaction of another process is undone, and that process is fenced
 *   rl_sink_kafka_fn        with `transaction`, over the records, unless rl_kafka_txn_has says that they are in
 *   rl_kafka_txn_commit_fn  over an RDD of one partition
 * When one of them fails and rl_kafka_txn_again says so, all three are to be run again: the transaction was undone, or
 * nobody knows, and beginning again finds out. A task that has sent something is not tried again by itself, as its
 * records would be there twice.
 *
 * Any thread, but for what is said otherwise. */
#ifndef RL_SINK_KAFKA_TXN_H
#define RL_SINK_KAFKA_TXN_H

#include "data/fn.h"
#include "run/conf.h"
#include "run/kafka_conf.h"

struct rl_kafka_line;

typedef struct rl_kafka_txn_spec {
  const rl_kafka_setting *settings; /* "bootstrap.servers" must be among them */
  size_t nsettings;
  const char *id;     /* transactional id, and name of the group; for ever */
  const char *marker; /* a topic that there is */
} rl_kafka_txn_spec;

typedef struct rl_kafka_txn_offset {
  const char *group; /* NULL: that of the id */
  const char *topic;
  int32_t partition;
  int64_t offset; /* the next to be read */
} rl_kafka_txn_offset;

typedef struct rl_kafka_txn rl_kafka_txn;

/* Copies the spec. */
rl_status rl_kafka_txn_new(const rl_kafka_txn_spec *spec, const rl_conf *conf, rl_kafka_txn **out);
rl_kafka_txn *rl_kafka_txn_ref(rl_kafka_txn *t);
void rl_kafka_txn_unref(rl_kafka_txn *t); /* NULL is allowed; the last undoes what is open */

/* At the start of the job: takes the id over. Fails when the brokers will never let it have transactions, as with a
 * transaction.timeout.ms above what they allow. When none answers within some seconds, that is for the first batch,
 * which waits. */
rl_status rl_kafka_txn_start(rl_kafka_txn *t);

/* Before the jobs of a batch: what goes into its transaction (copied). */
void rl_kafka_txn_batch(rl_kafka_txn *t, int64_t epoch, const rl_kafka_txn_offset *offsets, size_t n);
rl_fn *rl_kafka_txn_begin_fn(rl_kafka_txn *t);
rl_fn *rl_kafka_txn_commit_fn(rl_kafka_txn *t);
bool rl_kafka_txn_has(rl_kafka_txn *t, int64_t time); /* behind the begin */
bool rl_kafka_txn_again(rl_kafka_txn *t);

/* For the tasks that write (sink/kafka.c). Each takes part in the transaction that is open when it sends its first
 * record, and can send nothing when that is over: an attempt that was given up may still run. */
rl_status rl_kafka_txn_join(rl_kafka_txn *t, uint64_t *transaction, struct rl_kafka_line **line);
rl_status rl_kafka_txn_lock(rl_kafka_txn *t, uint64_t transaction); /* around sending; RL_ECANCELLED: it is over */
void rl_kafka_txn_unlock(rl_kafka_txn *t);
/* The current error ends an attempt that has joined: it is not to be tried again, but the batch may be. */
void rl_kafka_txn_spoil(rl_kafka_txn *t, uint64_t transaction);

#endif
