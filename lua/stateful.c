/* Keyed state in the functions of a state stage (core/plan/stated.h), for generated code (stdlib/rille/kinds.lua). The
 * keys are numbered by keyed.c; number n has slot n of the task's update (core/store/state.h).
 *
 *   stateOpen(op, timed)       before all others: the `state` object; `timed`: what is touched gets a new stamp
 *   stateInitial(op)           while there is: takes in a chunk of (key, state) records as the state there was
 *   stateRecords, op           for k, v: the records, each with `state` set to its key's
 *   stateDue(op, before)       k, until nil: the keys that time out, likewise
 *   stateStore(op)             at the end: writes what has changed
 *   stateEach, op              for k, values, s: all keys of the input and of the state, each once
 *   stateSides, op             for n, k, s, has: all keys of the input, by number from 1
 *   stateKeep(op, v)           what the key's state becomes; nil: it is removed
 *
 * Record by record a value is decoded when it is first asked for, kept in a Lua table for the task, and encoded once,
 * at its end. Key by key it is decoded, and encoded right after the function's call. */
#include <lauxlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/codec.h"
#include "data/keys.h"
#include "operator.h"
#include "store/state.h"
#include "values.h"

enum { EXISTS = 1, LOADED = 2, CHANGED = 4, TOUCHED = 8 };

#define SHOWN 100 /* bytes of a key in messages */
#define NO_SLOT UINT32_MAX

typedef struct rl_luastate {
  uint8_t *flags; /* of each slot */
  size_t flags_cap;
  uint32_t slots, at; /* at: the one whose function runs; NO_SLOT */
  uint32_t given;     /* how many slots stateEach has given */
  bool timed, removed, timing_out;
  int vals_ref, box_ref; /* registry: decoded values by number; what `state` holds */
  rl_state_scan *rest;   /* stateEach, behind the keys of the input: those of the state */
  rl_value rest_key, rest_value; /* at == NO_SLOT: the entry that was given */
  bool in_rest, rest_open;
  rl_state_due *due;
  rl_buf scratch, text;
} rl_luastate;

static rl_luaop *op_at(lua_State *L) { return lua_touserdata(L, 1); }

static rl_luastate *state_of(rl_luaop *op)
{
  if (!op->state) {
    op->state = RL_NEW(rl_luastate);
    op->state->vals_ref = op->state->box_ref = LUA_NOREF;
    op->state->at = NO_SLOT;
  }
  return op->state;
}

void rl_luastate_delete(rl_luaop *op)
{
  rl_luastate *s = op->state;
  if (!s) return;
  lua_State *L = op->w->L;
  if (s->box_ref != LUA_NOREF) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->box_ref);
    *(rl_luaop **)lua_touserdata(L, -1) = NULL;
    lua_pop(L, 1);
  }
  luaL_unref(L, LUA_REGISTRYINDEX, s->vals_ref);
  luaL_unref(L, LUA_REGISTRYINDEX, s->box_ref);
  rl_state_scan_close(s->rest);
  rl_state_due_close(s->due);
  rl_free(s->flags);
  rl_buf_free(&s->scratch);
  rl_buf_free(&s->text);
  rl_free(s);
  op->state = NULL;
}

static rl_value key_now(const rl_luastate *s, const rl_luaop *op)
{
  return s->at != NO_SLOT ? rl_state_slot_key(op->task->state, s->at) : s->rest_key;
}

const char *rl_luastate_key(rl_luaop *op)
{
  rl_luastate *s = op->state;
  if (!s || (s->at == NO_SLOT && !s->in_rest)) return NULL;
  rl_buf_clear(&s->text);
  rl_value_format(key_now(s, op), &s->text);
  if (s->text.n > SHOWN) {
    s->text.n = SHOWN;
    rl_buf_puts(&s->text, "...");
  }
  return rl_buf_cstr(&s->text);
}

/* The thread's current error, with the stream and the key it is about. */
static int fail_key(lua_State *L, rl_luaop *op)
{
  const rl_step *step = rl_luaop_step(op, op->segment.consumer);
  const char *key = rl_luastate_key(op);
  bool site = step && step->site;
  rl_error_prefix("%s%s%s: the state of key %s: ", site ? step->site : "", site ? ": " : "",
                  step ? step->name : "state", key ? key : "?");
  return rl_luaop_raise(L, op);
}

/* Slots for all keys there are. */
static void look_up(lua_State *L, rl_luaop *op, rl_luastate *s)
{
  rl_keys *keys = rl_keyed_keys(op);
  uint32_t n = rl_keys_count(keys);
  if (n <= s->slots) return;
  s->flags = rl_grow(s->flags, &s->flags_cap, n, sizeof *s->flags);
  while (s->slots < n) {
    rl_value old;
    int64_t stamp;
    if (rl_state_slot(op->task->state, rl_keys_get(keys, s->slots), &old, &stamp) != RL_OK) rl_luaop_raise(L, op);
    s->flags[s->slots++] = old.type == RL_T_NIL ? 0 : EXISTS;
  }
}

