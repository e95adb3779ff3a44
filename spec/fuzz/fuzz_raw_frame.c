/* The raw socket's frames: whatever comes is refused or decoded, and how it is cut into pieces makes no difference.
 *
 * Input: a byte k, k % 16 bytes with sizes of pieces (used in turn), what the socket sends. */
#include <stdlib.h>
#include <string.h>

#include "source/frame.h"

static rl_status collect(void *user, rl_chunks *chunks)
{
  rl_buf *text = user;
  for (size_t i = 0; i < chunks->n; i++) {
    for (uint32_t row = 0; row < chunks->v[i]->n; row++) {
      rl_chunk_format(chunks->v[i], row, text);
      rl_buf_putc(text, '\n');
    }
  }
  rl_chunks_clear(chunks);
  return RL_OK;
}

static void expect(bool holds)
{
  if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
  if (size == 0) return 0;
  size_t nsizes = input[0] % 16;
  if (nsizes > size - 1) nsizes = size - 1;
  const char *sent = (const char *)input + 1 + nsizes;
  size_t n = size - 1 - nsizes;

  rl_buf whole = {0}, pieces = {0};
  rl_frames a = {.limit = 1 << 20}, b = {.limit = 1 << 20};
  rl_status first = rl_frames_feed(&a, sent, n, collect, &whole), second = RL_OK;
  for (size_t at = 0, next = 0, piece; at < n && second == RL_OK; at += piece) {
    piece = nsizes ? 1 + (size_t)input[1 + next++ % nsizes] : 1;
    if (piece > n - at) piece = n - at;
    second = rl_frames_feed(&b, sent + at, piece, collect, &pieces);
  }
  expect(first == second && whole.n == pieces.n);
  expect(whole.n == 0 || memcmp(whole.p, pieces.p, whole.n) == 0);
  rl_frames_reset(&a);
  rl_frames_reset(&b);
  rl_buf_free(&whole);
  rl_buf_free(&pieces);
  return 0;
}
