/* What users read: why a value cannot travel and how it was reached; which functions assign what they cannot share. */
#include <ctype.h>
#include <lauxlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "capture_internal.h"

/* Names of the library's own userdata start so. */
#define OWN "rille."

/* A longer way is shown by its two ends. */
#define SHOWN_HEAD 12
#define SHOWN_TAIL 8
#define SHOWN_KEY 40

bool rl_capture_is_own(lua_State *L, int index)
{
  if (luaL_getmetafield(L, index, "__name") == LUA_TNIL) return false;
  const char *name = lua_tostring(L, -1);
  bool own = name && strncmp(name, OWN, strlen(OWN)) == 0;
  lua_pop(L, 1);
  return own;
}

const char *rl_obstacle(lua_State *L, int index, const char **hint)
{
  switch (lua_type(L, index)) {
    case LUA_TUSERDATA:
    case LUA_TLIGHTUSERDATA:
      *hint = rl_capture_is_own(L, index) ? "contexts, RDDs and streams are the driver's: use them in foreachRDD or transform"
                               : "open it inside foreachPartition, or see rille.once";
      return lua_type(L, index) == LUA_TUSERDATA ? "userdata" : "light userdata";
    case LUA_TTHREAD:
      *hint = "create it inside the function";
      return "thread";
    default:
      break;
  }
  bool wrapped = lua_getupvalue(L, index, 1) && lua_isthread(L, -1);
  *hint = wrapped ? "create it inside the function" : "require its module inside the function";
  return wrapped ? "coroutine.wrap function" : "C function";
}

/* --- the way to a value ------------------------------------------------------------------------------------------- */

/* w->way is the way so far ("upvalue 'pool.conn"), w->last the name of its last step ("conn"). */

static void set_last(rl_walk *w, const char *s, size_t n)
{
  rl_buf_clear(&w->last);
  rl_buf_add(&w->last, s, n);
}

/* A name begins a part of its own: upvalue 'x', global 'x'. */
static void begin_part(rl_walk *w, const char *kind, const char *name, size_t n)
{
  rl_buf_puts(&w->way, w->way.n > 0 ? "', its " : "");
  rl_buf_printf(&w->way, "%s '%.*s", kind, (int)n, name);
  set_last(w, name, n);
}

static bool is_identifier(const char *s, size_t n)
{
  bool good = n > 0 && n <= SHOWN_KEY && !isdigit((unsigned char)s[0]);
  for (size_t i = 0; i < n && good; i++) {
    good = isalnum((unsigned char)s[i]) || s[i] == '_';
  }
  return good;
}

/* The step by an index: the last name is all of the part, "x[3]" says more than "[3]". */
static void add_index(rl_walk *w, const char *index)
{
  if (w->way.n == 0) {
    begin_part(w, "field", index, strlen(index));
    return;
  }
  rl_buf_puts(&w->way, index);
  const char *way = rl_buf_cstr(&w->way);
  const char *part = strrchr(way, '\'');
  part = part ? part + 1 : way;
  set_last(w, part, strlen(part));
}

static void add_string_key(rl_walk *w, const char *s, size_t n)
{
  char index[SHOWN_KEY + 16];
  char shown[SHOWN_KEY + 1];
  if (is_identifier(s, n) && w->way.n > 0) {
    rl_buf_printf(&w->way, ".%.*s", (int)n, s);
    set_last(w, s, n);
    return;
  }
  if (is_identifier(s, n)) {
    begin_part(w, "field", s, n);
    return;
  }
  size_t k = n < SHOWN_KEY ? n : SHOWN_KEY;
  for (size_t i = 0; i < k; i++) {
    shown[i] = (char)(iscntrl((unsigned char)s[i]) || s[i] == '\'' ? '?' : s[i]);
  }
  shown[k] = '\0';
  snprintf(index, sizeof index, "[\"%s%s\"]", shown, k < n ? "..." : "");
  add_index(w, index);
}

static void add_key(rl_walk *w, int key)
{
  lua_State *L = w->L;
  char index[64];
  size_t n;
  const char *s;
  switch (lua_type(L, key)) {
    case LUA_TSTRING:
      s = lua_tolstring(L, key, &n);
      add_string_key(w, s, n);
      return;
    case LUA_TNUMBER:
      if (lua_isinteger(L, key)) {
        snprintf(index, sizeof index, "[" LUA_INTEGER_FMT "]", lua_tointeger(L, key));
      } else {
        snprintf(index, sizeof index, "[" LUA_NUMBER_FMT "]", lua_tonumber(L, key));
      }
      break;
    case LUA_TBOOLEAN:
      snprintf(index, sizeof index, "[%s]", lua_toboolean(L, key) ? "true" : "false");
      break;
    default:
      snprintf(index, sizeof index, "[%s]", luaL_typename(L, key));
      break;
  }
  add_index(w, index);
}