/* Pushes the slot's value; nil when it has none. */
static void push_value(lua_State *L, rl_luaop *op, rl_luastate *s, uint32_t slot)
{
  uint8_t *f = &s->flags[slot];
  if (!(*f & EXISTS)) {
    lua_pushnil(L);
    return;
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, s->vals_ref);
  if (*f & LOADED) {
    lua_rawgeti(L, -1, (lua_Integer)slot + 1);
  } else {
    int64_t stamp;
    rl_lua_push_value(L, rl_state_slot_old(op->task->state, slot, &stamp));
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, (lua_Integer)slot + 1);
    *f |= LOADED;
  }
  lua_remove(L, -2);
}

/* As push_value, where the value is asked for once: the task does not keep it. */
static void push_passing(lua_State *L, rl_luaop *op, rl_luastate *s, uint32_t slot)
{
  int64_t stamp;
  if ((s->flags[slot] & (EXISTS | LOADED)) == EXISTS) {
    rl_lua_push_value(L, rl_state_slot_old(op->task->state, slot, &stamp));
  } else {
    push_value(L, op, s, slot);
  }
}

/* The slot's value becomes the one at the top (popped); nil: none. */
static void keep_value(lua_State *L, rl_luastate *s, uint32_t slot)
{
  bool exists = !lua_isnil(L, -1);
  uint8_t *f = &s->flags[slot];
  *f = (uint8_t)((*f & ~(EXISTS | LOADED)) | CHANGED | (exists ? EXISTS | LOADED : 0));
  if (!exists) {
    lua_pop(L, 1);
    lua_pushboolean(L, 0);
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, s->vals_ref);
  lua_insert(L, -2);
  lua_rawseti(L, -2, (lua_Integer)slot + 1);
  lua_pop(L, 1);
}

/* The state object ------------------------------------------------------------------------------------------------- */

static char object_meta;

static rl_luaop *object(lua_State *L, const char *method)
{
  rl_luaop **box = lua_touserdata(L, 1);
  bool ours = box && lua_getmetatable(L, 1) && lua_rawgetp(L, LUA_REGISTRYINDEX, &object_meta) &&
              lua_rawequal(L, -1, -2);
  if (!ours)
    luaL_error(L, "'%s' was called on a %s where a state is needed; write it with a colon, as in state:%s(...)",
                        method, luaL_typename(L, 1), method);
  lua_pop(L, 2);
  if (!*box || (*box)->state->at == NO_SLOT)
    luaL_error(L, "the state is used outside of the call it was given to; keep what state:get() gives instead");
  return *box;
}

static int object_get(lua_State *L)
{
  rl_luaop *op = object(L, "get");
  push_value(L, op, op->state, op->state->at);
  return 1;
}

static int object_exists(lua_State *L)
{
  const rl_luastate *s = object(L, "exists")->state;
  lua_pushboolean(L, s->flags[s->at] & EXISTS);
  return 1;
}

static int object_is_timing_out(lua_State *L)
{
  lua_pushboolean(L, object(L, "isTimingOut")->state->timing_out);
  return 1;
}

static int object_update(lua_State *L)
{
  rl_luastate *s = object(L, "update")->state;
  if (s->timing_out) return luaL_error(L, "the state cannot be updated: it is timing out");
  if (s->removed) return luaL_error(L, "the state cannot be updated: it was removed in this call");
  lua_settop(L, 2);
  if (lua_isnil(L, 2)) return luaL_error(L, "the state cannot be updated to nil; state:remove() removes it");
  keep_value(L, s, s->at);
  return 0;
}

static int object_remove(lua_State *L)
{
  rl_luastate *s = object(L, "remove")->state;
  if (s->timing_out) return luaL_error(L, "the state cannot be removed: it is timing out");
  if (s->removed) return luaL_error(L, "the state cannot be removed: it was removed in this call already");
  s->removed = true;
  lua_pushnil(L);
  keep_value(L, s, s->at);
  return 0;
}

static int object_text(lua_State *L)
{
  rl_luaop **box = lua_touserdata(L, 1);
  const char *key = box && *box ? rl_luastate_key(*box) : NULL;
  lua_pushfstring(L, key ? "state of %s" : "state", key);
  return 1;
}

static void push_object_meta(lua_State *L)
{
  static const luaL_Reg methods[] = {
      {"exists", object_exists}, {"get", object_get},       {"isTimingOut", object_is_timing_out},
      {"remove", object_remove}, {"update", object_update}, {NULL, NULL},
  };
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &object_meta) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, object_text);
  lua_setfield(L, -2, "__tostring");
  lua_pushliteral(L, "rille.State");
  lua_setfield(L, -2, "__name");
  lua_pushliteral(L, "rille.State");
  lua_setfield(L, -2, "__metatable");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &object_meta);
}

