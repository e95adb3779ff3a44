/* All receivers of a context: which blocks belong to which batch (section 13 of the reference), and the input that
 * gives a receiver's blocks as RDDs. */
#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"
#include "run/rate.h"
#include "run/receiver_impl.h"
#include "run/stream.h"

/* The blocks of one batch; batches without any have none. */
typedef struct allocation {
  struct allocation *next; /* later */
  int64_t time;
  size_t n;
  rl_blocks of[]; /* each receiver, in the tracker's order */
} allocation;

struct rl_tracker {
  rl_streaming *streaming;
  rl_pressure *pressure;
  rl_receiver **receivers; /* not owned; all are there before the start */
  size_t n, cap;
  pthread_mutex_t lock; /* guards all below */
  allocation *first, *last;
  int64_t allocated; /* the last batch */
};

rl_tracker *rl_tracker_new(rl_streaming *s)
{
  rl_tracker *t = RL_NEW(rl_tracker);
  t->streaming = s;
  t->pressure = rl_pressure_new(rl_context_memory(rl_streaming_context(s)));
  t->allocated = RL_NO_TIME;
  if (pthread_mutex_init(&t->lock, NULL) != 0) abort();
  return t;
}

static void free_allocation(allocation *a)
{
  for (size_t i = 0; i < a->n; i++) rl_blocks_clear(&a->of[i]);
  rl_free(a);
}

/* The receivers belong to their inputs, which may be gone already. */
void rl_tracker_delete(rl_tracker *t)
{
  if (!t) return;
  while (t->first) {
    allocation *a = t->first;
    t->first = a->next;
    free_allocation(a);
  }
  rl_pressure_unref(t->pressure);
  pthread_mutex_destroy(&t->lock);
  rl_free(t->receivers);
  rl_free(t);
}

static void stop_first(rl_tracker *t, size_t n)
{
  for (size_t i = 0; i < n; i++) rl_receiver_prepare_stop(t->receivers[i]);
  for (size_t i = 0; i < n; i++) rl_receiver_stop(t->receivers[i]);
}

rl_status rl_tracker_start(rl_tracker *t)
{
  for (size_t i = 0; i < t->n; i++) {
    if (rl_receiver_start(t->receivers[i]) == RL_OK) continue;
    rl_error error;
    rl_error_take(&error);
    stop_first(t, i);
    return rl_error_raise(&error);
  }
  return RL_OK;
}

void rl_tracker_stop(rl_tracker *t) { stop_first(t, t->n); }

static allocation *take_blocks(rl_tracker *t, int64_t time)
{
  allocation *a = rl_alloc(sizeof *a + t->n * sizeof *a->of);
  a->time = time;
  a->n = t->n;
  size_t blocks = 0;
  for (size_t i = 0; i < t->n; i++) {
    rl_gather_take(rl_receiver_gather(t->receivers[i]), &a->of[i]);
    blocks += a->of[i].n;
  }
  if (blocks > 0) return a;
  rl_free(a);
  return NULL;
}

/* The sched thread is the only one that allocates, so the look at the last batch holds after the lock is given back. */
void rl_tracker_allocate(rl_tracker *t, int64_t time)
{
  pthread_mutex_lock(&t->lock);
  bool later = time > t->allocated;
  if (later) t->allocated = time;
  pthread_mutex_unlock(&t->lock);
  allocation *a = later ? take_blocks(t, time) : NULL;
  if (!a) return;
  pthread_mutex_lock(&t->lock);
  if (t->last) {
    t->last->next = a;
  } else {
    t->first = a;
  }
  t->last = a;
  pthread_mutex_unlock(&t->lock);
}

bool rl_tracker_has_unallocated(rl_tracker *t)
{
  for (size_t i = 0; i < t->n; i++)
    if (!rl_gather_is_empty(rl_receiver_gather(t->receivers[i]))) return true;
  return false;
}

void rl_tracker_forget(rl_tracker *t, int64_t until)
{
  pthread_mutex_lock(&t->lock);
  allocation *old = t->first, *end = old;
  while (end && end->time <= until) end = end->next;
  t->first = end;
  if (!end) t->last = NULL;
  pthread_mutex_unlock(&t->lock);
  while (old != end) {
    allocation *next = old->next;
    free_allocation(old);
    old = next;
  }
}

