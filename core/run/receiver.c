/* One receiver: the source, what gathers its records, its block timer, and what it tells. */
#include <ctype.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/budget.h"
#include "run/pace.h"
#include "run/receiver_impl.h"

#define NS_PER_MS INT64_C(1000000)
#define DEFAULT_INTERVAL_MS 200

struct rl_receiver {
  rl_timer timer; /* first: its callback gets back to the receiver */
  const rl_receiver_class *cls;
  void *self;
  int32_t stream;
  char *name;  /* "SocketReceiver-0" */
  char *label; /* "socket stream [0] at job.lua:3" */
  int64_t delay_ms;
  int64_t interval_ns; /* 0: no timer */
  int64_t max_record;
  bool told_long_line; /* on this connection; the storing thread */
  rl_gather *gather;
  rl_pace *pace;
  bool started; /* driver thread */
  uint64_t begun; /* records of all batches that have begun; driver thread */
  atomic_bool stopping, abandoned;
  pthread_mutex_t lock; /* guards all below */
  rl_streaming *streaming; /* NULL when an abandoned receiver has outlived it */
  bool timed;              /* the timer may be set */
  bool active;
  char *message, *error;
  int64_t error_time;
};

static int64_t block_interval_ns(rl_streaming *s)
{
  if (rl_clock_is_manual(rl_streaming_clock(s))) return 0;
  const rl_conf *conf = rl_context_conf(rl_streaming_context(s));
  const char *key = "rille.streaming.blockInterval";
  if (rl_conf_is_set(conf, key)) return rl_conf_us(conf, key) * 1000;
  int64_t half = rl_streaming_batch_ms(s) * NS_PER_MS / 2;
  return half < DEFAULT_INTERVAL_MS * NS_PER_MS ? half : DEFAULT_INTERVAL_MS * NS_PER_MS;
}

static void fire(rl_timer *t);

static char *lowered(const char *label)
{
  char *copy = rl_strdup(label);
  copy[0] = (char)tolower((unsigned char)copy[0]);
  return copy;
}

static size_t size_setting(const rl_conf *conf, const char *key)
{
  int64_t bytes = rl_conf_size(conf, key);
  return bytes > 0 ? (size_t)bytes : SIZE_MAX / 2; /* 0: no limit */
}

/* 0: no limit. */
static size_t buffered(const rl_conf *conf)
{
  rl_budget b = {0};
  rl_budget_read(conf, &b); /* checked when the context was made */
  return b.receiver > 0 ? (size_t)b.receiver : SIZE_MAX / 2;
}

static rl_gather *make_gather(rl_context *c, const rl_receiver_class *cls, rl_pace *pace)
{
  const rl_conf *conf = rl_context_conf(c);
  rl_gather_spec spec = {.max_record = size_setting(conf, "rille.streaming.receiver.maxRecordBytes"),
                         .max_buffered = buffered(conf),
                         .hold = cls->hold ? rl_pace_hold : NULL,
                         .user = pace,
                         .memory = rl_context_memory(c),
                         .level = RL_LEVEL_RECEIVED};
  return rl_gather_new(&spec);
}

rl_receiver *rl_receiver_new(rl_streaming *s, int32_t stream, const char *label, const rl_receiver_class *cls,
                             void *self)
{
  rl_receiver *r = RL_NEW(rl_receiver);
  const rl_conf *conf = rl_context_conf(rl_streaming_context(s));
  r->timer.fire = fire;
  r->cls = cls;
  r->self = self;
  r->stream = stream;
  r->streaming = s;
  r->name = rl_format("%s-%d", cls->name, (int)stream);
  r->label = lowered(label);
  r->delay_ms = rl_conf_us(conf, "rille.streaming.receiverRestartDelay") / 1000;
  r->interval_ns = block_interval_ns(s);
  r->max_record = rl_conf_size(conf, "rille.streaming.receiver.maxRecordBytes");
  const rl_pace_spec pace = {.context = rl_streaming_context(s),
                             .pressure = rl_tracker_pressure(rl_streaming_tracker(s)),
                             .hold = cls->hold,
                             .user = self};
  r->pace = rl_pace_new(&pace);
  r->gather = make_gather(rl_streaming_context(s), cls, r->pace);
  rl_pace_begin(r->pace, r->gather);
  r->message = rl_strdup("");
  r->error = rl_strdup("");
  r->error_time = -1;
  if (pthread_mutex_init(&r->lock, NULL) != 0) abort();
  return r;
}

