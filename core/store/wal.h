/* The write-ahead log: records appended to segment files in a directory, on disk before anybody is told so, and read
 * again in order after any crash. docs/formats.md has the layout, what makes a frame valid, and how a log is recovered.
 * (Named wal, since rl_log is the log of messages, base/log.h.)
 *
 * Records are numbered without gaps, from 1 but in a log that stands for one whose beginning is gone (`first`); the
 * number is the record's sequence. Type (1 .. RL_WAL_TYPE_MOST) and
 * payload are the caller's. One thread of the log's own writes: what has been queued meanwhile goes to disk as one
 * group, in the order of the sequences, with one fdatasync.
 *
 * What can go wrong:
 *   - The disk is full (ENOSPC, EDQUOT): the group is taken back and tried again each second; a line in the log of
 *     messages says when that begins and when it is over. Appends go on until the queue is full, then wait.
 *   - Any other failing write is tried `max_failures` times. After that, and after the first failed sync, the log has
 *     failed for good: what is queued, waited for or appended later gets that error (RL_EIO, not retriable). Nothing
 *     that was acknowledged is lost; the next rl_wal_open recovers it.
 *   - Damage found when reading is RL_EDATA, and names file and offset.
 *
 * Any thread may call, but rl_wal_close; nobody uses the log then or later. One process has a log open at a time. */
#ifndef RL_STORE_WAL_H
#define RL_STORE_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

#define RL_WAL_TYPE_MOST 0xfffe
#define RL_WAL_RECORD_MOST (UINT32_C(1) << 30)     /* bytes of a payload */
#define RL_WAL_SEGMENT_BYTES (UINT64_C(64) << 20)  /* defaults */
#define RL_WAL_QUEUE_BYTES (UINT64_C(16) << 20)

typedef struct rl_wal rl_wal;

/* Where a record lies. Plain data: may be kept, also over a restart, until the record is trimmed. */
typedef struct rl_wal_at {
  uint64_t segment; /* its first sequence, as in the file's name */
  uint64_t offset;  /* of the frame in the file */
  uint64_t seq;
  uint32_t length;  /* of the payload */
  uint16_t type;
} rl_wal_at;

typedef struct rl_wal_record {
  rl_wal_at at;
  const char *p; /* at.length bytes, valid during the call */
} rl_wal_record;

/* Anything but RL_OK ends the reading and is what its starter returns. */
typedef rl_status rl_wal_visit(void *user, const rl_wal_record *r);

typedef struct rl_wal_spec {
  const char *dir;         /* copied; made with its parents, mode 0700, when missing */
  uint64_t first;          /* of a log that is begun, there being no segment: sequence of its first record; 0: 1 */
  uint64_t from;           /* records from this sequence on are replayed; 0: all there are */
  rl_wal_visit *replay;    /* called in order, on the opener's thread; NULL: nobody wants to know */
  void *user;              /* replay's */
  uint64_t segment_bytes;  /* a group that would make a segment longer begins a new one; 0: RL_WAL_SEGMENT_BYTES */
  int64_t roll_ms;         /* so does one that comes when a segment is this old (rollingInterval); 0: never by age */
  uint64_t queue_bytes;    /* 0: RL_WAL_QUEUE_BYTES */
  uint32_t max_failures;   /* how often a failing write is tried (maxFailures); 0: once */
  int64_t retry_ms;        /* between two tries on a full disk; 0: one second */
  bool close_after_write;  /* the segment is closed after each group (closeFileAfterWrite) */
  bool accept_missing;     /* segments missing at the beginning, or all, are warned of only. A log that is begun
                            * then has no record 1: it does not go back to the beginning */
} rl_wal_spec;

/* Recovers the log and replays it. Reads and checks every segment, a stretch at a time. A torn tail is cut; it can only
 * be of the last group, which nobody was told of. RL_ESTATE: another process has the log open. RL_EDATA: damage (a bad
 * frame that others stand behind, missing segments at the beginning, a record missing between two segments, a bad
 * header), or there are records missing from `from` on, or the log ends before it. RL_EUNSUPPORTED: a later version of
 * Rille wrote it. The error of replay otherwise, or RL_EIO. */
rl_status rl_wal_open(const rl_wal_spec *spec, rl_wal **out);
/* Is there a log in the directory: a segment, whatever it holds? False also when it cannot be looked at. */
bool rl_wal_exists(const char *dir);
/* From now on appends, waiting ones too, return RL_ECLOSED. What is queued is still written; on a full disk it is tried
 * once more and then given up. */
