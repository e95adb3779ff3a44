/* The recorded graph of a job: what decodes encodes to bytes that decode to the same; all else is refused. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "store/outline.h"

static void expect(bool holds)
{
  if (!holds) abort();
}

static void look(const rl_outline *g)
{
  for (size_t i = 0; i < g->nstreams; i++) {
    rl_outline_shape shape;
    const rl_outline_stream *s = &g->streams[i];
    for (size_t j = 0; j < s->nparents; j++) expect(s->parents[j] < i);
    if (rl_outline_find_shape(g, s->uid, &shape)) expect(strcmp(shape.uid, s->uid) == 0);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
  rl_outline g, copy;
  rl_buf once = {0}, twice = {0};
  rl_status st = rl_outline_decode((const char *)input, size, &g);
  expect(st == RL_OK || st == RL_EDATA || st == RL_EUNSUPPORTED);
  if (st != RL_OK) return 0;
  look(&g);
  rl_outline_encode(&g, &once);
  expect(rl_outline_decode(once.p, once.n, &copy) == RL_OK);
  rl_outline_encode(&copy, &twice);
  expect(once.n == twice.n && memcmp(once.p, twice.p, once.n) == 0);
  rl_outline_free(&g);
  rl_outline_free(&copy);
  rl_buf_free(&once);
  rl_buf_free(&twice);
  return 0;
}
