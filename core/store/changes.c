#include "store/changes.h"

#include <string.h>

#include "base/hash.h"
#include "data/codec.h"
#include "data/partition.h"
#include "store/state_impl.h"

#define FORMAT 1
#define CHECK_SIZE 8

typedef struct walk {
  const rl_journal_state *r;
  rl_reader in;
  rl_buf scratch, form;
} walk;

static rl_status malformed(const char *what)
{
  return rl_fail(RL_EDATA, "malformed changes of state: %s", what);
}

static uint64_t get_le64(const char *p)
{
  uint64_t x = 0;
  for (int i = 7; i >= 0; i--) x = x << 8 | (unsigned char)p[i];
  return x;
}

static rl_status get_number(walk *w, uint64_t *x)
{
  rl_status st = rl_get_varint(&w->in, x);
  if (st != RL_OK) rl_error_prefix("malformed changes of state: ");
  return st;
}

static rl_status get_head(walk *w, uint64_t *count)
{
  rl_slice all = w->r->changes;
  uint64_t visited = 0, due = 0;
  if (all.n < CHECK_SIZE + 1) return malformed("cut short");
  if (get_le64(all.p) != rl_hash_bytes(all.p + CHECK_SIZE, all.n - CHECK_SIZE, RL_HASH_SEED)) {
    return malformed("wrong checksum");
  }
  if (all.p[CHECK_SIZE] != FORMAT) return malformed("of another format");
  w->in = (rl_reader){all.p + CHECK_SIZE + 1, all.p + all.n};
  rl_status st = get_number(w, &visited);
  if (st == RL_OK && visited > (w->r->timed ? 1 : 0)) st = malformed("times of an operator without timeouts");
  if (st == RL_OK && visited) st = get_number(w, &due);
  return st == RL_OK ? get_number(w, count) : st;
}

static rl_status get_octets(walk *w, rl_octets *x)
{
  uint64_t n = 0;
  rl_status st = get_number(w, &n);
  if (st != RL_OK) return st;
  if (n > (size_t)(w->in.end - w->in.p)) return malformed("cut short");
  *x = (rl_octets){w->in.p, (size_t)n};
  w->in.p += n;
  return RL_OK;
}

static rl_status read_key(walk *w, rl_octets form, rl_change *c)
{
  rl_status st = rl_form_read(form, &c->key);
  rl_value key = c->key;
  if (st == RL_OK) st = rl_key_normalise(&key, &w->scratch);
  if (st == RL_OK) st = rl_form_of_key(key, &w->form);
  if (st != RL_OK) return malformed("a key that cannot be read");
  if (w->form.n != form.n || memcmp(w->form.p, form.p, form.n) != 0) return malformed("a key in another form");
  c->hash = rl_key_hash(c->key);
  if (rl_group_partition(rl_key_group(c->hash), w->r->partitions) != w->r->partition) {
    return malformed("a key of another partition");
  }
  return RL_OK;
}

static rl_status read_value(rl_octets stored, rl_value *value, int64_t *stamp)
{
  *value = rl_nil();
  *stamp = 0;
  if (stored.n == 0) return RL_OK;
  if (rl_stored_read(stored, value, stamp) != RL_OK) return malformed("a value that cannot be read");
  return value->type == RL_T_NIL ? malformed("a value that is nil") : RL_OK;
}

static rl_status get_change(walk *w, rl_change *c)
{
  rl_octets key = {0}, old = {0}, new = {0};
  rl_status st = get_octets(w, &key);
  if (st == RL_OK) st = get_octets(w, &old);
  if (st == RL_OK) st = get_octets(w, &new);
  if (st == RL_OK) st = read_key(w, key, c);
  if (st == RL_OK) st = read_value(old, &c->old, &c->old_stamp);
  if (st == RL_OK) st = read_value(new, &c->new, &c->new_stamp);
  return st;
}

rl_status rl_changes_each(const rl_journal_state *r, rl_change_fn *fn, void *user)
{
  walk w = {.r = r};
  uint64_t count = 0;
  rl_status st = get_head(&w, &count);
  for (uint64_t i = 0; i < count && st == RL_OK; i++) {
    rl_change c;
    st = get_change(&w, &c);
    if (st == RL_OK && fn) st = fn(user, &c);
  }
  if (st == RL_OK && w.in.p != w.in.end) st = malformed("bytes behind the last one");
  rl_buf_free(&w.scratch);
  rl_buf_free(&w.form);
  return st;
}
