/* Inside of the state store. Who does what:
 *
 *   state.c          the store, operators, versions, pins, waiting
 *   state_dir.c      the folder, and what dead processes left in it
 *   state_image.c    LMDB: layout of keys and entries, reading one; state_put.c: writing one; state_meta.c: dbi meta
 *   state_overlay.c  entries, layers (one a version and operator), the table that finds them
 *   state_reader.c   a look at one moment of overlay and image
 *   state_update.c, state_seal.c, state_scan.c, state_due.c
 *   state_replay.c   what an update changes as bytes, and a version made of them; state_notes.c
 *   state_verify.c, state_sound.c, state_backup.c
 *   state_apply.c    the thread that moves layers into the image; state_write.c: what it writes
 *
 * Locks: `lock` of the store for everything but tables; one for each group of a table, taken last. Nobody waits for
 * another lock while holding a group's.
 *
 * Layers have numbers (seq) in the order in which they were sealed. The image knows up to which number it has them:
 * what it has, a reader looks for in the image only, so a layer may go once no reader is left that began before. */
#ifndef RL_STORE_STATE_IMPL_H
#define RL_STORE_STATE_IMPL_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/clock.h"
#include "data/partition.h"
#include "store/state.h"

typedef struct rl_octets {
  const char *p;
  size_t n;
} rl_octets;

/* Forms. A key's is its codec form, but a string is RL_TAG_BYTES and its raw bytes. What is stored of a value is the
 * stamp (zigzag varint) and the codec form; no bytes: no value. --------------------------------------------------- */

rl_status rl_form_of_key(rl_value key, rl_buf *out); /* out is cleared */
rl_status rl_form_read(rl_octets form, rl_value *key);
rl_status rl_stored_of(rl_value value, int64_t stamp, rl_buf *out); /* out is cleared; nil: empty */
rl_status rl_stored_stamp(rl_octets stored, int64_t *stamp);
rl_status rl_stored_read(rl_octets stored, rl_value *value, int64_t *stamp);
int rl_form_compare(rl_octets a, rl_octets b); /* in the order of the image */

/* Memory: blocks that live and die together, counted in rl_mem_used. ----------------------------------------------- */

typedef struct rl_arena {
  rl_bytes **blocks;
  size_t n, cap;
  size_t bytes;
} rl_arena;

void *rl_arena_get(rl_arena *a, size_t n); /* aligned to 8; NULL with the error set */
void rl_arena_free(rl_arena *a);

/* Overlay ---------------------------------------------------------------------------------------------------------- */

typedef struct rl_entry {
  struct rl_entry *next;  /* another key of the bucket */
  struct rl_entry *older; /* the same key in a version before */
  int64_t version;        /* RL_NO_TIME: was replaced before its update was sealed */
  uint32_t hash;          /* lower half; its lowest byte is the key group */
  uint32_t key_n, old_n, new_n;
  char bytes[]; /* key's form, old and new as they are stored */
} rl_entry;

static inline rl_octets rl_entry_key(const rl_entry *e) { return (rl_octets){e->bytes, e->key_n}; }
static inline rl_octets rl_entry_old(const rl_entry *e) { return (rl_octets){e->bytes + e->key_n, e->old_n}; }
static inline rl_octets rl_entry_new(const rl_entry *e)
{
  return (rl_octets){e->bytes + e->key_n + e->old_n, e->new_n};
}
static inline uint32_t rl_entry_group(const rl_entry *e) { return rl_key_group(e->hash); }

/* What one update changed. */
typedef struct rl_layer_part {
  uint32_t from, to; /* key groups */
  rl_arena arena;    /* of entries, one behind the other */
  int64_t min_stamp; /* of the new values; INT64_MAX: none */
  int64_t due;       /* keys with stamps below were all visited; RL_NO_TIME: none were */
} rl_layer_part;

typedef struct rl_layer {
  struct rl_layer *next; /* sealed later, of any operator */
  rl_state_op *op;
  int64_t version;
  uint64_t seq;
  uint64_t count; /* keys in the version */
  size_t entries, bytes;
  uint32_t refs; /* the overlay's, and of scans */
  uint32_t nparts;
  rl_layer_part parts[];
} rl_layer;

/* Walks a layer's entries: {layer, 0} at first; with one part only, set `last`. NULL: the end. */
typedef struct rl_entry_walk {
  const rl_layer *layer;
  uint32_t part, end;
  size_t block, at;
} rl_entry_walk;