/* The step from the table to the value on top: by the first key that leads to it, or is it, or by the metatable. */
static void add_field(rl_walk *w, uint32_t table)
{
  lua_State *L = w->L;
  int value = lua_gettop(L);
  rl_walk_push(w, table);
  lua_pushnil(L);
  while (lua_next(L, value + 1)) {
    if (lua_rawequal(L, -1, value) || lua_rawequal(L, -2, value)) {
      add_key(w, lua_gettop(L) - 1);
      lua_settop(L, value);
      return;
    }
    lua_pop(L, 1);
  }
  add_index(w, "@metatable");
  lua_settop(L, value);
}

/* The step from `parent` to its child, the value on top; `id` is the child's entry, or -1 when it has none. */
static void add_step(rl_walk *w, int64_t parent, int64_t id)
{
  lua_State *L = w->L;
  size_t n;
  const char *name;
  rl_record from = w->entries[parent].kind;
  rl_record to = id >= 0 ? w->entries[id].kind : RL_R_NAMED;
  if (from == RL_R_TABLE) {
    add_field(w, (uint32_t)parent);
  } else if (from == RL_R_MODULE && to == RL_R_FUNCTION) {
    const rl_module *m = w->entries[parent].module;
    begin_part(w, "loader of module", m->name, m->name_n);
  } else if (to == RL_R_GLOBAL) {
    name = lua_tolstring(L, -1, &n);
    begin_part(w, "global", name, n);
  } else if (to == RL_R_CELL) {
    rl_walk_push(w, (uint32_t)parent);
    name = lua_getupvalue(L, -1, (int)w->entries[id].n);
    begin_part(w, "upvalue", name, strlen(name));
    lua_pop(L, 2);
  }
}

/* The entries from a root to `entry`, the last first. */
static size_t make_chain(rl_walk *w, int64_t entry)
{
  size_t n = 0;
  for (; entry >= 0; entry = w->entries[entry].parent) {
    w->chain = rl_grow(w->chain, &w->cap_chain, n + 1, sizeof *w->chain);
    w->chain[n++] = entry;
  }
  return n;
}

/* Makes w->way the way to `entry` and, when `index` is not 0, on to the value there. */
static void make_way(rl_walk *w, int64_t entry, int index)
{
  lua_State *L = w->L;
  rl_buf_clear(&w->way);
  rl_buf_clear(&w->last);
  size_t n = make_chain(w, entry);
  for (size_t i = 1; i < n; i++) {
    if (n > SHOWN_HEAD + SHOWN_TAIL && i == SHOWN_HEAD) {
      rl_buf_puts(&w->way, " ... ");
      i = n - SHOWN_TAIL;
    }
    int64_t id = w->chain[n - 1 - i];
    rl_walk_push(w, (uint32_t)id);
    add_step(w, w->chain[n - i], id);
    lua_pop(L, 1);
  }
  if (n > 0 && index != 0) {
    lua_pushvalue(L, index);
    add_step(w, entry, -1);
    lua_pop(L, 1);
  }
  if (w->way.n > 0) {
    rl_buf_putc(&w->way, '\'');
  }
}

static const rl_capture_root *root_of(const rl_walk *w, int64_t entry)
{
  while (entry >= 0) {
    entry = w->entries[entry].parent;
  }
  return &w->roots[-1 - entry];
}

/* --- refusals and warnings ---------------------------------------------------------------------------------------- */

static _Noreturn void leave(rl_walk *w, rl_status st)
{
  w->status = st;
  lua_pushnil(w->L);
  lua_error(w->L);
  __builtin_unreachable();
}

_Noreturn void rl_walk_refuse(rl_walk *w, int index, int64_t parent)
{
  const char *hint;
  const char *what = rl_obstacle(w->L, index, &hint);
  const rl_capture_root *root = root_of(w, parent);
  const char *site = root->site ? root->site : "";
  const char *colon = root->site ? ": " : "";
  make_way(w, parent, index);
  if (w->way.n == 0) {
    leave(w, rl_fail(RL_EINVAL, "%s%s%s is a %s, which cannot travel to the workers; %s", site, colon, root->role,
                     what, hint));
  }
  leave(w, rl_fail(RL_EINVAL, "%s%s%s captures '%s' (%s, via %s); %s", site, colon, root->role,
                   rl_buf_cstr(&w->last), what, rl_buf_cstr(&w->way), hint));
}

/* Names that Lua itself gives to texts it does not keep. */
static const struct {
  const char *source, *why;
} nameless[] = {
    {"=(load)", "load was given it in pieces; give it the whole text as one string"},
    {"=stdin", "it was typed in, or piped; put it into a file"},
    {"=(command line)", "it was typed in, or piped; put it into a file"},
};

/* Why there is no text, and what to do. */
static const char *textless(const rl_proto *p)
{
  bool stripped = !p->source || (p->source_n == 2 && memcmp(p->source, "=?", 2) == 0); /* as load names it */
  if (stripped) return "it was stripped of its debug information; keep that, or load the function from text";
  for (size_t i = 0; i < sizeof nameless / sizeof *nameless; i++) {
    if (p->source_n == strlen(nameless[i].source) && memcmp(p->source, nameless[i].source, p->source_n) == 0) {
      return nameless[i].why;
    }
  }
  switch (p->source[0]) {
    case '=':
      return "it was loaded under a name that stands for no text; give load no name, or one that begins with @ and "
             "names its file";
    case '@':
      return "its file is gone, or has changed since it was loaded; load the file again";
    default:
      return "it is not what its text gives; load it from text";
  }
}

