/* Records of a durable job: what decodes encodes to the very bytes it came from, and all of it can be walked; all else
 * is refused.
 *
 * Input: a byte k and the record; its type is 1 + k % 8. */
#include <stdlib.h>
#include <string.h>

#include "data/chunk.h"
#include "spec/core/journal_again.h"

static void expect(bool holds)
{
  if (!holds) abort();
}

/* What was emitted stands behind the header, whatever it is. */
static void read_chunks(const char *p, size_t n)
{
  rl_journal_state r;
  expect(rl_journal_get_state(p, n, &r) == RL_OK);
  for (uint64_t i = 0; i < r.chunks; i++) {
    rl_chunk *c = NULL;
    if (rl_chunk_decode(&r.rest, &c) != RL_OK) return;
    rl_chunk_unref(c);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
  if (size == 0) return 0;
  unsigned type = 1 + input[0] % (RL_JOURNAL_TYPES - 1);
  const char *p = (const char *)input + 1;
  rl_buf again = {0};
  rl_status st = journal_again(type, p, size - 1, &again);
  if (st == RL_OK) expect(again.n == size - 1 && (again.n == 0 || memcmp(again.p, p, again.n) == 0));
  else expect(st == RL_EDATA || (st == RL_EUNSUPPORTED && type == RL_JOURNAL_START));
  if (st == RL_OK && type == RL_JOURNAL_STATE) read_chunks(p, size - 1);
  rl_buf_free(&again);
  return 0;
}
