/* A trial: a folder in which processes of the reference job (job.h) run one after another, each with a fault or with
 * none, until one comes to its end; then the check of what they left. Include after cmocka.h.
 *
 * RILLE_CRASH="kind:step:seed[,kind:step:seed ...]" runs one trial again, RILLE_VERBOSE=1 shows the engine's log with
 * it; RILLE_LONG=1 runs all trials instead of a sample. */
#ifndef SPEC_CRASH_TRIAL_H
#define SPEC_CRASH_TRIAL_H

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../core/faulty_fs.h"
#include "../core/records.h"
#include "../core/scratch.h"
#include "job.h"

typedef struct fault_kind {
  const char *name;
  faulty_kind kind;
  int error;
  faulty_loss loss;
} fault_kind;

static const fault_kind fault_kinds[] = {
  {"kill", FAULTY_EXIT, 0, FAULTY_KEEP},      /* the process is killed before the step */
  {"torn", FAULTY_TORN, 0, FAULTY_KEEP},      /* in the middle of it */
  {"cut", FAULTY_EXIT, 0, FAULTY_LOSE},       /* the power fails: nothing that was not synced is there */
  {"cut-some", FAULTY_EXIT, 0, FAULTY_SOME},  /* some of it is */
  {"torn-some", FAULTY_TORN, 0, FAULTY_SOME},
  {"EIO", FAULTY_ERROR, EIO, FAULTY_KEEP},
  {"ENOSPC", FAULTY_ERROR, ENOSPC, FAULTY_KEEP},
  {"EINTR", FAULTY_ERROR, EINTR, FAULTY_KEEP},
  {"short", FAULTY_SHORT, 0, FAULTY_KEEP},
  {"full", FAULTY_ERROR, ENOSPC, FAULTY_KEEP}, /* the step and the next two that write */
  {"none", FAULTY_ERROR, 0, FAULTY_KEEP},
};
enum { FAULT_KILL, FAULT_TORN, FAULT_CUT, FAULT_CUT_SOME, FAULT_TORN_SOME, FAULT_EIO, FAULT_ENOSPC, FAULT_EINTR,
       FAULT_SHORT, FAULT_FULL, FAULT_NONE, FAULTS };

typedef struct fault {
  int kind; /* in fault_kinds */
  unsigned step;
  uint64_t seed; /* of what is lost, of the age of segments, of the number of partitions */
} fault;

enum { TRIAL_FAULTS = 8 };

typedef struct trial {
  char *dir;
  world *w;
  fault faults[TRIAL_FAULTS];
  int n;
  const char *only; /* this call counts alone; NULL: all do */
  const char *jump; /* of the manual clock, of processes that recover; NULL: none */
} trial;

static inline bool trial_is_long(void)
{
  const char *wanted = getenv("RILLE_LONG");
  return wanted && strcmp(wanted, "1") == 0;
}

/* So many trials: fewer in a sanitized build, which is slower. */
static inline unsigned trial_sample(unsigned n)
{
  const char *sanitize = getenv("RILLE_SANITIZE");
  return sanitize && *sanitize ? n / 6 + 1 : n;
}

static inline char *trial_text(const trial *t)
{
  rl_buf text = {0};
  for (int i = 0; i < t->n; i++) {
    const fault *f = &t->faults[i];
    rl_buf_printf(&text, "%s%s:%u:%" PRIu64, i ? "," : "", fault_kinds[f->kind].name, f->step, f->seed);
  }
  char *copy = rl_strdup(rl_buf_cstr(&text));
  rl_buf_free(&text);
  return copy;
}

static inline bool trial_parse(const char *text, trial *t)
{
  char name[16];
  int used = 0;
  for (t->n = 0; t->n < TRIAL_FAULTS && *text; text += used + (text[used] == ',')) {
    fault *f = &t->faults[t->n++];
    if (sscanf(text, "%15[^:]:%u:%" SCNu64 "%n", name, &f->step, &f->seed, &used) != 3) return false;
    for (f->kind = 0; f->kind < FAULTS && strcmp(fault_kinds[f->kind].name, name) != 0;) f->kind++;
    if (f->kind == FAULTS) return false;
  }
  return t->n > 0;
}

#define trial_fail(t, format, ...) \
  fail_msg(format "\n  again: RILLE_CRASH=%s, folder %s", __VA_ARGS__, trial_text(t), (t)->dir)

/* A process -------------------------------------------------------------------------------------------------------- */

static unsigned trial_full_at; /* in the child: from this step on three writes find the disk full */
static int trial_fulls;
static world *trial_world;

