/* Spill files: where a memory manager puts what has to leave memory. Private to core/store.
 *
 * Extents are written one behind the other into files of up to RL_SPILL_FILE_BYTES. Each is framed: magic, sizes and an
 * XXH3-64 of frame and bytes, LZ4-compressed where that makes them smaller. An extent given back has its disk space
 * punched out, and a file in which none is left is removed.
 *
 * The folder, <dir>/rille-spill-<pid>-<n>, is made with the first extent, mode 0700, and removed by rl_spill_close. A
 * lock on the file `lock` in it says that its process lives (a process number says nothing: it is used again); it is
 * locked before it gets its name, so a folder with a `lock` that nobody holds is an orphan, and so is one that has had
 * none for a minute. rl_spill_new removes orphans.
 *
 * Threads: all may call. The manager's lock, which is handed in, guards the tables; no file call is made
 * under it. */
#ifndef RL_STORE_SPILL_H
#define RL_STORE_SPILL_H

#include <pthread.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

#define RL_SPILL_FILE_BYTES (UINT64_C(256) << 20) /* an extent larger than that has a file of its own */

typedef struct rl_spill rl_spill;
typedef struct rl_spill_file rl_spill_file;

typedef struct rl_extent {
  rl_spill_file *file; /* NULL: none */
  uint64_t at, n;      /* with the frame */
} rl_extent;

rl_spill *rl_spill_new(const char *dir, pthread_mutex_t *lock); /* only looks for orphans; nothing is made yet */
void rl_spill_close(rl_spill *s); /* removes the folder; calls fail with RL_ECLOSED from now on */
void rl_spill_delete(rl_spill *s);

/* RL_EIO naming the file. */
rl_status rl_spill_write(rl_spill *s, const char *p, size_t n, rl_extent *out);
/* Replaces what is in `out`. RL_EDATA naming file, offset and what is wrong. */
rl_status rl_spill_read(rl_spill *s, const rl_extent *e, rl_buf *out);
/* Takes extents out of the tables at once; their files are seen to then, or, on a thread that must not wait
 * (rl_memory_hold_files), by the next sweep. */
void rl_spill_release(rl_spill *s, const rl_extent *v, size_t n);
void rl_spill_sweep(rl_spill *s);
uint64_t rl_spill_bytes(const rl_spill *s); /* in extents now; locked */

/* p[0..n) with LZ4 in front of which its length stands; false (and `out` as it was) when it would not get smaller. */
bool rl_squeeze(const char *p, size_t n, rl_buf *out);
rl_status rl_unsqueeze(const char *p, size_t n, rl_buf *out); /* appends; RL_EDATA */

#endif