_Noreturn void rl_walk_refuse_textless(rl_walk *w, uint32_t entry)
{
  const char *why = textless(w->proto);
  const rl_capture_root *root = root_of(w, entry);
  const char *site = root->site ? root->site : "";
  const char *colon = root->site ? ": " : "";
  make_way(w, entry, 0);
  if (w->way.n == 0) {
    leave(w, rl_fail(RL_EINVAL, "%s%s%s has no source text, so a checkpoint cannot keep it: %s", site, colon,
                     root->role, why));
  }
  leave(w, rl_fail(RL_EINVAL, "%s%s%s captures '%s' (a function without source text, via %s), so a checkpoint cannot "
                   "keep it: %s", site, colon, root->role, rl_buf_cstr(&w->last), rl_buf_cstr(&w->way), why));
}

_Noreturn void rl_walk_too_large(rl_walk *w, uint32_t entry, size_t limit)
{
  const rl_capture_root *root = root_of(w, entry);
  make_way(w, entry, 0);
  leave(w, rl_fail(RL_ELIMIT, "%s%s%s captures more than %zu MiB%s%s; make the data an RDD or a stream, or load it in "
                   "the workers (rille.once)", root->site ? root->site : "", root->site ? ": " : "", root->role,
                   limit >> 20, w->way.n > 0 ? ", the last of it via " : "", rl_buf_cstr(&w->way)));
}

/* Is this the first time the state sees w->proto here? */
static bool first_warning(rl_walk *w)
{
  lua_State *L = w->L;
  lua_Integer key = (lua_Integer)rl_hash_bytes(w->dump.p, w->dump.n, RL_HASH_SEED);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, RL_WARNED_TABLE);
  bool first = lua_rawgeti(L, -1, key) == LUA_TNIL;
  lua_pop(L, 1);
  lua_pushboolean(L, true);
  lua_rawseti(L, -2, key);
  lua_pop(L, 1);
  return first;
}

static void add_assigned(rl_walk *w, const char *name, size_t n, size_t *count)
{
  rl_buf_printf(&w->last, "%s'%.*s'", (*count)++ > 0 ? ", " : "", (int)n, name);
}

/* Assigned globals count when the driver has given them a value: then they are variables from outside, too. */
static void add_assigned_globals(rl_walk *w, size_t *count)
{
  lua_State *L = w->L;
  w->nnames = 0;
  rl_proto_globals(w->proto, rl_walk_note_name, w, NULL);
  rl_walk_push(w, 0);
  for (size_t i = 0; i < w->nnames; i++) {
    lua_pushlstring(L, w->names[i].s, w->names[i].n);
    if (w->names[i].assigned && lua_rawget(L, -2) != LUA_TNIL) {
      add_assigned(w, w->names[i].s, w->names[i].n, count);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* Collects into w->last the names of outer variables that the function assigns: "'a', 'b'". Returns their number. */
static size_t assigned_names(rl_walk *w)
{
  size_t n = 0;
  rl_buf_clear(&w->last);
  for (size_t i = 0; i < w->proto->nupvals; i++) {
    const char *name = w->proto->upvals[i].name;
    if (rl_proto_assigns_upvalue(w->proto, i)) {
      add_assigned(w, *name ? name : "?", *name ? strlen(name) : 1, &n);
    }
  }
  add_assigned_globals(w, &n);
  return n;
}

void rl_walk_warn(rl_walk *w, uint32_t entry)
{
  const rl_capture_root *root = root_of(w, entry);
  make_way(w, entry, 0);
  size_t n = assigned_names(w);
  bool computed = rl_proto_computes_globals(w->proto);
  if ((n == 0 && !computed) || !first_warning(w)) {
    return;
  }
  const char *site = root->site ? root->site : "";
  bool nested = w->way.n > 0;
  if (computed) {
    rl_warn("%s%s%s%s%s%s looks up globals by names that it works out, as in _G[name]: workers have only those of your "
            "globals that functions name in their code; name them, or keep them in a table of their own",
            site, *site ? ": " : "", root->role, nested ? " (in " : "", nested ? rl_buf_cstr(&w->way) : "",
            nested ? ")" : "");
  }
  if (n == 0) {
    return;
  }
  rl_warn("%s%s%s assigns %s%s%s%s, %s from outside: each worker has its own copy and the driver's stays as it is; use "
          "an accumulator, or return the value", site, *site ? ": " : "", root->role, rl_buf_cstr(&w->last),
          nested ? " (in " : "", nested ? rl_buf_cstr(&w->way) : "", nested ? ")" : "",
          n == 1 ? "a variable" : "variables");
}
