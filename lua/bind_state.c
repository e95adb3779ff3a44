/* Keyed state: streams that have it, and reading it from the driver. */
#include "bind.h"
#include "data/codec.h"
#include "data/partition.h"
#include "store/panes.h"
#include "store/state.h"
#include "values.h"

#define RL_META_STATE "rille.core.State"
#define RL_META_SCAN "rille.core.Scan"

/* --- streams ------------------------------------------------------------------------------------------------------ */

/* The streaming context of the stream at `index`, pushed. */
static void push_streaming(lua_State *L, int index) { lua_getiuservalue(L, index, 1); }

/* core.dstateful({ name =, site =, uid =, timed =, always =, passing =, form =, window =, slide = }, update,
 * initial or nil, parent) */
static int new_stateful(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  const rl_op like = {
    .kind = RL_OP_STATE,
    .name = (char *)rl_bind_text(L, 1, "name"),
    .site = (char *)rl_bind_text(L, 1, "site"),
    .uid = (char *)rl_bind_text(L, 1, "uid"),
  };
  luaL_argcheck(L, like.name && like.uid, 1, "fields 'name' and 'uid' are needed");
  rl_stateful spec = {
    .update = rl_check_op(L, 2),
    .initial = lua_isnoneornil(L, 3) ? NULL : rl_check_rdd(L, 3),
    .timed = rl_bind_flag(L, 1, "timed"),
    .always = rl_bind_flag(L, 1, "always"),
    .passing = rl_bind_flag(L, 1, "passing"),
    .window_ms = rl_bind_int(L, 1, "window", 0),
    .slide_ms = rl_bind_int(L, 1, "slide", 0),
    .form = rl_bind_text(L, 1, "form"),
  };
  rl_dstream *parent = rl_check_dstream(L, 4), *d = NULL;
  spec.op = rl_op_new(&like);
  rl_status st = rl_dstream_stateful(&spec, parent, &d);
  rl_op_unref(spec.op);
  rl_bind_check(L, st);
  push_streaming(L, 4);
  rl_push_dstream(L, -1, d);
  return 1;
}

/* core.panes({ kind =, orEqual =, swapped =, negated =, label = }) -> the function of a window of a known reducer */
static int new_panes(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  const char *kind = rl_bind_text(L, 1, "kind"), *label = rl_bind_text(L, 1, "label");
  luaL_argcheck(L, kind && label, 1, "fields 'kind' and 'label' are needed");
  const rl_reducer reducer = {
    .kind = *kind == 's' ? RL_REDUCE_SUM : RL_REDUCE_PICK,
    .or_equal = rl_bind_flag(L, 1, "orEqual"),
    .swapped = rl_bind_flag(L, 1, "swapped"),
    .negated = rl_bind_flag(L, 1, "negated"),
  };
  void **h = rl_handle_new(L, RL_META_FN, 0);
  *h = rl_fn_panes(reducer, label);
  return 1;
}

/* core.dsnapshots({ name =, site =, uid =, first = }, stateful) */
static int new_snapshots(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  const rl_op like = {
    .kind = RL_OP_SNAPSHOT,
    .name = (char *)rl_bind_text(L, 1, "name"),
    .site = (char *)rl_bind_text(L, 1, "site"),
    .uid = (char *)rl_bind_text(L, 1, "uid"),
    .first = rl_bind_flag(L, 1, "first"),
  };
  luaL_argcheck(L, like.name, 1, "field 'name' is needed");
  rl_dstream *stateful = rl_check_dstream(L, 2), *d = NULL;
  rl_op *op = rl_op_new(&like);
  rl_status st = rl_dstream_snapshots(op, stateful, &d);
  rl_op_unref(op);
  rl_bind_check(L, st);
  push_streaming(L, 2);
  rl_push_dstream(L, -1, d);
  return 1;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* An operator, whose store the handle keeps: it is read after the context's end, too. */
static rl_state_op *check_state(lua_State *L, int index)
{
  void **h = luaL_checkudata(L, index, RL_META_STATE);
  luaL_argcheck(L, *h, index, "this state is gone");
  return *h;
}

static int state_gc(lua_State *L)
{
  void **h = luaL_checkudata(L, 1, RL_META_STATE);
  if (*h) rl_state_close(rl_state_of(*h));
  *h = NULL;
  return 0;
}

int rl_streaming_find_state(lua_State *L)
{
  rl_streaming *s = rl_check_streaming(L, 1);
  const char *uid = luaL_checkstring(L, 2);
  rl_state *store = rl_streaming_state_store(s);
  void **h = rl_handle_new(L, RL_META_STATE, 0);
  *h = store ? rl_state_find(store, uid) : NULL;
  if (*h) rl_state_ref(store);
  else lua_pushnil(L);
  return 1;
}

static int state_count(lua_State *L)
{
  lua_pushinteger(L, (lua_Integer)rl_state_count(check_state(L, 1)));
  return 1;
}

static int state_get(lua_State *L)
{
  rl_state_op *op = check_state(L, 1);
  lua_settop(L, 2);
  rl_buf *scratch = rl_lua_push_buf(L), *normal = rl_lua_push_buf(L), *out = rl_lua_push_buf(L);
  rl_value key;
  bool found;
  rl_bind_check(L, rl_lua_to_value(L, 2, &key, scratch));
  rl_bind_check(L, rl_key_normalise(&key, normal));
  rl_bind_check(L, rl_state_get(op, key, out, &found));
  if (!found) return 0;
  rl_reader r = {out->p, out->p + out->n};
  rl_value v;
  rl_bind_check(L, rl_get_value(&r, &v));
  rl_lua_push_value(L, v);
  return 1;
}

static int scan_gc(lua_State *L)
{
  void **h = luaL_checkudata(L, 1, RL_META_SCAN);
  rl_state_scan_close(*h);
  *h = NULL;
  return 0;
}

static int next_entry(lua_State *L)
{
  void **h = lua_touserdata(L, lua_upvalueindex(1));
  rl_value key, value;
  int64_t stamp;
  bool found;
  if (!*h) return 0;
  rl_bind_check(L, rl_state_scan_next(*h, &key, &value, &stamp, &found));
  if (!found) {
    rl_state_scan_close(*h);
    *h = NULL;
    return 0;
  }
  rl_lua_push_value(L, key);
  rl_lua_push_value(L, value);
  return 2;
}

/* state:iterate(prefix or nil) -> iterator of (key, value), nil, nil, what closes it: an open scan holds back
 * what the job changes */
static int state_iterate(lua_State *L)
{
  rl_state_op *op = check_state(L, 1);
  size_t n = 0;
  const char *prefix = luaL_optlstring(L, 2, NULL, &n);
  void **h = rl_handle_new(L, RL_META_SCAN, 1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  rl_state_scan *scan = NULL;
  if (rl_state_sealed(op) != RL_NO_TIME)
    rl_bind_check(L, rl_state_scan_open(op, RL_NO_TIME, 0, RL_KEY_GROUPS, prefix, n, &scan));
  *h = scan;
  return rl_push_iterator(L, next_entry);
}

void rl_bind_add_states(lua_State *L)
{
  static const luaL_Reg methods[] = {
    {"count", state_count}, {"get", state_get}, {"iterate", state_iterate}, {NULL, NULL}};
  static const luaL_Reg functions[] = {
    {"dstateful", new_stateful}, {"dsnapshots", new_snapshots}, {"panes", new_panes}, {NULL, NULL}};
  rl_handle_type(L, RL_META_STATE, state_gc, methods);
  rl_handle_type_closed(L, RL_META_SCAN, scan_gc);
  luaL_setfuncs(L, functions, 0);
}
