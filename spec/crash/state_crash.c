/* The kept state store, cut off at every system call by which LMDB writes. A child runs a reference workload with
 * lmdb_shim preloaded and tells what was committed; this process then opens what it left, replays the versions that the
 * image lacks out of the list of encoded changes that a log would hold, and compares all with a model.
 *
 *   state_crash SHIM              all steps with a kill, a sample of them in the other ways; RILLE_LONG=1: all
 *   state_crash SHIM ACTION STEP  one of them
 *   state_crash work DIR          the child */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "data/codec.h"
#include "data/partition.h"
#include "store/state.h"

#define MIB ((size_t)1024 * 1024)
#define OPS 3
#define ROUNDS 6
#define VALUE_MOST 6000
#define KEYS_MOST 16000 /* three fifths of them are set at once: more than one transaction moves */
#define REPORTS 1      /* the child's descriptor for them */
#define FAILED 3       /* exit status: an error was told */
#define SAMPLES 24
#define NOTES_AGAIN 4 /* a note replaces the one of so many versions before */

/* What is checked by hand here is no test program's assertion: it has to name the run. */
static const char *run_name = "";

static _Noreturn void die(const char *what)
{
  fprintf(stderr, "state_crash: %s: %s\n", run_name, what);
  exit(1);
}

static void ok(rl_status st)
{
  if (st != RL_OK) die(rl_error_message());
}

static void check(bool good, const char *what)
{
  if (!good) die(what);
}

/* The workload ----------------------------------------------------------------------------------------------------- */

static const struct {
  const char *uid;
  bool timed;
} ops[OPS] = {{"timed", true}, {"large values", false}, {"many keys", true}};

static uint64_t mix(uint64_t a, uint64_t b, uint64_t c)
{
  uint64_t x = a * UINT64_C(0x9e3779b97f4a7c15) + b * UINT64_C(0xbf58476d1ce4e5b9) + c + 1;
  x = (x ^ x >> 31) * UINT64_C(0x94d049bb133111eb);
  return x ^ x >> 29;
}

static int keys_of(int op, int64_t time)
{
  static const int keys[OPS] = {60, 12, 40};
  return op == 2 && time == 3 ? KEYS_MOST : keys[op];
}

/* The value of a key from version `time` on; 0: removed, -1: as it was. */
static int64_t change_of(int op, int64_t time, int key)
{
  if (key >= keys_of(op, time)) return -1;
  uint64_t x = mix((uint64_t)op, (uint64_t)time, (uint64_t)key);
  return x % 4 == 0 ? -1 : x % 5 == 0 ? 0 : (int64_t)(x >> 40) + 1;
}

static rl_value value_of(int op, int64_t value, char *room, size_t size)
{
  if (value == 0) return rl_nil();
  if (op != 1) return rl_int(value);
  size_t n = (size_t)value % size;
  memset(room, 'a' + (int)(value % 26), n);
  return rl_str(room, n);
}

/* Makes version `time` of an operator; `encoded` NULL: nobody keeps a log. */
static rl_status make_version(rl_state *s, int op, int64_t time, rl_buf *encoded)
{
  rl_state_op *o = NULL;
  rl_state_update *u = NULL;
  rl_value old;
  int64_t stamp;
  static char room[VALUE_MOST];
  rl_status st = rl_state_operator(s, ops[op].uid, ops[op].timed, &o);
  if (st == RL_OK) st = rl_state_update_new(o, 0, 1, &u);
  for (int key = 0; st == RL_OK && key < keys_of(op, time); key++) {
    int64_t value = change_of(op, time, key);
    if (value < 0) continue;
    st = rl_state_slot(u, rl_int(key), &old, &stamp);
    if (st == RL_OK) st = rl_state_set(u, rl_state_slots(u) - 1, value_of(op, value, room, sizeof room), time);
  }
  if (st != RL_OK) {
    rl_state_update_delete(u);
    return st;
  }
  if (encoded) rl_state_update_encode(u, encoded);
  return rl_state_seal(o, time, &u, 1);
}

typedef struct report {
  enum { TRIES_VERSION, HAS_VERSION, HAS_NOTE } what;
  int64_t time;
} report;

static void tell(int what, int64_t time)
{
  report r = {what, time};
  if (write(REPORTS, &r, sizeof r) != sizeof r) _exit(1);
}

static void note_of(int64_t time, char name[16], rl_buf *text)
{
  snprintf(name, 16, "note %d", (int)(time / 2 % 2));
  rl_buf_clear(text);
  while (text->n < 3000) rl_buf_printf(text, "text of %d, ", (int)time);
}

