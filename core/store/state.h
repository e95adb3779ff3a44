/* The state store: what stateful operators remember from batch to batch, by operator uid, key group and key
 * (docs/decisions/010).
 *
 * Versions. The state of an operator after batch T is its version T. A version is made in three steps:
 *
 *   update   every task of the operator's stage writes an update of its own (a private overlay) over the newest sealed
 *            version; nobody else sees it. A task that fails just deletes it.
 *   seal     when all partitions are there, one update each becomes version T, all at once.
 *   end      the batch is over: its versions may be moved into the image.
 *
 * Sealed versions that are not in the image yet are the overlay: in memory, each entry with its old and its new value.
 * The image is LMDB: one `state` dbi keyed by uid number, key group, key; `due`, the keys touched in a batch of
 * operators whose keys can time out; `meta`, uid numbers, applied versions, counts, set hashes. One thread (apply)
 * moves ended versions into it, in order, sorted by key, and only then drops them from the overlay. Readers see
 * overlay, then image, of one version.
 *
 * Pins. A pinned version stays readable: the image does not move past it. What pins for long makes the overlay grow.
 *
 * Keys are normalised values (rl_key_normalise). Values are any value of the codec but nil. A stamp goes with each
 * entry: ms, what timeouts go by.
 *
 * Threads: all functions may be called on any thread; an update or a scan is used by one at a time. */
#ifndef RL_STORE_STATE_H
#define RL_STORE_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "data/value.h"

typedef struct rl_state rl_state;
typedef struct rl_state_op rl_state_op; /* of one operator; lives as long as the store */

typedef struct rl_state_spec {
  const char *dir;      /* where the image lies; made with mode 0700. Scratch: a fresh folder is made in it */
  bool scratch;         /* not synced, and removed by rl_state_close */
  size_t overlay_bytes; /* a seal waits for the image while the overlay is larger; > 0 */
  size_t pinned_bytes;  /* where pins and scans keep it from the image, it may be as large as this; 0: overlay_bytes */
  size_t update_bytes;  /* what an operator's updates may set together before they are sealed; 0: no limit */
} rl_state_spec;

rl_status rl_state_open(const rl_state_spec *spec, rl_state **out); /* one reference */
rl_state *rl_state_ref(rl_state *s);
rl_state *rl_state_of(rl_state_op *op);
/* Gives a reference back; with the last it closes. */
void rl_state_close(rl_state *s); /* no update, scan or pin is left; moves nothing more. NULL is allowed */

/* For who may be left with references when the job is over: no version moves any more, and reading is RL_ECLOSED. Waits
 * some seconds for readings under way. Then the directory may be opened again, though the store is not closed yet. */
void rl_state_shut(rl_state *s);

/* The operator of this uid, made when it is new. `timed`: its keys can time out, so what is touched is indexed by time;
 * RL_EUNSUPPORTED when it has versions that were not. */
rl_status rl_state_operator(rl_state *s, const char *uid, bool timed, rl_state_op **out);
/* NULL when there is none. */
rl_state_op *rl_state_find(rl_state *s, const char *uid);

const char *rl_state_uid(const rl_state_op *op);
bool rl_state_is_timed(const rl_state_op *op);
int64_t rl_state_newest(rl_state *s); /* of all operators' newest versions the latest; RL_NO_TIME: none */
void rl_state_each_operator(rl_state *s, void (*fn)(void *user, const char *uid, uint64_t keys), void *user);
int64_t rl_state_sealed(rl_state_op *op); /* the newest sealed version; RL_NO_TIME: none yet */
uint64_t rl_state_count(rl_state_op *op); /* keys in it */

/* Updates ---------------------------------------------------------------------------------------------------------- */

typedef struct rl_state_update rl_state_update;

/* Over the newest sealed version, for the key groups of `partition` of n (data/partition.h). */
rl_status rl_state_update_new(rl_state_op *op, uint32_t partition, uint32_t n, rl_state_update **out);
void rl_state_update_delete(rl_state_update *u); /* NULL is allowed */

/* Looks a key up. Each key is looked up once in an update: slots are numbered 0, 1, 2, ... in the order of the calls.
 * *value is nil when the key has no state; a view, valid until the update rests, is sealed or deleted. The key must
 * belong to the partition. */
