#include "store/pages.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

#define MAGIC 0xBEEFC0DEU
#define DATA_VERSION 1
#define HEAD 16 /* of a page: number 8, pad 2, flags 2, lower 2, upper 2 (or pages 4) */
#define NODE 8  /* of an entry: low 2, high 2, flags 2, size of key 2 */
#define META_BYTES 136
#define TREE_BYTES 48
#define DEPTH_MAX 32
#define KEY_MAX 511
#define PAGE_LEAST 512
#define PAGE_MOST 65536
#define MAP_MOST (UINT64_C(1) << 46) /* what can be mapped at all; LMDB would try */

enum { IS_BRANCH = 1, IS_LEAF = 2, IS_OVERFLOW = 4, IS_META = 8 };
enum { HAS_BIG = 1, HAS_TREE = 2 };
#define INTEGER_KEYS 0x08

typedef struct view {
  const char *p;
  size_t n;
} view;

typedef struct level {
  char *page;
  uint16_t *offsets; /* scratch to check the layout */
} level;

struct rl_pages {
  int fd;
  char *path;
  size_t page; /* bytes of one */
  rl_pages_meta meta;
  uint64_t limit; /* the last page of the moment that is in the file */
  bool quiet, damaged;
  rl_pages_damage_fn *damage;
  void *user;
  unsigned char *met; /* a bit a page of the moment */
  level levels[DEPTH_MAX];
  rl_buf big; /* the value on overflow pages */
};

/* A walk through one tree. */
typedef struct walk {
  rl_pages *p;
  const char *name;
  rl_pages_tree told, counted;
  bool integers; /* keys are numbers of 8 bytes */
  rl_pages_entry_fn *fn;
  void *user;
  rl_status failed;
} walk;

/* Bytes ------------------------------------------------------------------------------------------------------------ */

static uint16_t u16(const char *p)
{
  return (uint16_t)((unsigned char)p[0] | (unsigned char)p[1] << 8);
}

static uint32_t u32(const char *p)
{
  return (uint32_t)u16(p) | (uint32_t)u16(p + 2) << 16;
}

static uint64_t u64(const char *p)
{
  return (uint64_t)u32(p) | (uint64_t)u32(p + 4) << 32;
}

static rl_pages_tree tree_of(const char *p)
{
  return (rl_pages_tree){.pad = u32(p),
                         .flags = u16(p + 4),
                         .depth = u16(p + 6),
                         .branches = u64(p + 8),
                         .leaves = u64(p + 16),
                         .overflows = u64(p + 24),
                         .entries = u64(p + 32),
                         .root = u64(p + 40)};
}

static bool RL_PRINTF(2, 3) bad(rl_pages *p, const char *fmt, ...)
{
  p->damaged = true;
  if (p->quiet) return false;
  va_list args;
  va_start(args, fmt);
  char *what = rl_vformat(fmt, args);
  va_end(args);
  p->damage(p->user, what);
  rl_free(what);
  return false;
}

/* Opening and metas ------------------------------------------------------------------------------------------------ */

rl_status rl_pages_open(const char *path, rl_pages_damage_fn *damage, void *user, rl_pages **out)
{
  int fd = -1;
  rl_status st = rl_file_open(path, O_RDONLY, &fd);
  if (st != RL_OK) return st;
  rl_pages *p = RL_NEW(rl_pages);
  *p = (rl_pages){.fd = fd, .path = rl_strdup(path), .damage = damage, .user = user};
  *out = p;
  return RL_OK;
}

void rl_pages_close(rl_pages *p)
{
  if (!p) return;
  for (int i = 0; i < DEPTH_MAX; i++) {
    rl_free(p->levels[i].page);
    rl_free(p->levels[i].offsets);
  }
  if (p->fd >= 0) (void)rl_file_close(p->fd, p->path); /* it was only read */
  rl_buf_free(&p->big);
  rl_free(p->met);
  rl_free(p->path);
  rl_free(p);
}

static rl_status read_at(rl_pages *p, void *to, size_t n, uint64_t at, bool *whole)
{
  size_t got = 0;
  *whole = false;
  if (at > INT64_MAX - n) return RL_OK;
  rl_status st = rl_file_pread(p->fd, p->path, to, n, (int64_t)at, &got);
  *whole = st == RL_OK && got == n;
  return st;
}

