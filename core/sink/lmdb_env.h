/* LMDB environments that a process has open, for sinks and readers (sink/lmdb.h). One process must not open one twice
 * (closing the second would drop the locks of the first), so all who name the same files share it.
 *
 * Threads: everything here may be called on any thread. A write transaction belongs to the thread that began it; read
 * transactions may move. The map grows while no transaction of this process is active: who wants that waits for them a
 * while, and no new ones begin meanwhile. */
#ifndef RL_SINK_LMDB_ENV_H
#define RL_SINK_LMDB_ENV_H

#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct rl_lmdb rl_lmdb;

/* `path`: a directory, or a file (MDB_NOSUBDIR). With `create` it is made where it is missing (a directory, mode 0777),
 * and must be writable. map: bytes to reserve at least. */
rl_status rl_lmdb_open(const char *path, bool create, size_t map, rl_lmdb **out);
rl_lmdb *rl_lmdb_ref(rl_lmdb *e);
void rl_lmdb_unref(rl_lmdb *e); /* the last one closes it; NULL is allowed */
const char *rl_lmdb_path(const rl_lmdb *e);
size_t rl_lmdb_map(rl_lmdb *e); /* bytes that are reserved */
size_t rl_lmdb_max_key(const rl_lmdb *e);

/* A database by name. RL_ENOTFOUND when it is not there and not to be made, RL_EUNSUPPORTED when it has several values
 * a key, or integers as keys. No transaction of the calling thread is active. */
rl_status rl_lmdb_db(rl_lmdb *e, const char *name, bool create, MDB_dbi *out);

/* write: waits for other writers, also of other processes. `within`: the calling thread has a write transaction. */
rl_status rl_lmdb_begin(rl_lmdb *e, bool write, bool within, MDB_txn **out);
int rl_lmdb_commit(rl_lmdb *e, MDB_txn *txn); /* LMDB's code; the transaction is over in any case */
void rl_lmdb_abort(rl_lmdb *e, MDB_txn *txn);

/* Reserves twice as much as `seen`, unless somebody did already. No transaction of the calling thread is active. */
rl_status rl_lmdb_grow(rl_lmdb *e, size_t seen);

/* The error that LMDB's code means: "cannot write to out: ...". */
rl_status rl_lmdb_fail(const rl_lmdb *e, int rc, const char *what);

extern int64_t rl_lmdb_patience_ns; /* how long growing waits for transactions; tests only */

#endif