rl_status rl_state_slot(rl_state_update *u, rl_value key, rl_value *value, int64_t *stamp);
uint32_t rl_state_slots(const rl_state_update *u);
rl_value rl_state_slot_key(const rl_state_update *u, uint32_t slot);
/* What the slot's look-up gave; not after rl_state_update_rest. */
rl_value rl_state_slot_old(const rl_state_update *u, uint32_t slot, int64_t *stamp);
/* The new value of a slot (copied); nil removes the key. The last call counts. RL_ELIMIT for a value that is too
 * large, and where the operator's updates would hold more than update_bytes. */
rl_status rl_state_set(rl_state_update *u, uint32_t slot, rl_value value, int64_t stamp);

/* All entries of the version under the update, of its partition; to be closed before the update is sealed or deleted.
 * NULL when there is no version yet. */
struct rl_state_scan;
rl_status rl_state_update_scan(rl_state_update *u, struct rl_state_scan **out);

/* For an operator that begins anew: before the first slot. No key has a value then, and the scan gives none. Of what the
 * version under it has, rl_state_update_sweep removes what was not set; after the task, before the update rests. */
void rl_state_update_anew(rl_state_update *u);
rl_status rl_state_update_sweep(rl_state_update *u); /* nothing to do of other updates */

/* The end of the task: gives back what it holds of the image, values that were looked up with it. Slots, their keys and
 * what was set stay; no more is looked up or set (RL_ESTATE). A seal does it otherwise. An update that does not rest
 * keeps what was moved into the image since in memory as well. */
void rl_state_update_rest(rl_state_update *u);

/* updates[0..n): one for each partition, in any order; they become version `time` together, and are deleted, also on
 * failure. time > the newest sealed version, which is the one they were made over: else RL_ESTATE. Waits while the
 * overlay is too large and versions of ended batches can be moved, and some seconds where scans or pins hold them back
 * (so a thread that seals holds none); RL_EIO (with what is wrong) when the image cannot be written and the overlay
 * therefore stays too large, RL_ELIMIT when scans or pins keep it from being written. */
rl_status rl_state_seal(rl_state_op *op, int64_t time, rl_state_update **updates, uint32_t n);
/* Takes the newest sealed version back: its batch is discarded, and the one before is the newest again, also for who
 * reads the version that is taken back and has it pinned. RL_ESTATE when it is not the newest, or its batch has ended.
 * No update over it is left, and nobody is in rl_state_get. */
rl_status rl_state_unseal(rl_state_op *op, int64_t version);
/* All versions up to `time`, of all operators, may go into the image. */
void rl_state_end(rl_state *s, int64_t time);

/* With a log ------------------------------------------------------------------------------------------------------- */

/* In a durable job (a store that is not scratch) the changes of every version are logged before they are sealed, and
 * the image may lag behind: versions that it lacks are made again from the log, in order, before anything else. The
 * image is written with syncs, and a version is in it as a whole or not at all as far as rl_state_sealed tells after a
 * reopening; what of a large version was moved before a crash is overwritten when that version is replayed. */

/* What the update changes: for every key that was set, key, old and new value with stamps, and what of `due` keys was
 * visited. Appends to `out`; also of an update that rests. */
void rl_state_update_encode(const rl_state_update *u, rl_buf *out);
/* changes[0..n): of all partitions of one version, as encoded, in the order of partitions; they become version `time`,
 * without a look at the image. time > rl_state_sealed: else RL_ESTATE. RL_EDATA when the bytes are malformed: nothing
 * was changed then. */
typedef struct rl_state_changes {
  const char *p;
  size_t n;
} rl_state_changes;
rl_status rl_state_replay(rl_state_op *op, int64_t time, const rl_state_changes *changes, uint32_t n);
/* Of the versions that are not in the image, synced, the oldest; INT64_MAX: there are none. What the log has of this
 * version and later ones is still needed. */
int64_t rl_state_unapplied_time(rl_state *s);

/* Notes: named things kept beside the state, in the dbi of that name ("script", "closure", "graph", "batch",
 * "history"): synced when the call returns. Names have 1 to 400 bytes. For the start of a job: putting waits for the
 * apply thread. RL_EINVAL for an unknown dbi, RL_EDATA for a note that is damaged: only one of a script,
 * closure or graph is replaced, which every start makes anew, and that is said. p NULL: removes it. */
rl_status rl_state_put_note(rl_state *s, const char *dbi, const char *name, const char *p, size_t n);
rl_status rl_state_get_note(rl_state *s, const char *dbi, const char *name, rl_buf *out, bool *found); /* appends */
/* In order of names; *fn reads other notes if it likes, and puts none. */
typedef rl_status rl_state_note_fn(void *user, const char *name, const char *p, size_t n);
rl_status rl_state_each_note(rl_state *s, const char *dbi, rl_state_note_fn *fn, void *user);