static int lib_open(lua_State *L)
{
  rl_luaop *op = op_at(L);
  if (!op->task->state) return luaL_error(L, "state is used outside of a state stage");
  rl_luastate *s = state_of(op);
  s->timed = lua_toboolean(L, 2);
  if (s->box_ref == LUA_NOREF) {
    lua_newtable(L);
    s->vals_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    rl_luaop **box = lua_newuserdatauv(L, sizeof(rl_luaop *), 0);
    *box = NULL;
    push_object_meta(L);
    lua_setmetatable(L, -2);
    s->box_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    *box = op;
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, s->box_ref);
  lua_pushinteger(L, op->task->batch_time);
  return 2;
}

/* inputs(op): how many there are. */
static int lib_inputs(lua_State *L)
{
  lua_pushinteger(L, (lua_Integer)op_at(L)->ninputs);
  return 1;
}

/* Of a key that comes again the first counts. */
static void take_initial(lua_State *L, rl_luaop *op, rl_luastate *s)
{
  uint32_t before = s->slots, slot = rl_keyed_number(L, op);
  look_up(L, op, s);
  if (slot < before) return;
  rl_luaop_push_paired(L, op->chunk, op->row);
  if (lua_isnil(L, -1)) lua_pop(L, 1);
  else keep_value(L, s, slot);
}

static int lib_initial(lua_State *L)
{
  rl_luaop *op = op_at(L);
  if (!rl_luaop_refill(L, op)) return 0;
  for (; op->row < op->nrows; op->row++) take_initial(L, op, op->state);
  lua_pushboolean(L, 1);
  return 1;
}

/* Record by record ------------------------------------------------------------------------------------------------- */

/* The end of a call: what the function has left. */
static void settle(rl_luastate *s)
{
  if (s->at != NO_SLOT && s->timed && s->flags[s->at] & EXISTS) s->flags[s->at] |= TOUCHED;
  s->removed = false;
  s->at = NO_SLOT;
}

static int lib_records(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_luastate *s = op->state;
  settle(s);
  if (!rl_luaop_advance(L, op)) return 0;
  uint32_t slot = rl_keyed_number(L, op);
  look_up(L, op, s);
  s->at = slot;
  rl_lua_push_value(L, rl_state_slot_key(op->task->state, slot));
  rl_luaop_push_paired(L, op->chunk, op->row);
  return 2;
}

/* The state there is afterwards: none, whatever the function did. */
static void expire(lua_State *L, rl_luastate *s)
{
  if (!s->timing_out) return;
  lua_pushnil(L);
  keep_value(L, s, s->at);
  s->timing_out = false;
}

static int lib_due(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_luastate *s = op->state;
  rl_value key;
  bool found;
  expire(L, s);
  settle(s);
  if (!s->due && rl_state_due_open(op->task->state, lua_tointeger(L, 2), &s->due) != RL_OK) rl_luaop_raise(L, op);
  if (rl_state_due_next(s->due, &key, &found) != RL_OK) rl_luaop_raise(L, op);
  if (!found) return 0;
  uint32_t slot;
  if (rl_keys_put(rl_keyed_keys(op), key, &slot) != RL_OK) rl_luaop_raise(L, op);
  look_up(L, op, s);
  s->at = slot;
  s->timing_out = true;
  rl_lua_push_value(L, rl_state_slot_key(op->task->state, slot));
  return 1;
}

/* Writing ---------------------------------------------------------------------------------------------------------- */

/* Sets a slot to the value on top (popped). */
static void store_value(lua_State *L, rl_luaop *op, rl_luastate *s, uint32_t slot)
{
  rl_value v;
  s->at = slot;
  rl_buf_clear(&s->scratch);
  if (rl_lua_to_value(L, -1, &v, &s->scratch) != RL_OK) fail_key(L, op);
  if (rl_state_set(op->task->state, slot, v, op->task->batch_time) != RL_OK) fail_key(L, op);
  s->at = NO_SLOT;
  lua_pop(L, 1);
}

static void remove_value(lua_State *L, rl_luaop *op, uint32_t slot)
{
  int64_t stamp;
  if (rl_state_slot_old(op->task->state, slot, &stamp).type == RL_T_NIL) return; /* it came and went */
  if (rl_state_set(op->task->state, slot, rl_nil(), op->task->batch_time) != RL_OK) rl_luaop_raise(L, op);
}

