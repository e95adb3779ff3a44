/* The pages of an LMDB file (data version 1, as LMDB 0.9 writes it on 64-bit little-endian machines), without LMDB:
 * it believes its pages, and this believes nothing. Every page of a tree is read with bounds checked and compared with
 * what is told of it elsewhere: counts, depth, separators, the order of keys, the list of unused pages. So nothing in a
 * page that matters can change unseen; what is left are bytes that mean nothing (gaps, padding).
 *
 * What is read must not be reused meanwhile: the file is not written, or a reading transaction is open on that moment.
 * One thread. Damage is told to a function, and the reading goes on where that makes sense. */
#ifndef RL_STORE_PAGES_H
#define RL_STORE_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef void rl_pages_damage_fn(void *user, const char *what);

typedef struct rl_pages_tree { /* as LMDB has it in its records */
  uint32_t pad;
  uint16_t flags, depth;
  uint64_t branches, leaves, overflows, entries, root;
} rl_pages_tree;

#define RL_PAGES_NONE UINT64_MAX /* root of an empty tree */

typedef struct rl_pages_meta { /* a moment: there are two in a file, of the last two transactions */
  uint64_t map, last, txn;
  rl_pages_tree free, main;
} rl_pages_meta;

typedef struct rl_pages rl_pages;

/* RL_ENOTFOUND: no such file. */
rl_status rl_pages_open(const char *path, rl_pages_damage_fn *damage, void *user, rl_pages **out);
void rl_pages_close(rl_pages *p); /* NULL is allowed */

/* Both, and checks each for itself; RL_EDATA when one is damaged. */
rl_status rl_pages_metas(rl_pages *p, rl_pages_meta metas[2]);
/* What is read from now on: pages of this moment, none of them met yet; `quiet`: damage is not told. */
void rl_pages_begin(rl_pages *p, const rl_pages_meta *meta, bool quiet);

/* An entry of a tree; views, valid for the call. `subtree`: a tree's record. Not RL_OK ends the walk. */
typedef struct rl_pages_entry {
  const char *key, *value;
  size_t key_n, value_n;
  bool subtree;
} rl_pages_entry;
typedef rl_status rl_pages_entry_fn(void *user, const rl_pages_entry *e);

/* All entries in order; fn walks no other tree. Damage inside is told, not returned; RL_EIO is, or what fn returned. */
rl_status rl_pages_walk(rl_pages *p, const char *name, const rl_pages_tree *tree, rl_pages_entry_fn *fn, void *user);
/* The record of a tree in the main tree; false: it is none. */
bool rl_pages_subtree(const rl_pages_entry *e, rl_pages_tree *tree);
/* After all trees: unused pages are such. */
rl_status rl_pages_check_free(rl_pages *p);

/* The first page of a tree is there, and such. */
void rl_pages_check_root(rl_pages *p, const char *name, const rl_pages_tree *tree);
/* Pages of the moment that are not in the file: LMDB never writes those that it takes back before it would have. *unused:
 * how many of them are in the list of unused pages, which is not read when there is none. */
rl_status rl_pages_count_absent(rl_pages *p, uint64_t *absent, uint64_t *unused);

bool rl_pages_damaged(const rl_pages *p); /* since rl_pages_begin */

#endif
