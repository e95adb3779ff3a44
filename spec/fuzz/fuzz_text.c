/* Lines cut from a text that comes in pieces are the lines of the whole text.
 *
 * Input: a byte k, k % 16 bytes with sizes of pieces (used in turn), the text. */
#include <stdlib.h>

#include "spec/core/lines.h"

typedef struct pieces {
  const uint8_t *sizes;
  size_t n, next;
} pieces;

static size_t next_piece(void *state)
{
  pieces *p = state;
  return p->n ? p->sizes[p->next++ % p->n] : SIZE_MAX;
}

static void expect(bool holds)
{
  if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
  if (size == 0) return 0;
  pieces sizes = {.sizes = input + 1, .n = input[0] % 16};
  if (sizes.n > size - 1) sizes.n = size - 1;
  const char *text = (const char *)input + 1 + sizes.n;
  size_t n = size - 1 - sizes.n;

  rl_buf naive = {0}, whole = {0}, streamed = {0};
  uint64_t count = lines_naive(text, n, &naive);
  expect(rl_text_count(text, n) == count);
  rl_bytes *data = rl_bytes_from(text, n);
  expect(lines_cut(data, 0, n, &whole) == count);
  expect(lines_stream(text, n, next_piece, &sizes, &streamed) == count);
  expect(lines_equal(&naive, &whole) && lines_equal(&naive, &streamed));
  rl_bytes_unref(data);
  rl_buf_free(&naive);
  rl_buf_free(&whole);
  rl_buf_free(&streamed);
  return 0;
}
