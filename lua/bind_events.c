/* Listener events as tables; field names are those of section 19 of the reference. */
#include <string.h>

#include "base/log.h"
#include "bind.h"

static void set_int(lua_State *L, const char *field, int64_t i)
{
  lua_pushinteger(L, i);
  lua_setfield(L, -2, field);
}

static void set_text(lua_State *L, const char *field, const char *text)
{
  lua_pushstring(L, text);
  lua_setfield(L, -2, field);
}

/* A stamp, absent while there is none. */
static void set_time(lua_State *L, const char *field, int64_t time)
{
  if (time != RL_NO_TIME) set_int(L, field, time);
}

/* A duration in microseconds as one in milliseconds, absent while there is none. */
static void set_ms(lua_State *L, const char *field, int64_t us)
{
  if (us >= 0) set_int(L, field, us / 1000);
}

static void fill_output(lua_State *L, const rl_output_info *o)
{
  set_int(L, "batchTime", o->batch_time);
  set_int(L, "id", o->id);
  set_text(L, "name", o->name);
  set_text(L, "description", o->name);
  set_time(L, "startTime", o->start);
  set_time(L, "endTime", o->end);
  if (o->start != RL_NO_TIME && o->end != RL_NO_TIME) set_int(L, "duration", o->end - o->start);
  if (o->failure) set_text(L, "failureReason", o->failure);
}

/* Field `name`: an array of the text's lines. */
static void set_lines(lua_State *L, const char *name, const char *text)
{
  lua_newtable(L);
  for (lua_Integer i = 1; *text; i++) {
    size_t n = strcspn(text, "\n");
    lua_pushlstring(L, text, n);
    lua_rawseti(L, -2, i);
    text += n + (text[n] != '\0');
  }
  lua_setfield(L, -2, name);
}

static void push_input(lua_State *L, const rl_input_info *in)
{
  lua_createtable(L, 0, 3);
  set_int(L, "inputStreamId", in->stream);
  set_int(L, "numRecords", in->records);
  lua_newtable(L);
  if (in->description) set_text(L, "Description", in->description);
  if (in->lists_files) set_lines(L, "files", in->description ? in->description : "");
  lua_setfield(L, -2, "metadata");
}

static void fill_batch(lua_State *L, const rl_batch_info *b)
{
  set_int(L, "batchTime", b->time);
  set_time(L, "submissionTime", b->submitted);
  set_time(L, "processingStartTime", b->started);
  set_time(L, "processingEndTime", b->ended);
  set_ms(L, "schedulingDelay", b->scheduling_us);
  set_ms(L, "processingDelay", b->processing_us);
  set_ms(L, "totalDelay", b->total_us);
  if (b->processing_us >= 0) set_int(L, "processingMicros", b->processing_us);
  if (b->since_tick_us >= 0) set_int(L, "totalMicros", b->since_tick_us);
  if (b->spilled >= 0) set_int(L, "spilledBytes", b->spilled);
  int64_t records = 0;
  lua_createtable(L, 0, (int)b->ninputs);
  for (uint32_t i = 0; i < b->ninputs; i++) {
    records += b->inputs[i].records;
    push_input(L, &b->inputs[i]);
    lua_rawseti(L, -2, b->inputs[i].stream);
  }
  lua_setfield(L, -2, "streamIdToInputInfo");
  set_int(L, "numRecords", records);
  lua_createtable(L, 0, (int)b->noutputs);
  for (uint32_t i = 0; i < b->noutputs; i++) {
    lua_newtable(L);
    fill_output(L, &b->outputs[i]);
    lua_rawseti(L, -2, b->outputs[i].id);
  }
  lua_setfield(L, -2, "outputOperationInfos");
}

static void fill_receiver(lua_State *L, const rl_receiver_info *r)
{
  set_int(L, "streamId", r->stream);
  set_text(L, "name", r->name);
  lua_pushboolean(L, r->active);
  lua_setfield(L, -2, "active");
  set_text(L, "lastErrorMessage", r->last_error_message);
  set_text(L, "lastError", r->last_error);
  set_int(L, "lastErrorTime", r->last_error_time);
}

static void push_event(lua_State *L, const rl_event *e)
{
  static const char *const kinds[] = {
    [RL_EVENT_STREAMING_STARTED] = "streamingStarted",
    [RL_EVENT_BATCH_SUBMITTED] = "batchSubmitted",
    [RL_EVENT_BATCH_STARTED] = "batchStarted",
    [RL_EVENT_BATCH_COMPLETED] = "batchCompleted",
    [RL_EVENT_OUTPUT_STARTED] = "outputOperationStarted",
    [RL_EVENT_OUTPUT_COMPLETED] = "outputOperationCompleted",
    [RL_EVENT_RECEIVER_STARTED] = "receiverStarted",
    [RL_EVENT_RECEIVER_ERROR] = "receiverError",
    [RL_EVENT_RECEIVER_STOPPED] = "receiverStopped",
  };
  lua_newtable(L);
  set_text(L, "kind", kinds[e->kind]);
  switch (e->kind) {
  case RL_EVENT_STREAMING_STARTED: set_int(L, "time", e->time); break;
  case RL_EVENT_BATCH_SUBMITTED:
  case RL_EVENT_BATCH_STARTED:
  case RL_EVENT_BATCH_COMPLETED: fill_batch(L, &e->batch); break;
  case RL_EVENT_OUTPUT_STARTED:
  case RL_EVENT_OUTPUT_COMPLETED: fill_output(L, &e->output); break;
  case RL_EVENT_RECEIVER_STARTED:
  case RL_EVENT_RECEIVER_ERROR:
  case RL_EVENT_RECEIVER_STOPPED: fill_receiver(L, &e->receiver); break;
  }
}

typedef struct delivery {
  const rl_callback *listener;
  const rl_event *event;
} delivery;

static int deliver(lua_State *L)
{
  const delivery *d = lua_touserdata(L, 1);
  rl_callback_push(L, d->listener);
  push_event(L, d->event);
  lua_call(L, 1, 0);
  return 0;
}

static void on_event(void *user, const rl_event *event)
{
  rl_callback *listener = user;
  if (listener->bind->closing) return;
  if (rl_gate(listener->bind, deliver, &(delivery){listener, event}) == RL_OK) return;
  const rl_error *e = rl_error_current();
  rl_err("a streaming listener failed: %s%s%s", e->message, e->trace ? "\n" : "", e->trace ? e->trace : "");
}

int rl_streaming_listen(lua_State *L)
{
  rl_streaming *s = rl_check_streaming(L, 1);
  rl_callback *listener = rl_callback_new(L, 2);
  rl_bind_check(L, rl_streaming_add_listener(s, on_event, listener, rl_callback_delete));
  return 0;
}
