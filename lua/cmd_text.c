/* What rille inspect shows, for people. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cmd.h"
#include "data/codec.h"

char *rl_cmd_time(int64_t ms)
{
  int64_t s = ms / 1000 - (ms % 1000 < 0);
  time_t t = (time_t)s;
  struct tm tm;
  char text[64];
  if (ms == RL_NO_TIME) return rl_strdup("none");
  if (!localtime_r(&t, &tm) || strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm) == 0) {
    return rl_format("%" PRId64 " ms", ms);
  }
  return rl_format("%s.%03d", text, (int)(ms - s * 1000));
}

char *rl_cmd_bytes(uint64_t n)
{
  static const char *const units[] = {"KB", "MB", "GB", "TB"};
  double x = (double)n / 1000;
  size_t unit = 0;
  if (n < 1000) return rl_format("%" PRIu64 " bytes", n);
  for (; x >= 999.95 && unit + 1 < sizeof units / sizeof *units; x /= 1000) unit++;
  return rl_format("%.1f %s", x, units[unit]);
}

/* Lines begin with a word of what they are about, or with none. */
static void line(const char *about, const char *fmt, ...) RL_PRINTF(2, 3);
static void line(const char *about, const char *fmt, ...)
{
  va_list args;
  va_start(args, fmt);
  char *text = rl_vformat(fmt, args);
  va_end(args);
  printf("%-10s %s\n", about, text);
  rl_free(text);
}

static const char *plural(uint64_t n)
{
  return n == 1 ? "" : "s";
}

static void show_job(const rl_cmd_found *f)
{
  const rl_inspect_log *l = &f->log;
  char *zero = rl_cmd_time(l->zero), *first = rl_cmd_time(l->started), *again = rl_cmd_time(l->restarted);
  if (l->app) line("job", "%s (Rille %s)", *l->app ? l->app : "without a name", l->engine);
  else line("job", "the log has no start of it any more");
  if (f->user) line("", "running: process %" PRId64, f->user);
  if (l->starts == 1) line("", "started %s", first);
  if (l->starts > 1) line("", "started %" PRIu64 " times that the log knows, from %s to %s", l->starts, first, again);
  if (l->batch_ms > 0) {
    line("", "batches of %g s, counted from %s; script version %" PRIu32, (double)l->batch_ms / 1000, zero, l->script);
  }
  rl_free(zero);
  rl_free(first);
  rl_free(again);
}

static void show_log(const rl_inspect_log *l)
{
  char *bytes = rl_cmd_bytes(l->bytes), *first = rl_cmd_time(l->first_batch), *last = rl_cmd_time(l->last_batch);
  char *complete = rl_cmd_time(l->last_complete);
  line("log", "%zu segment%s, %s; records %" PRIu64 " to %" PRIu64, l->nsegments, plural(l->nsegments), bytes, l->first,
       l->next - (l->next > 0));
  line("", "batches %s to %s; the last complete one %s", first, last, complete);
  rl_free(bytes);
  rl_free(first);
  rl_free(last);
  rl_free(complete);
  for (unsigned type = 0; type < RL_JOURNAL_TYPES; type++) {
    if (l->types[type].records == 0) continue;
    bytes = rl_cmd_bytes(l->types[type].bytes);
    line("", "  %-8s %10" PRIu64 "  %s", type ? rl_journal_name(type) : "unknown", l->types[type].records, bytes);
    rl_free(bytes);
  }
}

static void describe_saved(const rl_inspect_input *in, const rl_cmd_saved *s, rl_buf *out)
{
  char *bytes = rl_cmd_bytes(in->bytes);
  if (s->has_files) {
    char *looked = rl_cmd_time(s->files.looked);
    rl_buf_printf(out, "%zu file%s, last look: batch %s, ", s->files.files.n, plural(s->files.files.n), looked);
    rl_free(looked);
  } else if (s->has_ranges) {
    rl_buf_printf(out, "offsets of %zu partition%s, ", s->ranges.n, plural(s->ranges.n));
  } else {
    rl_buf_printf(out, "%s saved, ", bytes);
  }
  rl_free(bytes);
}