static allocation *find(rl_tracker *t, int64_t time)
{
  pthread_mutex_lock(&t->lock);
  allocation *a = t->first;
  while (a && a->time != time) a = a->next;
  pthread_mutex_unlock(&t->lock);
  return a;
}

void rl_tracker_done(rl_tracker *t, int64_t time)
{
  allocation *a = find(t, time);
  for (size_t i = 0; a && i < a->n; i++)
    for (size_t k = 0; k < a->of[i].n; k++) rl_block_done(a->of[i].v[k]);
  if (t->n > 0) rl_pressure_look(t->pressure);
}

rl_pressure *rl_tracker_pressure(rl_tracker *t) { return t->pressure; }

/* The RDD of a receiver's blocks. An allocation lives until it is forgotten, which the driver does, the thread that
 * computes. */
static const rl_blocks *blocks_of(rl_tracker *t, int64_t time, const rl_receiver *r)
{
  const allocation *a = find(t, time);
  for (size_t i = 0; a && i < a->n; i++)
    if (t->receivers[i] == r) return &a->of[i];
  return NULL;
}

/* A receiver as an input. */

typedef struct receiver_input {
  rl_input base;
  rl_input_class cls; /* of its own: the name comes from the receiver's class */
  const rl_receiver_class *receiver_cls;
  void *self;            /* until there is a receiver, which owns it */
  rl_receiver *receiver;
} receiver_input;

static rl_status input_compute(rl_input *self, int64_t time, rl_rdd **out, rl_input_info *info)
{
  receiver_input *in = (receiver_input *)self;
  const rl_blocks *blocks = blocks_of(rl_streaming_tracker(self->streaming), time, in->receiver);
  if (!blocks || blocks->n == 0) {
    *out = rl_rdd_empty(0);
    return RL_OK;
  }
  for (size_t i = 0; i < blocks->n; i++) info->records += (int64_t)blocks->v[i]->records;
  *out = rl_rdd_from_blocks(blocks->v, (uint32_t)blocks->n);
  return RL_OK;
}

rl_receiver *rl_input_receiver(const rl_input *in)
{
  return in->cls->compute == input_compute ? ((const receiver_input *)in)->receiver : NULL;
}

const rl_blocks *rl_receiver_blocks(rl_streaming *s, const rl_receiver *r, int64_t time)
{
  return blocks_of(rl_streaming_tracker(s), time, r);
}

rl_status rl_dstream_store_at(rl_dstream *d, rl_level level)
{
  if (d->kind != RL_NODE_INPUT || d->input->cls->compute != input_compute)
    return rl_fail(RL_EINVAL, "%s has no receiver; its storage level cannot be set", d->label);
  if (!rl_level_keeps(level)) return rl_fail(RL_EINVAL, "storage level NONE would lose what is received");
  rl_gather_set_level(rl_receiver_gather(((receiver_input *)d->input)->receiver), level);
  return RL_OK;
}

static void input_destroy(rl_input *self)
{
  receiver_input *in = (receiver_input *)self;
  rl_receiver_delete(in->receiver);
  rl_rate_delete(self->rate);
  if (in->self && in->receiver_cls->destroy) in->receiver_cls->destroy(in->self);
  rl_free(in);
}

static void add_receiver(rl_tracker *t, rl_receiver *r)
{
  t->receivers = rl_grow(t->receivers, &t->cap, t->n + 1, sizeof(rl_receiver *));
  t->receivers[t->n++] = r;
}

rl_status rl_streaming_add_receiver(rl_streaming *s, const rl_receiver_class *cls, void *self, const char *site,
                                    rl_dstream **out)
{
  receiver_input *in = RL_NEW(receiver_input);
  in->cls = (rl_input_class){.name = cls->stream, .compute = input_compute, .destroy = input_destroy};
  in->base.cls = &in->cls;
  in->receiver_cls = cls;
  in->self = self;
  rl_status st = rl_rate_for(s, &in->base.rate);
  if (st != RL_OK) {
    input_destroy(&in->base);
    return st;
  }
  st = rl_streaming_add_input(s, &in->base, site, out);
  if (st != RL_OK) return st;
  in->receiver = rl_receiver_new(s, in->base.id, rl_dstream_label(*out), cls, self);
  in->self = NULL;
  if (in->base.rate) rl_rate_tell(in->base.rate, rl_pace_update, rl_receiver_pace(in->receiver));
  add_receiver(rl_streaming_tracker(s), in->receiver);
  return RL_OK;
}
