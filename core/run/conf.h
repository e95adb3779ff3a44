/* Settings: known keys with type, default and meaning (core/run/conf.c has the table), and the values given for one
 * context.
 *
 * `rille.` keys must be known; `spark.` is understood as a prefix where the same setting exists and gives a warning
 * elsewhere. Durations are seconds (fractions allowed) or text with a unit: us ms s m min h d. A plain number under a
 * `spark.` name has the unit Spark gives that key. Sizes: 64k, 512m, 1g or bytes. Booleans: true, false. */
#ifndef RL_RUN_CONF_H
#define RL_RUN_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef enum rl_conf_type {
  RL_CONF_BOOL,
  RL_CONF_INT,
  RL_CONF_FLOAT,
  RL_CONF_DURATION,
  RL_CONF_SIZE,
  RL_CONF_TEXT
} rl_conf_type;

typedef struct rl_conf_key {
  const char *name;
  rl_conf_type type;
  const char *value; /* default; "" = unset */
  int spark_unit_ms; /* what a plain number means under a spark. name: 1 or 1000; 0: not a duration */
  const char *help;
} rl_conf_key;

extern const rl_conf_key rl_conf_keys[]; /* ends with a NULL name */

typedef struct rl_conf rl_conf;

rl_conf *rl_conf_new(void);
rl_conf *rl_conf_copy(const rl_conf *c);
void rl_conf_delete(rl_conf *c);

/* Accepts full names, `spark.` names, and the short ones appName, master, clock. RL_EINVAL names the key and what would
 * fit (an unknown rille. key: the nearest known one). A foreign spark. key is logged as a warning and ignored. */
rl_status rl_conf_set(rl_conf *c, const char *key, const char *value);
/* A properties file: `key value` or `key=value` a line, # comments; errors name file and line. */
rl_status rl_conf_load(rl_conf *c, const char *path);

/* The key must be in the table with that type (asserted). Values were checked when set. */
bool rl_conf_is_set(const rl_conf *c, const char *key);
bool rl_conf_bool(const rl_conf *c, const char *key);
int64_t rl_conf_int(const rl_conf *c, const char *key);
double rl_conf_float(const rl_conf *c, const char *key);
int64_t rl_conf_us(const rl_conf *c, const char *key);   /* durations, in microseconds */
int64_t rl_conf_size(const rl_conf *c, const char *key); /* bytes */
const char *rl_conf_text(const rl_conf *c, const char *key); /* as given; "" when unset */

/* A duration as settings have it: a number, with a unit or in plain_unit_ms; false when it is none. */
bool rl_conf_parse_us(const char *text, int plain_unit_ms, int64_t *us);

/* "local", "local[N]", "local[*]" -> number of workers. */
rl_status rl_conf_workers(const rl_conf *c, uint32_t *n);

#endif
