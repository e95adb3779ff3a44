/* Batches in LMDB: each in there once, whole, whatever fails. */
#include <inttypes.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/log.h"
#include "data/codec.h"
#include "engine.h"
#include "records.h"
#include "scratch.h"
#include "sink/lmdb.h"
#include "sink/lmdb_env.h"

/* Help ------------------------------------------------------------------------------------------------------------- */

static rl_lmdb_sink *open_sink(const char *path, const char *db, const char *output, rl_lmdb_format format)
{
  rl_lmdb_sink *s = NULL;
  const rl_lmdb_sink_spec spec = {.path = path, .db = db, .output = output, .format = format, .map = 1};
  if (rl_lmdb_sink_open(&spec, &s) != RL_OK) fail_msg("%s", rl_error_message());
  return s;
}

/* Runs the job of a batch over one partition, which is given up. */
static rl_status write_rdd(rl_context *c, rl_lmdb_sink *s, int64_t time, rl_rdd *rdd)
{
  rl_rdd *target = apply((rl_op){.kind = RL_OP_NARROW, .name = "put", .fn = rl_lmdb_write_fn(s)}, rdd);
  rl_status st = RL_OK;
  do {
    rl_job_spec spec = {.rdd = target, .kind = RL_JOB_RUN, .batch_time = time, .what = "put"};
    rl_job *job = NULL;
    st = rl_job_submit(c, &spec, NULL, &job);
    if (st == RL_OK) st = rl_job_wait(job);
    rl_job_unref(job);
  } while (st == RL_OK && rl_lmdb_sink_again(s));
  rl_rdd_unref(target);
  return st;
}

static rl_rdd *rdd_of(const rl_value (*pairs)[2], size_t n)
{
  rl_chunks list = {0};
  rl_builder *b = rl_builder_new();
  for (size_t i = 0; i < n; i++) records_add(b, &list, pairs[i], 2);
  records_end(b, &list);
  return rl_rdd_from_chunks(&list, 1);
}

static rl_status write_pairs(rl_context *c, rl_lmdb_sink *s, int64_t time, const rl_value (*pairs)[2], size_t n)
{
  return write_rdd(c, s, time, rdd_of(pairs, n));
}

/* "key=value\n" ... of a database; the caller frees. */
static char *read_text(const char *path, const char *db, rl_lmdb_format format)
{
  rl_lmdb_reader *r = NULL;
  if (rl_lmdb_reader_open(path, db, format, &r) != RL_OK) fail_msg("%s", rl_error_message());
  rl_buf text = {0};
  rl_value key, value;
  bool found;
  while (rl_lmdb_reader_next(r, &key, &value, &found) == RL_OK && found) {
    rl_value_format(key, &text);
    rl_buf_printf(&text, value.type == RL_T_BYTES ? "=" : "=#");
    rl_value_format(value, &text);
    rl_buf_putc(&text, '\n');
  }
  assert_false(found);
  rl_lmdb_reader_close(r);
  char *s = rl_strdup(rl_buf_cstr(&text));
  rl_buf_free(&text);
  return s;
}

static void expect_text(const char *path, const char *db, rl_lmdb_format format, const char *text)
{
  char *got = read_text(path, db, format);
  assert_string_equal(got, text);
  rl_free(got);
}

static int64_t newest(rl_lmdb_sink *s)
{
  int64_t time;
  assert_int_equal(rl_lmdb_sink_newest(s, &time), RL_OK);
  return time;
}

static rl_value str(const char *s)
{
  return records_str(s);
}

/* What is written -------------------------------------------------------------------------------------------------- */