/* Two versions at a time. */
static rl_status work_on(rl_state *s)
{
  rl_status st = RL_OK;
  rl_buf text = {0};
  char name[16];
  for (int64_t time = 1; time <= ROUNDS && st == RL_OK; time++) {
    for (int op = 0; op < OPS && st == RL_OK; op++) st = make_version(s, op, time, NULL);
    if (st != RL_OK || time % 2 != 0) continue;
    tell(TRIES_VERSION, time);
    rl_state_end(s, time);
    st = rl_state_flush(s);
    if (st != RL_OK) break;
    tell(HAS_VERSION, time);
    note_of(time, name, &text);
    st = rl_state_put_note(s, "batch", name, text.p, text.n);
    if (st == RL_OK) tell(HAS_NOTE, time);
  }
  rl_buf_free(&text);
  return st;
}

static void no_log(void *user, rl_log_level level, const char *line)
{
  (void)user, (void)level, (void)line;
}

static rl_status open_kept(const char *dir, rl_state **s)
{
  return rl_state_open(&(rl_state_spec){.dir = dir, .overlay_bytes = 256 * MIB}, s);
}

static int work(const char *dir)
{
  rl_state *s = NULL;
  rl_log_set_sink(no_log, NULL);
  rl_status st = open_kept(dir, &s);
  if (st == RL_OK) st = work_on(s);
  rl_state_close(s);
  return st == RL_OK ? 0 : FAILED;
}

/* The model -------------------------------------------------------------------------------------------------------- */

typedef struct cell {
  int64_t value, stamp; /* 0: none */
} cell;

static cell model[ROUNDS + 1][OPS][KEYS_MOST];
static rl_buf logged[ROUNDS + 1][OPS];

static void make_model(const char *dir)
{
  rl_state *s = NULL;
  ok(rl_state_open(&(rl_state_spec){.dir = dir, .scratch = true, .overlay_bytes = 256 * MIB}, &s));
  for (int64_t time = 1; time <= ROUNDS; time++) {
    memcpy(model[time], model[time - 1], sizeof model[0]);
    for (int op = 0; op < OPS; op++) {
      ok(make_version(s, op, time, &logged[time][op]));
      for (int key = 0; key < KEYS_MOST; key++) {
        int64_t value = change_of(op, time, key);
        if (value >= 0) model[time][op][key] = (cell){value, time};
      }
    }
  }
  rl_state_close(s);
}

static void expect_version(rl_state *s, int op, int64_t version)
{
  rl_state_op *o = rl_state_find(s, ops[op].uid);
  rl_state_scan *scan = NULL;
  rl_value key, value;
  int64_t stamp, n = 0;
  bool found = true;
  static char room[VALUE_MOST];
  if (!o && version == 0) return;
  check(o != NULL, "an operator is missing");
  ok(rl_state_scan_open(o, RL_NO_TIME, 0, RL_KEY_GROUPS, NULL, 0, &scan));
  while (ok(rl_state_scan_next(scan, &key, &value, &stamp, &found)), found) {
    check(key.type == RL_T_INT && key.i >= 0 && key.i < KEYS_MOST, "a key that nobody put");
    cell c = model[version][op][key.i];
    check(c.value > 0 && c.stamp == stamp, "a key with another stamp, or one that was removed");
    check(rl_value_equal(value, value_of(op, c.value, room, sizeof room)), "another value");
    n++;
  }
  rl_state_scan_close(scan);
  for (int k = 0; k < KEYS_MOST; k++) n -= model[version][op][k].value > 0;
  check(n == 0, "a key is missing");
}

/* What timeouts will find: all keys, by their stamps. */
static void expect_due(rl_state *s, int op)
{
  rl_state_update *u = NULL;
  rl_state_due *d = NULL;
  rl_value key;
  bool found = true;
  ok(rl_state_update_new(rl_state_find(s, ops[op].uid), 0, 1, &u));
  for (int64_t before = 0; before <= ROUNDS + 1; before += 3) {
    int64_t n = 0;
    ok(rl_state_due_open(u, before, &d));
    while (ok(rl_state_due_next(d, &key, &found)), found) n++;
    rl_state_due_close(d);
    for (int k = 0; k < KEYS_MOST; k++) {
      n -= model[ROUNDS][op][k].value > 0 && model[ROUNDS][op][k].stamp < before;
    }
    check(n == 0, "other keys are due");
  }
  rl_state_update_delete(u);
}

/* Afterwards ------------------------------------------------------------------------------------------------------- */

