/* The reference job of the crash specs, over core alone, and the world around it: a sender that keeps what was not
 * acknowledged, a folder into which files are moved, a recorder that gets every output at least once, and a keyed sink
 * that keeps one text for each output and batch.
 *
 * On the manual clock the batches of a job that was killed have the very inputs that they have in one that was not. So
 * each output is compared with the model (model.h) as it comes, batch by batch. The job runs in a child of the test's
 * process and leaves it by job_fail when something is wrong; the world is in memory that both share. */
#ifndef SPEC_CRASH_JOB_H
#define SPEC_CRASH_JOB_H

#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "data/native.h"
#include "run/context.h"
#include "run/receiver.h"
#include "run/streaming.h"
#include "source/sources.h"
#include "sums.h"

/* How a child ends. */
enum { JOB_DONE = 0, JOB_STOPPED = 1, JOB_WRONG = 2 };

/* Shared by the processes, and there when they are killed. */
typedef struct world {
  _Atomic uint64_t acked, sent; /* of the sender's records */
  uint64_t runs;                /* processes so far */
  char error[1000];             /* JOB_STOPPED, JOB_WRONG: why */
  char call[16], path[400];     /* the step that was met */
  unsigned steps;               /* of a process that came to its end */
  bool started;                 /* the start succeeded */
  _Atomic bool stopping;        /* all batches are done, and the job is stopped */
  bool met_stopping;            /* the step came behind that */
  unsigned removed;             /* segments of the log, by a process without a fault */
  uint64_t synced, written;     /* met at a sync: of the file, up to where it is on disk, and its size */
} world;

typedef struct job {
  world *w;
  const char *dir;
  rl_context *c;
  rl_streaming *s;
  rl_receiver *receiver; /* set by start */
  uint64_t position;     /* the record that was stored last */
  int64_t kept;          /* outputs that are done, in the job's life, as the keeper has it */
  int outputs;           /* of each batch */
} job;

typedef struct job_output {
  job *j;
  model_output which;
} job_output;

__attribute__((format(printf, 2, 3), noreturn)) static inline void job_fail(job *j, const char *format, ...)
{
  va_list list;
  va_start(list, format);
  vsnprintf(j->w->error, sizeof j->w->error, format, list);
  va_end(list);
  _exit(JOB_WRONG);
}

static inline void job_ok(job *j, rl_status st)
{
  if (st != RL_OK) job_fail(j, "%s", rl_error_message());
}

/* The world: by plain calls, which nobody fails -------------------------------------------------------------------- */

static inline void world_write(job *j, const char *name, const char *text, int flags)
{
  char *path = rl_path_join(j->dir, name);
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);
  size_t n = strlen(text);
  if (fd < 0 || write(fd, text, n) != (ssize_t)n || close(fd) != 0) job_fail(j, "the spec cannot write %s", path);
  rl_free(path);
}

static inline void world_move(job *j, const char *from, const char *to)
{
  char *old = rl_path_join(j->dir, from), *new = rl_path_join(j->dir, to);
  if (rename(old, new) != 0) job_fail(j, "the spec cannot move %s", old);
  rl_free(old);
  rl_free(new);
}

/* The file of a batch appears at once, in time for it. */
static inline void world_bring_file(job *j, int batch)
{
  if (model_lines(batch) == 0) return;
  rl_buf text = {0};
  char *to = rl_format("incoming/%d.txt", batch), *path = rl_path_join(j->dir, to);
  for (int line = 0; line < model_lines(batch); line++) {
    model_record r = model_line(batch, line);
    rl_buf_printf(&text, "%" PRId64 " %" PRId64 "\n", r.key, r.value);
  }
  const struct timespec at = {.tv_sec = batch - 1, .tv_nsec = 500000000}, both[2] = {at, at};
  if (access(path, F_OK) != 0) {
    world_write(j, "next.txt", rl_buf_cstr(&text), O_TRUNC);
    char *next = rl_path_join(j->dir, "next.txt");
    if (utimensat(AT_FDCWD, next, both, 0) != 0) job_fail(j, "the spec cannot stamp %s", next);
    rl_free(next);
    world_move(j, "next.txt", to);
  }
  rl_free(path);
  rl_free(to);
  rl_buf_free(&text);
}

/* The sender ------------------------------------------------------------------------------------------------------- */

