#include "store/outline.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "data/codec.h"

#define FORM 2 /* of the note; 1: without code and since */

void rl_outline_free(rl_outline *g)
{
  for (size_t i = 0; i < g->nstreams; i++) {
    rl_outline_stream *s = &g->streams[i];
    rl_free(s->uid);
    rl_free(s->operation);
    rl_free(s->site);
    rl_free(s->parents);
    rl_free(s->form);
  }
  for (size_t i = 0; i < g->noutputs; i++) {
    rl_free(g->outputs[i].name);
    rl_free(g->outputs[i].key);
  }
  for (size_t i = 0; i < g->nkept; i++) {
    rl_free(g->kept[i].uid);
    rl_free(g->kept[i].operation);
    rl_free(g->kept[i].form);
  }
  rl_free(g->streams);
  rl_free(g->outputs);
  rl_free(g->kept);
  *g = (rl_outline){0};
}

/* Writing ---------------------------------------------------------------------------------------------------------- */

static void put_text(rl_buf *b, const char *text)
{
  rl_put_bytes(b, text, strlen(text));
}

static void put_stream(rl_buf *b, const rl_outline_stream *s)
{
  put_text(b, s->uid);
  put_text(b, s->operation);
  put_text(b, s->site);
  rl_put_int(b, s->nparents);
  for (uint32_t i = 0; i < s->nparents; i++) rl_put_int(b, s->parents[i]);
  put_text(b, s->form);
  rl_put_int(b, s->window_ms);
  rl_put_int(b, s->slide_ms);
}

void rl_outline_encode(const rl_outline *g, rl_buf *out)
{
  rl_put_int(out, FORM);
  rl_put_int(out, (int64_t)g->code);
  rl_put_int(out, g->since);
  rl_put_int(out, (int64_t)g->nstreams);
  for (size_t i = 0; i < g->nstreams; i++) put_stream(out, &g->streams[i]);
  rl_put_int(out, (int64_t)g->noutputs);
  for (size_t i = 0; i < g->noutputs; i++) {
    rl_put_int(out, g->outputs[i].stream);
    put_text(out, g->outputs[i].name);
    put_text(out, g->outputs[i].key);
  }
  rl_put_int(out, (int64_t)g->nkept);
  for (size_t i = 0; i < g->nkept; i++) {
    const rl_outline_shape *k = &g->kept[i];
    put_text(out, k->uid);
    put_text(out, k->operation);
    put_text(out, k->form);
    rl_put_int(out, k->window_ms);
    rl_put_int(out, k->slide_ms);
  }
}

/* Reading ---------------------------------------------------------------------------------------------------------- */

typedef struct reading {
  rl_reader r;
  bool bad;
} reading;

static rl_value get(reading *x, rl_type type)
{
  rl_value v = rl_nil();
  if (!x->bad && (x->r.p == x->r.end || rl_get_value(&x->r, &v) != RL_OK || v.type != type)) x->bad = true;
  return v;
}

static int64_t get_int(reading *x)
{
  rl_value v = get(x, RL_T_INT);
  return x->bad ? 0 : v.i;
}

/* A number of things, or the place of one, that is below `limit`. */
static uint32_t get_below(reading *x, size_t limit)
{
  int64_t i = get_int(x);
  if (i >= 0 && (uint64_t)i < limit) return (uint32_t)i;
  x->bad = true;
  return 0;
}

static char *get_text(reading *x)
{
  rl_value v = get(x, RL_T_BYTES);
  return x->bad ? rl_strdup("") : rl_strndup(v.s.p, v.s.n);
}

/* Each thing has a byte at least. */
static uint32_t get_count(reading *x)
{
  return get_below(x, (size_t)(x->r.end - x->r.p) + 1);
}