/* What an input gave: "blocks 3, records 120, 4.1 KB, position 5000". */
static void describe_input(const rl_inspect_input *in, const rl_cmd_saved *s, bool position_only, rl_buf *out)
{
  char *bytes = rl_cmd_bytes(in->bytes);
  rl_buf_clear(out);
  if (in->kind == RL_JOURNAL_NONE) rl_buf_puts(out, "not kept, ");
  if (in->kind == RL_JOURNAL_SAVED) describe_saved(in, s, out);
  if (in->kind == RL_JOURNAL_PLACE) rl_buf_printf(out, "%s saved before, ", bytes);
  if (in->kind == RL_JOURNAL_BLOCKS && !position_only) {
    rl_buf_printf(out, "%" PRIu64 " block%s, %s, ", in->blocks, plural(in->blocks), bytes);
    if (in->missing > 0) rl_buf_printf(out, "%" PRIu64 " of them not in the log, ", in->missing);
  }
  if (!position_only && !s->has_files && in->records >= 0) { /* of files it is not known yet */
    rl_buf_printf(out, "%" PRId64 " record%s, ", in->records, plural((uint64_t)in->records));
  }
  if (in->kind == RL_JOURNAL_BLOCKS) rl_buf_printf(out, "position %" PRIu64 ", ", in->position);
  if (out->n > 2) out->n -= 2;
  rl_free(bytes);
}

#define SHOWN 20 /* files, or partitions, of one input */

static void show_files(const rl_file_list *files)
{
  for (size_t i = 0; i < files->n && i < SHOWN; i++) {
    char *bytes = rl_cmd_bytes((uint64_t)files->v[i].size);
    line("", "      %s: %s", files->v[i].path, bytes);
    rl_free(bytes);
  }
}

static void show_ranges(const rl_kafka_ranges *ranges, bool position_only)
{
  for (size_t i = 0; i < ranges->n && i < SHOWN; i++) {
    const rl_kafka_range *r = &ranges->v[i];
    if (position_only) line("", "      %s, partition %d: next offset %" PRId64, r->topic, r->partition, r->until);
    else line("", "      %s, partition %d: offsets %" PRId64 " to %" PRId64, r->topic, r->partition, r->from, r->until);
  }
}

static void show_input(const rl_inspect_input *in, bool position_only)
{
  rl_buf b = {0};
  rl_cmd_saved s;
  rl_cmd_saved_read(in, &s);
  describe_input(in, &s, position_only, &b);
  line("", "%s%s: %s", position_only ? "  " : "    ", in->uid, rl_buf_cstr(&b));
  show_files(&s.files.files);
  show_ranges(&s.ranges, position_only);
  size_t all = s.files.files.n + s.ranges.n;
  if (all > SHOWN) line("", "      and %zu more: --json shows all", all - SHOWN);
  rl_cmd_saved_clear(&s);
  rl_buf_free(&b);
}

static void show_pending(const rl_inspect_log *l)
{
  line("pending", "%zu batch%s", l->npending, l->npending == 1 ? "" : "es");
  for (size_t i = 0; i < l->npending; i++) {
    const rl_inspect_batch *p = &l->pending[i];
    char *time = rl_cmd_time(p->time);
    line("", "  %s (%" PRId64 "): state %s; outputs done: %zu", time, p->time, p->made ? "made" : "not made",
         p->noutputs);
    rl_free(time);
    for (size_t k = 0; k < p->ninputs; k++) show_input(&p->inputs[k], false);
    for (size_t k = 0; k < p->noutputs; k++) line("", "    done: %s", p->outputs[k]);
  }
}

static void show_inputs(const rl_inspect_log *l)
{
  char *time = rl_cmd_time(l->last_batch);
  if (l->last.ninputs > 0) line("inputs", "as of batch %s", time);
  for (size_t i = 0; i < l->last.ninputs; i++) show_input(&l->last.inputs[i], true);
  const char *about = "waiting";
  for (size_t i = 0; i < l->nstock; i++) {
    const rl_inspect_stock *s = &l->stock[i];
    if (s->blocks == 0) continue;
    char *bytes = rl_cmd_bytes(s->bytes);
    line(about, "%s: %" PRIu64 " block%s, %" PRIu64 " record%s, %s, position %" PRIu64, s->uid, s->blocks,
         plural(s->blocks), s->records, plural(s->records), bytes, s->position);
    about = "";
    rl_free(bytes);
  }
  rl_free(time);
}

static const rl_inspect_changes *logged(const rl_inspect_log *l, const char *uid)
{
  for (size_t i = 0; i < l->nchanges; i++) {
    if (strcmp(l->changes[i].uid, uid) == 0) return &l->changes[i];
  }
  return NULL;
}

static void show_op(const rl_inspect_op *op, const rl_inspect_changes *c)
{
  char *bytes = rl_cmd_bytes(op->bytes), *image = rl_cmd_time(op->version);
  char *log = rl_cmd_time(c ? c->version : RL_NO_TIME);
  line("", "  %s: %" PRIu64 " key%s, %s%s; in the image up to %s, in the log up to %s", op->uid, op->keys,
       plural(op->keys), bytes, op->timed ? ", with timeouts" : "", image, log);
  rl_free(bytes);
  rl_free(image);
  rl_free(log);
}

