/* What the reference job of the crash specs (job.h) reads, and what it has to give: by plain loops, from nothing but
 * the number of a batch. */
#ifndef SPEC_CRASH_MODEL_H
#define SPEC_CRASH_MODEL_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { MODEL_BATCHES = 7, MODEL_WINDOW = 3, MODEL_KEYS = 16, MODEL_PAD = 9000, MODEL_MOST = 64 };

#define MODEL_BATCH_MS 1000 /* batch b is that of b * MODEL_BATCH_MS */

/* The outputs, in the order in which a batch runs them. */
typedef enum model_output {
  MODEL_RECORDS,        /* what came in the batch */
  MODEL_SUMS,           /* what the update of its state emitted: the keys that came, and their sums */
  MODEL_STATE,          /* all of the state */
  MODEL_RECORDS_WINDOW, /* the same three over MODEL_WINDOW batches */
  MODEL_SUMS_WINDOW,
  MODEL_STATE_WINDOW,
  MODEL_OUTPUTS
} model_output;

static const char *const model_names[MODEL_OUTPUTS] = {"records",        "sums",        "state",
                                                       "records_window", "sums_window", "state_window"};

typedef struct model_record {
  int64_t key, value;
} model_record;

/* The receiver's records are numbered from 1; so many belong to batches up to this one. The third has none. */
static inline uint64_t model_received(int batch)
{
  static const uint64_t upto[MODEL_BATCHES + 1] = {0, 4, 13, 13, 26, 32, 41, 48};
  return upto[batch < MODEL_BATCHES ? batch : MODEL_BATCHES];
}

static inline model_record model_received_record(uint64_t position)
{
  return (model_record){(int64_t)(position * position % 7), (int64_t)position};
}

/* Some are long, so that a group of the log has several blocks of the disk. */
static inline size_t model_pad(uint64_t position) { return position % 5 == 3 ? MODEL_PAD : position % 3; }

/* The file of a batch has so many lines; some batches have none. */
static inline int model_lines(int batch) { return batch % 3 == 0 ? 0 : batch; }

static inline model_record model_line(int batch, int line)
{
  return (model_record){5 + (batch + line) % 6, batch * 100 + line};
}

static inline size_t model_batch(int batch, model_record *out)
{
  size_t n = 0;
  if (batch < 1) return 0;
  for (uint64_t p = model_received(batch - 1) + 1; p <= model_received(batch); p++) out[n++] = model_received_record(p);
  for (int line = 0; line < model_lines(batch); line++) out[n++] = model_line(batch, line);
  return n;
}

/* A sum that can be divided by 9 leaves the state; the key begins anew when it comes again. */
static inline int64_t model_add(int64_t sum, int64_t value) { return sum + value; }
static inline bool model_leaves(int64_t sum) { return sum % 9 == 0; }

typedef struct model_state {
  int64_t sums[MODEL_KEYS];
  bool has[MODEL_KEYS], came[MODEL_KEYS];
  int64_t emitted[MODEL_KEYS];
} model_state;

static inline void model_update(model_state *s, int batch)
{
  model_record records[MODEL_MOST];
  size_t n = model_batch(batch, records);
  memset(s->came, 0, sizeof s->came);
  for (size_t i = 0; i < n; i++) {
    int64_t key = records[i].key;
    if (!s->came[key]) s->emitted[key] = s->has[key] ? s->sums[key] : 0;
    s->came[key] = true;
    s->emitted[key] = model_add(s->emitted[key], records[i].value);
  }
  for (int key = 0; key < MODEL_KEYS; key++) {
    if (!s->came[key]) continue;
    s->has[key] = !model_leaves(s->emitted[key]);
    s->sums[key] = s->emitted[key];
  }
}

static inline model_state model_state_of(int batch)
{
  model_state s = {0};
  for (int b = 1; b <= batch; b++) model_update(&s, b);
  return s;
}

static inline int model_compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The lines of a text in order; owned by the caller. */
static inline char *model_sorted(const char *text)
{
  char *copy = rl_strdup(text), **lines = NULL;
  size_t n = 0, cap = 0;
  rl_buf out = {0};
  for (char *save, *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
    lines = rl_grow(lines, &cap, n + 1, sizeof *lines);
    lines[n++] = line;
  }
  if (n) qsort(lines, n, sizeof *lines, model_compare);
  for (size_t i = 0; i < n; i++) rl_buf_printf(&out, "%s\n", lines[i]);
  char *sorted = rl_strdup(rl_buf_cstr(&out));
  rl_buf_free(&out);
  rl_free(lines);
  rl_free(copy);
  return sorted;
}

static inline void model_put(rl_buf *out, model_output kind, int batch)
{
  model_record records[MODEL_MOST];
  if (kind == MODEL_RECORDS) {
    size_t n = model_batch(batch, records);
    for (size_t i = 0; i < n; i++) rl_buf_printf(out, "(%" PRId64 ",%" PRId64 ")\n", records[i].key, records[i].value);
    return;
  }
  model_state s = model_state_of(batch);
  for (int key = 0; key < MODEL_KEYS; key++) {
    if (kind == MODEL_SUMS && s.came[key]) rl_buf_printf(out, "(%d,%" PRId64 ")\n", key, s.emitted[key]);
    if (kind == MODEL_STATE && s.has[key]) rl_buf_printf(out, "(%d,%" PRId64 ")\n", key, s.sums[key]);
  }
}

/* What an output gives in a batch: a record a line, in order; owned by the caller. */
static inline char *model_expected(model_output output, int batch)
{
  rl_buf text = {0};
  bool window = output >= MODEL_RECORDS_WINDOW;
  int first = window && batch > MODEL_WINDOW ? batch - MODEL_WINDOW + 1 : window ? 1 : batch;
  for (int b = first; b <= batch; b++) model_put(&text, output % MODEL_RECORDS_WINDOW, b);
  char *sorted = model_sorted(rl_buf_cstr(&text));
  rl_buf_free(&text);
  return sorted;
}

#endif