static void a_batch_is_written_once(void **state)
{
  rl_context *c = new_context(NULL);
  char *path = rl_path_join(*state, "deep/er/out");
  rl_lmdb_sink *s = open_sink(path, "data", "app/counts", RL_LMDB_TEXT);
  assert_int_equal(newest(s), RL_NO_TIME);
  const rl_value one[][2] = {{str("a"), rl_int(1)}, {str("b"), str("x")}, {str("a"), rl_int(3)}, {str("c"), rl_int(0)}};
  assert_int_equal(write_pairs(c, s, 1000, one, 4), RL_OK);
  expect_text(path, "data", RL_LMDB_TEXT, "a=#3\nb=x\nc=#0\n");
  assert_int_equal(newest(s), 1000);
  const rl_value other[][2] = {{str("a"), rl_int(99)}};
  assert_int_equal(write_pairs(c, s, 1000, other, 1), RL_OK);
  assert_int_equal(write_pairs(c, s, 500, other, 1), RL_OK);
  expect_text(path, "data", RL_LMDB_TEXT, "a=#3\nb=x\nc=#0\n");
  const rl_value two[][2] = {{str("c"), rl_nil()}, {str("d"), rl_nil()}, {str("e"), str("")}};
  assert_int_equal(write_pairs(c, s, 2000, two, 3), RL_OK);
  expect_text(path, "data", RL_LMDB_TEXT, "a=#3\nb=x\ne=\n");
  expect_text(path, RL_LMDB_TIMES, RL_LMDB_TEXT, "app/counts=1 2000\n");
  rl_lmdb_sink_unref(s);
  s = open_sink(path, "data", "app/counts", RL_LMDB_TEXT);
  assert_int_equal(newest(s), 2000);
  assert_int_equal(write_pairs(c, s, 2000, other, 1), RL_OK);
  expect_text(path, "data", RL_LMDB_TEXT, "a=#3\nb=x\ne=\n");
  rl_lmdb_sink_unref(s);
  rl_free(path);
  rl_context_unref(c);
}

static void outputs_have_times_of_their_own(void **state)
{
  rl_context *c = new_context(NULL);
  rl_lmdb_sink *a = open_sink(*state, "data", "a", RL_LMDB_TEXT), *b = open_sink(*state, "data", "b", RL_LMDB_TEXT);
  rl_lmdb_sink *other = open_sink(*state, "other", "b/other", RL_LMDB_TEXT);
  const rl_value x[][2] = {{str("x"), rl_int(1)}}, y[][2] = {{str("y"), rl_int(2)}}, z[][2] = {{str("z"), rl_int(3)}};
  assert_int_equal(write_pairs(c, a, 2000, x, 1), RL_OK);
  assert_int_equal(write_pairs(c, b, 1000, y, 1), RL_OK);
  assert_int_equal(write_pairs(c, other, 1000, z, 1), RL_OK);
  assert_int_equal(write_pairs(c, b, 2000, NULL, 0), RL_OK);
  assert_int_equal(newest(b), 1000); /* nothing was in it */
  expect_text(*state, "data", RL_LMDB_TEXT, "x=#1\ny=#2\n");
  expect_text(*state, "other", RL_LMDB_TEXT, "z=#3\n");
  rl_lmdb_sink_unref(a);
  rl_lmdb_sink_unref(b);
  rl_lmdb_sink_unref(other);
  rl_context_unref(c);
}

