/* The walk: what is reached from a value, and the records it is written as. */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "capture_internal.h"
#include "dump.h"

/* Strings longer than this are records, so that many references share one copy. */
#define SHORT_STRING 64

/* --- writing ------------------------------------------------------------------------------------------------------ */

void rl_walk_put_string(rl_walk *w, const char *s, size_t n)
{
  rl_image_put_u8(&w->out, RL_V_STRING);
  rl_image_put_bytes(&w->out, s, n);
}

static void put_number(rl_walk *w, int index)
{
  if (lua_isinteger(w->L, index)) {
    lua_Integer i = lua_tointeger(w->L, index);
    rl_image_put_u8(&w->out, RL_V_INT);
    rl_buf_add(&w->out, &i, sizeof i);
  } else {
    lua_Number f = lua_tonumber(w->L, index);
    rl_image_put_u8(&w->out, RL_V_FLOAT);
    rl_buf_add(&w->out, &f, sizeof f);
  }
}

/* Writes the value at `index`, reached from `parent`; what has an identity becomes an entry. */
void rl_walk_put(rl_walk *w, int index, int64_t parent)
{
  lua_State *L = w->L;
  size_t n;
  const char *s;
  index = lua_absindex(L, index);
  switch (lua_type(L, index)) {
    case LUA_TNIL:
      rl_image_put_u8(&w->out, RL_V_NIL);
      return;
    case LUA_TBOOLEAN:
      rl_image_put_u8(&w->out, lua_toboolean(L, index) ? RL_V_TRUE : RL_V_FALSE);
      return;
    case LUA_TNUMBER:
      put_number(w, index);
      return;
    case LUA_TSTRING:
      s = lua_tolstring(L, index, &n);
      if (n <= SHORT_STRING) {
        rl_walk_put_string(w, s, n);
        return;
      }
      break;
    default:
      break;
  }
  uint32_t id = rl_walk_reach(w, index, parent);
  rl_image_put_u8(&w->out, RL_V_RECORD);
  rl_image_put_u32(&w->out, id);
}

/* --- reaching ----------------------------------------------------------------------------------------------------- */

uint32_t rl_walk_add(rl_walk *w, rl_record kind, int64_t parent)
{
  w->entries = rl_grow(w->entries, &w->cap, w->n + 1, sizeof *w->entries);
  w->entries[w->n] = (rl_entry){.kind = kind, .parent = parent};
  uint32_t id = (uint32_t)w->n++;
  lua_rawseti(w->L, w->objects, (lua_Integer)id + 1);
  return id;
}

void rl_walk_push(rl_walk *w, uint32_t entry)
{
  lua_rawgeti(w->L, w->objects, (lua_Integer)entry + 1);
}

static void remember(rl_walk *w, int index, uint32_t id)
{
  lua_pushvalue(w->L, index);
  lua_pushinteger(w->L, id);
  lua_rawset(w->L, w->memo);
}

uint32_t rl_walk_add_object(rl_walk *w, int index, rl_record kind, int64_t parent)
{
  lua_pushvalue(w->L, index);
  uint32_t id = rl_walk_add(w, kind, parent);
  remember(w, index, id);
  return id;
}

/* Pushes table[value at index], where the table is one of the walk's. */
int rl_walk_look_up(rl_walk *w, int table, int index)
{
  lua_pushvalue(w->L, index);
  return lua_rawget(w->L, table);
}

uint32_t rl_walk_known(rl_walk *w, int index)
{
  uint32_t id = rl_walk_look_up(w, w->memo, index) == LUA_TNUMBER ? (uint32_t)lua_tointeger(w->L, -1) : RL_NO_RECORD;
  lua_pop(w->L, 1);
  return id;
}