static inline int trial_full(const char *call)
{
  bool writes = strcmp(call, "pwrite") == 0 || strcmp(call, "pwritev") == 0 || strcmp(call, "write") == 0;
  if (!writes || faulty.steps + 1 < trial_full_at || trial_fulls == 3) return 0;
  trial_fulls++;
  trial_world->met_stopping = atomic_load(&trial_world->stopping);
  return ENOSPC;
}

static inline int trial_count(const char *call)
{
  trial_world->removed += strcmp(call, "unlink") == 0;
  return 0;
}

static inline void trial_note_step(const char *call, const char *path)
{
  snprintf(trial_world->call, sizeof trial_world->call, "%s", call);
  snprintf(trial_world->path, sizeof trial_world->path, "%s", path);
  trial_world->met_stopping = atomic_load(&trial_world->stopping);
  struct stat st;
  trial_world->synced = trial_world->written = stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
  for (const faulty_undo *u = faulty.undo; u; u = u->next)
    if (u->what == FAULTY_WRITE && strcmp(u->path, path) == 0 && u->at < trial_world->synced)
      trial_world->synced = u->at;
}

static inline void trial_begin_fault(const trial *t, const fault *f)
{
  const fault_kind *kind = &fault_kinds[f->kind];
  faulty.under = rl_path_join(t->dir, "checkpoint");
  faulty.spill = rl_path_join(t->dir, "spill");
  faulty.loss = kind->loss;
  faulty.seed = f->seed;
  faulty.met_at = trial_note_step;
  faulty.only = t->only;
  faulty_begin(kind->kind, f->kind == FAULT_NONE || f->kind == FAULT_FULL ? 0 : f->step, kind->error);
  if (f->kind == FAULT_NONE) faulty.fails = trial_count;
  if (f->kind != FAULT_FULL) return;
  trial_full_at = f->step;
  faulty.fails = trial_full;
}

/* The graph is the same in all processes of a trial. */
static inline int trial_outputs(const trial *t)
{
  return t->faults[0].seed / 8 % 2 ? MODEL_OUTPUTS : MODEL_RECORDS_WINDOW;
}

/* Runs one; its exit status. */
static inline int trial_process(trial *t, const fault *f)
{
  t->w->runs++;
  t->w->met_stopping = false;
  t->w->error[0] = t->w->call[0] = t->w->path[0] = '\0';
  fflush(stdout);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    trial_world = t->w;
    trial_begin_fault(t, f);
    const job_spec spec = {.dir = t->dir,
                           .w = t->w,
                           .roll = f->seed % 2 ? "1ms" : "60",
                           .parallelism = 1 + (int)(f->seed / 2 % 3),
                           .outputs = trial_outputs(t),
                           .jump = t->jump ? t->jump : "0"};
    int rc = job_process(&spec);
    t->w->steps = faulty.steps;
    _exit(rc);
  }
  int status;
  while (waitpid(pid, &status, 0) < 0) assert_int_equal(errno, EINTR);
  if (WIFSIGNALED(status))
    trial_fail(t, "process %" PRIu64 " died of signal %d (%s), last step %s %s", t->w->runs, WTERMSIG(status),
               strsignal(WTERMSIG(status)), t->w->call, t->w->path);
  int rc = WEXITSTATUS(status);
  if (rc != JOB_DONE && rc != JOB_STOPPED && rc != FAULTY_STATUS)
    trial_fail(t, "process %" PRIu64 ": %s", t->w->runs, t->w->error[0] ? t->w->error : "an unknown exit status");
  return rc;
}

/* The folder ------------------------------------------------------------------------------------------------------- */

static inline void trial_make_dir(const char *dir, const char *name)
{
  char *path = rl_path_join(dir, name);
  if (rl_dir_make(path) != RL_OK) fail_msg("%s", rl_error_message());
  rl_free(path);
}

/* Memory that processes share, as the world is now. */
static inline void trial_share(trial *t)
{
  world *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_true(shared != MAP_FAILED);
  memcpy(shared, t->w, sizeof *shared);
  t->w = shared;
}

static inline void trial_open(trial *t, const char *parent)
{
  static unsigned serial;
  static world before;
  t->dir = rl_format("%s/trial-%u", parent, serial++);
  t->w = &before;
  trial_share(t);
  trial_make_dir(t->dir, "incoming");
  trial_make_dir(t->dir, "keyed");
  trial_make_dir(t->dir, "spill");
}

static inline void trial_close(trial *t)
{
  munmap(t->w, sizeof *t->w);
  if (rl_dir_remove(t->dir) != RL_OK) fail_msg("%s", rl_error_message());
  rl_free(t->dir);
}

/* The check -------------------------------------------------------------------------------------------------------- */

static inline void trial_read(trial *t, const char *name, rl_buf *out)
{
  char *path = rl_path_join(t->dir, name);
  rl_buf_clear(out);
  if (rl_file_read_all(path, out) != RL_OK) trial_fail(t, "%s", rl_error_message());
  rl_free(path);
}

