/* Turn: one after another, in the order of asking. What outputs whose batches must not overtake each other take, when
 * several run at once (rille.streaming.concurrentJobs). In an output's coroutine `take` yields until it is its turn,
 * elsewhere it serves messages meanwhile. */
#include <string.h>

#include "bind.h"

/* One that waits, or has the turn: a userdata in the stack of who asked. */
typedef struct place {
  rl_message called; /* first */
  rl_waiter waiter;
  struct turn *turn; /* which is its user value; NULL: it is over */
  struct place *next;
  bool has; /* the turn */
} place;

typedef struct turn {
  rl_context *context; /* one reference */
  place *first, *last; /* the first has the turn */
} turn;

#define META_PLACE "rille.core.Place"

static void on_called(rl_message *m)
{
  rl_outrun_resume(&((place *)m)->waiter, false);
}

static bool has_turn(void *p) { return ((const place *)p)->has; }

static void call_first(turn *t)
{
  if (!t->first || t->first->has) return;
  t->first->has = true;
  rl_driver_post(rl_context_driver(t->context), &t->first->called);
}

/* Also when the coroutine it stood in is gone. */
static int place_leave(lua_State *L)
{
  place *p = luaL_checkudata(L, 1, META_PLACE);
  turn *t = p->turn;
  p->turn = NULL;
  if (!t || !t->context) return 0; /* all goes */
  rl_outrun_forget(&p->waiter);
  rl_driver_cancel(rl_context_driver(t->context), &p->called);
  place **at = &t->first, *before = NULL;
  while (*at != p) {
    before = *at;
    at = &before->next;
  }
  *at = p->next;
  if (t->last == p) t->last = before;
  call_first(t);
  return 0;
}

static place *join(lua_State *L, turn *t)
{
  place *p = lua_newuserdatauv(L, sizeof *p, 1);
  memset(p, 0, sizeof *p);
  luaL_setmetatable(L, META_PLACE);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  p->called.run = on_called;
  p->turn = t;
  if (t->last) t->last->next = p;
  else t->first = p;
  t->last = p;
  p->has = t->first == p;
  return p;
}

static int taken(lua_State *L, int status, lua_KContext at)
{
  (void)status;
  lua_settop(L, (int)at);
  return 1;
}

/* turn:take() -> what gives it back when it is closed */
static int turn_take(lua_State *L)
{
  turn *t = luaL_checkudata(L, 1, RL_META_TURN);
  luaL_argcheck(L, t->context, 1, "this turn is gone");
  lua_settop(L, 1);
  place *p = join(L, t);
  if (p->has) return 1;
  if (rl_outrun_suspend(rl_bind_enter(L), L, &p->waiter)) return lua_yieldk(L, 0, lua_gettop(L), taken);
  rl_driver_serve(rl_context_driver(t->context), has_turn, p, -1);
  return 1;
}

static int turn_gc(lua_State *L)
{
  turn *t = luaL_checkudata(L, 1, RL_META_TURN);
  if (t->context) rl_context_unref(t->context);
  t->context = NULL;
  return 0;
}

/* Context:turn() */
static int new_turn(lua_State *L)
{
  rl_context *c = rl_check_context(L, 1);
  turn *t = lua_newuserdatauv(L, sizeof *t, 0);
  memset(t, 0, sizeof *t);
  luaL_setmetatable(L, RL_META_TURN);
  t->context = rl_context_ref(c);
  return 1;
}

void rl_bind_add_turns(lua_State *L)
{
  static const luaL_Reg methods[] = {{"take", turn_take}, {NULL, NULL}};
  rl_handle_type(L, RL_META_TURN, turn_gc, methods);
  rl_handle_type_closed(L, META_PLACE, place_leave);
  lua_pushcfunction(L, new_turn);
  lua_setfield(L, -2, "turn");
}