/* The module whose name the table `names` gives for the value at `index`, as an entry. */
static uint32_t module_of(rl_walk *w, int names, int index, int64_t parent)
{
  size_t n;
  uint32_t id = RL_NO_RECORD;
  if (rl_walk_look_up(w, names, index) == LUA_TSTRING) {
    const char *name = lua_tolstring(w->L, -1, &n);
    id = rl_walk_module(w, name, n, parent);
  }
  lua_pop(w->L, 1);
  return id;
}

/* What travels by a name: registered objects, modules, and fields of modules. */
static uint32_t reach_by_name(rl_walk *w, int index, int64_t parent)
{
  int named = rl_walk_look_up(w, w->named, index);
  lua_pop(w->L, 1);
  if (named == LUA_TSTRING) {
    return rl_walk_add_object(w, index, RL_R_NAMED, parent);
  }
  uint32_t id = module_of(w, w->modules, index, parent);
  if (id != RL_NO_RECORD) {
    remember(w, index, id);
    return id;
  }
  id = module_of(w, w->owner, index, parent);
  if (id != RL_NO_RECORD) {
    uint32_t field = rl_walk_add_object(w, index, RL_R_FIELD, parent);
    w->entries[field].n = id;
    return field;
  }
  return RL_NO_RECORD;
}

static uint32_t reach_shared(rl_walk *w, int index, rl_shared *s, int64_t parent)
{
  uint32_t id = rl_walk_add_object(w, index, RL_R_SHARED, parent);
  w->shared = rl_grow(w->shared, &w->cap_shared, w->nshared + 1, sizeof(rl_shared *));
  w->entries[id].n = (uint32_t)w->nshared;
  w->shared[w->nshared++] = rl_shared_ref(s);
  return id;
}

/* A context, stream or RDD, or a handle of one. */
static bool is_of_library(rl_walk *w, int index)
{
  lua_State *L = w->L;
  int top = lua_gettop(L);
  if (lua_type(L, index) == LUA_TUSERDATA) {
    return rl_capture_is_own(L, index) && !rl_shared_test(L, index);
  }
  if (!lua_getmetatable(L, index)) {
    return false;
  }
  luaL_getsubtable(L, LUA_REGISTRYINDEX, RL_CLASSES_TABLE);
  bool is = rl_walk_look_up(w, lua_gettop(L), top + 1) != LUA_TNIL;
  lua_settop(L, top);
  return is;
}

uint32_t rl_walk_reach(rl_walk *w, int index, int64_t parent)
{
  lua_State *L = w->L;
  luaL_checkstack(L, 20, NULL);
  uint32_t id = rl_walk_known(w, index);
  if (id != RL_NO_RECORD) {
    return id;
  }
  if (lua_type(L, index) == LUA_TSTRING) {
    return rl_walk_add_object(w, index, RL_R_STRING, parent);
  }
  id = reach_by_name(w, index, parent);
  if (id != RL_NO_RECORD) {
    return id;
  }
  if (w->at_home && is_of_library(w, index)) {
    return rl_walk_add_object(w, index, RL_R_ENV, parent); /* nothing of it is written */
  }
  if (lua_type(L, index) == LUA_TTABLE) {
    return rl_walk_add_object(w, index, RL_R_TABLE, parent);
  }
  if (lua_type(L, index) == LUA_TFUNCTION && !lua_iscfunction(L, index)) {
    return rl_walk_add_object(w, index, RL_R_FUNCTION, parent);
  }
  const rl_holder *shared = rl_shared_test(L, index);
  if (shared) {
    return reach_shared(w, index, shared->object, parent);
  }
  rl_walk_refuse(w, index, parent);
}

static uint32_t reach_cell(rl_walk *w, int fn, int upvalue, uint32_t parent)
{
  lua_State *L = w->L;
  lua_rawgetp(L, w->cells, lua_upvalueid(L, fn, upvalue));
  uint32_t id = lua_isinteger(L, -1) ? (uint32_t)lua_tointeger(L, -1) : RL_NO_RECORD;
  lua_pop(L, 1);
  if (id == RL_NO_RECORD) {
    lua_pushboolean(L, true);
    id = rl_walk_add(w, RL_R_CELL, parent);
    w->entries[id].n = (uint32_t)upvalue;
    lua_pushinteger(L, id);
    lua_rawsetp(L, w->cells, lua_upvalueid(L, fn, upvalue));
  }
  return id;
}

