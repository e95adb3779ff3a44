/* The file stream: every batch looks for new files (section 10.2 of the reference). */
#include <inttypes.h>
#include <search.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "data/codec.h"
#include "source/files_saved.h"
#include "source/parts.h"
#include "source/sources.h"

#define NS_PER_MS INT64_C(1000000)

/* A file that was taken, kept until it leaves the remember window. */
typedef struct taken {
  struct taken *next; /* later, or at the same time */
  int64_t time;
  char *path;
  int64_t size, mtime_ms;
} taken;

typedef struct file_input {
  rl_input base;
  rl_file_stream spec; /* path owned */
  char *label;         /* "file stream [0] at job.lua:3" */
  int64_t threshold;   /* files are newer than this */
  int64_t last;        /* the last batch that looked; RL_NO_TIME: none yet */
  void *taken;         /* tree by path (tsearch) of what the list has */
  struct taken *first, **end;
  char *trouble; /* why the last look failed; NULL: it did not */
} file_input;

static int by_path(const void *a, const void *b)
{
  return strcmp(((const struct taken *)a)->path, ((const struct taken *)b)->path);
}

static bool was_taken(const file_input *in, char *path)
{
  struct taken key = {.path = path};
  return tfind(&key, &in->taken, by_path) != NULL;
}

static void take(file_input *in, const rl_file *f, int64_t time)
{
  struct taken *t = RL_NEW(struct taken);
  t->path = rl_strdup(f->path);
  t->time = time;
  t->size = f->size;
  t->mtime_ms = f->mtime_ms;
  tsearch(t, &in->taken, by_path);
  *in->end = t;
  in->end = &t->next;
}

static void forget_before(file_input *in, int64_t time)
{
  while (in->first && in->first->time < time) {
    struct taken *t = in->first;
    in->first = t->next;
    if (!in->first) in->end = &in->first;
    tdelete(t, &in->taken, by_path);
    rl_free(t->path);
    rl_free(t);
  }
}

/* Says so when a look fails in another way than the last, and when it works again. */
static void note_trouble(file_input *in, const char *trouble)
{
  if (trouble && (!in->trouble || strcmp(in->trouble, trouble) != 0)) {
    rl_warn("%s: %s; batches stay empty until that is mended", in->label, trouble);
  } else if (!trouble && in->trouble) {
    rl_warn("%s: %s can be read again", in->label, in->spec.path);
  }
  rl_free(in->trouble);
  in->trouble = rl_strdup(trouble);
}

static rl_status passes_filter(const file_input *in, const char *path, bool *pass)
{
  if (in->spec.filter) return in->spec.filter(in->spec.user, path, pass);
  *pass = rl_path_base(path)[0] != '.';
  return RL_OK;
}

/* Moves the files of batch `time` out of `found`. */
static rl_status select_files(const file_input *in, int64_t time, rl_file_list *found, rl_file_list *out)
{
  int64_t threshold = time - in->base.remember_ms;
  if (in->last != RL_NO_TIME && in->last < threshold) threshold = in->last; /* batches were left out since */
  if (threshold < in->threshold) threshold = in->threshold;
  for (size_t i = 0; i < found->n; i++) {
    rl_file *f = &found->v[i];
    if (f->mtime_ms <= threshold || f->mtime_ms > time || was_taken(in, f->path)) continue;
    bool pass = false;
    rl_status st = passes_filter(in, f->path, &pass);
    if (st != RL_OK) return st;
    if (!pass) continue;
    rl_file_list_add(out, *f);
    f->path = NULL;
  }
  return RL_OK;
}

static rl_status find_files(const file_input *in, rl_file_list *found)
{
  rl_status st = rl_files_find(in->spec.path, found);
  if (st == RL_OK && found->n == 1 && strcmp(found->v[0].path, in->spec.path) == 0) {
    return rl_fail(RL_EINVAL, "%s is a file, where a directory is needed", in->spec.path);
  }
  return st;
}