static void texts_are_what_other_programs_read(void **state)
{
  rl_context *c = new_context(NULL);
  rl_lmdb_sink *s = open_sink(*state, "data", "o", RL_LMDB_TEXT);
  const rl_value pairs[][2] = {
    {rl_int(-7), rl_float(0.1 + 0.2)}, {rl_float(2.0), rl_float(2.0)},    {rl_float(2.5), rl_float(-0.0)},
    {rl_bool(true), rl_bool(false)},   {str("k1"), str("007")},           {str("k2"), str("1e5")},
    {str("k3"), str("0x10")},          {str("k4"), rl_float(123456789012345678.0)}, {str("k5"), str("-")},
    {str("k6"), rl_int(INT64_MIN)},    {str("~~"), rl_str("1\0", 2)},     {str("k8"), str("9223372036854775808")},
    {str("k9"), str(" 1")},            {str("ka"), str("1.50")},          {str("kb"), str("1.5")}};
  assert_int_equal(write_pairs(c, s, 1, pairs, 15), RL_OK);
  char *text = read_text(*state, "data", RL_LMDB_TEXT);
  assert_non_null(strstr(text, "-7=#0.3\n2=#2.0\n2.5=#-0.0\n"));
  assert_non_null(strstr(text, "k1=007\nk2=1e5\nk3=0x10\nk4=#1.2345678901235e+17\nk5=-\n"));
  assert_non_null(strstr(text, "k6=#-9223372036854775808\n"));
  assert_non_null(strstr(text, "k8=9223372036854775808\nk9= 1\nka=1.50\nkb=#1.5\ntrue=false\n~~=1"));
  rl_free(text);
  rl_lmdb_reader *r = NULL;
  rl_value key, value;
  bool found;
  assert_int_equal(rl_lmdb_reader_open(*state, "data", RL_LMDB_TEXT, &r), RL_OK);
  assert_int_equal(rl_lmdb_reader_next(r, &key, &value, &found), RL_OK);
  assert_true(found && key.type == RL_T_BYTES && value.type == RL_T_FLOAT && value.f == 0.1 + 0.2);
  rl_lmdb_reader_close(r);
  rl_lmdb_sink_unref(s);
  rl_context_unref(c);
}

static void any_value_comes_back_from_binary(void **state)
{
  rl_context *c = new_context(NULL);
  rl_lmdb_sink *s = open_sink(*state, "data", "o", RL_LMDB_BINARY);
  rl_buf tuple = {0}, table = {0};
  rl_put_tuple(&tuple, 2);
  rl_put_float(&tuple, 1.0);
  rl_put_bytes(&tuple, "x", 1);
  rl_put_table(&table, 1);
  rl_put_int(&table, 5);
  rl_put_varint(&table, 0);
  rl_value t = {.type = RL_T_TUPLE, .s = {tuple.p, tuple.n}}, list = {.type = RL_T_TABLE, .s = {table.p, table.n}};
  const rl_value pairs[][2] = {
    {t, list}, {rl_int(1), rl_null()}, {str("1"), rl_float(1.0)}, {rl_bool(false), str("s")}};
  assert_int_equal(write_pairs(c, s, 1, pairs, 4), RL_OK);
  expect_text(*state, "data", RL_LMDB_BINARY, "false=s\n1=#null\n1=#1.0\n(1,x)=#{5}\n");
  rl_buf_free(&tuple);
  rl_buf_free(&table);
  rl_lmdb_sink_unref(s);
  rl_context_unref(c);
}

static void what_has_no_place_is_refused_and_nothing_written(void **state)
{
  static const char *const settings[] = {"rille.task.maxFailures", "1", NULL};
  rl_context *c = new_context(settings);
  rl_lmdb_sink *s = open_sink(*state, "data", "o", RL_LMDB_TEXT);
  char longest[512], longer[513];
  memset(longest, 'k', sizeof longest);
  memset(longer, 'k', sizeof longer);
  longest[511] = longer[512] = '\0';
  const struct {
    rl_value key, value;
    rl_status st;
    const char *message;
  } cases[] = {
    {str(longer), rl_int(1), RL_ELIMIT, "kkk...': it has 512 bytes; keys of LMDB have 1 to 511"},
    {str(""), rl_int(1), RL_ELIMIT, "it has 0 bytes"},
    {rl_null(), rl_int(1), RL_EINVAL, "the key 'null': it is null, which has no text form"},
    {rl_float(0.0 / 0.0), rl_int(1), RL_EINVAL, "NaN"},
    {str("k"), rl_null(), RL_EINVAL, "the value of the key 'k': it is null, which has no text form"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const rl_value pairs[][2] = {{str("good"), rl_int(1)}, {cases[i].key, cases[i].value}};
    assert_int_equal(write_pairs(c, s, 1, pairs, 2), cases[i].st);
    if (!strstr(rl_error_message(), cases[i].message)) fail_msg("%s", rl_error_message());
  }
  expect_text(*state, "data", RL_LMDB_TEXT, "");
  assert_int_equal(write_rdd(c, s, 1, integers(1, 3, 1)), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "(key, value) is needed"));
  const rl_value good[][2] = {{str(longest), rl_int(1)}};
  assert_int_equal(write_pairs(c, s, RL_NO_TIME, good, 1), RL_EINVAL);
  assert_int_equal(write_pairs(c, s, 1, good, 1), RL_OK);
  rl_lmdb_sink_unref(s);
  rl_context_unref(c);
}

