/* Between the files that bind Kafka. Not public. */
#ifndef RL_LUA_BIND_KAFKA_H
#define RL_LUA_BIND_KAFKA_H

#include "bind.h"
#include "sink/kafka.h"

/* Those of field "settings". The arrays are pushed, and the texts lie in the table: all of it lives as long as the
 * caller's frame. */
const rl_kafka_setting *rl_bind_kafka_settings(lua_State *L, int table, size_t *n);
rl_kafka_txn *rl_bind_kafka_transaction(lua_State *L, int table); /* that of field "transaction"; NULL: none */

#endif