static inline rl_status sender_start(void *self, rl_receiver *r)
{
  job *j = self;
  j->receiver = r;
  j->position = rl_receiver_position(r);
  uint64_t acked = atomic_load(&j->w->acked), sent = atomic_load(&j->w->sent);
  if (j->position < acked || j->position > sent)
    job_fail(j, "the log has records up to %" PRIu64 "; acknowledged were %" PRIu64 ", sent %" PRIu64, j->position,
             acked, sent);
  atomic_store(&j->w->acked, j->position); /* it is told so */
  return RL_OK;
}

static inline void sender_durable(void *self, uint64_t position)
{
  job *j = self;
  if (position < atomic_load(&j->w->acked) || position > atomic_load(&j->w->sent))
    job_fail(j, "acknowledged up to %" PRIu64 ", after %" PRIu64 ", of %" PRIu64, position, atomic_load(&j->w->acked),
             atomic_load(&j->w->sent));
  atomic_store(&j->w->acked, position);
}

static const rl_receiver_class sender_class = {
  .name = "Sender", .stream = "Sender", .start = sender_start, .durable = sender_durable};

/* Sends on up to this record: by blocks of four. */
static inline void sender_send(job *j, uint64_t upto)
{
  static const char pad[MODEL_PAD];
  while (j->position < upto) {
    model_record m = model_received_record(++j->position);
    const rl_value record[3] = {rl_int(m.key), rl_int(m.value), rl_str(pad, model_pad(j->position))};
    if (atomic_load(&j->w->sent) < j->position) atomic_store(&j->w->sent, j->position);
    if (rl_receiver_store(j->receiver, record, 3) != RL_OK) return; /* the job stops, or its log has failed */
    if (j->position % 4 == 0) rl_receiver_flush(j->receiver);
  }
}

/* The outputs ------------------------------------------------------------------------------------------------------ */

static inline char *job_text(rl_job *job)
{
  rl_buf text = {0};
  for (uint32_t p = 0; p < rl_job_partitions(job); p++) {
    const rl_chunks *list = rl_job_chunks(job, p);
    for (size_t k = 0; k < list->n; k++) {
      for (uint32_t row = 0; row < list->v[k]->n; row++) {
        rl_chunk_format(list->v[k], row, &text);
        rl_buf_putc(&text, '\n');
      }
    }
  }
  char *sorted = model_sorted(rl_buf_cstr(&text));
  rl_buf_free(&text);
  return sorted;
}

/* The recorder first: a kill between the two makes the batch come again. */
static inline void job_deliver(job *j, model_output which, int batch, const char *text)
{
  char *line = rl_format("%s %d\n", model_names[which], batch);
  char *key = rl_format("keyed/%s-%d", model_names[which], batch);
  world_write(j, "recorder", line, O_APPEND);
  world_write(j, "keyed/next", text, O_TRUNC);
  world_move(j, "keyed/next", key);
  rl_free(line);
  rl_free(key);
}

/* Each output that is done counts once: what is not done again was kept with the mark that says so. */
static inline void job_check_kept(job *j, model_output which, int batch)
{
  int64_t expected = (int64_t)(batch - 1) * j->outputs + which;
  if (j->kept != expected)
    job_fail(j, "%s of batch %d runs, and %" PRId64 " outputs before it count, not %" PRId64, model_names[which], batch,
             j->kept, expected);
}

static inline void job_give(void *user, rl_rdd *rdd, int64_t time, rl_output_run *run)
{
  job_output *o = user;
  rl_job *job = NULL;
  job_check_kept(o->j, o->which, (int)(time / MODEL_BATCH_MS));
  const rl_job_spec spec = {
    .rdd = rdd, .kind = RL_JOB_COLLECT, .batch_time = time, .what = model_names[o->which]};
  rl_status st = rl_job_submit(o->j->c, &spec, NULL, &job);
  if (st == RL_OK) st = rl_job_wait(job);
  if (st == RL_OK) {
    int batch = (int)(time / MODEL_BATCH_MS);
    char *text = job_text(job), *expected = model_expected(o->which, batch);
    if (strcmp(text, expected) != 0)
      job_fail(o->j, "%s of batch %d: expected\n%sbut it is\n%s", model_names[o->which], batch, expected, text);
    job_deliver(o->j, o->which, batch, text);
    o->j->kept++;
    rl_free(text);
    rl_free(expected);
  }
  if (job) rl_job_unref(job);
  rl_output_done(run, st);
}

/* The graph -------------------------------------------------------------------------------------------------------- */

static inline rl_status job_strip(void *user, const rl_value *fields, uint32_t n, rl_emit *out)
{
  (void)user;
  (void)n;
  return rl_emit_record(out, fields, 2);
}

