/* What the files of the write-ahead log share. docs/formats.md explains the layout. */
#ifndef RL_STORE_WAL_IMPL_H
#define RL_STORE_WAL_IMPL_H

#include <pthread.h>
#include <sys/uio.h>

#include "store/wal.h"

/* Layout (wal_format.c) -------------------------------------------------------------------------------------------- */

#define RL_WAL_MARK 0xffff /* type of the frame that says that all before it is on disk */

typedef struct rl_wal_header {
  uint64_t magic;
  uint32_t version, reserved;
  uint64_t id;    /* random: bytes of another segment's life are not taken for this one's */
  uint64_t first; /* sequence of the first record */
  int64_t made_ms;
  uint64_t sum; /* of the fields above */
} rl_wal_header;

typedef struct rl_wal_frame {
  uint32_t length; /* of the payload, which follows */
  uint32_t type;
  uint32_t index; /* in its group */
  uint32_t reserved;
  uint64_t seq;
  uint64_t payload_sum;
  uint64_t sum; /* of the fields above, seeded with the segment's id and the frame's offset */
} rl_wal_frame;

#define RL_WAL_FRAME_BYTES sizeof(rl_wal_frame)
enum { RL_WAL_COPIES = 2 }; /* of the header */

rl_wal_header rl_wal_header_make(uint64_t id, uint64_t first, int64_t made_ms);
/* Is it whole, and of a format that is not known here? */
bool rl_wal_header_is_foreign(const rl_wal_header *h);
/* What is wrong with one that is not; NULL: nothing. */
const char *rl_wal_header_check(const rl_wal_header *h, uint64_t first);
/* Where frames begin, by a header that is right. */
uint64_t rl_wal_header_end(const rl_wal_header *h);
uint64_t rl_wal_payload_sum(const struct iovec *v, size_t n);
void rl_wal_frame_sign(rl_wal_frame *f, uint64_t id, uint64_t offset);
bool rl_wal_frame_is_signed(const rl_wal_frame *f, uint64_t id, uint64_t offset);
char *rl_wal_path(const char *dir, uint64_t first);
bool rl_wal_parse_name(const char *name, uint64_t *first);
rl_status rl_wal_damaged(const char *path, uint64_t offset, const char *fmt, ...) RL_PRINTF(3, 4); /* RL_EDATA */

/* Reading a segment from its beginning to its end (wal_cursor.c) ----------------------------------------------------
 * */

typedef struct rl_wal_cursor {
  char *path;
  int fd;
  uint64_t first, id, size;
  int64_t made_ms;
  uint64_t header; /* bytes in front of the frames; 0: they cannot be read */
  uint64_t bad;    /* when it could not be opened for damage: the offset of that */
  uint64_t at, next;       /* offset of the next frame, and the sequence it must have */
  uint64_t group, group_at; /* sequence and offset of the first frame of the last whole frame's group */
  bool marked;             /* the last whole frame is a mark */
  rl_buf window;           /* bytes of the file from window_at on */
  uint64_t window_at;
} rl_wal_cursor;

typedef enum rl_wal_found {
  RL_WAL_RECORD, /* a whole frame; passed */
  RL_WAL_END,    /* the end of the file */
  RL_WAL_BAD     /* something else; not passed */
} rl_wal_found;

/* Checks the header. The cursor is to be closed also after an error. RL_EDATA: it is damaged; with c->header > 0 the
 * frames can be read all the same, by its other copy or by what is left of both. RL_EUNSUPPORTED: of another format. */
rl_status rl_wal_cursor_open(rl_wal_cursor *c, const char *dir, uint64_t first);
/* After damage with c->header = 0: takes the header of the same segment in a copy of the log, if any frame is signed by
 * it. Leaves the thread's current error alone. */
rl_status rl_wal_cursor_adopt(rl_wal_cursor *c, const char *copy);
void rl_wal_cursor_close(rl_wal_cursor *c);
/* Marks are passed over. *wrong says what is bad. */
rl_status rl_wal_cursor_next(rl_wal_cursor *c, rl_wal_found *found, rl_wal_record *r, const char **wrong);

/* What stands behind a bad frame. */
typedef struct rl_wal_behind {
  bool torn;    /* nothing that was written after the bad frame's group had been synced */
  bool zeros;   /* all is zero from the bad frame on */
  bool more;    /* there is a whole frame; the first is at `at` and has sequence `seq` */
  uint64_t at, seq;
  bool mark;      /* it is a mark */
  uint64_t proof; /* not torn: the offset of a frame, or of the head of one, that shows it */
  bool proof_mark;
} rl_wal_behind;

rl_status rl_wal_cursor_look_behind(rl_wal_cursor *c, rl_wal_behind *out);
/* Goes on at a frame found so. */
rl_status rl_wal_cursor_skip(rl_wal_cursor *c, const rl_wal_behind *b);

