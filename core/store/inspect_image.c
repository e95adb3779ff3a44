/* Reading the image, in a child process, for store/inspect.h. */
#include <inttypes.h>
#include <string.h>

#include "base/apart.h"
#include "base/clock.h"
#include "base/mem.h"
#include "data/partition.h"
#include "store/changes.h"
#include "store/inspect.h"
#include "store/look.h"
#include "store/state_impl.h"

#define TRIES 5

/* What the child tells: a letter, then values. */
enum { OP = 'o', NOTE = 'n', SIZE = 's', VALUE = 'v', GRAPH = 'g' };

typedef struct child {
  rl_apart *a;
  rl_look *look;
  bool sizes;
  rl_buf b;
} child;

static void put_text(rl_buf *b, const char *text)
{
  rl_put_bytes(b, text, strlen(text));
}

static void begin_message(child *c, char kind)
{
  rl_buf_clear(&c->b);
  rl_buf_putc(&c->b, kind);
}

static void send_message(const child *c)
{
  rl_apart_tell(c->a, c->b.p, c->b.n);
}

static rl_status tell_op(void *user, const rl_look_op *op)
{
  child *c = user;
  uint64_t bytes = 0;
  rl_status st = c->sizes ? rl_look_bytes(c->look, op->uid, &bytes) : RL_OK;
  begin_message(c, OP);
  put_text(&c->b, op->uid);
  rl_put_int(&c->b, op->timed);
  rl_put_int(&c->b, op->version);
  rl_put_int(&c->b, (int64_t)op->keys);
  rl_put_int(&c->b, (int64_t)bytes);
  send_message(c);
  return st;
}

static rl_status tell_note(void *user, const char *dbi, const char *name, uint64_t bytes)
{
  child *c = user;
  begin_message(c, NOTE);
  put_text(&c->b, dbi);
  put_text(&c->b, name);
  rl_put_int(&c->b, (int64_t)bytes);
  send_message(c);
  return RL_OK;
}

static rl_status tell_graph(child *c)
{
  bool found = false;
  begin_message(c, GRAPH);
  rl_status st = rl_look_note(c->look, RL_OUTLINE_DBI, RL_OUTLINE_NAME, &c->b, &found);
  if (st == RL_OK && found) send_message(c);
  return st;
}

/* Our own child has written them. */
static char *get_text(rl_reader *r)
{
  rl_value v = rl_nil();
  return rl_get_value(r, &v) == RL_OK && v.type == RL_T_BYTES ? rl_strndup(v.s.p, v.s.n) : rl_strdup("");
}

static int64_t get_int(rl_reader *r)
{
  rl_value v = rl_nil();
  return rl_get_value(r, &v) == RL_OK && v.type == RL_T_INT ? v.i : 0;
}

/* The whole image -------------------------------------------------------------------------------------------------- */

typedef struct reading {
  const char *state; /* path */
  bool sizes;
  rl_inspect_image *out;
} reading;

static rl_status read_in_child(void *user, rl_apart *a)
{
  const reading *r = user;
  child c = {.a = a, .sizes = r->sizes};
  rl_status st = rl_look_open(r->state, &c.look);
  if (st != RL_OK) return st;
  begin_message(&c, SIZE);
  rl_put_int(&c.b, (int64_t)rl_look_size(c.look));
  send_message(&c);
  st = rl_look_each_op(c.look, tell_op, &c);
  if (st == RL_OK) st = rl_look_each_note(c.look, tell_note, &c);
  if (st == RL_OK) st = tell_graph(&c);
  rl_buf_free(&c.b);
  rl_look_close(c.look);
  return st;
}

/* One of a later release's form is not shown. */
static void hear_graph(rl_inspect_image *out, const char *p, size_t n)
{
  rl_status st = rl_outline_decode(p, n, &out->graph);
  out->has_graph = st == RL_OK;
  if (st == RL_EDATA && !out->damage) out->damage = rl_strdup(rl_error_message());
  if (st != RL_OK) rl_error_drop();
}