typedef struct outcome {
  int64_t tried, has, noted; /* versions; 0: none */
  int status;                /* as of waitpid */
  unsigned steps;
} outcome;

static void print_damage(void *user, const rl_state_damage *d)
{
  (void)user;
  fprintf(stderr, "%s: %s %s: %s\n", run_name, d->uid ? d->uid : "", d->key ? d->key : "", d->what);
}

static void expect_notes(rl_state *s, const outcome *o)
{
  rl_buf got = {0}, text = {0};
  char name[16];
  bool found = false;
  for (int64_t time = 2; time <= o->noted; time += 2) {
    int64_t newest = time; /* of this name */
    while (newest + NOTES_AGAIN <= o->noted) newest += NOTES_AGAIN;
    note_of(newest, name, &text);
    rl_buf_clear(&got);
    ok(rl_state_get_note(s, "batch", name, &got, &found));
    bool same = found && got.n == text.n && memcmp(got.p, text.p, text.n) == 0;
    if (!same && newest + NOTES_AGAIN <= o->has) { /* the one after it may be there, and nobody was told */
      note_of(newest + NOTES_AGAIN, name, &text);
      same = found && got.n == text.n && memcmp(got.p, text.p, text.n) == 0;
    }
    check(same, "a note is missing");
  }
  rl_buf_free(&got);
  rl_buf_free(&text);
}

/* The versions that are there are those of which it was told, or what was being committed when the end came. Of a large
 * one a part may be there too, until it is replayed. */
static void recover(rl_state *s, const outcome *o)
{
  for (int op = 0; op < OPS; op++) {
    rl_state_op *kept = rl_state_find(s, ops[op].uid);
    int64_t sealed = kept ? rl_state_sealed(kept) : RL_NO_TIME;
    if (sealed == RL_NO_TIME) sealed = 0;
    check(sealed >= o->has, "a version is missing that was told of");
    check(sealed <= o->tried, "a version is there that was not to be moved");
    if (op != 2) expect_version(s, op, sealed);
  }
  expect_notes(s, o);
  for (int64_t time = 1; time <= ROUNDS; time++) {
    for (int op = 0; op < OPS; op++) {
      rl_state_op *into = NULL;
      ok(rl_state_operator(s, ops[op].uid, ops[op].timed, &into));
      const rl_state_changes c = {logged[time][op].p, logged[time][op].n};
      if (time > rl_state_sealed(into)) ok(rl_state_replay(into, time, &c, 1));
    }
  }
}

static void expect_all(rl_state *s)
{
  for (int op = 0; op < OPS; op++) {
    expect_version(s, op, ROUNDS);
    if (ops[op].timed) expect_due(s, op);
  }
}

static void check_after(const char *dir, const outcome *o)
{
  rl_state *s = NULL;
  bool survived = WIFEXITED(o->status) && WEXITSTATUS(o->status) == 0;
  if (!survived && WIFSIGNALED(o->status)) { /* as it is left, nothing is wrong with it */
    rl_status st = rl_state_verify(dir, print_damage, NULL, NULL);
    if (st != RL_ENOTFOUND) ok(st);
  }
  ok(open_kept(dir, &s));
  recover(s, o);
  expect_all(s);
  rl_state_end(s, ROUNDS);
  ok(rl_state_flush(s));
  ok(rl_state_put_note(s, "history", "opened", "again", 5));
  expect_all(s);
  rl_state_close(s);
  ok(rl_state_verify(dir, print_damage, NULL, NULL));
}

/* Runs ------------------------------------------------------------------------------------------------------------- */

static _Noreturn void be_child(const char *self, const char *shim, const char *dir, int out, const char *action,
                               unsigned step, int total)
{
  char number[16], seed[16], fd[16];
  snprintf(number, sizeof number, "%u", step);
  snprintf(seed, sizeof seed, "%u", step * 7919 + 1);
  snprintf(fd, sizeof fd, "%d", total);
  bool set = setenv("LD_PRELOAD", shim, 1) == 0 && setenv("RILLE_SHIM_DIR", dir, 1) == 0 &&
             setenv("RILLE_SHIM_STEP", number, 1) == 0 && setenv("RILLE_SHIM_ACTION", action, 1) == 0 &&
             setenv("RILLE_SHIM_SEED", seed, 1) == 0 && setenv("RILLE_SHIM_TOTAL", fd, 1) == 0;
  if (!set || dup2(out, REPORTS) < 0) _exit(1);
  execl(self, self, "work", dir, (char *)NULL);
  _exit(1);
}

