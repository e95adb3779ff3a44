/* The event queue: posted anywhere, delivered on the driver. An event is copied with its strings, since its batch may
 * be gone when it is delivered. */
#include <inttypes.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/stream.h"

struct rl_queued_event {
  rl_queued_event *next;
  rl_event event;
  rl_input_info *inputs;
  rl_output_info *outputs;
};

static void copy_output(rl_output_info *to, const rl_output_info *from)
{
  *to = *from;
  to->name = rl_strdup(from->name);
  to->failure = rl_strdup(from->failure);
}

static void free_output(rl_output_info *o)
{
  rl_free((char *)o->name);
  rl_free((char *)o->failure);
}

static rl_queued_event *copy_event(const rl_event *e)
{
  rl_queued_event *q = RL_NEW(rl_queued_event);
  q->event = *e;
  rl_batch_info *b = &q->event.batch;
  q->inputs = rl_calloc(b->ninputs + 1, sizeof *q->inputs);
  q->outputs = rl_calloc(b->noutputs + 1, sizeof *q->outputs);
  for (uint32_t i = 0; i < b->ninputs; i++) {
    q->inputs[i] = e->batch.inputs[i];
    q->inputs[i].description = rl_strdup(e->batch.inputs[i].description);
  }
  for (uint32_t i = 0; i < b->noutputs; i++) copy_output(&q->outputs[i], &e->batch.outputs[i]);
  b->inputs = q->inputs;
  b->outputs = q->outputs;
  copy_output(&q->event.output, &e->output);
  q->event.receiver.name = rl_strdup(e->receiver.name);
  q->event.receiver.last_error = rl_strdup(e->receiver.last_error);
  q->event.receiver.last_error_message = rl_strdup(e->receiver.last_error_message);
  return q;
}

static void free_event(rl_queued_event *q)
{
  for (uint32_t i = 0; i < q->event.batch.ninputs; i++) rl_free(q->inputs[i].description);
  for (uint32_t i = 0; i < q->event.batch.noutputs; i++) free_output(&q->outputs[i]);
  free_output(&q->event.output);
  rl_free((char *)q->event.receiver.name);
  rl_free((char *)q->event.receiver.last_error);
  rl_free((char *)q->event.receiver.last_error_message);
  rl_free(q->inputs);
  rl_free(q->outputs);
  rl_free(q);
}

static rl_queued_event *take(rl_event_queue *eq, size_t *dropped)
{
  pthread_mutex_lock(&eq->lock);
  rl_queued_event *q = eq->first;
  if (q) {
    eq->first = q->next;
    if (!eq->first) eq->last = &eq->first;
    eq->n--;
  }
  *dropped = eq->dropped;
  eq->dropped = 0;
  pthread_mutex_unlock(&eq->lock);
  return q;
}

static size_t count(rl_event_queue *eq)
{
  pthread_mutex_lock(&eq->lock);
  size_t n = eq->n;
  pthread_mutex_unlock(&eq->lock);
  return n;
}

/* Those that are there now; what comes meanwhile waits for the next turn, so that a flood of events does not keep other
 * messages waiting. */
static void deliver(rl_message *m)
{
  rl_event_queue *eq = (rl_event_queue *)((char *)m - offsetof(rl_event_queue, message));
  rl_streaming *s = (rl_streaming *)((char *)eq - offsetof(rl_streaming, events));
  rl_streaming_ref(s);
  rl_queued_event *q;
  size_t dropped;
  for (size_t n = count(eq); n > 0 && (q = take(eq, &dropped)); n--) {
    if (dropped)
      rl_warn("%zu events were dropped: listeners do not keep up (the queue holds %d)", dropped, RL_EVENTS_MAX);
    for (rl_listener *l = eq->listeners; l; l = l->next) l->fn(l->user, &q->event);
    free_event(q);
  }
  if (count(eq) > 0) rl_driver_post(rl_context_driver(s->c), m);
  rl_streaming_unref(s);
}

void rl_events_init(rl_streaming *s)
{
  pthread_mutex_init(&s->events.lock, NULL);
  s->events.last = &s->events.first;
  s->events.message.run = deliver;
  atomic_init(&s->events.wanted, false);
}

void rl_events_delete(rl_streaming *s)
{
  rl_driver_cancel(rl_context_driver(s->c), &s->events.message);
  rl_queued_event *q;
  size_t dropped;
  while ((q = take(&s->events, &dropped))) free_event(q);
  while (s->events.listeners) {
    rl_listener *l = s->events.listeners;
    s->events.listeners = l->next;
    if (l->destroy) l->destroy(l->user);
    rl_free(l);
  }
  pthread_mutex_destroy(&s->events.lock);
}

void rl_events_post(rl_streaming *s, const rl_event *e)
{
  rl_event_queue *eq = &s->events;
  if (!atomic_load(&eq->wanted)) return;
  pthread_mutex_lock(&eq->lock);
  if (eq->n >= RL_EVENTS_MAX) {
    eq->dropped++;
  } else {
    rl_queued_event *q = copy_event(e);
    *eq->last = q;
    eq->last = &q->next;
    eq->n++;
  }
  pthread_mutex_unlock(&eq->lock);
  rl_driver_post(rl_context_driver(s->c), &eq->message);
}

bool rl_events_empty(rl_streaming *s) { return count(&s->events) == 0; }

void rl_streaming_post_receiver_event(rl_streaming *s, rl_event_kind kind, const rl_receiver_info *info)
{
  rl_events_post(s, &(rl_event){.kind = kind, .time = rl_clock_now(s->clock), .receiver = *info});
}

rl_status rl_streaming_add_listener(rl_streaming *s, rl_listener_fn *fn, void *user, void (*destroy)(void *))
{
  rl_listener *l = RL_NEW(rl_listener);
  *l = (rl_listener){.fn = fn, .user = user, .destroy = destroy};
  rl_listener **at = &s->events.listeners;
  while (*at) at = &(*at)->next;
  *at = l;
  atomic_store(&s->events.wanted, true);
  return RL_OK;
}