static bool check_meta(rl_pages *p, unsigned i, const char *head, rl_pages_meta *m)
{
  const char *b = head + HEAD;
  *m = (rl_pages_meta){.map = u64(b + 16), .free = tree_of(b + 24), .main = tree_of(b + 72), .last = u64(b + 120)};
  m->txn = u64(b + 128);
  if (u64(head) != i || u16(head + 10) != IS_META) return bad(p, "meta page %u: not one", i);
  if (u32(b) != MAGIC || u32(b + 4) != DATA_VERSION) return bad(p, "meta page %u: wrong magic or version", i);
  if (u64(b + 8) != 0 || m->free.flags != INTEGER_KEYS || m->main.flags != 0 || m->main.pad != 0) {
    return bad(p, "meta page %u: flags that nobody set", i);
  }
  size_t page = m->free.pad;
  if (page < PAGE_LEAST || page > PAGE_MOST || (page & (page - 1)) != 0) {
    return bad(p, "meta page %u: pages of %zu bytes", i, page);
  }
  if (m->map % page != 0 || m->map > MAP_MOST || m->last == 0 || m->last >= m->map / page) {
    return bad(p, "meta page %u: a map of %llu bytes with %llu pages", i, (unsigned long long)m->map,
               (unsigned long long)m->last + 1);
  }
  return true;
}

/* Somebody may be writing one: what is the same twice is whole. */
static rl_status read_metas(rl_pages *p, size_t page, char heads[2][HEAD + META_BYTES])
{
  for (unsigned i = 0; i < 2; i++) {
    bool whole;
    rl_status st = read_at(p, heads[i], HEAD + META_BYTES, i * (uint64_t)page, &whole);
    if (st != RL_OK) return st;
    if (whole) continue;
    (void)bad(p, "meta page %u: the file is too short", i);
    return rl_fail(RL_EDATA, "%s is too short", p->path);
  }
  return RL_OK;
}

rl_status rl_pages_metas(rl_pages *p, rl_pages_meta metas[2])
{
  char heads[2][HEAD + META_BYTES], again[2][HEAD + META_BYTES];
  rl_status st = read_metas(p, 0, heads); /* the first one tells how large a page is */
  if (st != RL_OK) return st;
  size_t page = u32(heads[0] + HEAD + 24);
  if (page < PAGE_LEAST || page > PAGE_MOST || (page & (page - 1)) != 0) {
    (void)bad(p, "meta page 0: pages of %zu bytes", page);
    return rl_fail(RL_EDATA, "%s is damaged: meta page 0", p->path);
  }
  do {
    st = read_metas(p, page, heads);
    if (st == RL_OK) st = read_metas(p, page, again);
    if (st != RL_OK) return st;
  } while (memcmp(heads, again, sizeof heads) != 0);
  bool good = check_meta(p, 0, heads[0], &metas[0]);
  good = check_meta(p, 1, heads[1], &metas[1]) && good;
  if (good && metas[0].free.pad != metas[1].free.pad) good = bad(p, "the meta pages tell of pages of different sizes");
  p->page = page;
  return good ? RL_OK : rl_fail(RL_EDATA, "%s is damaged: meta pages", p->path);
}

void rl_pages_begin(rl_pages *p, const rl_pages_meta *meta, bool quiet)
{
  p->meta = *meta;
  p->quiet = quiet;
  p->damaged = false;
  rl_free(p->met);
  p->met = NULL;
  uint64_t size = 0;
  if (rl_file_size(p->path, &size) != RL_OK) size = 0;
  uint64_t there = size / p->page; /* what was never written is not there, and not used */
  p->limit = there > meta->last ? meta->last : there > 0 ? there - 1 : 0;
  p->met = rl_calloc(p->limit / 8 + 1, 1);
}

bool rl_pages_damaged(const rl_pages *p)
{
  return p->damaged;
}

/* Pages ------------------------------------------------------------------------------------------------------------ */

