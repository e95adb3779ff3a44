/* Where inputs go on. The next start takes that from the last BEGIN, and from blocks that are newer (run/recover.c).
 * When records are missing behind those, what is read or sent from there on may have been taken before. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "store/files_place.h"
#include "store/repair_impl.h"

const rl_salvage_item *rl_salvage_last_begin(const rl_salvage *s)
{
  for (size_t i = s->nitems; i-- > 0;) {
    if (s->items[i].type == RL_JOURNAL_BEGIN && !s->items[i].drop) return &s->items[i];
  }
  return NULL;
}

/* Are records missing behind the first n items? */
static bool misses_behind(const rl_salvage *s, size_t n)
{
  bool misses = false;
  for (size_t k = 0; k < s->ngaps; k++) misses = misses || s->gaps[k].at >= n;
  return misses;
}

/* How many items there are up to the last block of an input; 0: it has none. */
static size_t end_of_blocks(const rl_salvage *s, uint32_t name)
{
  size_t n = s->nitems;
  while (n > 0 && (s->items[n - 1].type != RL_JOURNAL_BLOCK || s->items[n - 1].name != name)) n--;
  return n;
}

static void say_received(const rl_salvage *s, const char *uid, size_t n, uint64_t position)
{
  if (!misses_behind(s, n)) return;
  rl_salvage_say(s, "input '%s': its newest place may be lost, it goes on from position %" PRIu64 ", the newest that is "
                 "left: what its source sends again from there may come twice, what it does not is lost", uid,
                 position);
}

static void say_input(const rl_salvage *s, const rl_journal_input *in, const rl_salvage_item *begin, bool *told)
{
  size_t n = (size_t)(begin - s->items) + 1;
  rl_files_place files;
  char *uid = rl_strndup(in->uid.p, in->uid.n);
  uint32_t name = rl_salvage_name(s, in->uid);
  if (name < s->nnames) told[name] = true;
  if (in->kind == RL_JOURNAL_BLOCKS) {
    size_t blocks = name < s->nnames ? end_of_blocks(s, name) : 0;
    uint64_t position = name < s->nnames && s->reached[name] > in->position ? s->reached[name] : in->position;
    say_received(s, uid, blocks > n ? blocks : n, position);
  } else if (in->kind == RL_JOURNAL_SAVED && misses_behind(s, n)) {
    rl_salvage_say(s, "input '%s': its newest place may be lost, it goes on behind what batch %" PRId64 " had, the "
                   "newest that is left: what it read after that is read again and may come twice", uid, begin->time);
  } else if (in->kind == RL_JOURNAL_SAVED && s->lost_begin != RL_NO_TIME &&
             rl_files_place_read(in->bytes.p, in->bytes.n, &files)) {
    rl_salvage_say(s, "input '%s': which files batch %" PRId64 " had is lost: those that are young enough to be looked "
                   "at (rille.streaming.fileStream.minRememberDuration) are read again and may come twice", uid,
                   s->lost_begin);
  }
  rl_free(uid);
}

static rl_status say_inputs(const rl_salvage *s, const rl_salvage_item *last, bool *told)
{
  rl_buf payload = {0};
  rl_journal_begin begin;
  rl_journal_input in;
  rl_status st = rl_salvage_read(s, last, &payload);
  if (st == RL_OK) st = rl_journal_get_begin(payload.p, payload.n, &begin);
  for (uint64_t i = 0; st == RL_OK && i < begin.ninputs; i++) {
    st = rl_journal_next_input(&begin, &in);
    if (st == RL_OK) say_input(s, &in, last, told);
  }
  rl_buf_free(&payload);
  return st;
}

/* And what the next start needs, when the image is ahead of all that is left (check_image in run/recover.c). */
rl_status rl_salvage_say_places(const rl_salvage *s)
{
  const rl_salvage_item *last = rl_salvage_last_begin(s);
  bool *told = rl_calloc(s->nnames + 1, sizeof *told);
  rl_status st = last ? say_inputs(s, last, told) : RL_OK;
  for (uint32_t i = 0; i < s->nnames && st == RL_OK; i++) {
    size_t n = told[i] ? 0 : end_of_blocks(s, i);
    if (n > 0) say_received(s, s->names[i], n, s->reached[i]);
  }
  if (st == RL_OK && !last && s->ngaps > 0) {
    rl_salvage_say(s, "no batch is left that tells how far inputs were taken: those that are not named here go on from "
                   "their beginning, position 0, and what they give may come twice");
  }
  bool leads = s->newest == RL_NO_TIME || s->ghost != RL_NO_TIME || (last && last->time >= s->newest);
  if (st == RL_OK && !leads) {
    rl_salvage_say(s, "the state is that of batch %" PRId64 ", and nothing in the log leads to it any more: to go on "
                   "with it, start the job with rille.checkpoint.allowDropped = true", s->newest);
  }
  rl_free(told);
  return st;
}
