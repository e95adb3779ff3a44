#include "data/pipe.h"

#include <string.h>

#include "base/mem.h"
#include "base/process.h"
#include "data/codec.h"
#include "data/text.h"

#define PIECE_BYTES ((size_t)1 << 18)

typedef struct pipe_fn {
  rl_fn fn;
  char **argv, **env; /* env may be NULL */
  char *site;
} pipe_fn;

typedef struct pipe_pull {
  rl_pull base;
  rl_pull *in;
  rl_fn *fn; /* referenced */
  rl_process *process;
  bool in_ended, out_ended;
  rl_buf lines;    /* on their way in, from `written` on */
  size_t written;
  rl_bytes *piece; /* what came out: whole lines in [cut, whole), then what is not yet a line */
  size_t cut, whole;
} pipe_pull;

static rl_status in_the_name_of(const pipe_pull *p, rl_status st)
{
  const char *site = ((pipe_fn *)p->fn)->site;
  rl_error_prefix("%s%spipe: ", site ? site : "", site ? ": " : "");
  return st;
}

/* The next records as lines; the last of them ends the input. */
static rl_status refill(pipe_pull *p)
{
  if (p->in_ended || p->written < p->lines.n) return RL_OK;
  rl_buf_clear(&p->lines);
  p->written = 0;
  rl_chunk *c;
  rl_status st = rl_pull_next(p->in, &c);
  if (st) return st;
  if (!c) {
    p->in_ended = true;
    rl_process_end_input(p->process);
    return RL_OK;
  }
  for (uint32_t row = 0; row < c->n; row++) {
    rl_chunk_format(c, row, &p->lines);
    rl_buf_putc(&p->lines, '\n');
  }
  rl_chunk_unref(c);
  return RL_OK;
}

/* Room for more output, behind the line that is not yet whole. */
static rl_status make_room(pipe_pull *p)
{
  if (p->piece && p->piece->n < p->piece->cap) return RL_OK;
  size_t rest = p->piece ? p->piece->n - p->whole : 0;
  if (rest > RL_CODEC_MAX_BYTES)
    return in_the_name_of(p, rl_fail(RL_ELIMIT, "a line of output is longer than %d MiB", (int)(RL_CODEC_MAX_BYTES >> 20)));
  rl_bytes *next = rl_bytes_new(rest < PIECE_BYTES / 2 ? PIECE_BYTES : rest * 2);
  if (!next) return RL_ENOMEM;
  if (rest > 0) memcpy(next->data, p->piece->data + p->whole, rest);
  next->n = rest;
  rl_bytes_unref(p->piece);
  p->piece = next;
  p->cut = p->whole = 0;
  return RL_OK;
}

/* One turn: bytes move in or out. What came out is cut when the piece is full, or at the end. */
static rl_status turn(pipe_pull *p)
{
  rl_status st = refill(p);
  if (!st) st = make_room(p);
  if (st) return st;
  rl_bytes *piece = p->piece;
  rl_process_io io = {
    .in = p->lines.p ? p->lines.p + p->written : NULL, .in_n = p->lines.n - p->written,
    .out = piece->data + piece->n, .room = piece->cap - piece->n,
  };
  size_t in_n = io.in_n, room = io.room;
  st = rl_process_move(p->process, &io);
  if (st) return in_the_name_of(p, st);
  p->written += in_n - io.in_n;
  piece->n += room - io.room;
  p->out_ended = io.ended;
  if (io.ended || io.room == 0) p->whole = rl_text_complete(piece->data, piece->n, io.ended);
  if (!io.ended) return RL_OK;
  st = rl_process_wait(p->process);
  return st ? in_the_name_of(p, st) : RL_OK;
}

static rl_status pipe_next(rl_pull *self, rl_chunk **out)
{
  pipe_pull *p = (pipe_pull *)self;
  *out = NULL;
  while (p->cut == p->whole && !p->out_ended) {
    rl_status st = turn(p);
    if (st) return st;
  }
  if (p->cut < p->whole) *out = rl_text_next(p->piece, &p->cut, p->whole);
  return RL_OK;
}

static void pipe_close(rl_pull *self)
{
  pipe_pull *p = (pipe_pull *)self;
  rl_process_delete(p->process);
  rl_pull_close(p->in);
  rl_fn_unref(p->fn);
  rl_buf_free(&p->lines);
  rl_bytes_unref(p->piece);
  rl_free(p);
}

static const rl_pull_class pull_class = {pipe_next, pipe_close};

/* The function ----------------------------------------------------------------------------------------------------- */

static rl_status open_one(rl_fn *fn, const rl_task *task, rl_pull *input, rl_pull **out)
{
  pipe_fn *f = (pipe_fn *)fn;
  pipe_pull *p = RL_NEW(pipe_pull);
  p->base.cls = &pull_class;
  p->in = input;
  p->fn = rl_fn_ref(fn);
  const char *const *argv = (const char *const *)f->argv, *const *env = (const char *const *)f->env;
  rl_status st = rl_process_start(argv, env, task->cancelled, &p->process);
  if (!st) {
    *out = &p->base;
    return RL_OK;
  }
  in_the_name_of(p, st);
  pipe_close(&p->base);
  return st;
}

static rl_status pipe_open(rl_fn *const *fns, size_t n, const rl_task *task, rl_pull **inputs, size_t ninputs,
                           rl_pull **out)
{
  rl_pull *p = ninputs == 1 ? inputs[0] : rl_pull_concat(inputs, ninputs);
  rl_status st = RL_OK;
  for (size_t i = 0; !st && i < n; i++) st = open_one(fns[i], task, p, &p);
  if (!st) *out = p;
  return st;
}

static void free_list(char **list)
{
  for (size_t i = 0; list && list[i]; i++) rl_free(list[i]);
  rl_free(list);
}

static char **copy_list(const char *const *list)
{
  size_t n = 0;
  while (list && list[n]) n++;
  char **copy = list ? rl_calloc(n + 1, sizeof *copy) : NULL;
  for (size_t i = 0; i < n; i++) copy[i] = rl_strdup(list[i]);
  return copy;
}

static void pipe_destroy(rl_fn *fn)
{
  pipe_fn *f = (pipe_fn *)fn;
  free_list(f->argv);
  free_list(f->env);
  rl_free(f->site);
  rl_free(f);
}

static const rl_fn_class fn_class = {"pipe", pipe_open, pipe_destroy};

rl_fn *rl_fn_pipe(const char *const *argv, const char *const *env, const char *site)
{
  pipe_fn *f = RL_NEW(pipe_fn);
  atomic_init(&f->fn.refs, 1);
  f->fn.cls = &fn_class;
  f->argv = copy_list(argv);
  f->env = copy_list(env);
  f->site = rl_strdup(site);
  return &f->fn;
}