/* Segments (wal_segment.c) ----------------------------------------------------------------------------------------- */

typedef struct rl_wal_segment {
  uint64_t first, id, bytes;
  uint64_t header; /* bytes of them in front of the frames */
} rl_wal_segment;

typedef struct rl_wal_firsts {
  uint64_t *v; /* in order */
  size_t n, cap;
} rl_wal_firsts;

#define RL_WAL_MAKING ".tmp" /* behind the name of a file in the making */

/* Which segments there are. With `clean`, removes what creations left behind that did not come to their end. */
rl_status rl_wal_list(const char *dir, bool clean, rl_wal_firsts *out);
/* Makes a segment; it is on disk, by its name, when this succeeds. *step: what errno belongs to after a failure. */
typedef enum rl_wal_step { RL_WAL_WRITING, RL_WAL_SYNCING } rl_wal_step;
rl_status rl_wal_segment_make(const char *dir, uint64_t first, rl_wal_segment *out, int *fd, rl_wal_step *step);
/* Cuts the segment at the cursor and makes sure that all before it is on disk. */
rl_status rl_wal_settle(rl_wal_cursor *c);

/* Where the log begins (wal_floor.c) ------------------------------------------------------------------------------- */

#define RL_WAL_FLOOR "floor"  /* its name */

/* The first sequence that must be there; 1 when there is no such file. RL_EDATA: the file is damaged. */
rl_status rl_wal_floor_read(const char *dir, uint64_t *floor, bool *there);
/* Where a log goes on of which no record is left: never with record 1, which would pass for the beginning of it all. */
uint64_t rl_wal_floor_to_go_on(const char *dir);
rl_status rl_wal_floor_make(const char *dir, uint64_t floor);
/* On disk when this succeeds. Needs no room on the disk. */
rl_status rl_wal_floor_raise(const char *dir, uint64_t floor);
/* RL_EDATA: the first of the segments, which were listed before, are missing, or all are, or the file is damaged. */
rl_status rl_wal_floor_check(const char *dir, const rl_wal_firsts *firsts, bool *there);

/* What stands in the current segment behind its last group. */
typedef enum rl_wal_tail {
  RL_WAL_BARE,   /* nothing */
  RL_WAL_MARKED, /* a mark, which may not be on disk */
  RL_WAL_SPOILT  /* a part of one */
} rl_wal_tail;

/* The open log ----------------------------------------------------------------------------------------------------- */

typedef struct rl_wal_entry {
  struct rl_wal_entry *next;
  rl_wal_done *done;
  void *user;
  uint64_t bytes; /* of the frame */
  uint64_t offset;
  size_t niov, nrefs;
  struct iovec *iov; /* the frame's head first */
  rl_bytes **refs;
  rl_wal_frame head; /* copied stretches of the payload may follow */
} rl_wal_entry;

typedef struct rl_wal_queue {
  rl_wal_entry *head, **tail;
  uint64_t bytes;
  size_t n, niov;
} rl_wal_queue;

struct rl_wal {
  /* set by rl_wal_open */
  rl_wal_spec spec;
  int lock_fd;
  char *lock_path;
  pthread_t thread;
  bool started;
  pthread_mutex_t trimming; /* one at a time; taken before `lock` */

  pthread_mutex_t lock; /* guards what follows */
  pthread_cond_t work, room, durable_cond;
  rl_wal_queue queue;
  uint64_t held; /* bytes in the queue and of the group being written */
  uint64_t next, durable, groups, appended;
  bool stopping, paused;
  bool ended; /* after a failure, when everybody was told */
  rl_error failed;
  rl_wal_segment *segments; /* in order; the last is the current one */
  size_t nsegments, cap;

  /* the log's thread */
  int fd;      /* of the current segment; -1: closed after writing */
  char *path;
  rl_wal_segment current;
  uint64_t expected; /* sequence of the record that comes behind those that are written */
  int64_t made_ns;
  int64_t looked_ns; /* when the file was last seen to have a name */
  rl_wal_tail tail;
  bool unmarked; /* records stand behind the last mark that is on disk */
  bool final;    /* the failure at hand is one of syncing: no other try */
};

/* Reads the segments, replays, leaves the log ready to be written (wal_recover.c). */
rl_status rl_wal_recover(rl_wal *w);
/* Writes and syncs a group (wal_write.c). On the log's thread. */
rl_status rl_wal_write_group(rl_wal *w, rl_wal_queue *group);
/* Writes a mark behind the last group, which the next one is written over; never fails. */
void rl_wal_put_mark(rl_wal *w);
/* The mark of a clean end: synced. */
void rl_wal_end(rl_wal *w);
/* Makes `s`, opened as fd, the current segment. */
void rl_wal_set_current(rl_wal *w, const rl_wal_segment *s, int fd);

#endif