/* The keyed sink has every batch of every output once, and right; the recorder got each at least once. */
static inline void trial_check(trial *t)
{
  rl_buf recorder = {0}, keyed = {0};
  trial_read(t, "recorder", &recorder);
  for (int batch = 1; batch <= MODEL_BATCHES; batch++) {
    for (int i = 0; i < trial_outputs(t); i++) {
      char *line = rl_format("%s %d\n", model_names[i], batch), *name = rl_format("keyed/%s-%d", model_names[i], batch);
      char *expected = model_expected((model_output)i, batch);
      if (!strstr(rl_buf_cstr(&recorder), line)) trial_fail(t, "the recorder never got %s", line);
      trial_read(t, name, &keyed);
      if (strcmp(rl_buf_cstr(&keyed), expected) != 0)
        trial_fail(t, "%s: expected\n%sbut there is\n%s", name, expected, rl_buf_cstr(&keyed));
      rl_free(expected);
      rl_free(name);
      rl_free(line);
    }
  }
  uint64_t acked = atomic_load(&t->w->acked);
  if (acked != model_received(MODEL_BATCHES)) trial_fail(t, "only %" PRIu64 " records were acknowledged", acked);
  rl_buf_free(&recorder);
  rl_buf_free(&keyed);
}

/* A process without faults goes on from what the others left, to the end. */
static inline void trial_finish(trial *t)
{
  const fault none = {.kind = FAULT_NONE, .seed = t->n ? t->faults[t->n - 1].seed + 2 : 1}; /* other partitions */
  if (trial_process(t, &none) != JOB_DONE) trial_fail(t, "it does not recover: %s", t->w->error);
  trial_check(t);
}

/* Nothing is left to do, and nothing is done again. */
static inline void trial_check_at_rest(trial *t)
{
  rl_buf before = {0}, after = {0};
  trial_read(t, "recorder", &before);
  const fault none = {.kind = FAULT_NONE};
  if (trial_process(t, &none) != JOB_DONE) trial_fail(t, "it does not start again: %s", t->w->error);
  trial_read(t, "recorder", &after);
  if (before.n != after.n) trial_fail(t, "outputs of complete batches run again: %s", rl_buf_cstr(&after) + before.n);
  rl_buf_free(&before);
  rl_buf_free(&after);
}

/* Calls that no local file system ends with EINTR, and the engine need not begin again. */
static inline bool trial_is_of_names(const char *call)
{
  return strcmp(call, "rename") == 0 || strcmp(call, "unlink") == 0 || strcmp(call, "stat") == 0 || strstr(call, "dir");
}

/* Must the job come to its end in spite of the fault? */
static inline bool trial_is_harmless(const trial *t, const fault *f, bool segment)
{
  const world *w = t->w;
  if (f->kind != FAULT_FULL && w->call[0] == '\0') return true; /* it was not met */
  switch (f->kind) {
  case FAULT_FULL: return w->started && !w->met_stopping; /* what runs waits; a start or a stop may fail */
  case FAULT_SHORT: return true;
  case FAULT_EINTR: return !trial_is_of_names(w->call);
  case FAULT_EIO:
  case FAULT_ENOSPC: return w->started && segment && strncmp(w->call, "pwrite", 6) == 0; /* it is tried again */
  default: return false;
  }
}

/* The job ends where it has to, and stops with an error where it has to. */
static inline void trial_check_end(trial *t, const fault *f, int rc)
{
  const char *call = t->w->call, *path = t->w->path, *kind = fault_kinds[f->kind].name;
  bool segment = strstr(path, "/checkpoint/log/log-") != NULL && !strstr(path, ".tmp");
  if (f->kind <= FAULT_TORN_SOME && call[0] && rc != FAULTY_STATUS)
    trial_fail(t, "the process outlived its end (%s %s)", call, path);
  bool final = f->kind == FAULT_EIO && segment && strcmp(call, "fdatasync") == 0 && !t->w->met_stopping;
  if (final && rc != JOB_STOPPED) trial_fail(t, "%s of %s fails, and the job goes on (status %d)", call, path, rc);
  if (trial_is_harmless(t, f, segment) && rc != JOB_DONE)
    trial_fail(t, "%s of %s meets %s, and the job stops: %s", call, path, kind, t->w->error);
}

static inline void trial_run(trial *t, const char *parent)
{
  trial_open(t, parent);
  for (int i = 0; i < t->n; i++) {
    int rc = trial_process(t, &t->faults[i]);
    trial_check_end(t, &t->faults[i], rc);
  }
  trial_finish(t);
  if (t->faults[0].step % 8 == 0) trial_check_at_rest(t);
  trial_close(t);
}

#endif
