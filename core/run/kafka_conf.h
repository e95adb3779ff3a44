/* What a Kafka stream or sink was told: librdkafka's settings, checked; clients made of them; and how the connection to
 * the brokers is. Both are counted; settings are immutable; any thread. */
#ifndef RL_RUN_KAFKA_CONF_H
#define RL_RUN_KAFKA_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct rd_kafka_s;
struct rd_kafka_message_s;

/* librdkafka's, by its name: "bootstrap.servers", "group.id", "security.protocol" ... */
typedef struct rl_kafka_setting {
  const char *name, *value;
} rl_kafka_setting;

/* Health: what librdkafka last had to say, and one warning when the brokers stop answering and one when they do again.
 * librdkafka's own messages go to the log at its level debug. */
typedef struct rl_kafka_health rl_kafka_health;
rl_kafka_health *rl_kafka_health_new(const char *label); /* "Kafka stream [0] at job.lua:3" */
rl_kafka_health *rl_kafka_health_ref(rl_kafka_health *h);
void rl_kafka_health_unref(rl_kafka_health *h);
void rl_kafka_health_set_label(rl_kafka_health *h, const char *label);
void rl_kafka_health_up(rl_kafka_health *h);
void rl_kafka_health_down(rl_kafka_health *h, const char *what);
bool rl_kafka_health_is_down(rl_kafka_health *h);
/* Of a member of a group. librdkafka says what may mean that no broker takes it, and may be one of many: `suspect`.
 * Whoever has the client then asks any broker for an answer, and tells whether one came: `looked`. Down is what had
 * none. Nothing tells when a broker is back: while it is cut off that is to be asked. */
void rl_kafka_health_suspect(rl_kafka_health *h, bool refused, const char *reason);
bool rl_kafka_health_is_suspect(rl_kafka_health *h);
void rl_kafka_health_looked(rl_kafka_health *h, bool answered);
bool rl_kafka_health_is_cut_off(rl_kafka_health *h);
/* ": " and what librdkafka last complained of, or "". Owned by the caller. */
char *rl_kafka_health_reason(rl_kafka_health *h);

typedef struct rl_kafka_conf rl_kafka_conf;

typedef enum rl_kafka_reset {
  RL_KAFKA_RESET_UNSET, /* a first position is the end, as in Kafka; a lost one is a failure */
  RL_KAFKA_RESET_EARLIEST,
  RL_KAFKA_RESET_LATEST,
  RL_KAFKA_RESET_NONE,
} rl_kafka_reset;

typedef enum rl_kafka_use {
  RL_KAFKA_ASK,   /* a consumer that asks, and commits for its group */
  RL_KAFKA_READ,  /* a consumer that reads, for no group */
  RL_KAFKA_JOIN,  /* a consumer that is a member of its group */
  RL_KAFKA_WRITE, /* a producer */
  RL_KAFKA_TRANSACT, /* one that writes in transactions; "transactional.id" is among its settings */
} rl_kafka_use;

/* RL_EINVAL, with librdkafka's reason, for settings that it refuses, and for those that would work against the stream
 * (enable.auto.commit, for one). use: WRITE or TRANSACT for a sink, one of the others for a source. Values of secrets
 * are in no message. */
rl_status rl_kafka_conf_new(const rl_kafka_setting *settings, size_t n, rl_kafka_use use, rl_kafka_conf **out);
rl_kafka_conf *rl_kafka_conf_ref(rl_kafka_conf *c);
void rl_kafka_conf_unref(rl_kafka_conf *c);
const char *rl_kafka_conf_get(const rl_kafka_conf *c, const char *name); /* NULL: not set */
int64_t rl_kafka_conf_number(const rl_kafka_conf *c, const char *name); /* of one that is set, or has a default below */
const char *rl_kafka_conf_brokers(const rl_kafka_conf *c);
rl_kafka_reset rl_kafka_conf_reset(const rl_kafka_conf *c);
/* Of a message that a producer sent: it arrived, or why not. On the thread that polls the producer. */
typedef void rl_kafka_delivered_fn(struct rd_kafka_s *rk, const struct rd_kafka_message_s *m, void *health);
/* A client; delivered: NULL but for producers. The health must live as long as it. */
rl_status rl_kafka_client_new(const rl_kafka_conf *c, rl_kafka_use use, rl_kafka_health *h,
                              rl_kafka_delivered_fn *delivered, struct rd_kafka_s **out);

#endif
