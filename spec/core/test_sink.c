/* Part files: whole or not there at all. */
#include <errno.h>

#include "engine.h"
#include "records.h"
#include "scratch.h"
#include "sink/files.h"
#include "source/sources.h"

static rl_rdd *sink_over(rl_rdd *rdd, const char *dir, rl_sink_format format)
{
  return apply((rl_op){.kind = RL_OP_NARROW, .name = "save", .fn = rl_sink_fn(dir, format)}, rdd);
}

static rl_status save(rl_context *c, rl_rdd *rdd, const char *dir, rl_sink_format format)
{
  rl_rdd *sink = sink_over(rdd, dir, format);
  rl_job *job = NULL;
  rl_status st = run(c, sink, RL_JOB_RUN, 0, &job);
  if (job) rl_job_unref(job);
  rl_rdd_unref(sink);
  return st == RL_OK ? rl_sink_commit(dir) : st;
}

/* Names in a directory, sorted, one a line; the caller frees. */
static char *names_in(const char *dir)
{
  char *command = rl_format("ls -A '%s'", dir);
  FILE *list = popen(command, "r");
  assert_non_null(list);
  char text[1000];
  size_t n = fread(text, 1, sizeof text - 1, list);
  text[n] = '\0';
  pclose(list);
  rl_free(command);
  return rl_strdup(text);
}

static void expect_names(const char *dir, const char *names)
{
  char *got = names_in(dir);
  assert_string_equal(got, names);
  rl_free(got);
}

static void text_goes_to_one_file_a_partition(void **state)
{
  rl_context *c = new_context(NULL);
  char *dir = rl_path_join(*state, "deep/er/out-1000");
  assert_int_equal(rl_sink_prepare(dir, false, 3), RL_OK);
  assert_int_equal(save(c, integers(1, 5, 3), dir, RL_SINK_TEXT), RL_OK);
  expect_names(dir, "_SUCCESS\npart-00000\npart-00001\npart-00002\n");
  scratch_expect(dir, "part-00000", "1\n");
  scratch_expect(dir, "part-00001", "2\n3\n");
  scratch_expect(dir, "part-00002", "4\n5\n");
  scratch_expect(dir, "_SUCCESS", "");
  rl_free(dir);
  rl_context_unref(c);
}

static void an_existing_directory_is_refused(void **state)
{
  assert_int_equal(rl_sink_prepare(*state, false, 1), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "exists already"));
  char *file = scratch_file(*state, "file", "x");
  assert_int_equal(rl_sink_prepare(file, true, 1), RL_EINVAL);
  rl_free(file);
}

static void a_batch_run_again_replaces_what_it_wrote(void **state)
{
  rl_context *c = new_context(NULL);
  char *dir = rl_path_join(*state, "out");
  assert_int_equal(rl_sink_prepare(dir, true, 3), RL_OK);
  assert_int_equal(save(c, integers(1, 6, 3), dir, RL_SINK_TEXT), RL_OK);
  rl_free(scratch_file(dir, ".part-00001.0.9", "half"));
  rl_free(scratch_file(dir, "notes", "mine"));
  assert_int_equal(rl_sink_prepare(dir, true, 2), RL_OK);
  expect_names(dir, "notes\npart-00000\npart-00001\n");
  assert_int_equal(save(c, integers(7, 8, 2), dir, RL_SINK_TEXT), RL_OK);
  expect_names(dir, "_SUCCESS\nnotes\npart-00000\npart-00001\n");
  scratch_expect(dir, "part-00000", "7\n");
  rl_free(dir);
  rl_context_unref(c);
}

static void objects_come_back_as_they_were(void **state)
{
  rl_context *c = new_context(NULL);
  char *dir = rl_path_join(*state, "objects");
  assert_int_equal(rl_sink_prepare(dir, false, 2), RL_OK);
  rl_chunks parts[2] = {{0}, {0}};
  rl_builder *b = rl_builder_new();
  for (int64_t i = 0; i < 10000; i++) { /* several chunks */
    rl_value v[3] = {rl_int(i), i % 2 ? rl_str("a\nb", 3) : rl_nil(), rl_float((double)i / 2)};
    records_add(b, &parts[0], v, 3);
  }
  records_end(b, &parts[0]);
  rl_rdd *rdd = rl_rdd_from_chunks(parts, 2);
  char *before = collect(c, rdd);
  assert_int_equal(save(c, rdd, dir, RL_SINK_OBJECTS), RL_OK);
  rl_rdd *back = NULL;
  assert_int_equal(rl_rdd_object_file(dir, &back), RL_OK);
  assert_int_equal(rl_rdd_partitions(back), 2);
  char *after = collect(c, back);
  assert_string_equal(before, after);
  rl_free(before);
  rl_free(after);
  rl_rdd_unref(back);
  rl_free(dir);
  rl_context_unref(c);
}