static void get_stream(reading *x, rl_outline *g)
{
  g->streams = rl_grow(g->streams, &g->streams_cap, g->nstreams + 1, sizeof *g->streams);
  rl_outline_stream *s = &g->streams[g->nstreams];
  *s = (rl_outline_stream){.uid = get_text(x), .operation = get_text(x), .site = get_text(x)};
  s->nparents = get_count(x);
  s->parents = rl_calloc((size_t)s->nparents + 1, sizeof *s->parents);
  for (uint32_t i = 0; i < s->nparents; i++) s->parents[i] = get_below(x, g->nstreams);
  s->form = get_text(x);
  s->window_ms = get_int(x);
  s->slide_ms = get_int(x);
  g->nstreams++;
}

static void get_output(reading *x, rl_outline *g)
{
  g->outputs = rl_grow(g->outputs, &g->outputs_cap, g->noutputs + 1, sizeof *g->outputs);
  rl_outline_output *o = &g->outputs[g->noutputs++];
  *o = (rl_outline_output){.stream = get_below(x, g->nstreams)};
  o->name = get_text(x);
  o->key = get_text(x);
}

static void get_kept(reading *x, rl_outline *g)
{
  g->kept = rl_grow(g->kept, &g->kept_cap, g->nkept + 1, sizeof *g->kept);
  rl_outline_shape *k = &g->kept[g->nkept++];
  *k = (rl_outline_shape){0};
  k->uid = get_text(x);
  k->operation = get_text(x);
  k->form = get_text(x);
  k->window_ms = get_int(x);
  k->slide_ms = get_int(x);
}

rl_status rl_outline_decode(const char *p, size_t n, rl_outline *out)
{
  reading x = {{p, p + n}, false};
  *out = (rl_outline){.since = RL_NO_TIME};
  int64_t form = get_int(&x);
  if (!x.bad && (form < 1 || form > FORM))
    return rl_fail(RL_EUNSUPPORTED, "the job's graph was recorded in a form that this release does not know");
  if (!x.bad && form > 1) {
    out->code = (uint64_t)get_int(&x);
    out->since = get_int(&x);
  }
  for (uint32_t i = get_count(&x); i > 0 && !x.bad; i--) get_stream(&x, out);
  for (uint32_t i = get_count(&x); i > 0 && !x.bad; i--) get_output(&x, out);
  for (uint32_t i = get_count(&x); i > 0 && !x.bad; i--) get_kept(&x, out);
  if (!x.bad && x.r.p == x.r.end) return RL_OK;
  rl_outline_free(out);
  return rl_fail(RL_EDATA, "what was recorded of the job's graph is malformed");
}

/* Shapes ----------------------------------------------------------------------------------------------------------- */

bool rl_outline_find_shape(const rl_outline *g, const char *uid, rl_outline_shape *out)
{
  for (size_t i = 0; i < g->nstreams; i++) {
    const rl_outline_stream *s = &g->streams[i];
    if (!*s->form || strcmp(s->uid, uid) != 0) continue;
    *out = (rl_outline_shape){s->uid, s->operation, s->form, s->window_ms, s->slide_ms};
    return true;
  }
  for (size_t i = 0; i < g->nkept; i++) {
    if (strcmp(g->kept[i].uid, uid) != 0) continue;
    *out = g->kept[i];
    return true;
  }
  return false;
}

/* Values by key are what the function makes of them, whoever calls it. What is kept of a window is what it is of. */
bool rl_outline_fits(const rl_outline_shape *was, const rl_outline_shape *is)
{
  if (strcmp(was->form, is->form) != 0 || was->window_ms != is->window_ms || was->slide_ms != is->slide_ms)
    return false;
  return is->window_ms == 0 || strcmp(was->operation, is->operation) == 0;
}

void rl_outline_describe(const rl_outline_shape *s, rl_buf *out)
{
  rl_buf_printf(out, "%s (%s", s->operation, s->form);
  if (s->window_ms > 0)
    rl_buf_printf(out, " of %.15g s, every %.15g s", (double)s->window_ms / 1000, (double)s->slide_ms / 1000);
  rl_buf_putc(out, ')');
}
