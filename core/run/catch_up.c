/* Batches whose time passed while none could begin: the job was down (recover.c), or this process stood still, or the
 * clock was set ahead (ticks.c). rille.streaming.catchUp says what becomes of them; docs/decisions/028. */
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/stream.h"

static void tick_missed(rl_streaming *s, int64_t first, int64_t last)
{
  for (int64_t t = first; t <= last; t += s->batch_ms) rl_batch_tick(s, t, rl_mono_ns());
}

void rl_catch_up(rl_streaming *s, int64_t first, int64_t last, const char *why)
{
  const rl_conf *conf = rl_context_conf(s->c);
  const char *how = rl_conf_text(conf, "rille.streaming.catchUp"), *then;
  int64_t missed = (last - first) / s->batch_ms + 1, limit = rl_conf_int(conf, "rille.streaming.catchUpLimit");
  if (how[0] == 'a' && missed <= limit) {
    tick_missed(s, first, last);
    then = "run now";
  } else if (how[0] == 'a') {
    tick_missed(s, last - (limit - 1) * s->batch_ms, last);
    then = "run now, the oldest of them as one (rille.streaming.catchUpLimit)";
  } else if (how[0] == 'm') {
    tick_missed(s, last, last);
    then = "run as one";
  } else {
    then = "left to the next one, which has what they would have had";
  }
  rl_warn("%s%" PRId64 " %s missed since %" PRId64 " ms: %s (rille.streaming.catchUp = %s)", why, missed,
          missed == 1 ? "batch was" : "batches were", first, then, how);
}

/* Of a live job: as late as this is no tick because of busy cores. */
#define LATE_MS 3000

int64_t rl_catch_up_late(rl_streaming *s, int64_t due, int64_t now)
{
  int64_t newest = due + (now - due) / s->batch_ms * s->batch_ms;
  if (newest == due || now - due < LATE_MS) return due;
  char *why = rl_format("the clock went ahead, or this process stood still, for %.1f s: ", (double)(now - due) / 1000);
  rl_catch_up(s, due, newest - s->batch_ms, why);
  rl_free(why);
  return newest;
}

void rl_catch_up_note_look(rl_streaming *s, int64_t now, int64_t next)
{
  if (s->looked != RL_NO_TIME && now < s->looked - LATE_MS)
    rl_warn("the clock went back by %.1f s: it is %" PRId64 " ms, and the next batch is that of %" PRId64 " ms; "
            "it comes in %" PRId64 " s", (double)(s->looked - now) / 1000, now, next,
            next > now ? (next - now) / 1000 : 0);
  s->looked = now;
}

/* Gaps ------------------------------------------------------------------------------------------------------------- */

void rl_gaps_add(rl_streaming *s, int64_t after, int64_t before)
{
  if (before <= after + s->batch_ms) return;
  s->gaps = rl_grow(s->gaps, &s->gaps_cap, s->ngaps + 1, sizeof *s->gaps);
  s->gaps[s->ngaps++] = (rl_gap){after, before};
}

void rl_gaps_note(rl_streaming *s, int64_t time)
{
  rl_gaps_add(s, s->latest == RL_NO_TIME ? s->zero : s->latest, time);
}

bool rl_gaps_have(const rl_streaming *s, int64_t time)
{
  for (size_t i = s->ngaps; i-- > 0;)
    if (time > s->gaps[i].after && time < s->gaps[i].before) return true;
  return false;
}

void rl_gaps_forget(rl_streaming *s, int64_t until)
{
  size_t n = 0;
  while (n < s->ngaps && s->gaps[n].before <= until) n++;
  if (!n) return;
  s->ngaps -= n;
  memmove(s->gaps, s->gaps + n, s->ngaps * sizeof *s->gaps);
}
