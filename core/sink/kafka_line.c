#include "sink/kafka_line.h"

#include "base/mem.h"

static void on_delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *health)
{
  rl_kafka_tally *t = m->_private;
  (void)rk;
  (void)health;
  pthread_mutex_lock(&t->lock);
  if (m->err && !t->err) {
    t->err = m->err;
    t->topic = rl_strdup(rd_kafka_topic_name(m->rkt));
    t->partition = m->partition;
  }
  pthread_mutex_unlock(&t->lock);
  rl_kafka_tally_take(t);
}

rl_status rl_kafka_line_new(const rl_kafka_conf *conf, rl_kafka_use use, rl_kafka_health *h, rl_kafka_line **out)
{
  rd_kafka_t *rk = NULL;
  rl_status st = rl_kafka_client_new(conf, use, h, on_delivered, &rk);
  if (st != RL_OK) return st;
  *out = RL_NEW(rl_kafka_line);
  (*out)->refs = 1;
  (*out)->rk = rk;
  return RL_OK;
}

rl_kafka_line *rl_kafka_line_ref(rl_kafka_line *l)
{
  atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
  return l;
}

void rl_kafka_line_unref(rl_kafka_line *l)
{
  if (!l || atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) > 1) return;
  rd_kafka_purge(l->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  rd_kafka_poll(l->rk, 0); /* gives back what the purged messages hold */
  rd_kafka_destroy(l->rk);
  rl_free(l);
}

rl_kafka_tally *rl_kafka_tally_new(void)
{
  rl_kafka_tally *t = RL_NEW(rl_kafka_tally);
  t->refs = 1;
  pthread_mutex_init(&t->lock, NULL);
  return t;
}

void rl_kafka_tally_add(rl_kafka_tally *t)
{
  atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
  atomic_fetch_add(&t->under_way, 1);
}

void rl_kafka_tally_take(rl_kafka_tally *t)
{
  atomic_fetch_sub(&t->under_way, 1);
  rl_kafka_tally_unref(t);
}

void rl_kafka_tally_unref(rl_kafka_tally *t)
{
  if (atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) > 1) return;
  pthread_mutex_destroy(&t->lock);
  rl_free(t->topic);
  rl_free(t);
}