static bool is_in_image(const rl_inspect_image *image, const char *uid)
{
  for (size_t i = 0; i < image->nops; i++) {
    if (strcmp(image->ops[i].uid, uid) == 0) return true;
  }
  return false;
}

static void show_state(const rl_cmd_found *f)
{
  char *bytes = rl_cmd_bytes(f->image.bytes);
  line("state", f->image.found ? "%s in use by the image" : "%s: there is no image yet", bytes);
  rl_free(bytes);
  for (size_t i = 0; i < f->image.nops; i++) show_op(&f->image.ops[i], logged(&f->log, f->image.ops[i].uid));
  for (size_t i = 0; i < f->log.nchanges; i++) {
    const rl_inspect_changes *c = &f->log.changes[i];
    if (is_in_image(&f->image, c->uid)) continue;
    char *version = rl_cmd_time(c->version);
    line("", "  %s: not in the image yet; in the log up to %s", c->uid, version);
    rl_free(version);
  }
}

/* "counts: reduceByKeyAndWindow at job.lua:7, of 4 s, every 1 s; keeps state (sum window)" */
static void show_stream(const rl_outline *g, const rl_outline_stream *s, const char *about, unsigned depth)
{
  rl_buf b = {0};
  rl_buf_printf(&b, "%*s%s: %s", (int)(depth * 2), "", s->uid, s->operation);
  if (*s->site) rl_buf_printf(&b, " at %s", s->site);
  for (uint32_t i = 1; i < s->nparents; i++)
    rl_buf_printf(&b, "%s %s", i == 1 ? ", with" : " and", g->streams[s->parents[i]].uid);
  if (s->window_ms > 0)
    rl_buf_printf(&b, ", of %.15g s, every %.15g s", (double)s->window_ms / 1000, (double)s->slide_ms / 1000);
  if (*s->form) rl_buf_printf(&b, "; keeps state (%s)", s->form);
  line(about, "%s", rl_buf_cstr(&b));
  rl_buf_free(&b);
}

/* A stream, its outputs, and what stands on it first of all. Without recursion: a graph may be deep. */
static void show_graph(const rl_outline *g)
{
  unsigned *depth = rl_calloc(g->nstreams + 1, sizeof *depth);
  size_t *stack = rl_calloc(g->nstreams + 1, sizeof *stack), n = 0;
  const char *about = "graph";
  for (size_t i = g->nstreams; i-- > 0;)
    if (g->streams[i].nparents == 0) stack[n++] = i;
  while (n > 0) {
    size_t at = stack[--n];
    show_stream(g, &g->streams[at], about, depth[at]);
    about = "";
    for (size_t i = 0; i < g->noutputs; i++)
      if (g->outputs[i].stream == at) line("", "%*s-> %s", (int)(depth[at] * 2 + 2), "", g->outputs[i].name);
    for (size_t i = g->nstreams; i-- > at + 1;) {
      if (g->streams[i].nparents == 0 || g->streams[i].parents[0] != at) continue;
      depth[i] = depth[at] + 1;
      stack[n++] = i;
    }
  }
  rl_free(depth);
  rl_free(stack);
}

static void show_notes(const rl_inspect_image *image)
{
  const char *about = "recorded";
  for (size_t i = 0; i < image->nnotes; i++) {
    char *bytes = rl_cmd_bytes(image->notes[i].bytes);
    line(about, "%s %s: %s", image->notes[i].dbi, image->notes[i].name, bytes);
    about = "";
    rl_free(bytes);
  }
}

void rl_cmd_show(const rl_cmd_found *f)
{
  show_job(f);
  show_log(&f->log);
  show_pending(&f->log);
  show_inputs(&f->log);
  show_state(f);
  if (f->image.has_graph) show_graph(&f->image.graph);
  show_notes(&f->image);
  if (f->log.torn) line("tail", "%s", f->log.torn);
  if (f->log.damages > 0) line("damage", "%s", f->log.damage);
  if (f->log.damages > 1) {
    line("", "and %" PRIu64 " more in the log: rille inspect --verify tells them", f->log.damages - 1);
  }
  if (f->image.damage) line("damage", "%s", f->image.damage);
}

void rl_cmd_show_value(const rl_inspect_value *v)
{
  rl_reader r = {v->value.p, v->value.p + v->value.n};
  rl_value value = rl_nil();
  rl_buf text = {0};
  if (rl_get_value(&r, &value) == RL_OK) rl_value_format(value, &text);
  fwrite(text.p ? text.p : "", 1, text.n, stdout);
  putchar('\n');
  rl_buf_free(&text);
}
