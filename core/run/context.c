#include "run/context.h"

#include "base/log.h"
#include "base/mem.h"
#include "run/budget.h"
#include "run/engine.h"

static void read_settings(rl_context *c)
{
  rl_log_level level;
  if (rl_log_parse_level(rl_conf_text(c->conf, "rille.log.level"), &level) && rl_conf_is_set(c->conf, "rille.log.level")) rl_log_set_level(level);
  c->parallelism = rl_conf_is_set(c->conf, "rille.default.parallelism") ? (uint32_t)rl_conf_int(c->conf, "rille.default.parallelism") : c->nworkers;
  c->max_failures = (uint32_t)rl_conf_int(c->conf, "rille.task.maxFailures");
  c->max_task_ns = rl_conf_us(c->conf, "rille.task.maxSeconds") * 1000;
}

static void init_locks(rl_context *c)
{
  pthread_mutex_init(&c->lock, NULL);
  pthread_cond_init(&c->ready, NULL);
  pthread_mutex_init(&c->timer_lock, NULL);
  pthread_cond_init(&c->timer_changed, NULL);
  pthread_cond_init(&c->timer_fired, NULL);
}

static void destroy(rl_context *c)
{
  pthread_mutex_destroy(&c->lock);
  pthread_cond_destroy(&c->ready);
  pthread_mutex_destroy(&c->timer_lock);
  pthread_cond_destroy(&c->timer_changed);
  pthread_cond_destroy(&c->timer_fired);
  while (c->threads) {
    rl_thread *t = c->threads;
    c->threads = t->next;
    rl_free(t);
  }
  rl_buf_free(&c->updates);
  rl_memory_unref(c->memory);
  rl_driver_delete(c->driver);
  rl_conf_delete(c->conf);
  rl_free(c);
}

rl_status rl_context_new(const rl_conf *conf, const rl_worker_hooks *hooks, rl_context **out)
{
  uint32_t workers;
  rl_memory *memory = NULL;
  rl_status st = rl_conf_workers(conf, &workers);
  if (!st) st = rl_budget_memory(conf, &memory);
  if (st) return st;
  rl_context *c = RL_NEW(rl_context);
  atomic_init(&c->refs, 1);
  c->conf = rl_conf_copy(conf);
  if (hooks) c->hooks = *hooks;
  c->driver = rl_driver_new();
  c->memory = memory;
  c->nworkers = workers;
  read_settings(c);
  init_locks(c);
  rl_interrupt_install();
  st = rl_timers_start(c);
  if (!st) {
    st = rl_pool_start(c);
    if (st) rl_timers_stop(c);
  }
  if (st) {
    rl_interrupt_uninstall();
    destroy(c);
    return st;
  }
  *out = c;
  return RL_OK;
}

rl_context *rl_context_ref(rl_context *c)
{
  atomic_fetch_add(&c->refs, 1);
  return c;
}

void rl_context_unref(rl_context *c)
{
  if (!c) return;
  if (atomic_load(&c->refs) == 1) rl_context_stop(c);
  if (atomic_fetch_sub(&c->refs, 1) == 1) destroy(c);
}

void rl_context_stop(rl_context *c)
{
  if (c->stopped) return;
  c->stopped = true;
  rl_pool_stop(c);
  rl_timers_stop(c);
  rl_memory_close(c->memory);
  rl_interrupt_uninstall();
}

bool rl_context_is_stopped(const rl_context *c) { return c->stopped; }
const rl_conf *rl_context_conf(const rl_context *c) { return c->conf; }
rl_driver *rl_context_driver(rl_context *c) { return c->driver; }
rl_memory *rl_context_memory(rl_context *c) { return c->memory; }
uint32_t rl_context_workers(const rl_context *c) { return c->nworkers; }
uint32_t rl_context_parallelism(const rl_context *c) { return c->parallelism; }
