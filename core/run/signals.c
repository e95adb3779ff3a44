#include "run/signals.h"

#include <errno.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "run/streaming.h"

static volatile sig_atomic_t signals_seen; /* since the active context's start */
static _Atomic int64_t first_ns;           /* when the first of them came */
static rl_driver *volatile signalled;      /* whose wait the handler ends */

int rl_streaming_signals(void) { return signals_seen; }

void rl_signals_reset(void) { signals_seen = 0; }

int64_t rl_signals_first_ns(void) { return atomic_load(&first_ns); }

static void (*volatile hurry)(void *);
static void *volatile hurry_arg;

void rl_streaming_on_hurry(void (*fn)(void *arg), void *arg)
{
  hurry = NULL; /* so that the handler never sees a function with another's argument */
  atomic_signal_fence(memory_order_seq_cst);
  hurry_arg = arg;
  atomic_signal_fence(memory_order_seq_cst);
  hurry = fn;
}

#define SAME_SIGNAL_NS INT64_C(20000000) /* a program and its process group may both be sent the one Ctrl-C */

static void on_signal(int sig)
{
  static volatile int64_t last_ns;
  int saved = errno;
  int64_t now = rl_mono_ns();
  bool same = signals_seen == 1 && now - last_ns < SAME_SIGNAL_NS;
  last_ns = now;
  if (signals_seen == 0) atomic_store(&first_ns, now); /* before it counts */
  if (!same) signals_seen = signals_seen + 1;
  void (*fn)(void *) = hurry;
  if (signals_seen > 2) { /* nothing has helped */
    signal(sig, SIG_DFL);
    raise(sig);
  }
  if (signals_seen > 1 && fn) fn(hurry_arg);
  if (signalled) rl_driver_wake(signalled);
  errno = saved;
}

void rl_signals_catch(rl_driver *d, rl_caught *c)
{
  if (signalled) return; /* an outer wait has them */
  signalled = d;
  struct sigaction act = {.sa_handler = on_signal};
  sigemptyset(&act.sa_mask);
  c->on = sigaction(SIGINT, &act, &c->old_int) == 0 && sigaction(SIGTERM, &act, &c->old_term) == 0 &&
          sigaction(SIGHUP, NULL, &c->old_hup) == 0;
  if (c->on && c->old_hup.sa_handler != SIG_IGN) sigaction(SIGHUP, &act, NULL); /* ignored: nohup */
}

void rl_signals_release(rl_caught *c)
{
  if (!c->on) return;
  sigaction(SIGINT, &c->old_int, NULL);
  sigaction(SIGTERM, &c->old_term, NULL);
  sigaction(SIGHUP, &c->old_hup, NULL);
  signalled = NULL;
}