static void hear(void *user, const char *p, size_t n)
{
  const reading *x = user;
  rl_inspect_image *out = x->out;
  rl_reader r = {p + 1, p + n};
  if (*p == OP) {
    out->ops = rl_grow(out->ops, &out->ops_cap, out->nops + 1, sizeof *out->ops);
    rl_inspect_op *op = &out->ops[out->nops++];
    op->uid = get_text(&r);
    op->timed = get_int(&r) != 0;
    op->version = get_int(&r);
    op->keys = (uint64_t)get_int(&r);
    op->bytes = (uint64_t)get_int(&r);
  } else if (*p == NOTE) {
    out->notes = rl_grow(out->notes, &out->notes_cap, out->nnotes + 1, sizeof *out->notes);
    rl_inspect_note *note = &out->notes[out->nnotes++];
    note->dbi = get_text(&r);
    note->name = get_text(&r);
    note->bytes = (uint64_t)get_int(&r);
  } else if (*p == GRAPH) {
    hear_graph(out, p + 1, n - 1);
  } else {
    out->found = true;
    out->bytes = (uint64_t)get_int(&r);
  }
}

rl_status rl_inspect_image_read(const char *dir, bool sizes, rl_inspect_image *out)
{
  char *state = rl_checkpoint_state(dir);
  reading r = {state, sizes, out};
  bool crashed;
  *out = (rl_inspect_image){0};
  rl_status st = rl_apart_run(&(rl_apart_spec){.work = read_in_child, .told = hear, .user = &r}, &crashed);
  if (st == RL_EDATA) {
    out->found = true;
    rl_free(out->damage);
    out->damage = rl_format("%s%s", crashed ? "while the state was read: " : "", rl_error_message());
    st = RL_OK;
  }
  if (crashed && rl_image_sound(state) == RL_EDATA) { /* why it did */
    rl_free(out->damage);
    out->damage = rl_strdup(rl_error_message());
  }
  rl_free(state);
  return st == RL_ENOTFOUND ? RL_OK : st;
}

void rl_inspect_image_free(rl_inspect_image *i)
{
  for (size_t k = 0; k < i->nops; k++) rl_free(i->ops[k].uid);
  for (size_t k = 0; k < i->nnotes; k++) {
    rl_free(i->notes[k].dbi);
    rl_free(i->notes[k].name);
  }
  rl_outline_free(&i->graph);
  rl_free(i->ops);
  rl_free(i->notes);
  rl_free(i->damage);
  *i = (rl_inspect_image){0};
}

/* One value -------------------------------------------------------------------------------------------------------- */

typedef struct lookup {
  const char *state, *uid;
  rl_value key; /* normalised */
  rl_inspect_value *out;
  bool known; /* the operator */
} lookup;

static rl_status note_version(void *user, const rl_look_op *op)
{
  child *c = user;
  if (strcmp(op->uid, c->b.p) != 0) return RL_OK;
  char message[1 + sizeof op->version] = {SIZE};
  memcpy(message + 1, &op->version, sizeof op->version);
  rl_apart_tell(c->a, message, sizeof message);
  return RL_OK;
}

static rl_status look_up_in_child(void *user, rl_apart *a)
{
  const lookup *l = user;
  child c = {.a = a};
  rl_buf value = {0};
  int64_t stamp = 0;
  bool found = false;
  rl_status st = rl_look_open(l->state, &c.look);
  if (st != RL_OK) return st;
  rl_buf_puts(&c.b, l->uid);
  rl_buf_cstr(&c.b);
  st = rl_look_each_op(c.look, note_version, &c);
  if (st == RL_OK) st = rl_look_get(c.look, l->uid, l->key, &value, &stamp, &found);
  if (st == RL_OK && found) {
    begin_message(&c, VALUE);
    rl_put_int(&c.b, stamp);
    rl_buf_add(&c.b, value.p, value.n);
    send_message(&c);
  }
  rl_look_close(c.look);
  return st;
}

static void hear_value(void *user, const char *p, size_t n)
{
  lookup *l = user;
  rl_reader r = {p + 1, p + n};
  if (*p == SIZE) {
    l->known = true;
    memcpy(&l->out->version, p + 1, sizeof l->out->version);
    return;
  }
  l->out->found = true;
  l->out->stamp = get_int(&r);
  rl_buf_add(&l->out->value, r.p, (size_t)(r.end - r.p));
}

/* What the log has: the change of one batch at a time, taken over by its END. */
typedef struct following {
  lookup *l;
  rl_inspect_value change; /* .version: the batch's time */
  bool changed;
  rl_inspect_value newest; /* change that is made; .version: the batch's */
  rl_inspect_value before; /* what it replaced, should its batch be discarded yet */
  int64_t version;         /* the newest that is made, whether it changed the key or not */
} following;

static void take_over(rl_inspect_value *to, const rl_inspect_value *from)
{
  rl_buf value = to->value;
  rl_buf_clear(&value);
  rl_buf_add(&value, from->value.p, from->value.n);
  *to = *from;
  to->value = value;
}