static void read_reports(int fd, outcome *o)
{
  report r;
  ssize_t n;
  while ((n = read(fd, &r, sizeof r)) == sizeof r) {
    if (r.what == TRIES_VERSION) o->tried = r.time;
    if (r.what == HAS_VERSION) o->has = r.time;
    if (r.what == HAS_NOTE) o->noted = r.time;
  }
  check(n == 0, "the child's reports end in the middle");
}

static outcome run_child(const char *self, const char *shim, const char *dir, const char *action, unsigned step)
{
  outcome o = {0};
  int reports[2], total[2];
  check(pipe2(reports, O_CLOEXEC) == 0 && pipe(total) == 0, "no pipe");
  pid_t child = fork();
  check(child >= 0, "no process");
  if (child == 0) {
    (void)close(total[0]);
    be_child(self, shim, dir, reports[1], action, step, total[1]);
  }
  check(close(reports[1]) == 0 && close(total[1]) == 0, "cannot close");
  read_reports(reports[0], &o);
  if (read(total[0], &o.steps, sizeof o.steps) != sizeof o.steps) o.steps = 0;
  check(close(reports[0]) == 0 && close(total[0]) == 0, "cannot close");
  check(waitpid(child, &o.status, 0) == child, "the child is lost");
  return o;
}

static bool is_failure(const char *action)
{
  return action[0] == 'E';
}

static void run(const char *self, const char *shim, const char *root, const char *action, unsigned step)
{
  char *name = rl_format("%s %u", action, step), *dir = rl_format("%s/state", root);
  run_name = name;
  outcome o = run_child(self, shim, dir, action, step);
  if (is_failure(action)) {
    check(WIFEXITED(o.status) && WEXITSTATUS(o.status) == FAILED, "the failure was not told");
  } else {
    check(WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGKILL, "the child was not killed");
  }
  check_after(dir, &o);
  ok(rl_dir_remove(dir));
  run_name = "";
  rl_free(dir);
  rl_free(name);
}

static unsigned count_steps(const char *self, const char *shim, const char *root)
{
  char *dir = rl_format("%s/state", root);
  run_name = "without a crash";
  outcome o = run_child(self, shim, dir, "none", 0);
  check(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 0 && o.has == ROUNDS && o.noted == ROUNDS, "it did not end");
  check(o.steps > 0, "the library was not preloaded");
  check_after(dir, &o);
  ok(rl_dir_remove(dir));
  rl_free(dir);
  return o.steps;
}

static void run_all(const char *self, const char *shim, const char *root)
{
  static const char *const actions[] = {"kill", "tear", "lose", "some", "EIO", "ENOSPC"};
  const char *all = getenv("RILLE_LONG");
  unsigned steps = count_steps(self, shim, root), runs = 0;
  for (unsigned i = 0; i < sizeof actions / sizeof *actions; i++) {
    bool sample = i > 0 && !(all && strcmp(all, "1") == 0);
    unsigned stride = sample && steps > SAMPLES ? steps / SAMPLES : 1;
    for (unsigned step = 1 + i % stride; step <= steps; step += stride, runs++) run(self, shim, root, actions[i], step);
  }
  printf("state_crash: %u steps, %u runs\n", steps, runs);
}

/* This process writes as well, and need not wait for syncs either. */
static _Noreturn void begin_again(char **argv, const char *shim)
{
  const char *tmp = getenv("TMPDIR");
  char *pattern = rl_format("%s/rille-crash-XXXXXX", tmp && *tmp ? tmp : "/tmp");
  check(mkdtemp(pattern) != NULL, "no folder");
  char *root = realpath(pattern, NULL);
  check(root && setenv("RILLE_SHIM_DIR", root, 1) == 0 && setenv("LD_PRELOAD", shim, 1) == 0, "no folder");
  execv(argv[0], argv);
  die("cannot begin again");
}

int main(int argc, char **argv)
{
  if (argc == 3 && strcmp(argv[1], "work") == 0) return work(argv[2]);
  if (argc != 2 && argc != 4) die("usage: state_crash SHIM [ACTION STEP]");
  const char *root = getenv("RILLE_SHIM_DIR");
  if (!root) begin_again(argv, argv[1]);
  rl_log_set_sink(no_log, NULL);
  make_model(root);
  if (argc == 4) {
    run(argv[0], argv[1], root, argv[2], (unsigned)strtoul(argv[3], NULL, 10));
  } else {
    run_all(argv[0], argv[1], root);
  }
  ok(rl_dir_remove(root));
  for (int time = 0; time <= ROUNDS; time++) {
    for (int op = 0; op < OPS; op++) rl_buf_free(&logged[time][op]);
  }
  return 0;
}