/* Takes pages [number, number + n): each has one use. */
static bool take_pages(rl_pages *p, const char *name, uint64_t number, uint64_t n)
{
  if (number < 2 || number > p->limit || n > p->limit - number + 1) {
    return bad(p, "%s: no page %llu in the file", name, (unsigned long long)number);
  }
  for (uint64_t i = number; i < number + n; i++) {
    unsigned char bit = (unsigned char)(1U << i % 8);
    if (p->met[i / 8] & bit) return bad(p, "%s: page %llu is used twice", name, (unsigned long long)i);
    p->met[i / 8] |= bit;
  }
  return true;
}

static bool read_page(walk *w, uint64_t number, void *to, size_t n)
{
  bool whole = false;
  rl_status st = read_at(w->p, to, n, number * w->p->page, &whole);
  if (st != RL_OK) w->failed = st;
  if (st == RL_OK && !whole) return bad(w->p, "%s: page %llu is cut off", w->name, (unsigned long long)number);
  return st == RL_OK;
}

static unsigned count_of(const char *page)
{
  return (unsigned)(u16(page + 12) - HEAD) / 2;
}

static const char *node_at(const char *page, unsigned i)
{
  return page + u16(page + HEAD + 2 * i);
}

static view key_of(const char *node)
{
  return (view){node + NODE, u16(node + 6)};
}

static uint64_t child_of(const char *node)
{
  return (uint64_t)u16(node) | (uint64_t)u16(node + 2) << 16 | (uint64_t)u16(node + 4) << 32;
}

/* Bytes of a node that begins at `at`, 0 when it leaves the page. */
static size_t node_size(const rl_pages *p, const char *page, size_t at, bool leaf)
{
  if (at + NODE > p->page) return 0;
  const char *node = page + at;
  size_t n = NODE + (size_t)u16(node + 6);
  if (leaf) n += u16(node + 4) & HAS_BIG ? 8 : (size_t)u32(node);
  n += n & 1;
  return n <= p->page - at ? n : 0;
}

/* Nodes lie one behind the other, without gaps, from the upper bound to the page's end. */
static bool check_nodes(walk *w, uint64_t number, const level *l, bool leaf)
{
  rl_pages *p = w->p;
  unsigned n = count_of(l->page);
  size_t total = 0;
  memset(l->offsets, 0, p->page * sizeof *l->offsets);
  for (unsigned i = 0; i < n; i++) {
    size_t at = u16(l->page + HEAD + 2 * i), size = at >= HEAD ? node_size(p, l->page, at, leaf) : 0;
    if (size == 0 || l->offsets[at]) {
      return bad(p, "%s: page %llu: entry %u lies wrong", w->name, (unsigned long long)number, i);
    }
    l->offsets[at] = (uint16_t)(size < UINT16_MAX ? size : UINT16_MAX);
    total += size;
  }
  size_t at = u16(l->page + 14);
  if (at + total != p->page) return bad(p, "%s: page %llu: wrong bounds", w->name, (unsigned long long)number);
  for (unsigned i = 0; i < n; i++) {
    if (at >= p->page || !l->offsets[at]) {
      return bad(p, "%s: page %llu: entries overlap", w->name, (unsigned long long)number);
    }
    at += l->offsets[at];
  }
  return true;
}

static bool get_page(walk *w, uint64_t number, unsigned depth, bool leaf)
{
  rl_pages *p = w->p;
  level *l = &p->levels[depth];
  if (!l->page) l->page = rl_alloc(p->page);
  if (!l->offsets) l->offsets = rl_calloc(p->page, sizeof *l->offsets);
  if (!take_pages(p, w->name, number, 1) || !read_page(w, number, l->page, p->page)) return false;
  unsigned lower = u16(l->page + 12), upper = u16(l->page + 14);
  if (u64(l->page) != number || u16(l->page + 10) != (leaf ? IS_LEAF : IS_BRANCH)) {
    return bad(p, "%s: page %llu is another one", w->name, (unsigned long long)number);
  }
  if (lower < HEAD + 2 || lower % 2 != 0 || upper > p->page || lower > upper) {
    return bad(p, "%s: page %llu: wrong bounds", w->name, (unsigned long long)number);
  }
  return check_nodes(w, number, l, leaf);
}

