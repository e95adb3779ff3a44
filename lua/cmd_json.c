/* What rille inspect shows with --json. Times are milliseconds since 1970; null: there is none. */
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cmd.h"
#include "data/codec.h"

/* Bytes that are no text are written as \xNN. */
static json_t *text_n(const char *p, size_t n)
{
  json_t *j = json_stringn(p, n);
  if (j) return j;
  rl_buf b = {0};
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)p[i];
    if (c < 0x80) rl_buf_putc(&b, p[i]);
    else rl_buf_printf(&b, "\\x%02x", c);
  }
  j = json_stringn(b.p, b.n);
  rl_buf_free(&b);
  return j;
}

static json_t *text(const char *s)
{
  return s ? text_n(s, strlen(s)) : json_null();
}

static json_t *number(uint64_t n)
{
  return json_integer((json_int_t)n);
}

static json_t *time_of(int64_t ms)
{
  return ms == RL_NO_TIME ? json_null() : json_integer(ms);
}

static void set(json_t *object, const char *name, json_t *value)
{
  json_object_set_new(object, name, value);
}

static bool show(json_t *j)
{
  bool shown = json_dumpf(j, stdout, JSON_INDENT(2)) == 0;
  putchar('\n');
  json_decref(j);
  if (!shown) fputs("rille: no memory for the JSON text\n", stderr);
  return shown;
}

/* The log ---------------------------------------------------------------------------------------------------------- */

static json_t *job_of(const rl_inspect_log *l)
{
  json_t *j = json_object();
  set(j, "app", text(l->app));
  set(j, "engine", text(l->engine));
  set(j, "zeroTime", l->batch_ms > 0 ? json_integer(l->zero) : json_null());
  set(j, "batchMs", l->batch_ms > 0 ? json_integer(l->batch_ms) : json_null());
  set(j, "scriptVersion", number(l->script));
  set(j, "starts", number(l->starts));
  set(j, "started", l->starts > 0 ? json_integer(l->started) : json_null());
  set(j, "restarted", l->starts > 0 ? json_integer(l->restarted) : json_null());
  return j;
}

static json_t *log_of(const rl_inspect_log *l)
{
  json_t *j = json_object(), *segments = json_array(), *records = json_object();
  for (size_t i = 0; i < l->nsegments; i++) {
    json_t *s = json_object();
    set(s, "first", number(l->segments[i].first));
    set(s, "records", number(l->segments[i].records));
    set(s, "bytes", number(l->segments[i].bytes));
    json_array_append_new(segments, s);
  }
  for (unsigned type = 0; type < RL_JOURNAL_TYPES; type++) {
    if (type == 0 && l->types[type].records == 0) continue;
    json_t *t = json_object();
    set(t, "records", number(l->types[type].records));
    set(t, "bytes", number(l->types[type].bytes));
    set(records, type ? rl_journal_name(type) : "unknown", t);
  }
  set(j, "segments", segments);
  set(j, "bytes", number(l->bytes));
  set(j, "first", number(l->first));
  set(j, "next", number(l->next));
  set(j, "records", records);
  set(j, "firstBatch", time_of(l->first_batch));
  set(j, "lastBatch", time_of(l->last_batch));
  set(j, "lastComplete", time_of(l->last_complete));
  set(j, "torn", text(l->torn));
  set(j, "damages", number(l->damages));
  set(j, "damage", text(l->damage));
  return j;
}

static json_t *files_of(const rl_file_list *files)
{
  json_t *all = json_array();
  for (size_t i = 0; i < files->n; i++) {
    json_t *j = json_object();
    set(j, "path", text(files->v[i].path));
    set(j, "bytes", json_integer(files->v[i].size));
    set(j, "changed", json_integer(files->v[i].mtime_ms));
    json_array_append_new(all, j);
  }
  return all;
}

