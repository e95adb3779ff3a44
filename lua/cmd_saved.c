/* What inputs saved with a batch: each source has a form of its own. */
#include "cmd.h"

/* The forms differ in their first byte. */
void rl_cmd_saved_read(const rl_inspect_input *in, rl_cmd_saved *out)
{
  *out = (rl_cmd_saved){0};
  if (in->kind != RL_JOURNAL_SAVED || in->saved.n == 0) return;
  out->has_files = rl_files_saved_read(in->saved.p, in->saved.n, &out->files) == RL_OK;
  if (out->has_files) return;
  rl_files_saved_clear(&out->files);
  out->has_ranges = rl_kafka_ranges_decode(in->saved.p, in->saved.n, &out->ranges) == RL_OK;
  if (!out->has_ranges) rl_kafka_ranges_clear(&out->ranges);
}

void rl_cmd_saved_clear(rl_cmd_saved *s)
{
  rl_files_saved_clear(&s->files);
  rl_kafka_ranges_clear(&s->ranges);
}