static void other_environments_are_told_apart(void **state)
{
  char *dir = rl_path_join(*state, "env");
  char *file = scratch_file(*state, "file.mdb", "this is no database at all, is it");
  rl_lmdb_sink *s = NULL;
  rl_lmdb_reader *r = NULL;
  rl_lmdb_sink_spec spec = {.path = file, .db = "data", .output = "o"};
  assert_int_equal(rl_lmdb_sink_open(&spec, &s), RL_EDATA);
  assert_non_null(strstr(rl_error_message(), "file.mdb: that is no LMDB environment"));
  assert_int_equal(rl_lmdb_reader_open(dir, "data", RL_LMDB_TEXT, &r), RL_ENOTFOUND);
  assert_false(scratch_exists(*state, "env"));
  assert_int_equal(rl_lmdb_reader_open(*state, "data", RL_LMDB_TEXT, &r), RL_ENOTFOUND);
  assert_false(scratch_exists(*state, "data.mdb"));
  spec.path = dir;
  spec.db = RL_LMDB_TIMES;
  assert_int_equal(rl_lmdb_sink_open(&spec, &s), RL_EINVAL);
  spec.db = "data";
  assert_int_equal(rl_lmdb_sink_open(&spec, &s), RL_OK);
  assert_int_equal(rl_lmdb_reader_open(dir, "none", RL_LMDB_TEXT, &r), RL_ENOTFOUND);
  assert_non_null(strstr(rl_error_message(), "no database 'none'"));
  rl_lmdb *e = NULL;
  char *data = rl_path_join(dir, "data.mdb");
  assert_int_equal(rl_lmdb_open(data, false, 0, &e), RL_OK); /* the file by its own name: it is open already */
  assert_string_equal(rl_lmdb_path(e), dir);
  MDB_txn *txn = NULL;
  MDB_dbi dbi;
  assert_int_equal(rl_lmdb_begin(e, true, false, &txn), RL_OK);
  assert_int_equal(mdb_dbi_open(txn, "many", MDB_CREATE | MDB_DUPSORT, &dbi), 0);
  assert_int_equal(rl_lmdb_commit(e, txn), 0);
  assert_int_equal(rl_lmdb_db(e, "many", true, &dbi), RL_EUNSUPPORTED);
  assert_non_null(strstr(rl_error_message(), "several values a key"));
  rl_lmdb_unref(e);
  rl_lmdb_sink_unref(s);
  rl_free(data);
  rl_free(dir);
  rl_free(file);
}

/* Room ------------------------------------------------------------------------------------------------------------- */

/* `n` records of 1 KB. */
static rl_rdd *kilobytes(int64_t from, int64_t n)
{
  static char bytes[1024];
  memset(bytes, 'v', sizeof bytes);
  rl_chunks list = {0};
  rl_builder *b = rl_builder_new();
  for (int64_t i = from; i < from + n; i++) {
    const rl_value pair[2] = {rl_int(i), rl_str(bytes, sizeof bytes)};
    records_add(b, &list, pair, 2);
  }
  records_end(b, &list);
  return rl_rdd_from_chunks(&list, 1);
}