static inline rl_status job_parse(void *user, const rl_value *fields, uint32_t n, rl_emit *out)
{
  (void)user;
  (void)n;
  char *line = rl_strndup(fields[0].s.p, fields[0].s.n), *rest;
  rl_value pair[2] = {rl_int(strtoll(line, &rest, 10)), rl_int(0)};
  pair[1].i = strtoll(rest, NULL, 10);
  rl_free(line);
  return rl_emit_record(out, pair, 2);
}

static inline rl_dstream *job_apply(job *j, rl_op like, rl_dstream **parents, uint32_t n)
{
  rl_dstream *d = NULL;
  rl_op *op = rl_op_new(&like);
  job_ok(j, rl_dstream_apply(op, parents, n, &d));
  rl_op_unref(op);
  rl_fn_unref(like.fn);
  return d;
}

static inline rl_dstream *job_inputs(job *j)
{
  rl_dstream *received, *files, *both[2];
  char *incoming = rl_path_join(j->dir, "incoming");
  const rl_file_stream spec = {.path = incoming, .format = RL_FILES_TEXT, .new_files_only = true};
  rl_level disk;
  job_ok(j, rl_level_parse("DISK_ONLY", &disk));
  job_ok(j, rl_streaming_add_receiver(j->s, &sender_class, j, "sender", &received));
  job_ok(j, rl_source_files(j->s, &spec, "files", &files));
  rl_free(incoming);
  rl_dstream_set_uid(received, "sender");
  rl_dstream_set_uid(files, "files");
  job_ok(j, rl_dstream_store_at(received, disk)); /* so there is something to spill */
  both[0] = job_apply(
    j, (rl_op){.kind = RL_OP_NARROW, .name = "strip", .fn = rl_fn_map(job_strip, NULL, NULL)}, &received, 1);
  both[1] =
    job_apply(j, (rl_op){.kind = RL_OP_NARROW, .name = "parse", .fn = rl_fn_map(job_parse, NULL, NULL)}, &files, 1);
  rl_dstream *all = job_apply(j, (rl_op){.kind = RL_OP_UNION, .name = "all", .uid = "all"}, both, 2);
  rl_dstream_persist(all, disk);
  return all;
}

static inline rl_dstream *job_sums(job *j, rl_dstream *all)
{
  rl_dstream *d = NULL;
  rl_fn *fn = sums_new();
  rl_stateful spec = {
    .op = rl_op_new(&(rl_op){.kind = RL_OP_STATE, .name = "sums", .uid = "sums"}),
    .update =
      rl_op_new(&(rl_op){.kind = RL_OP_SHUFFLE, .name = "update", .part = RL_PART_HASH, .fn = fn}),
  };
  job_ok(j, rl_dstream_stateful(&spec, all, &d));
  rl_op_unref(spec.op);
  rl_op_unref(spec.update);
  rl_fn_unref(fn);
  return d;
}

static inline rl_dstream *job_state(job *j, rl_dstream *sums)
{
  rl_dstream *d = NULL;
  rl_op *op = rl_op_new(&(rl_op){.kind = RL_OP_SNAPSHOT, .name = "state", .uid = "state"});
  job_ok(j, rl_dstream_snapshots(op, sums, &d));
  rl_op_unref(op);
  return d;
}

static inline void job_output_of(job *j, rl_dstream *d, model_output which, job_output *outputs)
{
  outputs[which] = (job_output){j, which};
  job_ok(j, rl_dstream_output(d, model_names[which], NULL, NULL, job_give, &outputs[which], NULL));
}

static inline void job_graph(job *j, job_output *outputs, int n)
{
  rl_dstream *streams[MODEL_OUTPUTS];
  streams[MODEL_RECORDS] = job_inputs(j);
  streams[MODEL_SUMS] = job_sums(j, streams[MODEL_RECORDS]);
  streams[MODEL_STATE] = job_state(j, streams[MODEL_SUMS]);
  for (int i = MODEL_RECORDS_WINDOW; i < n; i++) {
    const rl_op named = {.name = (char *)model_names[i], .uid = (char *)model_names[i]};
    job_ok(j, rl_dstream_window(streams[i - MODEL_RECORDS_WINDOW], &named, (int64_t)MODEL_WINDOW * MODEL_BATCH_MS,
                                MODEL_BATCH_MS, &streams[i]));
  }
  for (int i = 0; i < n; i++) job_output_of(j, streams[i], (model_output)i, outputs);
}

/* What is kept from batch to batch, as an accumulator is. */
static inline void job_save(void *user, int64_t time, rl_buf *out)
{
  (void)time;
  rl_buf_printf(out, "%" PRId64, ((job *)user)->kept);
}

