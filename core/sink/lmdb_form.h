/* Keys and values as bytes of an LMDB environment (sink/lmdb.h, rl_lmdb_format). */
#ifndef RL_SINK_LMDB_FORM_H
#define RL_SINK_LMDB_FORM_H

#include "base/buf.h"
#include "sink/lmdb.h"

/* Appends the form to `out`. RL_EINVAL for what has none, with what it is: "a table"; the caller says of which key. */
rl_status rl_lmdb_put_key(rl_lmdb_format format, rl_value key, rl_buf *out);
rl_status rl_lmdb_put_value(rl_lmdb_format format, rl_value value, rl_buf *out);
/* Views into p[0, n). RL_EDATA when malformed. */
rl_status rl_lmdb_get_key(rl_lmdb_format format, const char *p, size_t n, rl_value *key);
rl_status rl_lmdb_get_value(rl_lmdb_format format, const char *p, size_t n, rl_value *value);
/* The first bytes of a value's text, for messages. */
void rl_lmdb_show(rl_value v, rl_buf *out);

#endif
