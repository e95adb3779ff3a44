/* What the files of the repair share: repair.c the steps; repair_load.c which records there are; repair_plan.c what
 * becomes of them; repair_places.c where inputs go on; repair_write.c the new log; repair_job.c whose backup it is. */
#ifndef RL_STORE_REPAIR_IMPL_H
#define RL_STORE_REPAIR_IMPL_H

#include "store/inspect.h"
#include "store/repair.h"

/* Of a record, as much as the plan needs. */
typedef struct rl_salvage_item {
  uint64_t seq, offset, segment;
  uint64_t records, position; /* BLOCK */
  int64_t time;               /* of the batch; RL_NO_TIME: START, BLOCK */
  uint32_t length, name;      /* name: index of the uid of a BLOCK or STATE */
  uint32_t partition, partitions;
  uint16_t type;
  bool backup;                /* it is in the backup's log */
  bool discarded;             /* COMPLETE */
  bool drop;                  /* not to be written */
  bool end, complete;         /* the END, COMPLETE of its batch, which are lost, are to be written behind it */
  uint64_t written;           /* its new sequence */
} rl_salvage_item;

#define RL_SALVAGE_NONE SIZE_MAX

typedef struct rl_salvage_batch {
  int64_t time;
  size_t begin, end, complete; /* indices of items; RL_SALVAGE_NONE: not there */
  size_t last_state;
  bool discarded;
  bool stripped; /* pending again: what was made of it is not written */
} rl_salvage_batch;

typedef struct rl_salvage_gap {
  size_t at;              /* records are missing before items[at]; nitems: behind the last */
  int64_t before, behind; /* the newest batch begun before it, the next BEGIN behind it; RL_NO_TIME, INT64_MAX: none.
                           * Set by the plan */
} rl_salvage_gap;

typedef struct rl_salvage_version { /* of an operator, in the image */
  char *uid;
  int64_t version;
} rl_salvage_version;

typedef struct rl_salvage {
  const rl_repair *r;
  char *log, *backup_log; /* paths; backup_log NULL: none, or of another log */
  rl_salvage_item *items; /* by sequence */
  size_t nitems, cap;
  rl_salvage_gap *gaps;
  size_t ngaps, gaps_cap;
  uint64_t first; /* the sequence that the log began with, by its first segment's name; 0: there is none */
  char **names;
  size_t nnames, names_cap;
  rl_salvage_batch *batches; /* by time */
  size_t nbatches, batches_cap;
  int64_t zero, batch_ms; /* batch_ms = 0: no record tells */
  uint32_t script;
  rl_buf kept; /* of the newest COMPLETE */
  rl_salvage_version *versions;
  size_t nversions, versions_cap;
  int64_t newest; /* of them; RL_NO_TIME: none */
  bool stateful;  /* there is any state */
  int64_t lost;   /* LOST is written for it: what batches up to there had is not all there, and is in results;
                   * RL_NO_TIME: no such */
  int64_t lost_begin; /* the newest of them whose BEGIN is lost */
  int64_t ghost;  /* a batch that is over and whose BEGIN is lost, behind all others; RL_NO_TIME: none */
  uint64_t *reached; /* of names: the newest position of the stream that a BEGIN or BLOCK tells */
} rl_salvage;

/* Is a segment in both, by its random id? Only then do the sequences mean the same. */
rl_status rl_salvage_is_same_log(const char *log, const char *backup, bool *same);
/* RL_EINVAL: `from` cannot be a backup of the job in `dir`. RL_ENOTFOUND: it is no checkpoint directory. */
rl_status rl_salvage_check_job(const char *dir, const char *from);
void rl_salvage_say(const rl_salvage *s, const char *fmt, ...) RL_PRINTF(2, 3);
/* Reads the log and, where it fits, the backup's. */
rl_status rl_salvage_load(rl_salvage *s);
uint32_t rl_salvage_name(const rl_salvage *s, rl_slice uid); /* its index; nnames: no record has it */
const rl_salvage_item *rl_salvage_find(const rl_salvage *s, uint64_t seq);
/* The payload of an item; appends. */
rl_status rl_salvage_read(const rl_salvage *s, const rl_salvage_item *item, rl_buf *out);
/* Decides, and says what is lost. RL_EDATA: the image does not go with the log. */
rl_status rl_salvage_plan(rl_salvage *s);
/* Says where inputs go on whose newest place may be lost. */
rl_status rl_salvage_say_places(const rl_salvage *s);
/* The last one that is written; NULL: there is none. */
const rl_salvage_item *rl_salvage_last_begin(const rl_salvage *s);
/* Writes the new log to `path`. */
rl_status rl_salvage_write(rl_salvage *s, const char *path);
void rl_salvage_free(rl_salvage *s);

#endif
