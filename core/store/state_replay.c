/* What an update changes as bytes, for the log, and versions made of them. The bytes:
 *
 *   checksum of what follows, 8 bytes, little endian; format, one byte; times that were visited: varint 0, or 1 and
 *   the zigzag varint below which all were; varint count of entries; of each: key, old value, new value, each with its
 *   length as a varint in front and in the form in which the store has it (no bytes: no value). */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "data/codec.h"
#include "store/state_impl.h"

#define FORMAT 1
#define CHECK_SIZE 8
#define STORED_MAX (RL_CODEC_MAX_BYTES + 10) /* the stamp is in front */
#define LEAST_ENTRY 4

/* Encoding --------------------------------------------------------------------------------------------------------- */

static void put_le64(char *p, uint64_t x)
{
  for (int i = 0; i < 8; i++, x >>= 8) p[i] = (char)(x & 0xff);
}

static uint64_t get_le64(const char *p)
{
  uint64_t x = 0;
  for (int i = 7; i >= 0; i--) x = x << 8 | (unsigned char)p[i];
  return x;
}

static void put_octets(rl_buf *out, rl_octets x)
{
  rl_put_varint(out, x.n);
  rl_buf_add(out, x.p, x.n);
}

void rl_state_update_encode(const rl_state_update *u, rl_buf *out)
{
  size_t start = out->n;
  uint64_t count = 0;
  int64_t due = rl_update_due(u);
  for (size_t i = 0; i < u->nslots; i++) count += u->slots[i].entry != NULL;
  rl_buf_add(out, "\0\0\0\0\0\0\0", CHECK_SIZE);
  rl_buf_putc(out, FORMAT);
  rl_put_varint(out, due != RL_NO_TIME);
  if (due != RL_NO_TIME) rl_put_varint(out, ((uint64_t)due << 1) ^ (uint64_t)(due >> 63));
  rl_put_varint(out, count);
  for (size_t i = 0; i < u->nslots; i++) {
    const rl_entry *e = u->slots[i].entry;
    if (!e) continue;
    put_octets(out, rl_entry_key(e));
    put_octets(out, rl_entry_old(e));
    put_octets(out, rl_entry_new(e));
  }
  char *p = out->p + start;
  put_le64(p, rl_hash_bytes(p + CHECK_SIZE, out->n - start - CHECK_SIZE, RL_HASH_SEED));
}

/* Decoding --------------------------------------------------------------------------------------------------------- */

typedef struct decoder {
  rl_state_op *op;
  rl_layer_part *part;
  rl_reader r;
  uint64_t count;
  int64_t more; /* keys */
  rl_entry **met; /* by hash; at least half of it is free */
  size_t nmet;
  rl_buf scratch, form;
} decoder;

static rl_status malformed(const decoder *d, const char *what)
{
  return rl_fail(RL_EDATA, "logged changes of the state of '%s': %s", d->op->uid, what);
}

/* What rl_fail said of a value or a number. */
static rl_status malformed_value(const decoder *d)
{
  rl_error_prefix("logged changes of the state of '%s': ", d->op->uid);
  rl_error why;
  rl_error_take(&why);
  why.code = RL_EDATA;
  return rl_error_raise(&why);
}

static rl_status get_head(decoder *d)
{
  size_t n = (size_t)(d->r.end - d->r.p);
  uint64_t visited = 0, due = 0;
  if (n < CHECK_SIZE + 1) return malformed(d, "cut short");
  if (get_le64(d->r.p) != rl_hash_bytes(d->r.p + CHECK_SIZE, n - CHECK_SIZE, RL_HASH_SEED)) {
    return malformed(d, "wrong checksum");
  }
  if (d->r.p[CHECK_SIZE] != FORMAT) return malformed(d, "of another format");
  d->r.p += CHECK_SIZE + 1;
  if (rl_get_varint(&d->r, &visited) != RL_OK) return malformed_value(d);
  if (visited > (d->op->timed ? 1 : 0)) return malformed(d, "times of an operator without timeouts");
  if (visited && rl_get_varint(&d->r, &due) != RL_OK) return malformed_value(d);
  if (visited) d->part->due = (int64_t)(due >> 1) ^ -(int64_t)(due & 1);
  if (rl_get_varint(&d->r, &d->count) != RL_OK) return malformed_value(d);
  return d->count > (size_t)(d->r.end - d->r.p) / LEAST_ENTRY ? malformed(d, "cut short") : RL_OK;
}

static rl_status get_octets(decoder *d, rl_octets *x)
{
  uint64_t n = 0;
  if (rl_get_varint(&d->r, &n) != RL_OK) return malformed_value(d);
  if (n > (size_t)(d->r.end - d->r.p)) return malformed(d, "cut short");
  if (n > STORED_MAX) return malformed(d, "a value that is too large");
  *x = (rl_octets){d->r.p, (size_t)n};
  d->r.p += n;
  return RL_OK;
}

