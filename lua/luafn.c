#include "luafn.h"

#include <lauxlib.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "embed.h"
#include "operator.h"

#define PLANS_KEPT 64

static char plans_key, fuse_key;

typedef struct luafn {
  rl_fn fn;
  uint64_t id; /* unique in the process, never reused: plans are kept by it */
  rl_step step;
  rl_image *image;
  uint32_t first_root;
} luafn;

/* The kinds, and how many functions each takes. */
static const struct {
  const char *kind;
  uint32_t least, most;
} kinds[] = {
    {"map", 1, 1},          {"filter", 1, 1},        {"flatMap", 1, 1},      {"mapValues", 1, 1},
    {"flatMapValues", 1, 1}, {"mapPartitions", 1, 1}, {"mapPartitionsWithIndex", 1, 1},
    {"glom", 0, 0},         {"foreach", 1, 1},       {"foreachPartition", 1, 1},
    {"reduce", 1, 1},       {"combine", 1, 2},       {"merge", 1, 1},        {"aggregate", 1, 2},
    {"group", 0, 0},        {"cogroup", 0, 0},       {"joinInner", 0, 0},    {"joinLeft", 0, 0},
    {"joinRight", 0, 0},    {"joinFull", 0, 0},      {"keyed", 1, 1},        {"take", 0, 0},
    {"countRecords", 0, 0}, {"pack", 0, 0},          {"unpack", 0, 0},        {"passed", 0, 0},
    {"diverted", 0, 0},     {"goodKeys", 0, 0},      {"updateState", 1, 1},   {"mapWithState", 1, 1},
    {"inverseWindow", 2, 3},
};

/* Those that give or do something also where there are no records. */
static const char *const unconditional[] = {"mapPartitions", "mapPartitionsWithIndex", "foreachPartition", "glom",
                                            "countRecords", "updateState", "mapWithState", "inverseWindow"};

/* Functions -------------------------------------------------------------------------------------------------------- */

static rl_status luafn_open(rl_fn *const *fns, size_t n, const rl_task *task, rl_pull **inputs, size_t ninputs,
                            rl_pull **out);

static void luafn_destroy(rl_fn *fn)
{
  luafn *f = (luafn *)fn;
  rl_image_unref(f->image);
  rl_free((char *)f->step.kind);
  rl_free((char *)f->step.name);
  rl_free((char *)f->step.site);
  rl_free((char *)f->step.uid);
  rl_free(f);
}

static const rl_fn_class luafn_class = {"lua", luafn_open, luafn_destroy};

static luafn *luafn_of(const rl_fn *f)
{
  return (luafn *)f;
}

static rl_status check_kind(const rl_step *step)
{
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strcmp(kinds[i].kind, step->kind) != 0) continue;
    uint32_t own = step->functions - (step->handled ? 1 : 0);
    if (own >= kinds[i].least && own <= kinds[i].most) return RL_OK;
    return rl_fail(RL_EINVAL, "a step of kind '%s' takes %u to %u functions, got %u", step->kind, kinds[i].least,
                   kinds[i].most, own);
  }
  return rl_fail(RL_EINVAL, "there is no step of kind '%s'", step->kind);
}

static bool is_idle(const char *kind)
{
  for (size_t i = 0; i < sizeof unconditional / sizeof *unconditional; i++)
    if (strcmp(unconditional[i], kind) == 0) return false;
  return true;
}

rl_fn *rl_luafn_new(const rl_step *step)
{
  static _Atomic uint64_t last_id;
  if (check_kind(step) != RL_OK) return NULL;
  luafn *f = RL_NEW(luafn);
  atomic_init(&f->fn.refs, 1);
  f->fn.cls = &luafn_class;
  f->fn.idle = is_idle(step->kind);
  f->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
  f->step = *step;
  f->step.kind = rl_strdup(step->kind);
  f->step.name = rl_strdup(step->name ? step->name : step->kind);
  f->step.site = rl_strdup(step->site);
  f->step.uid = rl_strdup(step->uid);
  return &f->fn;
}

bool rl_fn_is_lua(const rl_fn *f)
{
  return f->cls == &luafn_class;
}

