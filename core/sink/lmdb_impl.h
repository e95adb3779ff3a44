/* Shared by lmdb.c and lmdb_read.c. */
#ifndef RL_SINK_LMDB_IMPL_H
#define RL_SINK_LMDB_IMPL_H

#include "base/buf.h"
#include "sink/lmdb.h"
#include "sink/lmdb_env.h"

struct rl_lmdb_sink {
  _Atomic uint32_t refs;
  rl_lmdb *env;
  MDB_dbi data, times;
  rl_lmdb_format format;
  char *output;
  atomic_bool again;
};

/* A function of a sink. */
typedef struct rl_lmdb_fn {
  rl_fn base;
  rl_lmdb_sink *sink;
} rl_lmdb_fn;

rl_fn *rl_lmdb_fn_new(const rl_fn_class *cls, rl_lmdb_sink *s);
void rl_lmdb_fn_destroy(rl_fn *f);
/* The form of the record's key; it can be a key of LMDB's. */
rl_status rl_lmdb_form_key(const rl_lmdb_sink *s, const rl_chunk *c, uint32_t row, rl_buf *out);

#endif