static int64_t count_keys(const char *path)
{
  rl_lmdb_reader *r = NULL;
  rl_value key, value;
  bool found = true;
  int64_t n = -1;
  assert_int_equal(rl_lmdb_reader_open(path, "data", RL_LMDB_TEXT, &r), RL_OK);
  for (; found; n++) assert_int_equal(rl_lmdb_reader_next(r, &key, &value, &found), RL_OK);
  rl_lmdb_reader_close(r);
  return n;
}

static void the_map_grows_as_far_as_needed(void **state)
{
  rl_context *c = new_context(NULL);
  rl_lmdb_sink *s = open_sink(*state, "data", "o", RL_LMDB_TEXT);
  assert_int_equal(write_rdd(c, s, 1, kilobytes(0, 20000)), RL_OK);
  assert_int_equal(count_keys(*state), 20000);
  assert_int_equal(newest(s), 1);
  rl_lmdb_sink_unref(s);
  rl_context_unref(c);
}

static void a_reader_holds_the_map_and_is_named(void **state)
{
  static const char *const settings[] = {"rille.task.maxFailures", "1", NULL};
  rl_context *c = new_context(settings);
  rl_lmdb_sink *s = open_sink(*state, "data", "o", RL_LMDB_TEXT);
  rl_lmdb_reader *r = NULL;
  int64_t patience = rl_lmdb_patience_ns;
  rl_lmdb_patience_ns = 20000000;
  assert_int_equal(rl_lmdb_reader_open(*state, "data", RL_LMDB_TEXT, &r), RL_OK);
  assert_int_equal(write_rdd(c, s, 1, kilobytes(0, 5000)), RL_ELIMIT);
  assert_non_null(strstr(rl_error_message(), "end the readers of this program"));
  rl_lmdb_reader_close(r);
  assert_int_equal(write_rdd(c, s, 1, kilobytes(0, 5000)), RL_OK);
  assert_int_equal(count_keys(*state), 5000);
  rl_lmdb_patience_ns = patience;
  rl_lmdb_sink_unref(s);
  rl_context_unref(c);
}

/* In a process of its own, with LMDB alone. */
static int enlarge_elsewhere(const char *path)
{
  pid_t pid = fork();
  if (pid == 0) {
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    MDB_dbi dbi;
    static char bytes[1 << 20];
    int rc = mdb_env_create(&env);
    if (rc == 0) rc = mdb_env_set_mapsize(env, (size_t)64 << 20);
    if (rc == 0) rc = mdb_env_set_maxdbs(env, 4);
    if (rc == 0) rc = mdb_env_open(env, path, 0, 0600);
    if (rc == 0) rc = mdb_txn_begin(env, NULL, 0, &txn);
    if (rc == 0) rc = mdb_dbi_open(txn, "theirs", MDB_CREATE, &dbi);
    for (uint32_t i = 0; i < 20 && rc == 0; i++) {
      MDB_val key = {.mv_size = sizeof i, .mv_data = &i}, value = {.mv_size = sizeof bytes, .mv_data = bytes};
      rc = mdb_put(txn, dbi, &key, &value, 0);
    }
    if (rc == 0) rc = mdb_txn_commit(txn);
    _exit(rc != 0);
  }
  int status = -1;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return status;
}

static void another_process_may_write_and_enlarge_it(void **state)
{
  rl_context *c = new_context(NULL);
  rl_lmdb_sink *s = open_sink(*state, "data", "o", RL_LMDB_TEXT);
  assert_int_equal(write_rdd(c, s, 1, kilobytes(0, 10)), RL_OK);
  assert_int_equal(enlarge_elsewhere(*state), 0);
  assert_int_equal(write_rdd(c, s, 2, kilobytes(10, 10)), RL_OK);
  assert_int_equal(count_keys(*state), 20);
  rl_lmdb_sink_unref(s);
  rl_context_unref(c);
}