static inline rl_entry_walk rl_layer_walk(const rl_layer *l) { return (rl_entry_walk){.layer = l, .end = l->nparts}; }
rl_entry *rl_entry_next(rl_entry_walk *w);

typedef struct rl_table_group {
  pthread_mutex_t lock;
  rl_entry **buckets;
  uint32_t nbuckets, n;
} rl_table_group;

void rl_table_init(rl_table_group *table);
void rl_table_free(rl_table_group *table);
void rl_table_link(rl_table_group *table, rl_entry *e);
void rl_table_unlink(rl_table_group *table, const rl_entry *e); /* the oldest of its key */
void rl_table_unlink_newest(rl_table_group *table, const rl_entry *e);
/* The newest entry of the key with floor < version <= at; NULL: none. */
const rl_entry *rl_table_find(rl_table_group *table, uint32_t hash, rl_octets form, int64_t floor, int64_t at);

void rl_layer_free(rl_layer *l);

/* Image ------------------------------------------------------------------------------------------------------------ */

#define RL_IMAGE_KEY_MAX 480 /* of LMDB's 511; keys over it are stored by their hash */
#define RL_IMAGE_HASHED 0xff /* the form byte of those */
#define RL_IMAGE_HEAD 5      /* uid number, group */
#define RL_IMAGE_READERS 512 /* at once */

#define RL_NOTE_KINDS 5

/* What the image says of an operator. The sums are of the hashes of all its entries, and of all its lists in `due`,
 * modulo 2^64: whatever their order, and changed with each of them. */
typedef struct rl_image_op {
  int64_t version; /* RL_NO_TIME: none yet */
  uint64_t count;  /* keys of it */
  bool whole;      /* nothing of a later version is there: `entries` is `count` */
  uint64_t entries, sum;
  uint64_t lists, lists_sum;
} rl_image_op;

typedef struct rl_image {
  char *dir;
  MDB_env *env;
  MDB_dbi state, due, meta;
  _Atomic MDB_dbi notes[RL_NOTE_KINDS]; /* 0: none of the kind yet */
  size_t map;
  size_t page;
  bool scratch;
} rl_image;

/* Address space for an environment's map: the largest is reserved, where it is short half as much, and so on. */
#define RL_IMAGE_MAP_LARGEST ((size_t)1 << 40)
#define RL_IMAGE_MAP_SMALLEST ((size_t)1 << 30)
extern size_t rl_image_first_map; /* bytes to reserve; tests only, set before a store is opened */

rl_status rl_image_open(rl_image *im, const char *dir, bool scratch);
/* The image's file, while nobody writes it: RL_EDATA where LMDB would crash over it, as far as a few pages tell
 * (state_sound.c). */
rl_status rl_image_sound(const char *dir);
void rl_image_close(rl_image *im);
rl_status rl_image_fail(const rl_image *im, int rc, const char *what); /* the error that LMDB's rc means */
int rl_image_grow(rl_image *im);                                       /* the map; no transaction is active */
int rl_image_tables(rl_image *im, MDB_txn *txn);                       /* opens them, and makes those that all have */

/* uid number, group and form, as LMDB's key; `room` has RL_IMAGE_KEY_MAX bytes. */
MDB_val rl_image_key(uint32_t number, uint32_t group, rl_octets form, char *room);
bool rl_image_hashed(rl_octets form);
#define RL_IMAGE_CHECK 4 /* bytes in front of what is stored: the lower half of the hash */
uint64_t rl_image_hash(uint32_t number, uint32_t group, rl_octets form, rl_octets stored);
/* Takes the stored form out of an entry; false: too short, or its checksum is wrong. */
bool rl_image_read(uint32_t number, uint32_t group, rl_octets form, rl_octets entry, rl_octets *stored, uint64_t *hash);
/* A bucket's items; *found = false: the end. MDB_CORRUPTED when malformed. */
int rl_bucket_next(rl_octets *rest, rl_octets *form, rl_octets *entry, bool *found);
/* Checks an entry and takes its stored form out of it. */
rl_status rl_image_entry(const rl_state_op *op, uint32_t group, rl_octets form, rl_octets entry, rl_octets *stored);
/* The stored form of a key; n = 0: none. A view while the transaction lives. */
rl_status rl_image_get(const rl_state_op *op, MDB_txn *txn, uint32_t group, rl_octets form, rl_octets *stored);
/* stored.n = 0: removes it. Returns LMDB's code. */
int rl_image_put(const rl_state_op *op, rl_image_op *set, MDB_cursor *c, uint32_t group, rl_octets form,
                 rl_octets stored, rl_buf *scratch);

