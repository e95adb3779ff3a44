/* Images that LMDB would crash over are not opened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/apart.h"
#include "spec/core/images.h"
#include "spec/core/scratch.h"
#include "store/look.h"

#define PAGE 4096

/* Whether all that there is can be had, in a child: LMDB dies over a page that is not there. */
static rl_status read_all(void *user, rl_apart *a)
{
  (void)a;
  rl_look *l = NULL;
  uint64_t bytes;
  rl_status st = rl_look_open(user, &l);
  if (st == RL_OK) st = rl_look_bytes(l, "orders", &bytes);
  if (st == RL_OK) st = rl_look_bytes(l, "visits", &bytes);
  rl_look_close(l);
  return st;
}

/* What the opening lets pass can be read, and what is as it was made it lets pass. */
static void an_image_that_is_cut_off_is_refused(void **state)
{
  char *dir = rl_path_join(*state, "state"), *path = rl_path_join(dir, "data.mdb");
  rl_buf whole = {0};
  size_t refused = 0, unused = 0;
  make_image(dir, 60, 2500);
  ok(rl_image_sound(dir));
  ok(rl_file_read_all(path, &whole));
  for (size_t n = whole.n / PAGE; n-- > 0;) {
    bool crashed = false;
    assert_int_equal(truncate(path, (off_t)(n * PAGE)), 0);
    rl_status st = rl_image_sound(dir);
    if (st == RL_OK) {
      ok(rl_apart_run(&(rl_apart_spec){.work = read_all, .user = dir}, &crashed));
      unused++;
      continue;
    }
    assert_int_equal(st, RL_EDATA);
    assert_non_null(strstr(rl_error_message(), path));
    assert_non_null(strstr(rl_error_message(), "--repair"));
    rl_state *s = NULL;
    assert_int_equal(rl_state_open(&(rl_state_spec){.dir = dir, .overlay_bytes = MIB}, &s), RL_EDATA);
    refused++;
  }
  assert_non_null(strstr(rl_error_message(), "it is empty"));
  print_message("%zu sizes: %zu refused, %zu without pages in use\n", refused + unused, refused, unused);
  assert_true(refused > unused);
  rl_buf_free(&whole);
  rl_free(path);
  rl_free(dir);
}

static void an_image_with_bad_metas_is_refused(void **state)
{
  char *dir = rl_path_join(*state, "state"), *path = rl_path_join(dir, "data.mdb");
  make_image(dir, 10, 100);
  for (off_t page = 0; page < 2; page++) {
    char kept[PAGE], noise[PAGE];
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    memset(noise, 0x5a, sizeof noise);
    assert_int_equal(pread(fd, kept, PAGE, page * PAGE), PAGE);
    assert_int_equal(pwrite(fd, noise, PAGE, page * PAGE), PAGE);
    assert_int_equal(rl_image_sound(dir), RL_EDATA);
    assert_non_null(strstr(rl_error_message(), page ? "meta page 1" : "meta page 0"));
    assert_int_equal(pwrite(fd, kept, PAGE, page * PAGE), PAGE);
    assert_int_equal(close(fd), 0);
  }
  ok(rl_image_sound(dir));
  rl_free(path);
  rl_free(dir);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      in_a_folder(an_image_that_is_cut_off_is_refused),
      in_a_folder(an_image_with_bad_metas_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
