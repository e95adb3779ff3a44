/* What a file stream has in the log, as its next start reads it and as it is carried on when the stream is gone: the one
 * takes nothing that the other does not know for a file stream's. */
#include <stdlib.h>
#include <string.h>

#include "source/files_saved.h"
#include "store/files_place.h"

static void expect(bool holds)
{
  if (!holds) abort();
}

/* Joined with itself it has every file twice, and is read again. */
static void join(const char *p, const rl_files_place *place)
{
  rl_buf twice = {0};
  rl_files_place both[] = {*place, *place}, again;
  rl_files_saved saved = {0};
  rl_files_place_join(p, both, 2, &twice);
  expect(rl_files_place_read(twice.p, twice.n, &again) && again.count == 2 * place->count);
  expect(rl_files_saved_read(twice.p, twice.n, &saved) == RL_OK && saved.files.n == again.count);
  rl_files_saved_clear(&saved);
  rl_buf_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
  const char *p = (const char *)input;
  rl_files_saved saved = {0};
  rl_files_place place;
  rl_status st = rl_files_saved_read(p, size, &saved);
  expect(st == RL_OK || st == RL_EDATA);
  bool known = rl_files_place_read(p, size, &place);
  if (st == RL_OK) {
    expect(known && place.count == saved.files.n);
    join(p, &place);
  }
  rl_files_saved_clear(&saved);
  return 0;
}
