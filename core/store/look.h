/* A look at a state store's image without opening the store: nothing is written and no lock is taken, so the store may
 * be open in another process, and the image is seen as it was at one moment. Not while it is open in this process. LMDB
 * may crash over flipped bytes: call it in a child (base/apart.h). */
#ifndef RL_STORE_LOOK_H
#define RL_STORE_LOOK_H

#include "base/buf.h"
#include "data/value.h"

typedef struct rl_look rl_look;

/* RL_ENOTFOUND: there is no image in `dir`, or nothing in it yet. */
rl_status rl_look_open(const char *dir, rl_look **out);
void rl_look_close(rl_look *l); /* NULL is allowed */

typedef struct rl_look_op {
  const char *uid;
  bool timed;
  int64_t version; /* RL_NO_TIME: none */
  uint64_t keys;
} rl_look_op;

/* In order of uids. */
rl_status rl_look_each_op(rl_look *l, rl_status (*fn)(void *user, const rl_look_op *op), void *user);
/* Bytes of the keys and values of an operator: reads all of them. */
rl_status rl_look_bytes(rl_look *l, const char *uid, uint64_t *bytes);
/* In order of dbis and names. */
rl_status rl_look_each_note(rl_look *l, rl_status (*fn)(void *user, const char *dbi, const char *name, uint64_t bytes),
                            void *user);
/* The content of a note, appended. RL_EDATA: its checksum is wrong. */
rl_status rl_look_note(rl_look *l, const char *dbi, const char *name, rl_buf *out, bool *found);
/* The value of a normalised key, appended as the codec writes it. */
rl_status rl_look_get(rl_look *l, const char *uid, rl_value key, rl_buf *value, int64_t *stamp, bool *found);
uint64_t rl_look_size(const rl_look *l); /* bytes of the pages in use */

#endif