static json_t *ranges_of(const rl_kafka_ranges *ranges)
{
  json_t *all = json_array();
  for (size_t i = 0; i < ranges->n; i++) {
    json_t *j = json_object();
    set(j, "topic", text(ranges->v[i].topic));
    set(j, "partition", json_integer(ranges->v[i].partition));
    set(j, "from", json_integer(ranges->v[i].from));
    set(j, "until", json_integer(ranges->v[i].until));
    json_array_append_new(all, j);
  }
  return all;
}

static void set_saved(json_t *j, const rl_inspect_input *in)
{
  rl_cmd_saved s;
  rl_cmd_saved_read(in, &s);
  if (s.has_files) {
    set(j, "files", files_of(&s.files.files));
    set(j, "lastLook", time_of(s.files.looked));
    set(j, "records", json_null()); /* it is not known yet */
  }
  if (s.has_ranges) set(j, "offsets", ranges_of(&s.ranges));
  rl_cmd_saved_clear(&s);
}

static json_t *input_of(const rl_inspect_input *in)
{
  static const char *const kinds[] = {"none", "blocks", "saved", "place"};
  json_t *j = json_object();
  set(j, "uid", text(in->uid));
  set(j, "kind", text(kinds[in->kind]));
  set(j, "records", in->records >= 0 ? json_integer(in->records) : json_null());
  if (in->kind == RL_JOURNAL_BLOCKS) {
    set(j, "position", number(in->position));
    set(j, "blocks", number(in->blocks));
    set(j, "missing", number(in->missing));
  }
  if (in->kind != RL_JOURNAL_NONE) set(j, "bytes", number(in->bytes));
  if (in->kind == RL_JOURNAL_SAVED) set_saved(j, in);
  return j;
}

static json_t *inputs_of(const rl_inspect_batch *b)
{
  json_t *j = json_array();
  for (size_t i = 0; i < b->ninputs; i++) json_array_append_new(j, input_of(&b->inputs[i]));
  return j;
}

static json_t *pending_of(const rl_inspect_log *l)
{
  json_t *all = json_array();
  for (size_t i = 0; i < l->npending; i++) {
    const rl_inspect_batch *b = &l->pending[i];
    json_t *j = json_object(), *outputs = json_array();
    for (size_t k = 0; k < b->noutputs; k++) json_array_append_new(outputs, text(b->outputs[k]));
    set(j, "time", json_integer(b->time));
    set(j, "scriptVersion", number(b->script));
    set(j, "stateMade", json_boolean(b->made));
    set(j, "inputs", inputs_of(b));
    set(j, "outputsDone", outputs);
    json_array_append_new(all, j);
  }
  return all;
}

static json_t *waiting_of(const rl_inspect_log *l)
{
  json_t *all = json_array();
  for (size_t i = 0; i < l->nstock; i++) {
    const rl_inspect_stock *s = &l->stock[i];
    if (s->blocks == 0) continue;
    json_t *j = json_object();
    set(j, "uid", text(s->uid));
    set(j, "blocks", number(s->blocks));
    set(j, "records", number(s->records));
    set(j, "bytes", number(s->bytes));
    set(j, "position", number(s->position));
    json_array_append_new(all, j);
  }
  return all;
}

/* The state -------------------------------------------------------------------------------------------------------- */

static json_t *op_of(const char *uid, const rl_inspect_op *op, const rl_inspect_changes *c)
{
  json_t *j = json_object();
  set(j, "uid", text(uid));
  set(j, "timed", op ? json_boolean(op->timed) : json_null());
  set(j, "keys", op ? number(op->keys) : json_null());
  set(j, "bytes", op ? number(op->bytes) : json_null());
  set(j, "imageVersion", time_of(op ? op->version : RL_NO_TIME));
  set(j, "logVersion", time_of(c ? c->version : RL_NO_TIME));
  set(j, "logBytes", number(c ? c->bytes : 0));
  return j;
}