static bool look(file_input *in, rl_file_list *found)
{
  int64_t began = rl_mono_ns();
  rl_status st = find_files(in, found);
  note_trouble(in, st == RL_OK ? NULL : rl_error_message());
  if (st != RL_OK) rl_file_list_clear(found);
  int64_t ms = (rl_mono_ns() - began) / NS_PER_MS;
  if (ms > rl_streaming_batch_ms(in->base.streaming)) {
    rl_warn("%s: looking through %s took %" PRId64 " ms, longer than a batch; move old files away, or make the batches "
            "longer",
            in->label, in->spec.path, ms);
  }
  return st == RL_OK;
}

static char *describe(const rl_file_list *files)
{
  rl_buf text = {0};
  for (size_t i = 0; i < files->n; i++) {
    if (i > 0) rl_buf_putc(&text, '\n');
    rl_buf_puts(&text, files->v[i].path);
  }
  char *description = text.n > 0 ? rl_strndup(text.p, text.n) : NULL;
  rl_buf_free(&text);
  return description;
}

/* What can be done when a file is gone that a batch has, in a durable job. NULL: nothing is to be said. */
static char *advise(const file_input *in)
{
  rl_streaming *s = in->base.streaming;
  const rl_conf *conf = rl_context_conf(rl_streaming_context(s));
  const char *skip = "rille.streaming.onBatchFailure";
  if (!rl_streaming_checkpoint_dir(s) || !rl_conf_bool(conf, "rille.reliable")) return NULL;
  if (strcmp(rl_conf_text(conf, skip), "skip") == 0) return NULL;
  return rl_format("the batch has it from %s: put it back as it was and start the job again, or start it once with "
                   "%s = skip, which leaves the batch out", in->label, skip);
}

/* The batch of these files. */
static void give(file_input *in, int64_t time, rl_file_list *files, rl_rdd **out, rl_input_info *info)
{
  for (size_t i = 0; i < files->n; i++) take(in, &files->v[i], time);
  in->last = time;
  info->description = describe(files);
  info->lists_files = true;
  rl_part_format format = in->spec.format == RL_FILES_TEXT ? RL_PARTS_TEXT : RL_PARTS_BINARY;
  char *advice = advise(in);
  *out = rl_rdd_from_files(files, format, in->spec.record_length, 1, advice);
  rl_free(advice);
}

static rl_status files_compute(rl_input *self, int64_t time, rl_rdd **out, rl_input_info *info)
{
  file_input *in = (file_input *)self;
  rl_file_list found = {0}, files = {0};
  int64_t before = in->last != RL_NO_TIME ? in->last : time - in->base.remember_ms;
  bool looked = look(in, &found);
  rl_status st = select_files(in, time, &found, &files);
  rl_file_list_clear(&found);
  if (st != RL_OK) {
    rl_file_list_clear(&files);
    return st;
  }
  give(in, time, &files, out, info);
  if (!looked) in->last = before; /* what comes meanwhile is for the next look that works */
  return RL_OK;
}

/* For the log: since when files are new, the last look that worked, and the files of the batch: path, size, time of
 * change. */
static rl_status files_save(rl_input *self, int64_t time, rl_buf *out)
{
  const file_input *in = (const file_input *)self;
  size_t n = 0;
  rl_put_int(out, in->threshold);
  rl_put_int(out, in->last);
  for (const taken *t = in->first; t; t = t->next) n += t->time == time;
  rl_put_varint(out, n);
  for (const taken *t = in->first; t; t = t->next) {
    if (t->time != time) continue;
    rl_put_bytes(out, t->path, strlen(t->path));
    rl_put_int(out, t->size);
    rl_put_int(out, t->mtime_ms);
  }
  return RL_OK;
}

static rl_status get_int(rl_reader *r, int64_t *out)
{
  rl_value v;
  rl_status st = rl_get_value(r, &v);
  if (st == RL_OK && v.type != RL_T_INT) st = rl_fail(RL_EDATA, "a number is missing");
  if (st == RL_OK) *out = v.i;
  return st;
}

static rl_status get_file(rl_reader *r, rl_file *f)
{
  rl_value path;
  rl_status st = rl_get_value(r, &path);
  if (st == RL_OK && path.type != RL_T_BYTES) st = rl_fail(RL_EDATA, "the name of a file is missing");
  if (st == RL_OK) st = get_int(r, &f->size);
  if (st == RL_OK) st = get_int(r, &f->mtime_ms);
  if (st == RL_OK) f->path = rl_strndup(path.s.p, path.s.n);
  return st;
}