/* Copies and checks ------------------------------------------------------------------------------------------------ */

/* Both copy the image as it is at one moment, without the overlay, into a new folder `to` (made with mode 0700, synced,
 * the name too; RL_ESTATE when there is something of that name): a store of its own, without unused pages. What was
 * made is removed after a failure. Others go on meanwhile; the image grows by what they change, as pages that the copy
 * may still read are not used again. */
rl_status rl_state_backup(rl_state *s, const char *to); /* of a kept store or of a scratch one */
/* Of a kept store that is closed, or open in another process; not of one that is open in this process, and not across
 * machines. */
rl_status rl_state_backup_dir(const char *dir, const char *to);

typedef struct rl_state_damage {
  const char *uid;  /* of the operator; NULL: it concerns the store, or a note */
  const char *key;  /* as text, or the name of a note; NULL: no single one */
  const char *what; /* one line */
} rl_state_damage;
typedef void rl_state_damage_fn(void *user, const rl_state_damage *damage);

typedef struct rl_state_verified { /* what was looked at */
  uint64_t operators, entries, due_lists, notes;
} rl_state_verified;

/* Reads all of the kept store in `dir`, which is closed or open in another process, and calls *fn for each damage;
 * RL_EDATA when there was any, with the first one's text; other errors when it cannot be read (RL_ENOTFOUND: there is
 * no store, RL_EUNSUPPORTED: of another format). It changes nothing and keeps nobody from writing. LMDB believes what
 * it reads: over a flipped byte it may crash this process, so call it in a child that was forked for it
 * (docs/formats.md); a crash is damage. fn and out may be NULL. */
rl_status rl_state_verify(const char *dir, rl_state_damage_fn *fn, void *user, rl_state_verified *out);

/* Reading ---------------------------------------------------------------------------------------------------------- */

void rl_state_pin(rl_state_op *op, int64_t version);   /* the newest sealed one, or one that is pinned; counted */
void rl_state_unpin(rl_state_op *op, int64_t version);

/* The newest sealed version's value of a key, appended to `out` as the codec writes it; *found = false: none. */
rl_status rl_state_get(rl_state_op *op, rl_value key, rl_buf *out, bool *found);

typedef struct rl_state_scan rl_state_scan;

/* All keys of key groups [from, to) in `version` (RL_NO_TIME: the newest sealed one; or pinned; it stays readable while
 * the scan is open): else RL_ESTATE. With `prefix` only keys that are strings and begin with it; NULL: all. A prefix
 * costs what begins with it, and the keys over some 470 bytes. */
rl_status rl_state_scan_open(rl_state_op *op, int64_t version, uint32_t from, uint32_t to, const char *prefix,
                             size_t prefix_n, rl_state_scan **out);
/* The next entry, by key group, in an order that depends on nothing but the keys; views, valid until the next call.
 * *found = false: the end. It does not hold the image for long: the reading transaction is renewed. */
rl_status rl_state_scan_next(rl_state_scan *s, rl_value *key, rl_value *value, int64_t *stamp, bool *found);
void rl_state_scan_close(rl_state_scan *s); /* NULL is allowed */

/* Keys of the update's partition whose stamp in the version under it is < `before`, each once, by key group, in an
 * order that depends on nothing but the keys; those that have a slot already are left out. Costs what was touched at
 * such times, not what there is. *key is a view, valid until the walk is closed. Only of operators that are `timed`.
 * Slots and values may be looked up and set meanwhile. Keys that are not set anew in the update, or removed, are met
 * again by the next walk. */
typedef struct rl_state_due rl_state_due;
rl_status rl_state_due_open(rl_state_update *u, int64_t before, rl_state_due **out);
rl_status rl_state_due_next(rl_state_due *d, rl_value *key, bool *found);
void rl_state_due_close(rl_state_due *d); /* NULL is allowed */

/* Looking at it ---------------------------------------------------------------------------------------------------- */

typedef struct rl_state_stats {
  uint64_t keys;          /* of all operators, newest versions */
  uint64_t overlay_bytes; /* in memory */
  uint64_t image_bytes;   /* pages in use: mapped, and on disk */
  uint64_t versions;      /* sealed and not in the image */
} rl_state_stats;

void rl_state_stats_read(rl_state *s, rl_state_stats *out);
/* Waits until all ended versions that no pin holds back are in the image; the apply thread's error if it has one. */
rl_status rl_state_flush(rl_state *s);

#endif