void rl_receiver_delete(rl_receiver *r)
{
  if (!r) return;
  rl_receiver_stop(r);
  if (atomic_load(&r->abandoned)) {
    pthread_mutex_lock(&r->lock);
    r->streaming = NULL;
    pthread_mutex_unlock(&r->lock);
    return;
  }
  if (r->cls->destroy) r->cls->destroy(r->self);
  rl_pace_delete(r->pace);
  rl_gather_delete(r->gather);
  pthread_mutex_destroy(&r->lock);
  rl_free(r->error);
  rl_free(r->message);
  rl_free(r->label);
  rl_free(r->name);
  rl_free(r);
}

/* The block timer. Sched thread; late ones are left out, as an interval without a cut only makes the next block larger.
 */
static void fire(rl_timer *t)
{
  rl_receiver *r = (rl_receiver *)t;
  rl_gather_cut(r->gather);
  int64_t due = t->due_ns + r->interval_ns, now = rl_mono_ns();
  if (due <= now) due = now + r->interval_ns;
  pthread_mutex_lock(&r->lock);
  if (r->timed) rl_timer_set(rl_streaming_context(r->streaming), t, due);
  pthread_mutex_unlock(&r->lock);
}

static void set_timed(rl_receiver *r, bool on)
{
  pthread_mutex_lock(&r->lock);
  r->timed = on;
  pthread_mutex_unlock(&r->lock);
}

rl_status rl_receiver_start(rl_receiver *r)
{
  rl_status st = r->cls->start(r->self, r);
  if (st != RL_OK) return st;
  r->started = true;
  if (r->interval_ns > 0) {
    set_timed(r, true);
    rl_timer_set(rl_streaming_context(r->streaming), &r->timer, rl_mono_ns() + r->interval_ns);
  }
  return RL_OK;
}

void rl_receiver_prepare_stop(rl_receiver *r)
{
  atomic_store(&r->stopping, true);
  rl_gather_let_go(r->gather);
  rl_pace_let_go(r->pace);
}

void rl_receiver_stop(rl_receiver *r)
{
  if (!r->started) return;
  r->started = false;
  rl_receiver_prepare_stop(r);
  if (r->cls->stop) r->cls->stop(r->self);
  rl_gather_close(r->gather);
  rl_pace_stop(r->pace);
  if (r->interval_ns > 0) {
    set_timed(r, false);
    rl_timer_cancel(rl_streaming_context(r->streaming), &r->timer);
  }
  rl_receiver_stopped(r, NULL);
}

void rl_receiver_abandon(rl_receiver *r)
{
  atomic_store(&r->abandoned, true);
  rl_warn("%s: its thread does not end; it is left behind. Functions of a receiver should return when it is stopped",
          r->label);
}

rl_gather *rl_receiver_gather(rl_receiver *r) { return r->gather; }
rl_pace *rl_receiver_pace(rl_receiver *r) { return r->pace; }

/* Storing. */

rl_status rl_receiver_reserve(rl_receiver *r, size_t least, char **p, size_t *room)
{
  return rl_pace_reserve(r->pace, least, p, room);
}

rl_status rl_receiver_commit(rl_receiver *r, size_t n)
{
  bool cut_line;
  rl_status st = rl_pace_commit(r->pace, n, &cut_line);
  if (!cut_line || r->told_long_line) return st;
  r->told_long_line = true;
  char *message = rl_format("a line is longer than %lld bytes and was cut; "
                            "rille.streaming.receiver.maxRecordBytes is the limit",
                            (long long)r->max_record);
  rl_receiver_error(r, message, "");
  rl_free(message);
  return st;
}