/* Equal keys have equal bytes, and are where their hash says: else they would not be found. */
static rl_status check_key(decoder *d, rl_octets form, uint32_t *hash)
{
  rl_value key = rl_nil();
  if (rl_form_read(form, &key) != RL_OK || rl_key_normalise(&key, &d->scratch) != RL_OK ||
      rl_form_of_key(key, &d->form) != RL_OK) {
    return malformed_value(d);
  }
  if (d->form.n != form.n || memcmp(d->form.p, form.p, form.n) != 0) return malformed(d, "a key in another form");
  *hash = (uint32_t)rl_key_hash(key);
  uint32_t group = rl_key_group(*hash);
  if (group < d->part->from || group >= d->part->to) return malformed(d, "a key of another partition");
  return RL_OK;
}

static rl_status check_stored(const decoder *d, rl_octets stored)
{
  rl_value value;
  int64_t stamp;
  if (stored.n == 0) return RL_OK;
  if (rl_stored_read(stored, &value, &stamp) != RL_OK) return malformed_value(d);
  return value.type == RL_T_NIL ? malformed(d, "a value that is nil") : RL_OK;
}

static rl_status note_key(decoder *d, rl_entry *e)
{
  size_t at = (e->hash >> 8 | e->hash << 24) & (d->nmet - 1); /* the lowest byte is the group: it tells little */
  for (; d->met[at]; at = (at + 1) & (d->nmet - 1)) {
    const rl_entry *other = d->met[at];
    if (other->hash == e->hash && other->key_n == e->key_n && memcmp(other->bytes, e->bytes, e->key_n) == 0) {
      return malformed(d, "a key comes twice");
    }
  }
  d->met[at] = e;
  return RL_OK;
}

static rl_status get_entry(decoder *d)
{
  rl_octets key, old, new;
  uint32_t hash = 0;
  rl_status st = get_octets(d, &key);
  if (st == RL_OK) st = get_octets(d, &old);
  if (st == RL_OK) st = get_octets(d, &new);
  if (st == RL_OK) st = check_key(d, key, &hash);
  if (st == RL_OK) st = check_stored(d, old);
  if (st == RL_OK) st = check_stored(d, new);
  if (st == RL_OK && old.n + new.n == 0) st = malformed(d, "a change from nothing to nothing");
  if (st != RL_OK) return st;
  rl_entry *e = rl_arena_get(&d->part->arena, sizeof *e + key.n + old.n + new.n);
  if (!e) return RL_ENOMEM;
  *e = (rl_entry){.hash = hash, .key_n = (uint32_t)key.n, .old_n = (uint32_t)old.n, .new_n = (uint32_t)new.n};
  memcpy(e->bytes, key.p, key.n);
  if (old.n > 0) memcpy(e->bytes + key.n, old.p, old.n);
  if (new.n > 0) memcpy(e->bytes + key.n + old.n, new.p, new.n);
  d->more += (new.n > 0) - (old.n > 0);
  return note_key(d, e);
}

/* Entries of a part that nothing else has yet. */
static rl_status get_part(decoder *d)
{
  rl_status st = get_head(d);
  if (st != RL_OK) return st;
  d->nmet = 1;
  while (d->nmet < 2 * d->count) d->nmet *= 2;
  d->met = rl_calloc(d->nmet, sizeof(rl_entry *));
  for (uint64_t i = 0; i < d->count && st == RL_OK; i++) st = get_entry(d);
  if (st == RL_OK && d->r.p != d->r.end) st = malformed(d, "bytes behind the last one");
  rl_free(d->met);
  d->met = NULL;
  return st;
}

static rl_status decode(rl_state_op *op, const rl_state_changes *changes, uint32_t n, rl_layer *l)
{
  decoder d = {.op = op};
  rl_status st = RL_OK;
  for (uint32_t i = 0; i < n && st == RL_OK; i++) {
    d.part = &l->parts[i];
    d.r = (rl_reader){changes[i].p, changes[i].p + changes[i].n};
    st = get_part(&d);
    if (st != RL_OK) rl_error_prefix("partition %u of %u: ", (unsigned)i, (unsigned)n);
  }
  if (st == RL_OK && d.more < 0 && (uint64_t)-d.more > rl_state_count(op)) {
    st = malformed(&d, "more keys are removed than there are");
  }
  rl_buf_free(&d.scratch);
  rl_buf_free(&d.form);
  return st;
}

rl_status rl_state_replay(rl_state_op *op, int64_t time, const rl_state_changes *changes, uint32_t n)
{
  if (n == 0) return rl_fail(RL_EINVAL, "no changes of the state of '%s' to replay", op->uid);
  rl_layer *l = rl_layer_new(op, time, n);
  rl_status st = decode(op, changes, n, l);
  if (st == RL_OK) st = rl_seal_begin(op, time, NULL, 0);
  if (st == RL_OK) {
    rl_seal_publish(l);
  } else {
    rl_layer_free(l);
  }
  return st;
}
