/* What is to be done at the start by others than inputs. */
#include "base/mem.h"
#include "run/stream.h"

rl_status rl_streaming_on_start(rl_streaming *s, rl_start_fn *fn, void *user, void (*destroy)(void *user))
{
  rl_status st = rl_graph_check_open(s, "on_start");
  if (st) {
    if (destroy) destroy(user);
    return st;
  }
  rl_starter *new = RL_NEW(rl_starter), **at = &s->starters;
  *new = (rl_starter){.fn = fn, .user = user, .destroy = destroy};
  while (*at) at = &(*at)->next;
  *at = new;
  return RL_OK;
}

rl_status rl_starters_run(rl_streaming *s)
{
  rl_status st = RL_OK;
  for (rl_starter *x = s->starters; x && !st; x = x->next) st = x->fn(x->user);
  return st;
}

void rl_starters_delete(rl_streaming *s)
{
  while (s->starters) {
    rl_starter *x = s->starters;
    s->starters = x->next;
    if (x->destroy) x->destroy(x->user);
    rl_free(x);
  }
}
