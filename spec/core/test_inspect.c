/* Looking at checkpoint directories: what is told of them is what is there, and each damage is found where it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "checkpoints.h"

static void quiet(void *user, rl_log_level level, const char *line)
{
  (void)user;
  (void)level;
  (void)line;
}

/* Three batches in the image, one only in the log, one without its state, one just begun; two blocks in none. */
static ck_job make_job(const char *dir, bool close)
{
  static const ck_stage stages[] = {CK_APPLIED, CK_APPLIED, CK_APPLIED, CK_COMPLETE, CK_ENDED, CK_STATED};
  ck_job j;
  ck_open(&j, dir);
  ok(rl_state_put_note(j.store, "script", "job.lua", "return 1", 8));
  for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
    ck_receive(&j);
    if (i == 4) ck_receive(&j);
    ck_batch(&j, stages[i]);
  }
  ck_receive(&j);
  ck_receive(&j);
  rl_wal_stats stats;
  rl_wal_stats_read(j.wal, &stats);
  ok(rl_wal_wait(j.wal, stats.next - 1));
  if (close) ck_close(&j);
  return j;
}

static void expect_log(const char *dir)
{
  rl_inspect_log l;
  ok(rl_inspect_log_read(dir, &l));
  assert_int_equal(l.damages, 0);
  assert_string_equal(l.app, "job");
  assert_string_equal(l.engine, "0.1.0");
  assert_int_equal(l.batch_ms, CK_MS);
  assert_int_equal(l.starts, 1);
  assert_int_equal(l.started, 1790000000000);
  assert_int_equal(l.first, 1);
  assert_int_equal(l.types[RL_JOURNAL_START].records, 1);
  assert_int_equal(l.types[RL_JOURNAL_BLOCK].records, 9);
  assert_int_equal(l.types[RL_JOURNAL_BEGIN].records, 6);
  assert_int_equal(l.types[RL_JOURNAL_STATE].records, 12);
  assert_int_equal(l.types[RL_JOURNAL_END].records, 5);
  assert_int_equal(l.types[RL_JOURNAL_COMPLETE].records, 4);
  assert_int_equal(l.next, 1 + 1 + 9 + 6 + 12 + 5 + 4 + 4);
  assert_true(l.nsegments > 2);
  uint64_t records = 0;
  for (size_t i = 0; i < l.nsegments; i++) records += l.segments[i].records;
  assert_int_equal(records, l.next - 1);
  assert_int_equal(l.first_batch, 100);
  assert_int_equal(l.last_batch, 600);
  assert_int_equal(l.last_complete, 400);
  rl_inspect_log_free(&l);
}

static void expect_pending(const char *dir)
{
  rl_inspect_log l;
  ok(rl_inspect_log_read(dir, &l));
  assert_int_equal(l.npending, 2);
  assert_int_equal(l.pending[0].time, 500);
  assert_true(l.pending[0].made);
  assert_int_equal(l.pending[1].time, 600);
  assert_false(l.pending[1].made);
  const rl_inspect_input *in = l.pending[0].inputs;
  assert_int_equal(l.pending[0].ninputs, 2);
  assert_string_equal(in[0].uid, "in");
  assert_int_equal(in[0].kind, RL_JOURNAL_BLOCKS);
  assert_int_equal(in[0].blocks, 2);
  assert_int_equal(in[0].records, 6);
  assert_int_equal(in[0].missing, 0);
  assert_int_equal(in[0].bytes, strlen("r12\n") * 6);
  assert_string_equal(in[1].uid, "files");
  assert_int_equal(in[1].bytes, strlen("offset"));
  assert_int_equal(l.last.inputs[0].position, 21);
  assert_int_equal(l.nstock, 1);
  assert_int_equal(l.stock[0].blocks, 2);
  assert_int_equal(l.stock[0].records, 6);
  assert_int_equal(l.stock[0].position, 27);
  assert_int_equal(l.nchanges, 1);
  assert_string_equal(l.changes[0].uid, "seen");
  assert_int_equal(l.changes[0].version, 500);
  rl_inspect_log_free(&l);
}