void rl_wal_stop(rl_wal *w);
/* Stops, waits until the queue is empty, marks the end as clean, gives the directory back. The error of the log when it
 * has failed. Frees `w` in any case. NULL is allowed. */
rl_status rl_wal_close(rl_wal *w);

/* A stretch of a payload. With `bytes`, p[0 .. n) lies in it and stays unchanged; the log holds a reference until the
 * record is written. Without, the stretch is copied before the call returns: for small ones. */
typedef struct rl_wal_part {
  rl_bytes *bytes;
  const void *p;
  size_t n;
} rl_wal_part;

/* Queues a record of the stretches laid one behind the other. WAITS while the queue holds queue_bytes or more, as long
 * as the disk is full if need be; a single record may be longer than that. Thereafter the record is on its way: *seq is
 * its sequence (NULL allowed). RL_EINVAL: type. RL_ELIMIT: too long. RL_ECLOSED: stopped. Else the error of the log. */
rl_status rl_wal_append(rl_wal *w, uint16_t type, const rl_wal_part *v, size_t n, uint64_t *seq);

/* Told once for every record whose rl_wal_append_async returned RL_OK, in the order of the sequences, on the log's
 * thread: RL_OK when it is on disk, else the error, which is then this thread's current one. `at` is valid during the
 * call. It must be short and must not append, wait or close. */
typedef void rl_wal_done(void *user, rl_status st, const rl_wal_at *at);
rl_status rl_wal_append_async(rl_wal *w, uint16_t type, const rl_wal_part *v, size_t n, rl_wal_done *done, void *user,
                              uint64_t *seq);

/* As above, and never waits: for threads that must not, with bytes that are held and bounded elsewhere anyway. */
rl_status rl_wal_append_now(rl_wal *w, uint16_t type, const rl_wal_part *v, size_t n, rl_wal_done *done, void *user,
                            uint64_t *seq);

/* Returns when the record and all before it are on disk. */
rl_status rl_wal_wait(rl_wal *w, uint64_t seq);
/* Appends and waits; *at is where it lies (NULL allowed). */
rl_status rl_wal_write(rl_wal *w, uint16_t type, const rl_wal_part *v, size_t n, rl_wal_at *at);

/* Reads a record back; *out is the caller's, with at->length bytes. RL_ENOTFOUND: it was trimmed. RL_EDATA: damaged, or
 * `at` is not where a record lies. */
rl_status rl_wal_read(rl_wal *w, const rl_wal_at *at, rl_bytes **out);

/* Removes, from the oldest on, the segments whose records all have a sequence below this one; never the last segment.
 * After an error the log is as usable as before, and less may have been removed. */
rl_status rl_wal_trim(rl_wal *w, uint64_t below);

typedef struct rl_wal_stats {
  uint64_t first, next;      /* sequence of the oldest record kept (next when there is none), of the next appended */
  uint64_t durable;          /* all up to this sequence are on disk */
  uint64_t segments, bytes;  /* on disk */
  uint64_t queued;           /* bytes not yet on disk */
  uint64_t groups, appended; /* groups and bytes written since the log was opened */
} rl_wal_stats;

void rl_wal_stats_read(rl_wal *w, rl_wal_stats *out);
bool rl_wal_is_paused(rl_wal *w); /* the disk is full and the log waits for room */

/* Damage as rl_wal_verify sees it. */
typedef struct rl_wal_damage {
  const char *path;    /* of the segment, or of the directory when a segment is missing */
  uint64_t offset;     /* in that file; 0 for the directory */
  uint64_t seq;        /* of the record that should stand there; 0: none is lost by it */
  const char *message; /* one line with all of that in it */
  bool torn;           /* only an unfinished tail, which rl_wal_open would cut without losing what was acknowledged */
} rl_wal_damage;

typedef struct rl_wal_verifier {
  rl_wal_visit *record;                                    /* every whole record; NULL allowed */
  void (*damage)(void *user, const rl_wal_damage *damage); /* NULL allowed */
  void *user;
} rl_wal_verifier;

/* Reads everything, changes nothing, and goes on behind damage at the next whole frame. Needs no open log, and takes no
 * lock: in one that is being written the tail may seem torn. RL_OK: there is no damage, but a torn tail perhaps.
 * RL_EDATA: there is (the current error names the first). Else what kept it from reading on. */
rl_status rl_wal_verify(const char *dir, const rl_wal_verifier *v);
/* Likewise, and where a segment's headers are unreadable those in `copy`, a copy of the log, are taken if they are that
 * segment's; it is damage all the same. */
rl_status rl_wal_verify_by(const char *dir, const char *copy, const rl_wal_verifier *v);

#endif