/* Trees ------------------------------------------------------------------------------------------------------------ */

static int compare(const walk *w, view a, view b)
{
  if (w->integers) {
    uint64_t x = u64(a.p), y = u64(b.p);
    return (x > y) - (x < y);
  }
  int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
  return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

/* Keys of a page rise, from `low` on (NULL: any), and stay below `high`. The first one of a branch means nothing. */
static bool check_keys(walk *w, uint64_t number, const char *page, bool leaf, const view *low, const view *high)
{
  view before = low ? *low : (view){NULL, 0};
  for (unsigned i = leaf ? 0 : 1; i < count_of(page); i++) {
    view key = key_of(node_at(page, i));
    bool first = i == (leaf ? 0 : 1), ok = key.n > 0 && key.n <= KEY_MAX && (!w->integers || key.n == 8);
    if (ok && before.p) ok = compare(w, before, key) < (first ? 1 : 0);
    if (ok && high) ok = compare(w, key, *high) < 0;
    if (!ok) return bad(w->p, "%s: page %llu: key %u is out of order", w->name, (unsigned long long)number, i);
    before = key;
  }
  return true;
}

/* A value on pages of its own. */
static bool get_big(walk *w, rl_pages_entry *e)
{
  rl_pages *p = w->p;
  char head[HEAD];
  uint64_t number = u64(e->value), need = (HEAD - 1 + (uint64_t)e->value_n) / p->page + 1;
  bool told = number >= 2 && number <= p->limit && read_page(w, number, head, HEAD);
  if (!told) return w->failed == RL_OK && bad(p, "%s: no page %llu in the file", w->name, (unsigned long long)number);
  uint64_t pages = u32(head + 12);
  if (u64(head) != number || u16(head + 10) != IS_OVERFLOW || pages < need) {
    return bad(p, "%s: page %llu is no beginning of %zu bytes", w->name, (unsigned long long)number, e->value_n);
  }
  w->counted.overflows += pages;
  if (!take_pages(p, w->name, number, pages)) return false;
  rl_buf_clear(&p->big);
  rl_buf_reserve(&p->big, HEAD + e->value_n);
  if (!read_page(w, number, p->big.p, HEAD + e->value_n)) return false;
  e->value = p->big.p + HEAD;
  return true;
}

static void give_entry(walk *w, const char *node)
{
  unsigned flags = u16(node + 4);
  view key = key_of(node);
  rl_pages_entry e = {.key = key.p, .key_n = key.n, .value = key.p + key.n, .value_n = u32(node)};
  w->counted.entries++;
  e.subtree = flags == HAS_TREE;
  if (flags != 0 && flags != HAS_BIG && flags != HAS_TREE) {
    (void)bad(w->p, "%s: an entry has flags %u", w->name, flags);
    return;
  }
  if (flags == HAS_BIG && !get_big(w, &e)) return;
  if (w->fn && w->failed == RL_OK) w->failed = w->fn(w->user, &e);
}

static void walk_page(walk *w, uint64_t number, unsigned depth, const view *low, const view *high)
{
  bool leaf = depth + 1 == w->told.depth;
  if (!get_page(w, number, depth, leaf)) return;
  const char *page = w->p->levels[depth].page;
  *(leaf ? &w->counted.leaves : &w->counted.branches) += 1;
  if (!check_keys(w, number, page, leaf, low, high)) return;
  unsigned n = count_of(page);
  for (unsigned i = 0; i < n && w->failed == RL_OK; i++) {
    const char *node = node_at(page, i);
    if (leaf) {
      give_entry(w, node);
      continue;
    }
    view from = key_of(node), to = i + 1 < n ? key_of(node_at(page, i + 1)) : (view){NULL, 0};
    walk_page(w, child_of(node), depth + 1, i > 0 ? &from : low, to.p ? &to : high);
  }
}

rl_status rl_pages_walk(rl_pages *p, const char *name, const rl_pages_tree *tree, rl_pages_entry_fn *fn, void *user)
{
  walk w = {.p = p, .name = name, .told = *tree, .fn = fn, .user = user};
  w.integers = (tree->flags & INTEGER_KEYS) != 0;
  if ((tree->root == RL_PAGES_NONE) != (tree->depth == 0) || tree->depth > DEPTH_MAX) {
    (void)bad(p, "%s: a tree of depth %u", name, (unsigned)tree->depth);
    return RL_OK;
  }
  if (tree->depth > 0) walk_page(&w, tree->root, 0, NULL, NULL);
  if (w.failed != RL_OK) return w.failed;
  const rl_pages_tree *c = &w.counted;
  if (c->branches != tree->branches || c->leaves != tree->leaves || c->overflows != tree->overflows ||
      c->entries != tree->entries) {
    (void)bad(p, "%s: %llu entries on %llu, %llu and %llu pages, and not %llu on %llu, %llu and %llu", name,
              (unsigned long long)c->entries, (unsigned long long)c->branches, (unsigned long long)c->leaves,
              (unsigned long long)c->overflows, (unsigned long long)tree->entries, (unsigned long long)tree->branches,
              (unsigned long long)tree->leaves, (unsigned long long)tree->overflows);
  }
  return RL_OK;
}

bool rl_pages_subtree(const rl_pages_entry *e, rl_pages_tree *tree)
{
  if (!e->subtree || e->value_n != TREE_BYTES) return false;
  *tree = tree_of(e->value);
  return tree->flags == 0 && tree->pad == 0;
}

/* Unused pages ----------------------------------------------------------------------------------------------------- */

/* Of a transaction: how many pages, and their numbers, falling. */
static rl_status free_pages(void *user, const rl_pages_entry *e)
{
  rl_pages *p = user;
  uint64_t slots = e->value_n / 8, n = e->value_n >= 8 ? u64(e->value) : 0, before = UINT64_MAX;
  if (e->value_n % 8 != 0 || slots == 0 || n >= slots || e->subtree || u64(e->key) > p->meta.txn) {
    (void)bad(p, "the list of unused pages: malformed");
    return RL_OK;
  }
  for (uint64_t i = 1; i <= n; i++) {
    uint64_t number = u64(e->value + 8 * i);
    if (number >= before) (void)bad(p, "the list of unused pages: out of order");
    before = number;
    if (number <= p->limit || number > p->meta.last) (void)take_pages(p, "the list of unused pages", number, 1);
  }
  return RL_OK;
}

rl_status rl_pages_check_free(rl_pages *p)
{
  return rl_pages_walk(p, "the list of unused pages", &p->meta.free, free_pages, p);
}

/* What is not in the file ------------------------------------------------------------------------------------------ */

void rl_pages_check_root(rl_pages *p, const char *name, const rl_pages_tree *tree)
{
  char head[HEAD];
  bool whole = false;
  if (tree->root == RL_PAGES_NONE && tree->depth == 0) return;
  if (tree->root < 2 || tree->root > p->limit) {
    (void)bad(p, "%s: no page %llu in the file", name, (unsigned long long)tree->root);
    return;
  }
  rl_status st = read_at(p, head, HEAD, tree->root * p->page, &whole);
  unsigned flags = tree->depth == 1 ? IS_LEAF : IS_BRANCH;
  if (st != RL_OK || !whole || u64(head) != tree->root || u16(head + 10) != flags) {
    (void)bad(p, "%s: page %llu is another one", name, (unsigned long long)tree->root);
  }
}

typedef struct absence {
  const rl_pages *p;
  uint64_t *unused;
} absence;

static rl_status count_unused(void *user, const rl_pages_entry *e)
{
  const absence *a = user;
  uint64_t slots = e->value_n / 8, n = slots > 0 ? u64(e->value) : 0;
  for (uint64_t i = 1; i <= n && i < slots; i++) {
    uint64_t number = u64(e->value + 8 * i);
    *a->unused += number > a->p->limit && number <= a->p->meta.last;
  }
  return RL_OK;
}

rl_status rl_pages_count_absent(rl_pages *p, uint64_t *absent, uint64_t *unused)
{
  *absent = p->meta.last - p->limit;
  *unused = 0;
  if (*absent == 0) return RL_OK;
  return rl_pages_walk(p, "the list of unused pages", &p->meta.free, count_unused, &(absence){p, unused});
}