static void expect_image(const char *dir)
{
  rl_inspect_image i;
  ok(rl_inspect_image_read(dir, true, &i));
  assert_true(i.found);
  assert_null(i.damage);
  assert_int_equal(i.nops, 1);
  assert_string_equal(i.ops[0].uid, "seen");
  assert_int_equal(i.ops[0].version, 300);
  assert_int_equal(i.ops[0].keys, 10);
  assert_true(i.ops[0].bytes > 10 * 10);
  assert_false(i.ops[0].timed);
  assert_int_equal(i.nnotes, 1);
  assert_string_equal(i.notes[0].dbi, "script");
  assert_string_equal(i.notes[0].name, "job.lua");
  assert_int_equal(i.notes[0].bytes, 8);
  assert_true(i.bytes > 4096);
  rl_inspect_image_free(&i);
}

static void expect_key(const char *dir, const char *key, int64_t value, int64_t version, bool logged)
{
  rl_inspect_value v;
  ok(rl_inspect_key(dir, "seen", records_str(key), &v));
  assert_int_equal(v.version, version);
  assert_int_equal(v.found, value != 0);
  assert_int_equal(v.logged, logged);
  if (v.found) assert_int_equal(values_of(&v.value).i, value);
  rl_inspect_value_free(&v);
}

static void expect_keys(const char *dir)
{
  rl_inspect_value v;
  expect_key(dir, "r0", 1, 500, false);
  expect_key(dir, "r9", 1, 500, true);
  expect_key(dir, "total", 18, 500, true); /* batch 600 is not made */
  expect_key(dir, "r18", 0, 500, false);
  expect_key(dir, "nothing", 0, 500, false);
  assert_int_equal(rl_inspect_key(dir, "other", rl_int(1), &v), RL_ENOTFOUND);
  assert_non_null(strstr(rl_error_message(), "operator 'other'"));
}

static void all_is_told_of_a_job_that_ended(void **state)
{
  make_job(*state, true);
  ok(rl_checkpoint_check(*state));
  assert_int_equal(rl_checkpoint_user(*state), 0);
  expect_log(*state);
  expect_pending(*state);
  expect_image(*state);
  expect_keys(*state);
}

/* A job in another process, which lives until its input is closed. */
typedef struct other {
  pid_t pid;
  int in, out;
} other;

static other start_other(const char *dir)
{
  int in[2], out[2];
  char c = 0;
  assert_int_equal(pipe(in), 0);
  assert_int_equal(pipe(out), 0);
  pid_t pid = fork();
  if (pid == 0) {
    close(in[1]);
    ck_job j = make_job(dir, false);
    if (write(out[1], &c, 1) == 1 && read(in[0], &c, 1) == 0) ck_close(&j);
    _exit(0);
  }
  close(in[0]);
  close(out[1]);
  assert_int_equal(read(out[0], &c, 1), 1);
  return (other){pid, in[1], out[0]};
}

static void end_other(other *o)
{
  int status;
  close(o->in);
  close(o->out);
  assert_int_equal(waitpid(o->pid, &status, 0), o->pid);
  assert_int_equal(status, 0);
}

static void and_of_one_that_runs(void **state)
{
  other o = start_other(*state);
  rl_inspect_verified v;
  assert_int_equal(rl_checkpoint_user(*state), o.pid);
  expect_log(*state);
  expect_pending(*state);
  expect_image(*state);
  expect_keys(*state);
  ok(rl_inspect_verify(*state, NULL, NULL, &v));
  assert_int_equal(v.damages, 0);
  assert_int_equal(v.operators, 1);
  assert_int_equal(v.entries, 10);
  end_other(&o);
}

static void what_is_no_checkpoint_is_said(void **state)
{
  assert_int_equal(rl_checkpoint_check(*state), RL_ENOTFOUND);
  assert_non_null(strstr(rl_error_message(), "is no checkpoint directory"));
}