/* --- records ------------------------------------------------------------------------------------------------------ */

static void write_table(rl_walk *w, uint32_t id)
{
  lua_State *L = w->L;
  uint64_t pairs = 0;
  rl_walk_push(w, id);
  int t = lua_gettop(L);
  size_t sizes_at = w->out.n;
  rl_image_put_u32(&w->out, 0);
  rl_image_put_u32(&w->out, 0);
  if (!lua_getmetatable(L, t)) {
    lua_pushnil(L);
  }
  rl_walk_put(w, -1, id);
  size_t pairs_at = w->out.n;
  rl_image_put_u64(&w->out, 0);
  lua_settop(L, t);
  lua_pushnil(L);
  while (lua_next(L, t)) {
    rl_walk_put(w, -2, id);
    rl_walk_put(w, -1, id);
    lua_pop(L, 1);
    pairs++;
  }
  uint64_t array = lua_rawlen(L, t) < pairs ? lua_rawlen(L, t) : pairs;
  uint64_t rest = pairs - array;
  const uint32_t sizes[2] = {array > INT32_MAX ? INT32_MAX : (uint32_t)array,
                             rest > INT32_MAX ? INT32_MAX : (uint32_t)rest};
  memcpy(w->out.p + sizes_at, sizes, sizeof sizes);
  memcpy(w->out.p + pairs_at, &pairs, sizeof pairs);
}

bool rl_walk_dump(rl_walk *w, int index, rl_buf *to, rl_proto **proto)
{
  rl_proto_delete(*proto);
  *proto = NULL;
  rl_lua_dump(w->L, index, to);
  return rl_proto_read(to->p, to->n, proto) == RL_OK;
}

/* Where the function comes from: its chunk's name, line and text, and the way to it in there. */
static void write_origin(rl_walk *w, uint32_t id)
{
  const rl_proto *p = w->proto;
  uint32_t path[RL_PATH_MAX];
  size_t npath = 0;
  uint32_t text = RL_NO_RECORD;
  if (p->source) {
    rl_chunk *c = rl_walk_chunk(w, p->source, p->source_n);
    if (rl_chunk_find(c, p, path, &npath)) {
      text = rl_walk_text(w, c, id);
    }
  }
  if (w->durable && text == RL_NO_RECORD) {
    rl_walk_refuse_textless(w, id);
  }
  lua_pushlstring(w->L, p->source ? p->source : "", p->source_n);
  rl_walk_put(w, -1, id);
  lua_pop(w->L, 1);
  rl_image_put_u32(&w->out, (uint32_t)p->line_defined);
  rl_image_put_u32(&w->out, text);
  rl_image_put_u32(&w->out, (uint32_t)npath);
  for (size_t i = 0; i < npath; i++) {
    rl_image_put_u32(&w->out, path[i]);
  }
}

/* Dumps the entry's function, pushes it, and takes in the environments its upvalues are. */
int rl_walk_open_function(rl_walk *w, uint32_t id)
{
  lua_State *L = w->L;
  rl_walk_push(w, id);
  int fn = lua_gettop(L);
  if (!rl_walk_dump(w, fn, &w->dump, &w->proto)) {
    luaL_error(L, "%s", rl_error_message());
  }
  for (int i = 1; i <= (int)w->proto->nupvals; i++) {
    rl_walk_adopt(w, fn, i, id);
  }
  return fn;
}

