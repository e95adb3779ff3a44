/* Bad records: those on which a function of a guarded step raised. They are counted, sampled, and handed to the step's
 * handler; what was found is reported when the attempt has gone well (core/run/context.h). */
#include <lauxlib.h>
#include <string.h>

#include "base/clock.h"
#include "data/codec.h"
#include "operator.h"
#include "values.h"

#define SHOWN 200 /* bytes of a message, and of a record, in a sample */

/* Arguments of `bad`. */
enum { OP = 1, STEP, TAGGED, HANDLER, WHY, FIELDS };

/* Pushes what was raised, as text. A limit of the task's is never diverted. */
static void push_why(lua_State *L, rl_luaop *op)
{
  rl_worker_check_interrupt(L);
  if (lua_touserdata(L, WHY) == &rl_raised) rl_raise(L);
  if (lua_isnil(L, WHY))
    lua_pushfstring(L, "the function given to %s returned nil", rl_luaop_name(op, lua_tointeger(L, STEP)));
  else
    rl_failure_push_text(L, WHY);
}

/* The text is on top. */
static void check_limit(lua_State *L, rl_luaop *op)
{
  int64_t limit = op->w->config->max_bad_records;
  if (limit == 0 || op->w->bad.count <= limit) return;
  const rl_step *step = rl_luaop_step(op, lua_tointeger(L, STEP));
  const char *text = lua_tostring(L, -1);
  rl_fail(RL_EUSER, "%.*s (in the function given to %s%s%s; more than %lld bad records in one task: "
          "rille.task.maxBadRecords)", (int)strcspn(text, "\r\n"), text, step->name, step->site ? ", declared at " : "",
          step->site ? step->site : "", (long long)limit);
  rl_luaop_raise(L, op);
}

static int shown(size_t n)
{
  return n > SHOWN ? SHOWN : (int)n;
}

/* The message is at `why`, the record as one value at `record`. */
static void take_sample(lua_State *L, rl_luaop *op, int why, int record)
{
  rl_badness *bad = &op->w->bad;
  if (bad->nsamples == RL_BAD_SAMPLES) return;
  const rl_step *step = rl_luaop_step(op, lua_tointeger(L, STEP));
  size_t n;
  const char *text = lua_tolstring(L, why, &n);
  rl_buf *sample = rl_lua_push_buf(L);
  rl_buf_printf(sample, "%s%s%s: %.*s: ", step->name, step->site ? " at " : "", step->site ? step->site : "", shown(n),
                text);
  rl_buf_clear(&op->text);
  if (rl_lua_format(L, record, &op->text) != RL_OK) rl_buf_puts(&op->text, "(a record that cannot be shown)");
  rl_buf_add(sample, op->text.p ? op->text.p : "", (size_t)shown(op->text.n));
  for (size_t i = 0; i < sample->n; i++)
    if (sample->p[i] == '\n' || sample->p[i] == '\r') sample->p[i] = ' ';
  rl_put_bytes(&bad->samples, sample->p, sample->n);
  bad->nsamples++;
  lua_pop(L, 1);
}

/* bad(op, step, tagged, handler, why, ...): the record is what follows, a single tuple being spread. For a tagged step
 * its message and the record as one value. */
int rl_badness_add(lua_State *L)
{
  rl_luaop *op = lua_touserdata(L, OP);
  int first = FIELDS, n = rl_lua_spread(L, &first, lua_gettop(L) - WHY);
  luaL_checkstack(L, n + 10, NULL);
  push_why(L, op);
  int why = lua_gettop(L);
  op->w->bad.count++;
  check_limit(L, op);
  if (n == 1)
    lua_pushvalue(L, first);
  else
    rl_lua_pack(L, first, n);
  take_sample(L, op, why, why + 1);
  if (!lua_isnil(L, HANDLER)) {
    lua_pushvalue(L, HANDLER);
    lua_pushvalue(L, lua_isnil(L, WHY) ? why : WHY);
    for (int i = 0; i < n; i++) lua_pushvalue(L, first + i);
    lua_call(L, n + 1, 0);
  }
  return lua_toboolean(L, TAGGED) ? 2 : 0;
}

void rl_badness_begin(rl_worker *w)
{
  w->bad.count = 0;
  w->bad.nsamples = 0;
  rl_buf_clear(&w->bad.samples);
}

/* (0, (batch time or nil, count, samples...)) */
void rl_badness_report(rl_worker *w, const rl_task *task)
{
  if (w->bad.count == 0) return;
  rl_put_int(task->updates, 0);
  rl_put_tuple(task->updates, 2 + (uint64_t)w->bad.nsamples);
  rl_put_value(task->updates, task->batch_time == RL_NO_TIME ? rl_nil() : rl_int(task->batch_time));
  rl_put_int(task->updates, w->bad.count);
  rl_buf_add(task->updates, w->bad.samples.p, w->bad.samples.n);
}