static void a_log_without_an_image_is_enough(void **state)
{
  make_job(*state, true);
  char *path = rl_checkpoint_state(*state);
  rl_inspect_image i;
  rl_inspect_verified v;
  ok(rl_dir_remove(path));
  ok(rl_inspect_image_read(*state, true, &i));
  assert_false(i.found);
  ok(rl_inspect_verify(*state, NULL, NULL, &v));
  expect_key(*state, "total", 18, 500, true);
  rl_inspect_image_free(&i);
  rl_free(path);
}

/* Damage ----------------------------------------------------------------------------------------------------------- */

typedef struct found {
  char *file;
  uint64_t offset;
  bool torn;
  unsigned n;
} found;

static void note_first(void *user, const rl_inspect_damage *d)
{
  found *f = user;
  if (f->n++ > 0) return;
  assert_non_null(strstr(d->message, d->file));
  f->file = rl_strdup(d->file);
  f->offset = d->offset;
  f->torn = d->torn;
}

static void expect_found(const char *dir, const char *path, uint64_t at, bool may_be_torn)
{
  found f = {0};
  rl_inspect_verified v;
  rl_status st = rl_inspect_verify(dir, note_first, &f, &v);
  assert_true(f.n > 0);
  assert_string_equal(f.file, path);
  assert_true(f.offset <= at && at < f.offset + 700);
  assert_true(f.torn ? may_be_torn && st == RL_OK : st == RL_EDATA);
  assert_int_equal(v.torn + v.damages, f.n);
  rl_free(f.file);
}

static void each_flipped_byte_of_the_log_is_found_where_it_is(void **state)
{
  char *image = rl_checkpoint_state(*state);
  ck_job j;
  ck_open(&j, *state);
  ck_receive(&j);
  ck_batch(&j, CK_COMPLETE);
  ck_receive(&j);
  ck_batch(&j, CK_BEGUN);
  ck_close(&j);
  ok(rl_dir_remove(image)); /* sooner verified */
  rl_inspect_log l;
  ok(rl_inspect_log_read(*state, &l));
  for (size_t i = 0; i < l.nsegments; i++) {
    char *path = ck_segment(*state, l.segments[i].first);
    for (uint64_t at = 0; at < l.segments[i].bytes; at++) {
      /* the mark of the clean end: all before it is whole */
      bool mark = i + 1 == l.nsegments && at >= l.segments[i].bytes - 40;
      ck_flip(path, at);
      expect_found(*state, path, at, mark);
      ck_flip(path, at);
    }
    rl_free(path);
  }
  rl_inspect_log_free(&l);
  rl_free(image);
}

/* A record whose frame is whole and which is nonsense: as a bug, or a forgery, would leave it. */
static void a_record_that_cannot_be_read_is_found(void **state)
{
  char *log = rl_checkpoint_log(*state);
  rl_wal *w = NULL;
  rl_inspect_verified v;
  rl_inspect_log l;
  found f = {0};
  ok(rl_wal_open(&(rl_wal_spec){.dir = log}, &w));
  ok(rl_wal_write(w, RL_JOURNAL_END, &(rl_wal_part){.p = "\2\0x", .n = 3}, 1, NULL));
  ok(rl_wal_write(w, 77, &(rl_wal_part){.p = "?", .n = 1}, 1, NULL));
  ok(rl_wal_write(w, RL_JOURNAL_BLOCK, &(rl_wal_part){.p = "\1a\3\3\1one\ntwo\n", .n = 13}, 1, NULL));
  ok(rl_wal_close(w));
  assert_int_equal(rl_inspect_verify(*state, note_first, &f, &v), RL_EDATA);
  assert_int_equal(v.damages, 3);
  assert_non_null(strstr(rl_error_message(), "log-0000000000000001 at offset 96: record 1: malformed END record"));
  ok(rl_inspect_log_read(*state, &l));
  assert_int_equal(l.damages, 2);
  assert_int_equal(l.types[0].records, 1);
  rl_inspect_log_free(&l);
  rl_free(f.file);
  rl_free(log);
}