static json_t *ops_of(const rl_cmd_found *f)
{
  json_t *all = json_array();
  bool *met = rl_calloc(f->log.nchanges + 1, sizeof *met);
  for (size_t i = 0; i < f->image.nops; i++) {
    const rl_inspect_changes *c = NULL;
    for (size_t k = 0; k < f->log.nchanges; k++) {
      if (strcmp(f->log.changes[k].uid, f->image.ops[i].uid) != 0) continue;
      c = &f->log.changes[k];
      met[k] = true;
    }
    json_array_append_new(all, op_of(f->image.ops[i].uid, &f->image.ops[i], c));
  }
  for (size_t k = 0; k < f->log.nchanges; k++) {
    if (!met[k]) json_array_append_new(all, op_of(f->log.changes[k].uid, NULL, &f->log.changes[k]));
  }
  rl_free(met);
  return all;
}

static json_t *state_of(const rl_cmd_found *f)
{
  json_t *j = json_object();
  set(j, "found", json_boolean(f->image.found));
  set(j, "bytes", number(f->image.bytes));
  set(j, "operators", ops_of(f));
  set(j, "damage", text(f->image.damage));
  return j;
}

static json_t *seconds(int64_t ms)
{
  return ms > 0 ? json_real((double)ms / 1000) : json_null();
}

static json_t *outputs_of(const rl_outline *g, size_t stream)
{
  json_t *all = json_array();
  for (size_t i = 0; i < g->noutputs; i++) {
    if (g->outputs[i].stream != stream) continue;
    json_t *j = json_object();
    set(j, "name", text(g->outputs[i].name));
    set(j, "key", text(g->outputs[i].key));
    json_array_append_new(all, j);
  }
  return all;
}

static json_t *graph_of(const rl_inspect_image *image)
{
  const rl_outline *g = &image->graph;
  json_t *all = json_array();
  for (size_t i = 0; i < g->nstreams; i++) {
    const rl_outline_stream *s = &g->streams[i];
    json_t *j = json_object(), *parents = json_array();
    for (uint32_t k = 0; k < s->nparents; k++) json_array_append_new(parents, text(g->streams[s->parents[k]].uid));
    set(j, "uid", text(s->uid));
    set(j, "operation", text(s->operation));
    set(j, "site", *s->site ? text(s->site) : json_null());
    set(j, "parents", parents);
    set(j, "state", *s->form ? text(s->form) : json_null());
    set(j, "window", seconds(s->window_ms));
    set(j, "slide", seconds(s->slide_ms));
    set(j, "outputs", outputs_of(g, i));
    json_array_append_new(all, j);
  }
  return all;
}

static json_t *notes_of(const rl_inspect_image *image)
{
  json_t *all = json_array();
  for (size_t i = 0; i < image->nnotes; i++) {
    json_t *j = json_object();
    set(j, "kind", text(image->notes[i].dbi));
    set(j, "name", text(image->notes[i].name));
    set(j, "bytes", number(image->notes[i].bytes));
    json_array_append_new(all, j);
  }
  return all;
}

bool rl_cmd_show_json(const rl_cmd_found *f)
{
  json_t *j = json_object();
  set(j, "directory", text(f->dir));
  set(j, "process", f->user ? json_integer(f->user) : json_null());
  set(j, "job", job_of(&f->log));
  set(j, "log", log_of(&f->log));
  set(j, "pending", pending_of(&f->log));
  set(j, "inputs", inputs_of(&f->log.last));
  set(j, "waiting", waiting_of(&f->log));
  set(j, "state", state_of(f));
  set(j, "graph", graph_of(&f->image));
  set(j, "recorded", notes_of(&f->image));
  return show(j);
}

/* A value ---------------------------------------------------------------------------------------------------------- */

static json_t *formatted(rl_value v)
{
  rl_buf b = {0};
  rl_value_format(v, &b);
  json_t *j = text_n(b.p ? b.p : "", b.n);
  rl_buf_free(&b);
  return j;
}

static json_t *value_of(rl_value v);