/* As on a full disk: the file may not grow any more. */
static void without_room_the_error_names_the_place(void **state)
{
  static const char *const settings[] = {"rille.task.maxFailures", "1", NULL};
  rl_context *c = new_context(settings);
  rl_lmdb_sink *s = open_sink(*state, "data", "o", RL_LMDB_TEXT);
  assert_int_equal(write_rdd(c, s, 1, kilobytes(0, 100)), RL_OK);
  struct rlimit before, little;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  little = before;
  little.rlim_cur = 500 << 10;
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
  rl_status st = write_rdd(c, s, 2, kilobytes(1000, 800));
  char *message = rl_strdup(rl_error_message());
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  assert_int_equal(st, RL_EIO);
  assert_non_null(strstr(message, "cannot write to "));
  assert_non_null(strstr(message, *state));
  assert_int_equal(newest(s), 1);
  assert_int_equal(count_keys(*state), 100);
  assert_int_equal(write_rdd(c, s, 2, kilobytes(1000, 800)), RL_OK);
  assert_int_equal(count_keys(*state), 900);
  rl_free(message);
  rl_lmdb_sink_unref(s);
  rl_context_unref(c);
}

/* At once ---------------------------------------------------------------------------------------------------------- */

enum { AT_ONCE = 4 };

static void outputs_at_once_share_the_environment(void **state)
{
  rl_context *c = new_context(NULL);
  rl_lmdb_sink *sinks[AT_ONCE];
  rl_rdd *targets[AT_ONCE];
  bool waits[AT_ONCE];
  for (int i = 0; i < AT_ONCE; i++) {
    char *name = rl_format("o%d", i);
    sinks[i] = open_sink(*state, "data", name, RL_LMDB_TEXT);
    targets[i] = apply((rl_op){.kind = RL_OP_NARROW, .name = "put", .fn = rl_lmdb_write_fn(sinks[i])},
                       kilobytes(10000 * i, 3000));
    waits[i] = true;
    rl_free(name);
  }
  for (bool any = true; any;) {
    rl_job *jobs[AT_ONCE] = {0};
    any = false;
    for (int i = 0; i < AT_ONCE; i++) {
      rl_job_spec spec = {.rdd = targets[i], .kind = RL_JOB_RUN, .batch_time = 1, .what = "put"};
      if (waits[i]) assert_int_equal(rl_job_submit(c, &spec, NULL, &jobs[i]), RL_OK);
    }
    for (int i = 0; i < AT_ONCE; i++) {
      if (!jobs[i]) continue;
      if (rl_job_wait(jobs[i]) != RL_OK) fail_msg("%s", rl_error_message());
      waits[i] = rl_lmdb_sink_again(sinks[i]);
      any |= waits[i];
      rl_job_unref(jobs[i]);
    }
  }
  assert_int_equal(count_keys(*state), AT_ONCE * 3000);
  for (int i = 0; i < AT_ONCE; i++) {
    assert_int_equal(newest(sinks[i]), 1);
    rl_rdd_unref(targets[i]);
    rl_lmdb_sink_unref(sinks[i]);
  }
  rl_context_unref(c);
}

/* Crashes ---------------------------------------------------------------------------------------------------------- */

enum { BATCHES = 40, OF_BATCH = 50 };

static rl_status add_to_old(void *user, const rl_value *f, uint32_t n, rl_emit *out)
{
  (void)user;
  assert_int_equal(n, 3);
  const rl_value sum[2] = {f[0], rl_int(f[1].i + (f[2].type == RL_T_INT ? f[2].i : 0))};
  return rl_emit_record(out, sum, 2);
}

