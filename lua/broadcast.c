/* Broadcasts: a value that travels once to each worker, whichever closures capture it. */
#include <lauxlib.h>
#include <limits.h>
#include <pthread.h>

#include "base/mem.h"
#include "bind.h"
#include "shared.h"

/* A worker's copy belongs to a version; unpersist makes a new one. */
typedef struct broadcast {
  rl_shared shared;
  _Atomic uint64_t version;
  pthread_mutex_t lock; /* guards image */
  rl_image *image;      /* NULL: destroyed */
} broadcast;

/* Counts what makes copies in workers useless, so that a worker with nothing to drop need not look. */
static _Atomic uint64_t epoch_now;

static char copies_key; /* in a worker's registry: [holder] = true for those with a copy */

static void give_up_copies(broadcast *b)
{
  atomic_fetch_add(&b->version, 1);
  atomic_fetch_add(&epoch_now, 1);
}

static void abandon(rl_shared *s) { give_up_copies((broadcast *)s); }

static void destroy(rl_shared *s)
{
  broadcast *b = (broadcast *)s;
  rl_image_unref(b->image);
  pthread_mutex_destroy(&b->lock);
  rl_free(b);
}

static const rl_shared_class broadcast_class = {"rille.Broadcast", abandon, destroy};

static broadcast *new_broadcast(rl_image *image)
{
  broadcast *b = RL_NEW(broadcast);
  rl_shared_init(&b->shared, &broadcast_class);
  atomic_init(&b->version, 1);
  pthread_mutex_init(&b->lock, NULL);
  b->image = image;
  return b;
}

rl_shared *rl_broadcast_of(rl_image *image) { return &new_broadcast(image)->shared; }

rl_image *rl_broadcast_image(rl_shared *s)
{
  broadcast *b = (broadcast *)s;
  pthread_mutex_lock(&b->lock);
  rl_image *image = b->image ? rl_image_ref(b->image) : NULL;
  pthread_mutex_unlock(&b->lock);
  return image;
}

/* The value in a worker -------------------------------------------------------------------------------------------- */

static void remember_copy(lua_State *L)
{
  luaL_checkstack(L, 4, NULL);
  rl_push_weak_table(L, &copies_key, "k");
  lua_pushvalue(L, 1);
  lua_pushboolean(L, true);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

/* The image hangs on the holder, should restoring it raise. */
static int restore(lua_State *L, rl_holder *h, broadcast *b, uint64_t version)
{
  rl_image_unref(h->image);
  h->image = rl_broadcast_image(&b->shared);
  if (!h->image) return luaL_error(L, "broadcast %I was destroyed; make a new one", (LUAI_UACINT)b->shared.id);
  rl_image_push(L, h->image);
  lua_rawgeti(L, -1, 1);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 1, RL_HOLDER_STAYS);
  h->seen = version;
  rl_image_unref(h->image);
  h->image = NULL;
  remember_copy(L);
  return 1;
}

static int value(lua_State *L)
{
  rl_holder *h = rl_shared_check(L, 1, &broadcast_class);
  broadcast *b = (broadcast *)h->object;
  uint64_t version = atomic_load(&b->version);
  if (h->seen != version) return restore(L, h, b, version);
  lua_getiuservalue(L, 1, RL_HOLDER_STAYS);
  return 1;
}

static void drop_copy(lua_State *L, int index)
{
  rl_holder *h = lua_touserdata(L, index);
  h->seen = 0;
  lua_pushnil(L);
  lua_setiuservalue(L, index, RL_HOLDER_STAYS);
}

void rl_broadcast_sweep(lua_State *L, uint64_t *epoch)
{
  uint64_t now = atomic_load_explicit(&epoch_now, memory_order_relaxed);
  if (now == *epoch) return;
  *epoch = now;
  int top = lua_gettop(L);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &copies_key) == LUA_TTABLE) {
    for (lua_pushnil(L); lua_next(L, top + 1); lua_settop(L, top + 2)) {
      const rl_holder *h = lua_touserdata(L, top + 2);
      /* a weak key stays until the cycle after its finalizer has run */
      if (h->object && h->seen == atomic_load(&((broadcast *)h->object)->version)) continue;
      drop_copy(L, top + 2);
      lua_pushvalue(L, top + 2);
      lua_pushnil(L);
      lua_rawset(L, top + 1);
    }
  }
  lua_settop(L, top);
}

/* The driver's part ------------------------------------------------------------------------------------------------ */

static broadcast *check_home(lua_State *L, const char *what)
{
  const rl_holder *h = rl_shared_check(L, 1, &broadcast_class);
  if (!h->home)
    luaL_error(L, "%s of a broadcast is for the script itself, not for functions that run in workers", what);
  return (broadcast *)h->object;
}

/* The driver's own value stays what it was. */
static void new_version(lua_State *L, broadcast *b)
{
  rl_holder *h = lua_touserdata(L, 1);
  bool whole = h->seen != 0;
  give_up_copies(b);
  if (whole) h->seen = atomic_load(&b->version);
}

static int unpersist(lua_State *L)
{
  new_version(L, check_home(L, "unpersist"));
  return 0;
}

static int destroy_value(lua_State *L)
{
  broadcast *b = check_home(L, "destroy");
  pthread_mutex_lock(&b->lock);
  rl_image *image = b->image;
  b->image = NULL;
  pthread_mutex_unlock(&b->lock);
  rl_image_unref(image);
  drop_copy(L, 1);
  give_up_copies(b);
  return 0;
}

static int id(lua_State *L)
{
  lua_pushinteger(L, (lua_Integer)rl_shared_check(L, 1, &broadcast_class)->object->id);
  return 1;
}

void rl_broadcast_prepare(lua_State *L)
{
  static const luaL_Reg methods[] = {
      {"value", value}, {"unpersist", unpersist}, {"destroy", destroy_value}, {"id", id}, {NULL, NULL}};
  rl_shared_type(L, &broadcast_class, methods);
  lua_pop(L, 1);
}

int rl_lua_broadcast(lua_State *L)
{
  luaL_checkany(L, 1);
  const char *site = luaL_optstring(L, 2, NULL);
  lua_settop(L, 2);
  rl_holder *h = rl_shared_push_empty(L, &broadcast_class);
  const rl_capture_root root = {.index = 1, .role = "the value given to broadcast", .site = site};
  rl_image *image = NULL;
  rl_bind_check(L, rl_capture(L, &root, 1, &image));
  size_t size = rl_image_size(image);
  rl_shared_adopt(L, h, rl_broadcast_of(image));
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, RL_HOLDER_STAYS);
  h->seen = 1;
  size_t kib = size >> 10; /* which the collector does not see */
  lua_gc(L, LUA_GCSTEP, kib < INT_MAX ? (int)kib + 1 : INT_MAX);
  return 1;
}