/* `n` values of the reader. */
static json_t *array_of(rl_reader *r, uint64_t n)
{
  json_t *j = json_array();
  rl_value v;
  for (uint64_t i = 0; i < n && rl_get_value(r, &v) == RL_OK; i++) json_array_append_new(j, value_of(v));
  return j;
}

/* A table with anything beyond an array is an object, keys as text. */
static json_t *table_of(rl_value v)
{
  rl_reader r;
  uint64_t n = 0, pairs = 0;
  if (rl_walk_table(v, &r, &n) != RL_OK) return json_null();
  json_t *array = array_of(&r, n);
  if (rl_walk_pairs(&r, &pairs) != RL_OK || (pairs == 0 && n > 0)) return array;
  json_t *object = json_object();
  for (size_t i = 0; i < json_array_size(array); i++) {
    char name[24];
    snprintf(name, sizeof name, "%zu", i + 1);
    json_object_set(object, name, json_array_get(array, i));
  }
  json_decref(array);
  rl_value key, value;
  for (uint64_t i = 0; i < pairs && rl_get_value(&r, &key) == RL_OK && rl_get_value(&r, &value) == RL_OK; i++) {
    json_t *name = formatted(key);
    set(object, json_string_value(name), value_of(value));
    json_decref(name);
  }
  return object;
}

static json_t *value_of(rl_value v)
{
  rl_reader r;
  uint64_t n = 0;
  switch (v.type) {
  case RL_T_NIL:
  case RL_T_NULL: return json_null();
  case RL_T_BOOL: return json_boolean(v.b);
  case RL_T_INT: return json_integer(v.i);
  case RL_T_FLOAT: {
    json_t *j = json_real(v.f); /* not of what is no number, or infinite */
    return j ? j : formatted(v);
  }
  case RL_T_BYTES: return text_n(v.s.p, v.s.n);
  case RL_T_TUPLE: return rl_walk_tuple(v, &r, &n) == RL_OK ? array_of(&r, n) : json_null();
  case RL_T_TABLE: return table_of(v);
  }
  return json_null();
}

bool rl_cmd_show_value_json(const char *uid, rl_value key, const rl_inspect_value *v)
{
  json_t *j = json_object();
  rl_reader r = {v->value.p, v->value.p + v->value.n};
  rl_value value = rl_nil();
  if (v->found && rl_get_value(&r, &value) != RL_OK) value = rl_nil();
  set(j, "uid", text(uid));
  set(j, "key", value_of(key));
  set(j, "found", json_boolean(v->found));
  set(j, "value", value_of(value));
  set(j, "stamp", v->found ? time_of(v->stamp) : json_null());
  set(j, "version", time_of(v->version));
  set(j, "logged", json_boolean(v->logged));
  return show(j);
}

/* Damages ---------------------------------------------------------------------------------------------------------- */

json_t *rl_cmd_damages_new(void)
{
  return json_array();
}

void rl_cmd_damages_add(json_t *all, const rl_inspect_damage *d)
{
  json_t *j = json_object();
  set(j, "file", text(d->file));
  set(j, "offset", d->file ? number(d->offset) : json_null());
  set(j, "uid", text(d->uid));
  set(j, "key", text(d->key));
  set(j, "torn", json_boolean(d->torn));
  set(j, "message", text(d->message));
  json_array_append_new(all, j);
}

bool rl_cmd_damages_show(json_t *all, const char *dir, const rl_inspect_verified *v)
{
  if (!dir) {
    json_decref(all);
    return false;
  }
  json_t *j = json_object(), *log = json_object(), *state = json_object();
  set(log, "segments", number(v->segments));
  set(log, "records", number(v->records));
  set(log, "bytes", number(v->bytes));
  set(state, "operators", number(v->operators));
  set(state, "entries", number(v->entries));
  set(state, "dueLists", number(v->due_lists));
  set(state, "notes", number(v->notes));
  set(j, "directory", text(dir));
  set(j, "log", log);
  set(j, "state", state);
  set(j, "damages", number(v->damages));
  set(j, "found", all);
  return show(j);
}