static void a_torn_tail_is_no_damage(void **state)
{
  make_job(*state, true);
  rl_inspect_log l;
  rl_inspect_verified v;
  found f = {0};
  ok(rl_inspect_log_read(*state, &l));
  char *path = ck_segment(*state, l.segments[l.nsegments - 1].first);
  assert_int_equal(truncate(path, (off_t)l.segments[l.nsegments - 1].bytes - 50), 0);
  rl_inspect_log_free(&l);
  ok(rl_inspect_verify(*state, note_first, &f, &v));
  assert_true(f.torn);
  assert_int_equal(v.torn, 1);
  ok(rl_inspect_log_read(*state, &l));
  assert_int_equal(l.damages, 0);
  assert_non_null(strstr(l.torn, "unfinished tail"));
  rl_inspect_log_free(&l);
  rl_free(f.file);
  rl_free(path);
}

static void image_damage(void *user, const rl_inspect_damage *d)
{
  assert_null(d->file);
  assert_non_null(strstr(d->message, "state"));
  ++*(unsigned *)user;
}

/* LMDB reads beyond the end of a file that became shorter, which is a signal. */
static void an_image_that_crashes_its_reader_is_damaged(void **state)
{
  make_job(*state, true);
  char *image = rl_checkpoint_state(*state), *path = rl_path_join(image, "data.mdb");
  rl_inspect_image i;
  rl_inspect_verified v;
  rl_inspect_value value;
  unsigned damages = 0;
  assert_int_equal(truncate(path, 3 * 4096), 0);
  ok(rl_inspect_image_read(*state, true, &i));
  assert_true(i.found);
  assert_non_null(i.damage);
  rl_inspect_image_free(&i);
  assert_int_equal(rl_inspect_verify(*state, image_damage, &damages, &v), RL_EDATA);
  assert_true(damages > 0);
  assert_int_equal(rl_inspect_key(*state, "seen", records_str("total"), &value), RL_EDATA);
  rl_inspect_value_free(&value);
  rl_free(image);
  rl_free(path);
}

static void flipped_bytes_of_the_image_never_crash_who_looks(void **state)
{
  make_job(*state, true);
  char *image = rl_checkpoint_state(*state), *path = rl_path_join(image, "data.mdb");
  uint64_t size, seed = records_seed("flipped_bytes_of_the_image");
  unsigned found = 0;
  ok(rl_file_size(path, &size));
  for (int round = 0; round < 60 || (!found && round < 6000); round++) { /* most bytes mean nothing */
    uint64_t at = records_random(&seed) % (round % 2 ? size : 8192);
    rl_inspect_image i;
    rl_inspect_verified v;
    unsigned damages = 0;
    ck_flip(path, at);
    rl_status st = rl_inspect_verify(*state, image_damage, &damages, &v);
    assert_true(st == RL_OK ? damages == 0 : st == RL_EDATA);
    found += damages > 0;
    rl_status seen = rl_inspect_image_read(*state, true, &i);
    if (st == RL_OK) assert_true(seen == RL_OK && !i.damage);
    rl_inspect_image_free(&i);
    ck_flip(path, at);
  }
  assert_true(found > 0);
  rl_free(image);
  rl_free(path);
}

int main(void)
{
  rl_log_set_sink(quiet, NULL);
  ck_be_fast();
  const struct CMUnitTest tests[] = {
      in_a_folder(all_is_told_of_a_job_that_ended),
      in_a_folder(and_of_one_that_runs),
      in_a_folder(what_is_no_checkpoint_is_said),
      in_a_folder(a_log_without_an_image_is_enough),
      in_a_folder(each_flipped_byte_of_the_log_is_found_where_it_is),
      in_a_folder(a_record_that_cannot_be_read_is_found),
      in_a_folder(a_torn_tail_is_no_damage),
      in_a_folder(an_image_that_crashes_its_reader_is_damaged),
      in_a_folder(flipped_bytes_of_the_image_never_crash_who_looks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