static void store_slot(lua_State *L, rl_luaop *op, rl_luastate *s, uint32_t slot)
{
  uint8_t f = s->flags[slot];
  int64_t stamp;
  if (f & CHANGED && !(f & EXISTS)) {
    remove_value(L, op, slot);
  } else if (f & CHANGED) {
    push_value(L, op, s, slot);
    store_value(L, op, s, slot);
  } else if (f & TOUCHED) {
    rl_value old = rl_state_slot_old(op->task->state, slot, &stamp);
    if (rl_state_set(op->task->state, slot, old, op->task->batch_time) != RL_OK) rl_luaop_raise(L, op);
  }
}

static int lib_store(lua_State *L)
{
  rl_luaop *op = op_at(L);
  settle(op->state);
  for (uint32_t i = 0; i < op->state->slots; i++) store_slot(L, op, op->state, i);
  return 0;
}

/* Key by key ------------------------------------------------------------------------------------------------------- */

/* The next entry of the state whose key did not come with the input. */
static bool next_rest(lua_State *L, rl_luaop *op, rl_luastate *s)
{
  int64_t stamp;
  bool found;
  uint32_t number;
  if (!s->rest_open) {
    if (rl_state_update_scan(op->task->state, &s->rest) != RL_OK) rl_luaop_raise(L, op);
    s->rest_open = true;
  }
  if (!s->rest) return false;
  do {
    if (rl_state_scan_next(s->rest, &s->rest_key, &s->rest_value, &stamp, &found) != RL_OK) rl_luaop_raise(L, op);
  } while (found && rl_keys_find(rl_keyed_keys(op), s->rest_key, &number));
  return found;
}

static int lib_each(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_luastate *s = op->state;
  luaL_checkstack(L, 8, NULL);
  if (!s->in_rest) {
    look_up(L, op, s);
    if (s->given < s->slots) {
      s->at = s->given++;
      rl_lua_push_value(L, rl_state_slot_key(op->task->state, s->at));
      rl_keyed_push_values(L, op, 0, s->at);
      push_passing(L, op, s, s->at);
      return 3;
    }
    s->at = NO_SLOT;
  }
  s->in_rest = next_rest(L, op, s);
  if (!s->in_rest) return 0;
  rl_lua_push_value(L, s->rest_key);
  lua_newtable(L);
  rl_lua_push_value(L, s->rest_value);
  return 3;
}

/* for n, k, s, has in stateSides, op */
static int lib_sides(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_luastate *s = op->state;
  look_up(L, op, s);
  s->at = NO_SLOT;
  if (s->given == s->slots) return 0;
  s->at = s->given++;
  lua_pushinteger(L, s->given);
  rl_lua_push_value(L, rl_state_slot_key(op->task->state, s->at));
  push_passing(L, op, s, s->at);
  lua_pushboolean(L, s->flags[s->at] & EXISTS);
  return 4;
}

/* A key that came with the state alone gets its slot when it changes. */
static void keep_rest(lua_State *L, rl_luaop *op, rl_luastate *s, rl_value v)
{
  rl_value old;
  int64_t stamp;
  if (rl_value_equal(v, s->rest_value)) return;
  if (rl_state_slot(op->task->state, s->rest_key, &old, &stamp) != RL_OK) fail_key(L, op);
  uint32_t slot = rl_state_slots(op->task->state) - 1;
  if (rl_state_set(op->task->state, slot, v, op->task->batch_time) != RL_OK) fail_key(L, op);
}

static int lib_keep(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_luastate *s = op->state;
  rl_value v;
  lua_settop(L, 2);
  rl_buf_clear(&s->scratch);
  if (rl_lua_to_value(L, 2, &v, &s->scratch) != RL_OK) return fail_key(L, op);
  if (s->at == NO_SLOT) {
    keep_rest(L, op, s, v);
    return 0;
  }
  int64_t stamp;
  rl_value old = rl_state_slot_old(op->task->state, s->at, &stamp);
  if (!rl_value_equal(v, old) && rl_state_set(op->task->state, s->at, v, op->task->batch_time) != RL_OK)
    return fail_key(L, op);
  return 0;
}

/* A key that leaves a window without ever having entered it. */
static int lib_inconsistent(lua_State *L)
{
  rl_fail(RL_EUSER, "values leave the window, but there is no reduced value they were part of; the filter must only "
                    "drop keys whose value is what the reduction of nothing would be");
  return fail_key(L, op_at(L));
}

void rl_luastate_add_library(lua_State *L)
{
  static const luaL_Reg functions[] = {
      {"inputs", lib_inputs},       {"stateDue", lib_due},         {"stateEach", lib_each},
      {"stateInitial", lib_initial}, {"stateKeep", lib_keep},      {"stateOpen", lib_open},
      {"stateRecords", lib_records}, {"stateSides", lib_sides},    {"stateStore", lib_store},
      {"stateInconsistent", lib_inconsistent},
      {NULL, NULL},
  };
  luaL_setfuncs(L, functions, 0);
}