/* The key of a list in `due`: uid number, group, stamp, then what makes it unique. */
#define RL_DUE_HEAD (RL_IMAGE_HEAD + 8)
#define RL_DUE_KEY (RL_DUE_HEAD + 8 + 4)
void rl_due_key(char *p, uint32_t number, uint32_t group, int64_t stamp, uint64_t seq, uint32_t piece);

/* Notes: kinds by the names of their dbis. */
extern const char *const rl_note_kinds[RL_NOTE_KINDS];
uint64_t rl_note_check(unsigned kind, rl_octets name, rl_octets content);
bool rl_note_read(unsigned kind, rl_octets name, rl_octets stored, rl_octets *content); /* false: it is damaged */

/* meta. Each transaction that writes anything ends with rl_meta_end, which leaves the sum of the other records and how
 * many transactions there were. */
#define RL_META_FORMAT 2
#define RL_META_NUMBERS 9 /* of an operator, the most that a record has */
typedef struct rl_meta {
  const rl_image *im;
  MDB_txn *txn;
  uint64_t generation, sum;
} rl_meta;
int rl_meta_begin(rl_meta *m, const rl_image *im, MDB_txn *txn);
int rl_meta_put_applied(rl_meta *m, uint64_t seq);
int rl_meta_put_op(rl_meta *m, const rl_state_op *op, const rl_image_op *image);
int rl_meta_notes(const rl_meta *m, unsigned kind, uint64_t *count, uint64_t *sum);
int rl_meta_put_notes(rl_meta *m, unsigned kind, uint64_t count, uint64_t sum);
int rl_meta_end(rl_meta *m);

int rl_meta_applied(const rl_image *im, MDB_txn *txn, uint64_t *seq);
rl_status rl_meta_load(rl_state *s); /* at open: tables, operators, applied */

/* Records as they lie there. */
extern char rl_meta_format_name[], rl_meta_applied_name[], rl_meta_sum_name[];
#define RL_META_OP "op:"
#define RL_META_NOTES "notes:"
bool rl_meta_read(rl_octets key, rl_octets value, uint64_t *x, int n); /* false: it is damaged */
uint64_t rl_meta_hash(rl_octets key, rl_octets value);
void rl_meta_read_op(const uint64_t *x, uint32_t *number, bool *timed, rl_image_op *image);
rl_status rl_meta_other_format(const char *dir, uint64_t format);

/* Readers ---------------------------------------------------------------------------------------------------------- */

typedef struct rl_state_reader {
  struct rl_state_reader *prev, *next; /* active ones in the order of `applied`; idle ones by next */
  rl_state_op *op;
  MDB_txn *txn;
  uint64_t applied; /* layers up to here are in the image as the transaction sees it */
  int64_t floor;    /* the operator's version in it; newer ones are looked for in the overlay first */
} rl_state_reader;

/* With the store's lock held. */
rl_status rl_state_reader_begin(rl_state_op *op, rl_state_reader **out);
rl_status rl_state_reader_renew(rl_state_reader *r); /* sees the newest image from now on; failed: only to be ended */
void rl_state_reader_end(rl_state_reader *r);
/* Without it. The stored form of a key in `version`; n = 0: none. A view while the reader lives. */
rl_status rl_state_reader_find(rl_state_reader *r, int64_t version, uint32_t hash, rl_octets form, rl_octets *stored);

/* Store ------------------------------------------------------------------------------------------------------------ */

typedef struct rl_pin {
  int64_t version;
  uint32_t pins, scans;
} rl_pin;

struct rl_state_op {
  rl_state *s;
  struct rl_state_op *next;
  char *uid;
  uint32_t number;
  bool timed;
  int64_t sealed;
  uint64_t count;
  int64_t retired; /* the newest version that is in the image and not in the overlay */
  rl_image_op image, next_image; /* as committed; as it is being written: the apply thread's */
  bool sealing;
  _Atomic size_t setting; /* bytes of entries of updates that are not sealed */
  rl_pin *pins;
  size_t npins, pins_cap;
  rl_table_group table[RL_KEY_GROUPS];
};

struct rl_state {
  _Atomic uint32_t refs;
  rl_image image;
  char *lock_path;
  int lock_fd;
  size_t overlay_limit, pinned_limit, update_limit;