void rl_receiver_end_text(rl_receiver *r)
{
  rl_pace_flush(r->pace);
  rl_gather_end_text(r->gather);
  r->told_long_line = false;
}

bool rl_receiver_is_logged(const rl_receiver *r) { return rl_gather_is_logged(r->gather); }
uint64_t rl_receiver_position(rl_receiver *r) { return rl_gather_position(r->gather); }

void rl_receiver_flush(rl_receiver *r)
{
  rl_pace_flush(r->pace);
  rl_gather_cut(r->gather);
}

uint64_t rl_receiver_begin(rl_receiver *r, uint64_t records) { return r->begun += records; }

void rl_receiver_log(rl_receiver *r, rl_wal *wal, const char *uid, uint64_t position)
{
  const rl_gather_log log = {.wal = wal, .uid = uid, .position = position, .durable = r->cls->durable, .user = r->self};
  rl_gather_log_to(r->gather, &log);
}

static rl_status name_limit(const rl_receiver *r, rl_status st)
{
  if (st == RL_ELIMIT) rl_error_prefix("%s: ", r->label);
  return st;
}

rl_status rl_receiver_store(rl_receiver *r, const rl_value *fields, uint32_t n)
{
  return name_limit(r, rl_pace_store(r->pace, fields, n));
}

rl_status rl_receiver_store_block(rl_receiver *r, rl_chunks *chunks)
{
  return name_limit(r, rl_pace_store_block(r->pace, chunks));
}

bool rl_receiver_is_stopping(const rl_receiver *r) { return atomic_load(&r->stopping); }
int32_t rl_receiver_stream_id(const rl_receiver *r) { return r->stream; }
const char *rl_receiver_name(const rl_receiver *r) { return r->name; }
const char *rl_receiver_label(const rl_receiver *r) { return r->label; }
rl_streaming *rl_receiver_streaming(rl_receiver *r) { return r->streaming; }
int64_t rl_receiver_restart_delay_ms(const rl_receiver *r) { return r->delay_ms; }

/* Events. With the lock held, so that listeners see them in the order of the states they tell of. */

static void post(rl_receiver *r, rl_event_kind kind)
{
  rl_receiver_info info = {.stream = r->stream,
                           .name = r->name,
                           .active = r->active,
                           .last_error_message = r->message,
                           .last_error = r->error,
                           .last_error_time = r->error_time};
  rl_streaming_post_receiver_event(r->streaming, kind, &info);
}

static void set_active(rl_receiver *r, bool active)
{
  pthread_mutex_lock(&r->lock);
  if (r->streaming && r->active != active) {
    r->active = active;
    post(r, active ? RL_EVENT_RECEIVER_STARTED : RL_EVENT_RECEIVER_STOPPED);
  }
  pthread_mutex_unlock(&r->lock);
}

void rl_receiver_started(rl_receiver *r)
{
  rl_info("%s: started", r->label);
  set_active(r, true);
}

void rl_receiver_stopped(rl_receiver *r, const char *message)
{
  rl_info("%s: stopped%s%s", r->label, message ? ": " : "", message ? message : "");
  set_active(r, false);
}

static void set_text(char **to, const char *text)
{
  rl_free(*to);
  *to = rl_strdup(text);
}

/* Is the first line of `error`, behind which may be a traceback, in the message? */
static bool is_told(const char *message, const char *error)
{
  char *line = rl_strndup(error, strcspn(error, "\n"));
  bool told = strstr(message, line) != NULL;
  rl_free(line);
  return told;
}

void rl_receiver_error(rl_receiver *r, const char *message, const char *error)
{
  if (!error) error = "";
  bool told = is_told(message, error);
  rl_warn("%s: %s%s%s", r->label, message, told ? "" : ": ", told ? "" : error);
  pthread_mutex_lock(&r->lock);
  if (r->streaming) {
    set_text(&r->message, message);
    set_text(&r->error, error);
    r->error_time = rl_clock_now(rl_streaming_clock(r->streaming));
    post(r, RL_EVENT_RECEIVER_ERROR);
  }
  pthread_mutex_unlock(&r->lock);
}