bool rl_luafn_is_bound(const rl_fn *f)
{
  return luafn_of(f)->step.functions == 0 || luafn_of(f)->image != NULL;
}

void rl_luafn_bind(rl_fn *f, rl_image *img, uint32_t first_root)
{
  luafn *l = luafn_of(f);
  l->first_root = first_root;
  l->image = rl_image_ref(img);
}

const rl_step *rl_luafn_step(const rl_fn *f)
{
  return &luafn_of(f)->step;
}

/* Plans ------------------------------------------------------------------------------------------------------------ */

/* A chain being opened. What is made goes into `current`, so that a Lua error on the way leaves nothing behind. */
typedef struct opening {
  rl_worker *w;
  rl_fn *const *fns;
  size_t n;
  const rl_task *task;
  rl_pull **inputs; /* of the first segment; 0 left when it has them */
  size_t ninputs;
  rl_pull *current;
} opening;

/* Closures may be replaced by what they compute while there is another attempt, which will run them for the sake of
 * exact errors. */
static bool may_inline(const rl_task *task)
{
  return task->attempt == 0 && task->max_attempts > 1;
}

static void push_plan_key(lua_State *L, const opening *o)
{
  luaL_Buffer b;
  char *p = luaL_buffinitsize(L, &b, o->n * sizeof(uint64_t) + 1);
  for (size_t i = 0; i < o->n; i++) memcpy(p + i * sizeof(uint64_t), &luafn_of(o->fns[i])->id, sizeof(uint64_t));
  p[o->n * sizeof(uint64_t)] = may_inline(o->task) ? 1 : 0;
  luaL_pushresultsize(&b, o->n * sizeof(uint64_t) + 1);
}

static void set_flag(lua_State *L, const char *name, bool flag)
{
  lua_pushboolean(L, flag);
  lua_setfield(L, -2, name);
}

/* { kind =, param =, guarded =, handled =, tagged =, functions... } */
static void push_step(lua_State *L, rl_worker *w, const luafn *f)
{
  lua_createtable(L, (int)f->step.functions, 5);
  set_flag(L, "guarded", f->step.guarded);
  set_flag(L, "handled", f->step.handled);
  set_flag(L, "tagged", f->step.tagged);
  lua_pushstring(L, f->step.kind);
  lua_setfield(L, -2, "kind");
  lua_pushinteger(L, f->step.param);
  lua_setfield(L, -2, "param");
  if (f->step.functions == 0) return;
  rl_worker_push_image(w, f->image);
  for (uint32_t i = 0; i < f->step.functions; i++) {
    lua_rawgeti(L, -1, (lua_Integer)f->first_root + i + 1);
    lua_rawseti(L, -3, (lua_Integer)i + 1);
  }
  lua_pop(L, 1);
}