static inline rl_status job_restore(void *user, const char *p, size_t n)
{
  char *text = rl_strndup(p, n);
  ((job *)user)->kept = strtoll(text, NULL, 10);
  rl_free(text);
  return RL_OK;
}

/* A process of the job --------------------------------------------------------------------------------------------- */

typedef struct job_spec {
  const char *dir;
  world *w;
  const char *roll; /* rollingInterval: "1ms" for segments of one group */
  int parallelism;  /* also how many partitions the state has */
  int outputs;      /* the first of them; without windows batches are forgotten at once */
  const char *jump; /* manualClock.jump */
} job_spec;

static inline rl_status job_context(job *j, const job_spec *spec)
{
  char *spill = rl_path_join(spec->dir, "spill"), *parallelism = rl_format("%d", spec->parallelism);
  const char *settings[] = {"master", "local[2]",
                            "clock", "manual",
                            "rille.log.level", getenv("RILLE_VERBOSE") ? "info" : "off",
                            "rille.local.dir", spill,
                            "rille.default.parallelism", parallelism,
                            "rille.streaming.manualClock.jump", spec->jump,
                            "rille.checkpoint.applyLag", "64k",
                            "rille.streaming.fileStream.minRememberDuration", "1", /* so segments are removed */
                            "rille.streaming.receiver.writeAheadLog.rollingInterval", spec->roll};
  rl_conf *conf = rl_conf_new();
  for (size_t i = 0; i < sizeof settings / sizeof *settings; i += 2)
    job_ok(j, rl_conf_set(conf, settings[i], settings[i + 1]));
  rl_log_set_level(getenv("RILLE_VERBOSE") ? RL_LOG_INFO : RL_LOG_OFF);
  rl_status st = rl_context_new(conf, NULL, &j->c);
  rl_conf_delete(conf);
  rl_free(parallelism);
  rl_free(spill);
  return st;
}

/* Batches up to the last one, each with what it has to have. */
static inline rl_status job_batches(job *j)
{
  rl_status st = rl_streaming_advance(j->s, 0); /* those of an earlier process */
  for (;;) {
    int next = (int)(rl_clock_now(rl_streaming_clock(j->s)) / MODEL_BATCH_MS) + 1;
    if (st != RL_OK || rl_streaming_state(j->s) != RL_ACTIVE || next > MODEL_BATCHES) return st;
    world_bring_file(j, next);
    if (j->position > model_received(next)) job_fail(j, "batch %d comes behind record %" PRIu64, next, j->position);
    sender_send(j, model_received(next));
    st = rl_streaming_advance(j->s, MODEL_BATCH_MS);
  }
}

static inline rl_status job_run(job *j, const job_spec *spec)
{
  job_output outputs[MODEL_OUTPUTS];
  bool stopped = false;
  rl_status st = job_context(j, spec);
  if (st != RL_OK) return st;
  char *checkpoint = rl_path_join(spec->dir, "checkpoint");
  job_ok(j, rl_streaming_new(j->c, MODEL_BATCH_MS, &j->s));
  job_graph(j, outputs, spec->outputs);
  job_ok(j, rl_streaming_checkpoint(j->s, checkpoint));
  rl_streaming_keep(j->s, &(rl_keeper){.save = job_save, .restore = job_restore, .user = j});
  st = rl_streaming_start(j->s);
  j->w->started = st == RL_OK;
  if (st == RL_OK) st = job_batches(j);
  atomic_store(&j->w->stopping, true);
  if (st == RL_OK && rl_streaming_state(j->s) == RL_ACTIVE) st = rl_streaming_stop(j->s, false, true);
  if (st == RL_OK) st = rl_streaming_await(j->s, 0, false, &stopped);
  rl_error e = RL_ERROR_NONE;
  if (st != RL_OK) rl_error_take(&e);
  rl_streaming_unref(j->s);
  rl_context_stop(j->c);
  rl_context_unref(j->c);
  rl_free(checkpoint);
  return st != RL_OK ? rl_error_raise(&e) : RL_OK;
}

/* In a child: runs the job to its end, which is the process's. */
static inline int job_process(const job_spec *spec)
{
  job j = {.w = spec->w, .dir = spec->dir, .outputs = spec->outputs};
  atomic_store(&j.w->stopping, false);
  j.w->started = false;
  alarm(300); /* it hangs */
  rl_status st = job_run(&j, spec);
  if (st == RL_OK) return JOB_DONE;
  snprintf(spec->w->error, sizeof spec->w->error, "%s", rl_error_message());
  return JOB_STOPPED;
}

#endif
