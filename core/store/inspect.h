/* Looking at a checkpoint directory: what is in the log and in the image of a durable job, and whether all of it is
 * sound. Nothing is changed and no lock is taken, so the job may run meanwhile; what is told is then true of one moment
 * after the other. LMDB believes what it reads, so the image is read in a child process (base/apart.h).
 *
 * `dir` is the checkpoint directory, with `log` and `state` in it. */
#ifndef RL_STORE_INSPECT_H
#define RL_STORE_INSPECT_H

#include "store/journal.h"
#include "store/outline.h"
#include "store/wal.h"

char *rl_checkpoint_log(const char *dir); /* paths in it; the caller's */
char *rl_checkpoint_state(const char *dir);
/* RL_ENOTFOUND: there is neither a log nor an image of a job in it. RL_EIO: it cannot be read, and as whom. */
rl_status rl_checkpoint_check(const char *dir);
/* The process that has its log open, as far as this machine's list of locks tells; 0: none. Takes no lock. */
int64_t rl_checkpoint_user(const char *dir);

/* The log ---------------------------------------------------------------------------------------------------------- */

typedef struct rl_inspect_segment {
  uint64_t first, records, bytes; /* bytes: of the file */
} rl_inspect_segment;

typedef struct rl_inspect_input { /* of a batch */
  char *uid;
  rl_journal_input_kind kind;
  int64_t records;
  uint64_t position, blocks, bytes; /* bytes: saved by it, or in its blocks as far as the log has them */
  uint64_t missing;                 /* blocks that the log does not have */
  rl_buf saved;                     /* by it: of its own making */
} rl_inspect_input;

typedef struct rl_inspect_batch {
  int64_t time;
  uint32_t script;
  bool made; /* its state */
  rl_inspect_input *inputs;
  size_t ninputs;
  char **outputs; /* that are done */
  size_t noutputs, outputs_cap;
} rl_inspect_batch;

typedef struct rl_inspect_stock { /* blocks of an input that are in no batch yet */
  char *uid;
  uint64_t blocks, records, bytes, position;
} rl_inspect_stock;

typedef struct rl_inspect_changes { /* what the log has of an operator's state */
  char *uid;
  int64_t version; /* the newest that is made; RL_NO_TIME: none */
  uint64_t records, bytes;
  int64_t open, before; /* used while reading */
} rl_inspect_changes;

typedef struct rl_inspect_log {
  rl_inspect_segment *segments;
  size_t nsegments, segments_cap;
  uint64_t bytes, first, next; /* sequences: of the oldest record, of the next one */
  struct {
    uint64_t records, bytes; /* bytes: of payloads */
  } types[RL_JOURNAL_TYPES]; /* [0]: unknown ones */
  char *app, *engine;        /* of the last START; NULL: there is none */
  int64_t zero, batch_ms;    /* batch_ms = 0: the log does not say */
  uint32_t script;
  uint64_t starts;
  int64_t started, restarted;     /* the first and the last START that the log has */
  int64_t first_batch, last_batch, last_complete;
  rl_inspect_batch *pending; /* in order of BEGIN */
  size_t npending, pending_cap;
  rl_inspect_batch last; /* what the last BEGIN said; its inputs are the positions */
  rl_inspect_stock *stock;
  size_t nstock, stock_cap;
  rl_inspect_changes *changes;
  size_t nchanges, changes_cap;
  char *torn;        /* what is said of an unfinished tail; NULL: there is none */
  uint64_t damages;  /* places, and bad records */
  char *damage;      /* the first one */
} rl_inspect_log;

/* Fills *out, which is to be freed also after a failure. Damage is no failure: what can be read is told. */
rl_status rl_inspect_log_read(const char *dir, rl_inspect_log *out);
void rl_inspect_log_free(rl_inspect_log *l);

/* The image -------------------------------------------------------------------------------------------------------- */

typedef struct rl_inspect_op {
  char *uid;
  bool timed;
  int64_t version; /* in the image; RL_NO_TIME: none */
  uint64_t keys, bytes; /* bytes: of keys and values */
} rl_inspect_op;

typedef struct rl_inspect_note {
  char *dbi, *name;
  uint64_t bytes;
} rl_inspect_note;

typedef struct rl_inspect_image {
  bool found; /* is there one? */
  rl_inspect_op *ops;
  size_t nops, ops_cap;
  rl_inspect_note *notes;
  size_t nnotes, notes_cap;
  bool has_graph;
  rl_outline graph; /* as it was last started */
  uint64_t bytes; /* pages in use */
  char *damage;   /* why it could not be read to its end; NULL */
} rl_inspect_image;

/* As above. With `sizes`, all entries are read to add up their bytes. */
rl_status rl_inspect_image_read(const char *dir, bool sizes, rl_inspect_image *out);
void rl_inspect_image_free(rl_inspect_image *i);

/* Why the log, where it is not damaged otherwise, cannot be that of the image: one line, the caller's; NULL: it can. It
 * reads the log, after the image was read: a job may go on meanwhile. */
char *rl_inspect_misfit(const char *dir, const rl_inspect_image *i);

/* One value -------------------------------------------------------------------------------------------------------- */

typedef struct rl_inspect_value {
  bool found;
  int64_t version; /* of the operator's state; RL_NO_TIME: none */
  bool logged;     /* it comes from the log, and is not in the image yet */
  int64_t stamp;
  rl_buf value; /* as the codec writes it */
} rl_inspect_value;

/* The newest made value of a key (any value that can be one): of the image, and what the log has that the image lacks.
 * RL_ENOTFOUND: there is no operator of this uid. RL_EDATA when it cannot be told for damage. */
rl_status rl_inspect_key(const char *dir, const char *uid, rl_value key, rl_inspect_value *out);
void rl_inspect_value_free(rl_inspect_value *v);

/* Verifying -------------------------------------------------------------------------------------------------------- */

typedef struct rl_inspect_damage {
  const char *file;    /* in the log: of the segment, or the log's directory; NULL: in the image */
  uint64_t offset;
  const char *uid, *key; /* in the image; NULL: it concerns none */
  const char *message; /* one line with all of that in it */
  bool torn;           /* only an unfinished tail: no damage */
  bool ahead;          /* the log lacks what the image was made of: neither is of use without the other */
} rl_inspect_damage;

typedef void rl_inspect_damage_fn(void *user, const rl_inspect_damage *d);

typedef struct rl_inspect_verified {
  uint64_t segments, records, bytes;             /* in the log */
  uint64_t operators, entries, due_lists, notes; /* in the image */
  uint64_t damages, torn;
} rl_inspect_verified;

/* Checks every checksum, and that all records, their chunks and their changes can be read. fn may be NULL. RL_EDATA:
 * there is damage (the current error is the first). Else what kept it from reading on. */
rl_status rl_inspect_verify(const char *dir, rl_inspect_damage_fn *fn, void *user, rl_inspect_verified *out);
/* A record of the log by itself: RL_EDATA with what is wrong with it. */
rl_status rl_inspect_check_record(const rl_wal_record *r);

#endif
