/* Messages of librdkafka as a chunk of records (rl_kafka_records says in which form). */
#ifndef RL_SOURCE_KAFKA_COLUMNS_H
#define RL_SOURCE_KAFKA_COLUMNS_H

#include <librdkafka/rdkafka.h>

#include "data/chunk.h"
#include "source/kafka.h"

/* n > 0 messages, none of them an error, all of one partition. Their bytes are copied, once, into the chunk's columns.
 * RL_ELIMIT for one over RL_CODEC_MAX_BYTES, naming it. */
rl_status rl_kafka_columns(rl_kafka_records form, const char *topic, rd_kafka_message_t *const *m, uint32_t n,
                           rl_chunk **out);

#endif