static void make_plan(lua_State *L, const opening *o)
{
  lua_rawgetp(L, LUA_REGISTRYINDEX, &fuse_key);
  lua_createtable(L, (int)o->n, 0);
  for (size_t i = 0; i < o->n; i++) {
    push_step(L, o->w, luafn_of(o->fns[i]));
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_pushboolean(L, may_inline(o->task));
  lua_call(L, 2, 1);
}

/* Pushes the list of segments for the chain, made now or before. */
static void push_plan(lua_State *L, const opening *o)
{
  push_plan_key(L, o);
  lua_pushvalue(L, -1);
  if (!rl_recent_get(L, &plans_key)) {
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    make_plan(L, o);
    lua_pushvalue(L, -1);
    lua_insert(L, -3);
    rl_recent_put(L, &plans_key, PLANS_KEPT);
  }
  lua_remove(L, -2);
}

/* Opening ---------------------------------------------------------------------------------------------------------- */

static int int_field(lua_State *L, const char *name)
{
  lua_getfield(L, -1, name);
  int i = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return i;
}

static rl_pull *concat_inputs(opening *o)
{
  rl_pull *p = o->current;
  if (!p) {
    p = o->ninputs == 1 ? o->inputs[0] : rl_pull_concat(o->inputs, o->ninputs);
    o->ninputs = 0;
  }
  o->current = NULL;
  return p;
}

/* The segment is on top. */
static void open_segment(lua_State *L, opening *o)
{
  int first = int_field(L, "first"), native = int_field(L, "native");
  if (native) {
    o->current = rl_records_open(&luafn_of(o->fns[first - 1])->step, concat_inputs(o));
    return;
  }
  rl_segment s = {.fns = o->fns + first - 1};
  s.n = (size_t)int_field(L, "steps");
  s.vars = int_field(L, "vars");
  s.producer = int_field(L, "producer");
  s.consumer = int_field(L, "consumer");
  lua_getfield(L, -1, "body");
  lua_getfield(L, -2, "lines");
  rl_luaop *op = rl_luaop_new(o->w, o->task, &s);
  if (o->current)
    rl_luaop_feed(op, &o->current, 1);
  else
    rl_luaop_feed(op, o->inputs, o->ninputs);
  o->ninputs = 0;
  o->current = &op->pull;
}

static int open_chain(lua_State *L)
{
  opening *o = lua_touserdata(L, 1);
  push_plan(L, o);
  int plan = lua_gettop(L), n = (int)lua_rawlen(L, plan);
  for (int i = 1; i <= n; i++) {
    lua_rawgeti(L, plan, i);
    open_segment(L, o);
    lua_pop(L, 1);
  }
  return 0;
}

static rl_status check_chain(const opening *o)
{
  for (size_t i = 0; i < o->n; i++) {
    const luafn *f = luafn_of(o->fns[i]);
    if (!rl_luafn_is_bound(o->fns[i]))
      return rl_fail(RL_ESTATE, "the function given to %s was not captured", f->step.name);
  }
  if (o->w && o->w->L) return RL_OK;
  return rl_fail(RL_ENOMEM, "there is no Lua state in this worker: rille.task.maxMemory may be too little to make one");
}

static rl_status luafn_open(rl_fn *const *fns, size_t n, const rl_task *task, rl_pull **inputs, size_t ninputs,
                            rl_pull **out)
{
  opening o = {.w = task->local, .fns = fns, .n = n, .task = task, .inputs = inputs, .ninputs = ninputs};
  *out = NULL;
  rl_status st = check_chain(&o);
  if (st == RL_OK) {
    lua_State *L = o.w->L;
    lua_pushcfunction(L, rl_worker_traceback);
    lua_pushcfunction(L, open_chain);
    lua_pushlightuserdata(L, &o);
    int status = lua_pcall(L, 1, 0, -3);
    if (status != LUA_OK) st = rl_worker_fail(o.w, L, status, luafn_of(fns[0])->step.name);
    lua_pop(L, 1);
  }
  if (st == RL_OK) {
    *out = o.current;
    return RL_OK;
  }
  for (size_t i = 0; i < o.ninputs; i++) rl_pull_close(inputs[i]);
  rl_pull_close(o.current);
  return st;
}

/* Preparing a state ------------------------------------------------------------------------------------------------ */

static const rl_embedded *find_source(const char *name)
{
  for (const rl_embedded *e = rl_embedded_stdlib; e->name; e++)
    if (strcmp(e->name, name) == 0) return e;
  return NULL;
}

/* Pushes the chunk of a part of the code generator. */
static void load_part(lua_State *L, const char *name)
{
  const rl_embedded *source = find_source(name);
  if (!source) luaL_error(L, "%s is not in this build", name);
  lua_pushfstring(L, "=[%s]", name);
  if (luaL_loadbufferx(L, source->source, source->size, lua_tostring(L, -1), "t") != LUA_OK) lua_error(L);
  lua_remove(L, -2);
}

void rl_luafn_prepare(lua_State *L)
{
  load_part(L, "rille.fuse");
  rl_luaop_push_library(L);
  load_part(L, "rille.codegen");
  lua_call(L, 0, 1);
  load_part(L, "rille.kinds");
  lua_pushvalue(L, -2);
  lua_call(L, 1, 1);
  load_part(L, "rille.guard");
  for (int i = 0; i < 3; i++) lua_pushvalue(L, -4); /* library, codegen, kinds */
  lua_call(L, 3, 0);
  lua_call(L, 3, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &fuse_key);
}