static rl_status match_change(void *user, const rl_change *c)
{
  following *f = user;
  if (!rl_key_equal(c->key, f->l->key)) return RL_OK;
  f->changed = true;
  f->change.found = c->new.type != RL_T_NIL;
  f->change.stamp = c->new_stamp;
  rl_buf_clear(&f->change.value);
  if (f->change.found) rl_put_value(&f->change.value, c->new);
  return RL_OK;
}

static rl_status follow_state(following *f, const rl_wal_record *r)
{
  rl_journal_state x;
  rl_status st = rl_journal_get_state(r->p, r->at.length, &x);
  if (st != RL_OK) return st;
  if (strlen(f->l->uid) != x.uid.n || memcmp(f->l->uid, x.uid.p, x.uid.n) != 0) return RL_OK;
  f->l->known = true;
  bool mine = rl_group_partition(rl_key_group(rl_key_hash(f->l->key)), x.partitions) == x.partition;
  if (f->change.version != x.time || mine) f->changed = false;
  f->change.version = x.time;
  return mine ? rl_changes_each(&x, match_change, f) : RL_OK;
}

static rl_status follow_end(following *f, const rl_wal_record *r)
{
  rl_journal_end x;
  rl_status st = rl_journal_get_end(r->p, r->at.length, &x);
  if (st != RL_OK || x.time != f->change.version) return st;
  f->version = x.time;
  if (!f->changed) return RL_OK;
  take_over(&f->before, &f->newest);
  take_over(&f->newest, &f->change);
  return RL_OK;
}

static rl_status follow(void *user, const rl_wal_record *r)
{
  following *f = user;
  rl_journal_complete x;
  if (r->at.type == RL_JOURNAL_STATE) return follow_state(f, r);
  if (r->at.type == RL_JOURNAL_END) return follow_end(f, r);
  if (r->at.type != RL_JOURNAL_COMPLETE) return RL_OK;
  rl_status st = rl_journal_get_complete(r->p, r->at.length, &x);
  if (st == RL_OK && x.discarded && x.time == f->newest.version) take_over(&f->newest, &f->before);
  return st;
}

static void merge(rl_inspect_value *out, const following *f)
{
  bool logged = f->newest.version != RL_NO_TIME && f->newest.version > out->version;
  int64_t version = f->version > out->version ? f->version : out->version;
  if (logged) take_over(out, &f->newest);
  out->logged = logged;
  out->version = version;
}

/* The log first: what it has no more then is in the image, which is read later. */
static rl_status look_up(const char *dir, lookup *l)
{
  bool crashed;
  const rl_inspect_value none = {.version = RL_NO_TIME};
  following f = {.l = l, .change = none, .newest = none, .before = none, .version = RL_NO_TIME};
  char *log = rl_checkpoint_log(dir);
  rl_status st = RL_ENOTFOUND;
  for (int i = 0; i < TRIES && st == RL_ENOTFOUND; i++) { /* segments may be removed while they are read */
    st = rl_wal_verify(log, &(rl_wal_verifier){follow, NULL, &f});
  }
  rl_free(log);
  if (st == RL_OK) {
    st = rl_apart_run(&(rl_apart_spec){.work = look_up_in_child, .told = hear_value, .user = l}, &crashed);
    if (st == RL_ENOTFOUND) st = RL_OK; /* no image yet: all is in the log */
    else if (st != RL_OK && crashed) rl_error_prefix("the state in %s: while it was read: ", l->state);
  }
  if (st == RL_OK) merge(l->out, &f);
  rl_buf_free(&f.change.value);
  rl_buf_free(&f.newest.value);
  rl_buf_free(&f.before.value);
  return st;
}

rl_status rl_inspect_key(const char *dir, const char *uid, rl_value key, rl_inspect_value *out)
{
  rl_buf scratch = {0};
  *out = (rl_inspect_value){.version = RL_NO_TIME};
  char *state = rl_checkpoint_state(dir);
  lookup l = {.state = state, .uid = uid, .key = key, .out = out};
  rl_status st = rl_key_normalise(&l.key, &scratch);
  if (st == RL_OK) st = look_up(dir, &l);
  if (st == RL_OK && !l.known) {
    st = rl_fail(RL_ENOTFOUND, "there is no state of an operator '%s' in %s; `rille inspect %s` shows which there are, "
                 "under `state`", uid, dir, dir);
  }
  rl_free(state);
  rl_buf_free(&scratch);
  return st;
}

void rl_inspect_value_free(rl_inspect_value *v)
{
  rl_buf_free(&v->value);
}
