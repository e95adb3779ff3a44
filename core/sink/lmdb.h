/* Exactly-once output into an LMDB environment of the user's, and a reader of what is there.
 *
 * All records (key, value) of a batch go into one database in one transaction, together with the batch's time under the
 * name of the output. A batch that comes again, after whatever failed or was killed, is told by its time: what is up to
 * the time on record is in already, and is left out. So batches of one output come in the order of their times, one
 * after another; who runs them sees to that.
 *
 * A batch is a job of kind RL_JOB_RUN with a batch time over an RDD of one partition, of which rl_lmdb_write_fn is the
 * last function: a task is one transaction. When the job has ended well and rl_lmdb_sink_again says so, the map was
 * full and is larger now: nothing was written, and the job is to be run again.
 *
 * Within a batch the last record of a key counts; a value nil removes the key. To make values out of what is there, put
 * (key, anything, new value) made by a function behind rl_lmdb_old_fn in between: of every key one record.
 *
 * In the environment (docs/formats.md): database `db` with the user's keys and values, database "rille" with the times.
 *
 * Threads: a sink may be used by any; its functions run on workers. */
#ifndef RL_SINK_LMDB_H
#define RL_SINK_LMDB_H

#include "data/fn.h"

#define RL_LMDB_TIMES "rille"

typedef enum rl_lmdb_format {
  RL_LMDB_TEXT,  /* a string is its bytes, a number or boolean its text; nothing else. Read back, keys are strings, and
                    a value that looks as a number is written is that number */
  RL_LMDB_BINARY /* the codec's form (data/codec.h) of any value, keys normalised */
} rl_lmdb_format;

typedef struct rl_lmdb_sink_spec {
  const char *path;   /* of the environment: a directory, made where it is missing; or the file of one */
  const char *db;     /* not RL_LMDB_TIMES */
  const char *output; /* the name its times are kept under, for ever */
  rl_lmdb_format format;
  size_t map; /* bytes to reserve at least; 0: 1 GiB. It grows by itself */
} rl_lmdb_sink_spec;

typedef struct rl_lmdb_sink rl_lmdb_sink;

rl_status rl_lmdb_sink_open(const rl_lmdb_sink_spec *spec, rl_lmdb_sink **out); /* copies the spec */
rl_lmdb_sink *rl_lmdb_sink_ref(rl_lmdb_sink *s);
void rl_lmdb_sink_unref(rl_lmdb_sink *s); /* NULL is allowed */
/* *time: the newest batch that is in; RL_NO_TIME: none. */
rl_status rl_lmdb_sink_newest(rl_lmdb_sink *s, int64_t *time);
bool rl_lmdb_sink_again(rl_lmdb_sink *s); /* once for every time the map grew */

rl_fn *rl_lmdb_write_fn(rl_lmdb_sink *s); /* takes (key, value), gives nothing */
/* (key, x) -> (key, x, value that is there or nil), each key as it was before the batch. In front of rl_lmdb_write_fn,
 * with only functions of the same task in between. */
rl_fn *rl_lmdb_old_fn(rl_lmdb_sink *s);

/* Reading: all keys in their order, at one moment. Keeps its pages from being used again: not for long. RL_ENOTFOUND
 * when there is no environment or database. Shared with the sinks of this process. */
typedef struct rl_lmdb_reader rl_lmdb_reader;
rl_status rl_lmdb_reader_open(const char *path, const char *db, rl_lmdb_format format, rl_lmdb_reader **out);
/* Views, valid until the next call. */
rl_status rl_lmdb_reader_next(rl_lmdb_reader *r, rl_value *key, rl_value *value, bool *found);
void rl_lmdb_reader_close(rl_lmdb_reader *r); /* NULL is allowed */

#endif