rl_status rl_files_saved_read(const char *p, size_t n, rl_files_saved *out)
{
  rl_reader r = {p, p + n};
  uint64_t count = 0;
  *out = (rl_files_saved){.looked = RL_NO_TIME};
  rl_status st = get_int(&r, &out->since);
  if (st == RL_OK) st = get_int(&r, &out->looked);
  if (st == RL_OK) st = rl_get_varint(&r, &count);
  for (uint64_t i = 0; i < count && st == RL_OK; i++) {
    rl_file f = {0};
    st = get_file(&r, &f);
    if (st == RL_OK) rl_file_list_add(&out->files, f);
  }
  return st == RL_OK && r.p != r.end ? rl_fail(RL_EDATA, "there is more than the files of the batch") : st;
}

void rl_files_saved_clear(rl_files_saved *s) { rl_file_list_clear(&s->files); }

static rl_status files_restore(rl_input *self, int64_t time, const char *p, size_t n, rl_rdd **out, rl_input_info *info)
{
  file_input *in = (file_input *)self;
  rl_files_saved saved;
  rl_status st = rl_files_saved_read(p, n, &saved);
  if (st == RL_OK) {
    in->threshold = saved.since;
    give(in, time, &saved.files, out, info);
    in->last = saved.looked;
  }
  rl_files_saved_clear(&saved);
  return st;
}

/* A job that was killed before a batch began has none that tells since when files are new: since its zero time. */
static rl_status files_start(rl_input *self)
{
  file_input *in = (file_input *)self;
  int64_t zero = rl_streaming_zero_time(self->streaming);
  bool began_none = rl_streaming_is_recovered(self->streaming) && in->last == RL_NO_TIME;
  if (began_none && zero < in->threshold) in->threshold = zero;
  return RL_OK;
}

static void files_forget(rl_input *self, int64_t until) { forget_before((file_input *)self, until); }

static void files_destroy(rl_input *self)
{
  file_input *in = (file_input *)self;
  forget_before(in, INT64_MAX);
  if (in->spec.destroy) in->spec.destroy(in->spec.user);
  rl_free((char *)in->spec.path);
  rl_free(in->trouble);
  rl_free(in->label);
  rl_free(in);
}

static const rl_input_class files_class = {
  .name = "File stream",
  .start = files_start,
  .compute = files_compute,
  .save = files_save,
  .restore = files_restore,
  .forget = files_forget,
  .destroy = files_destroy,
};

/* The least duration that is to be remembered, in whole batches. */
static int64_t remember_ms(rl_streaming *s)
{
  int64_t batch = rl_streaming_batch_ms(s);
  int64_t us = rl_conf_us(rl_context_conf(rl_streaming_context(s)), "rille.streaming.fileStream.minRememberDuration");
  int64_t batches = (us + batch * 1000 - 1) / (batch * 1000);
  return (batches > 0 ? batches : 1) * batch;
}

static rl_status check_spec(const rl_file_stream *spec)
{
  if (!spec->path || !*spec->path) return rl_fail(RL_EINVAL, "the path of a file stream is empty");
  if (spec->format == RL_FILES_BINARY && spec->record_length == 0) {
    return rl_fail(RL_EINVAL, "the record length must be greater than 0");
  }
  return RL_OK;
}

rl_status rl_source_files(rl_streaming *s, const rl_file_stream *spec, const char *site, rl_dstream **out)
{
  rl_status st = check_spec(spec);
  if (st != RL_OK) {
    if (spec->destroy) spec->destroy(spec->user);
    return st;
  }
  file_input *in = RL_NEW(file_input);
  in->base.cls = &files_class;
  in->base.remember_ms = remember_ms(s);
  in->spec = *spec;
  in->spec.path = rl_strdup(spec->path);
  in->threshold = spec->new_files_only ? rl_clock_now(rl_streaming_clock(s)) : 0;
  in->end = &in->first;
  in->last = RL_NO_TIME;
  st = rl_streaming_add_input(s, &in->base, site, out);
  if (st == RL_OK) in->label = rl_format("f%s", rl_dstream_label(*out) + 1); /* "File stream [0] at job.lua:3" */
  return st;
}