/* A disk that is full after some bytes, and a file system that says so only at the end. */

static _Atomic int room;
static _Atomic bool close_fails;

static ssize_t short_write(int fd, const void *p, size_t n)
{
  if (n > 64) n = 64;
  if (atomic_fetch_sub(&room, (int)n) >= (int)n) return write(fd, p, n);
  errno = ENOSPC;
  return -1;
}

static int failing_close(int fd)
{
  close(fd);
  if (!atomic_load(&close_fails)) return 0;
  errno = EIO;
  return -1;
}

static void with_failing_disk(void **state, int bytes, bool at_close, const char *message)
{
  rl_fs fs = rl_fs_system;
  fs.write = short_write;
  fs.close = failing_close;
  atomic_store(&room, bytes);
  atomic_store(&close_fails, false);
  rl_fs_set(&fs);
  static const char *const settings[] = {"rille.task.maxFailures", "1", NULL};
  rl_context *c = new_context(settings);
  char *dir = rl_path_join(*state, "full");
  assert_int_equal(rl_sink_prepare(dir, true, 1), RL_OK);
  atomic_store(&close_fails, at_close);
  assert_int_equal(save(c, integers(1, 100, 1), dir, RL_SINK_TEXT), RL_EIO);
  assert_non_null(strstr(rl_error_message(), message));
  assert_non_null(strstr(rl_error_message(), "full/part-00000"));
  expect_names(dir, "");
  rl_free(dir);
  rl_context_unref(c);
  rl_fs_set(NULL);
}

static void a_full_disk_leaves_nothing(void **state)
{
  with_failing_disk(state, 100, false, "No space left on device; make room there");
  with_failing_disk(state, 1 << 20, true, "Input/output error");
}

static int not_for_directories(int fd)
{
  (void)fd;
  errno = EINVAL;
  return -1;
}

static void file_systems_that_cannot_sync_directories_will_do(void **state)
{
  rl_fs fs = rl_fs_system;
  fs.fsync = not_for_directories;
  rl_fs_set(&fs);
  rl_context *c = new_context(NULL);
  char *dir = rl_path_join(*state, "a/b");
  for (int i = 0; i < 2; i++) {
    assert_int_equal(rl_sink_prepare(dir, true, 1), RL_OK);
    assert_int_equal(save(c, integers(1, 2, 1), dir, RL_SINK_TEXT), RL_OK);
  }
  expect_names(dir, "_SUCCESS\npart-00000\n");
  rl_free(dir);
  rl_context_unref(c);
  rl_fs_set(NULL);
}

static void failing_input_leaves_nothing(void **state)
{
  static const char *const settings[] = {"rille.task.maxFailures", "2", NULL};
  rl_context *c = new_context(settings);
  char *dir = rl_path_join(*state, "out");
  char *in = scratch_file(*state, "in", "one\ntwo\n");
  rl_rdd *lines = NULL;
  assert_int_equal(rl_rdd_text_file(in, 1, &lines), RL_OK);
  assert_int_equal(unlink(in), 0);
  assert_int_equal(rl_sink_prepare(dir, false, 1), RL_OK);
  assert_int_not_equal(save(c, lines, dir, RL_SINK_TEXT), RL_OK);
  expect_names(dir, "");
  rl_free(in);
  rl_free(dir);
  rl_context_unref(c);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    in_a_folder(text_goes_to_one_file_a_partition),
    in_a_folder(an_existing_directory_is_refused),
    in_a_folder(a_batch_run_again_replaces_what_it_wrote),
    in_a_folder(objects_come_back_as_they_were),
    in_a_folder(a_full_disk_leaves_nothing),
    in_a_folder(file_systems_that_cannot_sync_directories_will_do),
    in_a_folder(failing_input_leaves_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
