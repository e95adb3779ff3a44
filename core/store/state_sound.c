/* Before LMDB is given a file: it believes what it reads, and where pages are missing that dies with SIGBUS. Looked at
 * is what costs little however large the state is: that the meta pages are such, that the pages they count are there,
 * and that the tables begin where they say. rl_state_verify looks at all of it. */
#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "store/pages.h"
#include "store/state_impl.h"

#define TABLES_MOST (3 + RL_NOTE_KINDS)

typedef struct sounding {
  rl_pages *pages;
  char *first; /* damage */
  rl_pages_tree tables[TABLES_MOST];
  char *names[TABLES_MOST];
  size_t n;
} sounding;

static void note_damage(void *user, const char *what)
{
  sounding *x = user;
  if (!x->first) x->first = rl_strdup(what);
}

static rl_status meet_table(void *user, const rl_pages_entry *e)
{
  sounding *x = user;
  char *name = rl_strndup(e->key, e->key_n);
  if (x->n < TABLES_MOST && rl_pages_subtree(e, &x->tables[x->n])) {
    x->names[x->n++] = rl_format("table '%s'", name);
  } else if (!x->first) {
    x->first = rl_format("table '%s': its record is damaged", name);
  }
  rl_free(name);
  return RL_OK;
}

/* Notes of these are replaced also where they are damaged: then their pages at least must be such. */
static bool is_replaced(const char *name)
{
  return strcmp(name, "table 'script'") == 0 || strcmp(name, "table 'closure'") == 0 ||
         strcmp(name, "table 'graph'") == 0;
}

/* Every table that was not walked yet, page by page. */
static rl_status walk_all(sounding *x)
{
  rl_status st = RL_OK;
  for (size_t i = 0; i < x->n && st == RL_OK; i++) {
    if (!is_replaced(x->names[i])) st = rl_pages_walk(x->pages, x->names[i], &x->tables[i], NULL, NULL);
  }
  return st;
}

/* LMDB counts pages that it never wrote, if it took them back before it would have: the list of unused ones has those.
 * What is neither there nor in that list may have been lost by LMDB, or be cut off: then it must not be used. */
static rl_status check_size(sounding *x)
{
  uint64_t absent, unused;
  rl_status st = rl_pages_count_absent(x->pages, &absent, &unused);
  return st == RL_OK && !x->first && unused < absent ? walk_all(x) : st;
}

static rl_status check_tables(sounding *x)
{
  rl_status st = RL_OK;
  for (size_t i = 0; i < x->n && st == RL_OK; i++) {
    rl_pages_check_root(x->pages, x->names[i], &x->tables[i]);
    if (is_replaced(x->names[i])) st = rl_pages_walk(x->pages, x->names[i], &x->tables[i], NULL, NULL);
  }
  return st;
}

static rl_status look(sounding *x)
{
  rl_pages_meta metas[2];
  rl_status st = rl_pages_metas(x->pages, metas);
  if (st != RL_OK) return st;
  const rl_pages_meta *m = metas[0].txn < metas[1].txn ? &metas[1] : &metas[0];
  rl_pages_begin(x->pages, m, false);
  rl_pages_check_root(x->pages, "the list of unused pages", &m->free);
  st = rl_pages_walk(x->pages, "the table of tables", &m->main, meet_table, x);
  if (st == RL_OK) st = check_tables(x);
  return st == RL_OK && !x->first ? check_size(x) : st;
}

static rl_status damaged(const char *path, const char *dir, const char *what)
{
  char *checkpoint = rl_path_parent(dir);
  rl_status st = rl_fail(RL_EDATA, "%s is damaged: %s; `rille inspect %s --verify` tells all that is, and --repair "
                         "puts it aside and makes the state anew, of the log or a backup", path, what, checkpoint);
  rl_free(checkpoint);
  return st;
}

rl_status rl_image_sound(const char *dir)
{
  sounding x = {0};
  uint64_t size = 0;
  char *path = rl_path_join(dir, "data.mdb");
  rl_status st = rl_file_size(path, &size);
  if (st == RL_OK && size == 0) note_damage(&x, "it is empty");
  if (st == RL_OK && !x.first) st = rl_pages_open(path, note_damage, &x, &x.pages);
  if (st == RL_OK && !x.first) st = look(&x);
  if (x.first && (st == RL_OK || st == RL_EDATA)) st = damaged(path, dir, x.first);
  rl_pages_close(x.pages);
  for (size_t i = 0; i < x.n; i++) rl_free(x.names[i]);
  rl_free(x.first);
  rl_free(path);
  return st;
}