static void write_function(rl_walk *w, uint32_t id)
{
  int fn = rl_walk_open_function(w, id);
  size_t n = w->proto->nupvals;
  write_origin(w, id);
  rl_image_put_bytes(&w->out, w->dump.p, w->dump.n);
  rl_image_put_u32(&w->out, (uint32_t)n);
  for (int i = 1; i <= (int)n; i++) {
    rl_image_put_u32(&w->out, reach_cell(w, fn, i, id));
  }
  for (int i = 1; i <= (int)n; i++) {
    rl_walk_bind(w, fn, i, id);
  }
  if (!w->at_home && !w->roots->in_place) rl_walk_warn(w, id);
  rl_walk_requires(w, w->proto, id);
}

static void write_cell(rl_walk *w, uint32_t id)
{
  rl_walk_push(w, (uint32_t)w->entries[id].parent);
  lua_getupvalue(w->L, -1, (int)w->entries[id].n);
  rl_walk_put(w, -1, id);
}

static void write_global(rl_walk *w, uint32_t id)
{
  rl_walk_push(w, id);
  rl_image_put_u32(&w->out, w->entries[id].n);
  rl_walk_put(w, -1, id);
  rl_walk_push_global(w, w->entries[id].n, lua_gettop(w->L));
  rl_walk_put(w, -1, id);
}

static void write_module(rl_walk *w, uint32_t id)
{
  const rl_module *m = w->entries[id].module;
  rl_image_put_u8(&w->out, (uint8_t)m->form);
  rl_walk_put_string(w, m->name, m->name_n);
  if (m->form == RL_MODULE_TEXT) {
    rl_image_put_u32(&w->out, m->chunk->record);
    rl_image_put_u64(&w->out, rl_hash_bytes(m->chunk->text.p, m->chunk->text.n, RL_HASH_SEED));
    rl_walk_put_string(w, m->chunk->source, m->chunk->source_n);
    rl_walk_requires(w, m->chunk->tree, id);
  } else if (m->form == RL_MODULE_LOADER) {
    rl_walk_push(w, id);
    rl_walk_put(w, -1, id);
  }
}

static void write_string(rl_walk *w, uint32_t id)
{
  size_t n;
  rl_walk_push(w, id);
  const char *s = lua_tolstring(w->L, -1, &n);
  rl_image_put_bytes(&w->out, s, n);
}

static void write_shared(rl_walk *w, uint32_t id)
{
  rl_image_put_u32(&w->out, w->entries[id].n);
  rl_walk_push(w, id);
  lua_getiuservalue(w->L, -1, RL_HOLDER_TRAVELS);
  rl_walk_put(w, -1, id);
}

/* A record that names its object: what the table `names` gives for it. */
static void write_name(rl_walk *w, uint32_t id, int names)
{
  rl_walk_push(w, id);
  rl_walk_look_up(w, names, lua_gettop(w->L));
  rl_walk_put(w, -1, id);
}

void rl_walk_write(rl_walk *w, uint32_t id)
{
  rl_entry e = w->entries[id];
  rl_image_put_u8(&w->out, (uint8_t)e.kind);
  switch (e.kind) {
    case RL_R_STRING:
      write_string(w, id);
      break;
    case RL_R_TABLE:
      write_table(w, id);
      break;
    case RL_R_FUNCTION:
      write_function(w, id);
      break;
    case RL_R_CELL:
      write_cell(w, id);
      break;
    case RL_R_ENV:
      break;
    case RL_R_GLOBAL:
      write_global(w, id);
      break;
    case RL_R_NAMED:
      write_name(w, id, w->named);
      break;
    case RL_R_MODULE:
      write_module(w, id);
      break;
    case RL_R_FIELD:
      rl_image_put_u32(&w->out, e.n);
      write_name(w, id, w->member);
      break;
    case RL_R_SHARED:
      write_shared(w, id);
      break;
    case RL_R_TEXT:
      rl_image_put_bytes(&w->out, e.chunk->text.p, e.chunk->text.n);
      break;
  }
}
