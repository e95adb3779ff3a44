#include "run/service.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/notify.h"

static void note(rl_service *s, rl_status st)
{
  if (st && !atomic_exchange(&s->failed, true)) rl_warn("%s", rl_error_message());
}

static void on_probe(rl_message *m)
{
  rl_service *s = (rl_service *)((char *)m - offsetof(rl_service, probe));
  atomic_store(&s->served, true);
}

static void on_timer(rl_timer *t)
{
  rl_service *s = (rl_service *)((char *)t - offsetof(rl_service, timer));
  if (atomic_exchange(&s->served, false)) {
    note(s, rl_notify_at_once("WATCHDOG=1"));
    rl_driver_post(rl_context_driver(s->c), &s->probe);
  }
  rl_timer_set(s->c, t, rl_mono_ns() + s->every_ns);
}

void rl_service_start(rl_service *s, rl_context *c, int64_t batch_ms)
{
  if (!rl_notify_wanted()) return;
  s->c = c;
  atomic_store(&s->failed, false);
  char *text = rl_format("READY=1\nSTATUS=Started, with batches of %.3g s.", (double)batch_ms / 1000);
  note(s, rl_notify(text));
  rl_free(text);
  s->every_ns = rl_notify_watchdog_us() * 1000 / 4;
  if (s->every_ns == 0) return;
  atomic_store(&s->served, true);
  s->probe.run = on_probe;
  s->timer.fire = on_timer;
  rl_timer_set(c, &s->timer, rl_mono_ns() + s->every_ns);
}

void rl_service_stopping(rl_service *s, bool whole)
{
  if (!s->c) return;
  note(s, rl_notify(whole ? "STOPPING=1\nSTATUS=Stopping." : "STATUS=Stopping the streams."));
}

void rl_service_end(rl_service *s)
{
  if (!s->c) return;
  if (s->every_ns > 0) {
    rl_timer_cancel(s->c, &s->timer);
    rl_driver_cancel(rl_context_driver(s->c), &s->probe);
  }
  s->c = NULL;
}