/* Adds one to each key of many. */
static rl_status count_batch(rl_context *c, rl_lmdb_sink *s, int64_t time)
{
  rl_value pairs[OF_BATCH][2];
  for (int i = 0; i < OF_BATCH; i++) {
    pairs[i][0] = rl_int(i);
    pairs[i][1] = rl_int(1);
  }
  rl_rdd *olds = apply((rl_op){.kind = RL_OP_NARROW, .name = "old", .fn = rl_lmdb_old_fn(s)},
                       rdd_of((const rl_value(*)[2])pairs, OF_BATCH));
  rl_fn *add = rl_fn_map(add_to_old, NULL, NULL);
  return write_rdd(c, s, time, apply((rl_op){.kind = RL_OP_NARROW, .name = "add", .fn = add}, olds));
}

/* All batches from the first on, also those that are in; each is told. */
static void write_all_batches(const char *path, int pipe)
{
  rl_context *c = new_context(NULL);
  rl_lmdb_sink *s = open_sink(path, "data", "o", RL_LMDB_TEXT);
  for (int64_t t = 1; t <= BATCHES; t++) {
    if (count_batch(c, s, t) != RL_OK) _exit(1);
    if (write(pipe, "x", 1) != 1) _exit(2);
  }
  _exit(0);
}

/* Kills it after so many batches. True: it had come to its end. */
static bool live_and_die(const char *path, unsigned batches)
{
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    close(ends[0]);
    write_all_batches(path, ends[1]);
  }
  close(ends[1]);
  char x;
  for (unsigned n = 0; read(ends[0], &x, 1) == 1;) {
    if (++n == batches) kill(pid, SIGKILL);
  }
  close(ends[0]);
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
  return !WIFSIGNALED(status);
}

/* Every key was counted once in each batch up to the newest. */
static void expect_counts(const char *path, int64_t batches)
{
  rl_lmdb_reader *r = NULL;
  rl_value key, value;
  bool found = true;
  if (rl_lmdb_reader_open(path, "data", RL_LMDB_TEXT, &r) != RL_OK) fail_msg("%s", rl_error_message());
  int n = 0;
  for (; found; n++) {
    assert_int_equal(rl_lmdb_reader_next(r, &key, &value, &found), RL_OK);
    if (found) assert_int_equal(value.i, batches);
  }
  assert_int_equal(n - 1, batches == 0 ? 0 : OF_BATCH);
  rl_lmdb_reader_close(r);
}

static void a_killed_process_counts_each_batch_once(void **state)
{
  char *path = rl_path_join(*state, "out");
  uint64_t seed = records_seed("a_killed_process_counts_each_batch_once");
  for (int i = 0; i < 15; i++) {
    live_and_die(path, 1 + (unsigned)(records_random(&seed) % BATCHES));
    rl_lmdb_sink *s = open_sink(path, "data", "o", RL_LMDB_TEXT);
    int64_t last = newest(s);
    expect_counts(path, last == RL_NO_TIME ? 0 : last);
    rl_lmdb_sink_unref(s);
  }
  assert_true(live_and_die(path, 0));
  expect_counts(path, BATCHES);
  rl_free(path);
}

int main(void)
{
  rl_log_set_level(RL_LOG_OFF);
  const struct CMUnitTest tests[] = {
    in_a_folder(a_killed_process_counts_each_batch_once), /* first: it forks, and no thread is about yet */
    in_a_folder(a_batch_is_written_once),
    in_a_folder(outputs_have_times_of_their_own),
    in_a_folder(texts_are_what_other_programs_read),
    in_a_folder(any_value_comes_back_from_binary),
    in_a_folder(what_has_no_place_is_refused_and_nothing_written),
    in_a_folder(other_environments_are_told_apart),
    in_a_folder(the_map_grows_as_far_as_needed),
    in_a_folder(a_reader_holds_the_map_and_is_named),
    in_a_folder(another_process_may_write_and_enlarge_it),
    in_a_folder(without_room_the_error_names_the_place),
    in_a_folder(outputs_at_once_share_the_environment),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