  pthread_mutex_t lock;
  pthread_cond_t work;  /* for the apply thread */
  pthread_cond_t moved; /* by it; also when a scan ends */
  rl_state_op *ops;
  uint32_t next_number;
  rl_layer *oldest, *newest; /* layers of the overlay, by seq */
  uint64_t last_seq, applied;
  int64_t ended;
  size_t overlay_bytes;
  rl_state_reader *first, *last, *idle;
  uint32_t outside; /* transactions of others than readers and the apply thread: the map stays as it is */

  pthread_t thread;
  bool stop, kick, map_full, broken;
  bool shut; /* nothing is read or moved any more */
  uint64_t attempts; /* of writing, ended either way */
  rl_error error;    /* of the last one */
};

/* Why the next layer is not moved. */
typedef enum rl_held { RL_HELD_NOT, RL_HELD_NOTHING_LEFT, RL_HELD_NOT_ENDED, RL_HELD_PIN, RL_HELD_SCAN } rl_held;

/* All with the lock held. */
rl_layer *rl_state_unapplied(const rl_state *s); /* the oldest layer that is not in the image; NULL */
rl_held rl_layer_held(const rl_state *s, const rl_layer *l);
void rl_layer_unref(rl_layer *l);
rl_status rl_state_add_op(rl_state *s, const char *uid, size_t n, bool timed, rl_state_op **out);
/* Waits until the apply thread has moved something, or failed at a new attempt. */
rl_status rl_state_await(rl_state *s);
void rl_pin_add(rl_state_op *op, int64_t version, bool scan);
void rl_pin_remove(rl_state_op *op, int64_t version, bool scan);
bool rl_state_readable(const rl_state_op *op, int64_t version);

/* Around a transaction that is no reader's, without the lock. */
void rl_outside_begin(rl_state *s);
void rl_outside_end(rl_state *s);

/* Folders and copies ----------------------------------------------------------------------------------------------- */

/* An environment for reading, of a folder that no environment of this process has open; LMDB's code. */
int rl_env_open_reader(const char *dir, MDB_env **out);
char *rl_path_parent(const char *path); /* owned by the caller */

/* Updates ---------------------------------------------------------------------------------------------------------- */

typedef struct rl_slot {
  const char *key; /* its form */
  rl_octets old;     /* what is stored in the version below; n = 0: nothing. Gone when the update rests */
  rl_entry *entry; /* what was set; NULL: no change */
  bool kept;       /* to another value than nil */
  uint32_t key_n;
  uint32_t hash; /* lower half */
} rl_slot;

struct rl_state_update {
  rl_state_op *op;
  uint32_t partition, n;
  int64_t base;            /* the version below */
  bool anew;               /* it shows nothing of that */
  rl_state_reader *reader; /* NULL: it rests */
  rl_slot *slots;
  size_t nslots, slots_cap;
  rl_arena keys, entries;
  uint32_t *index; /* slots by hash, + 1; made when the first due key is looked at */
  size_t nindex, indexed;
  int64_t due; /* keys with stamps below were all met by a walk; RL_NO_TIME: none were */
  uint32_t met; /* so many */
  rl_buf scratch;
};

bool rl_update_has(rl_state_update *u, uint32_t hash, rl_octets form); /* a slot of this key */
int64_t rl_update_due(const rl_state_update *u); /* what a layer of it has as `due` */
/* The first key group of a partition; of partition n: RL_KEY_GROUPS. */
static inline uint32_t rl_partition_from(uint32_t partition, uint32_t n)
{
  return (uint32_t)(((uint64_t)partition * RL_KEY_GROUPS + n - 1) / n);
}

extern int64_t rl_state_patience_ns; /* how long a seal waits for readers; tests only */

/* The steps of a seal. Begin: version `time` may be made of the updates (none, when it comes from the log), and nobody
 * else seals; waits for room. Then publish, which cannot fail. A layer has its parts' key groups when it is new. */
rl_status rl_seal_begin(rl_state_op *op, int64_t time, rl_state_update **updates, uint32_t n);
rl_layer *rl_layer_new(rl_state_op *op, int64_t time, uint32_t n);
void rl_seal_publish(rl_layer *l);

/* Folders. The lock is held while the store is open: one process, one store. */
rl_status rl_state_dir_open(rl_state *s, const rl_state_spec *spec, char **dir);
void rl_state_dir_close(rl_state *s, const char *dir, bool scratch);

/* Apply thread */
rl_status rl_apply_start(rl_state *s);
void rl_apply_stop(rl_state *s);
/* Writes the layers [first, last] of the overlay, of `entries` entries, without the lock. LMDB's code. */
int rl_apply_write(rl_state *s, rl_layer *first, rl_layer *last, size_t entries);

#endif
