/* Durable jobs: what of a job's Lua goes into its checkpoint, and comes out of it (docs/decisions/015). */
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/secrets.h"
#include "bind.h"
#include "capture_durable.h"
#include "data/codec.h"
#include "producer.h"
#include "store/inspect.h"
#include "store/state.h"
#include "store/wal.h"
#include "values.h"

/* --- functions ---------------------------------------------------------------------------------------------------- */

static int image_gc(lua_State *L)
{
  void **h = luaL_checkudata(L, 1, RL_META_IMAGE);
  rl_image_unref(*h);
  *h = NULL;
  return 0;
}

static void push_buf(lua_State *L, const rl_buf *b) { lua_pushlstring(L, b->n ? b->p : "", b->n); }

/* core.captureFunction(value, role[, site]) -> image */
static int capture_function(lua_State *L)
{
  luaL_checkany(L, 1);
  const rl_capture_root root = {.index = 1,
                                .role = luaL_checkstring(L, 2),
                                .site = luaL_optstring(L, 3, NULL),
                                .in_place = true};
  void **h = rl_handle_new(L, RL_META_IMAGE, 0);
  rl_image *img = NULL;
  rl_bind_check(L, rl_capture_durable(L, &root, 1, &img));
  *h = img;
  return 1;
}

/* core.encodeFunction(image) -> bytes, and a line for each secret that is not in them */
static int encode_function(lua_State *L)
{
  void **h = luaL_checkudata(L, 1, RL_META_IMAGE);
  rl_buf *bytes = rl_lua_push_buf(L), *left = rl_lua_push_buf(L);
  rl_bind_check(L, rl_closure_encode(*h, bytes, left));
  push_buf(L, bytes);
  push_buf(L, left);
  return 2;
}

/* core.isSecretName(name) -> boolean */
static int is_secret_name(lua_State *L)
{
  lua_pushboolean(L, rl_secret_is_name(luaL_checkstring(L, 1)));
  return 1;
}

/* core.secretIn(text) -> name of the setting whose secret is in it, or nil */
static int secret_in(lua_State *L)
{
  size_t n;
  const char *text = luaL_checklstring(L, 1, &n);
  lua_pushstring(L, rl_secret_in(text, n));
  return 1;
}

/* core.decodeFunction(bytes[, mute]) -> value; mute: so are its Kafka producers */
static int decode_function(lua_State *L)
{
  size_t n;
  const char *p = luaL_checklstring(L, 1, &n);
  bool mute = lua_toboolean(L, 2);
  void **h = rl_handle_new(L, RL_META_IMAGE, 0);
  rl_image *img = NULL;
  rl_producers_come_mute(mute);
  rl_status st = rl_closure_decode(L, p, n, &img);
  rl_producers_come_mute(false);
  rl_bind_check(L, st);
  *h = img;
  rl_image_push_home(L, img);
  lua_rawgeti(L, -1, 1);
  return 1;
}

static void add_module(void *user, const char *name, size_t name_n, const char *source, size_t source_n,
                       const char *text, size_t text_n)
{
  lua_State *L = user;
  luaL_checkstack(L, 4, NULL);
  lua_createtable(L, 0, 2);
  lua_pushlstring(L, source, source_n);
  lua_setfield(L, -2, "source");
  lua_pushlstring(L, text, text_n);
  lua_setfield(L, -2, "text");
  lua_pushlstring(L, name, name_n);
  lua_insert(L, -2);
  lua_rawset(L, -3);
}

void rl_bind_push_modules(lua_State *L, const rl_image *img)
{
  lua_newtable(L);
  rl_image_modules(img, add_module, L);
}

/* core.addClass(class): objects with this metatable are the library's. */
static int add_class(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  rl_capture_add_class(L, 1);
  return 0;
}

/* core.checkDurable({ { f =, role =, site = }, ... }) -> modules in them: name to { source =, text = } */
static int check_durable(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  int n = (int)lua_rawlen(L, 1);
  luaL_checkstack(L, 4 * n + LUA_MINSTACK, "too many functions in one job");
  void **h = rl_handle_new(L, RL_META_IMAGE, 0);
  rl_capture_root *roots = rl_bind_array(L, (size_t)n, sizeof *roots);
  for (int i = 0; i < n; i++) {
    lua_rawgeti(L, 1, i + 1);
    int entry = lua_gettop(L);
    lua_getfield(L, entry, "f");
    roots[i] = (rl_capture_root){
      .index = entry + 1, .role = rl_bind_text(L, entry, "role"), .site = rl_bind_text(L, entry, "site")};
  }
  rl_image *img = NULL;
  rl_bind_check(L, rl_capture_look(L, roots, (size_t)n, &img));
  *h = img;
  rl_bind_push_modules(L, img);
  return 1;
}

/* core.loadText(text, chunk name[, module]) -> function, or nil and why not. The state knows the text from now on: of
 * the chunk, and of the module of that name. */
static int load_text(lua_State *L)
{
  size_t n;
  const char *text = luaL_checklstring(L, 1, &n), *chunk = luaL_checkstring(L, 2), *module = luaL_optstring(L, 3, NULL);
  size_t start = *chunk == '@' ? rl_text_start(text, n) : 0;
  if (luaL_loadbufferx(L, text + start, n - start, chunk, "t") != LUA_OK) {
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
  }
  rl_capture_know_text(L, chunk, text, n, module);
  return 1;
}

/* core.knownText(chunk name) -> text or nil */
static int known_text(lua_State *L)
{
  size_t n;
  const char *chunk = luaL_checklstring(L, 1, &n);
  return rl_push_known_text(L, chunk, n) ? 1 : 0;
}

/* --- values ------------------------------------------------------------------------------------------------------- */

/* core.encodeValue(value) -> bytes */
static int encode_value(lua_State *L)
{
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  rl_buf *scratch = rl_lua_push_buf(L), *bytes = rl_lua_push_buf(L);
  rl_value v;
  rl_bind_check(L, rl_lua_to_value(L, 1, &v, scratch));
  rl_put_value(bytes, v);
  push_buf(L, bytes);
  return 1;
}

/* core.decodeValue(bytes) -> value */
static int decode_value(lua_State *L)
{
  size_t n;
  const char *p = luaL_checklstring(L, 1, &n);
  rl_reader r = {p, p + n};
  rl_value v;
  rl_bind_check(L, rl_get_value(&r, &v));
  if (r.p != r.end) return luaL_error(L, "there is more behind an encoded value");
  rl_lua_push_value(L, v);
  return 1;
}

/* --- notes -------------------------------------------------------------------------------------------------------- */

/* core.isSameFile(path, other) -> boolean; false when either is not there */
static int is_same_file(lua_State *L)
{
  struct stat a, b;
  const rl_fs *fs = rl_fs_get();
  bool found = fs->stat(luaL_checkstring(L, 1), &a) == 0 && fs->stat(luaL_checkstring(L, 2), &b) == 0;
  lua_pushboolean(L, found && a.st_dev == b.st_dev && a.st_ino == b.st_ino);
  return 1;
}

/* core.checkpointExists(dir) -> boolean, and why it cannot be looked at, if that is so */
static int checkpoint_exists(lua_State *L)
{
  const char *dir = luaL_checkstring(L, 1);
  rl_status st = rl_checkpoint_check(dir);
  lua_pushboolean(L, st == RL_OK && rl_checkpoint_exists(dir));
  if (st == RL_OK || st == RL_ENOTFOUND) return 1;
  lua_pushstring(L, rl_error_message());
  return 2;
}

static rl_status look(void *user, const rl_wal_record *r)
{
  (void)user;
  (void)r;
  return RL_OK;
}

/* Reads the log as a start would. */
static rl_status probe_log(const char *dir)
{
  char *path = rl_path_join(dir, "log");
  rl_wal *w = NULL;
  rl_status st = rl_wal_open(&(rl_wal_spec){.dir = path, .replay = look}, &w);
  if (st == RL_OK) st = rl_wal_close(w);
  rl_free(path);
  return st;
}

/* Opens the store for a moment: it is locked meanwhile. One that is not there is not made: the start tells of it. name
 * NULL: no note is wanted. */
static rl_status read_note_of(const char *dir, const char *dbi, const char *name, rl_buf *out, bool *found)
{
  char *path = rl_path_join(dir, "state"), *data = rl_path_join(path, "data.mdb");
  const rl_state_spec spec = {.dir = path, .overlay_bytes = 1};
  rl_state *s = NULL;
  uint64_t size;
  rl_status st = rl_file_size(data, &size);
  bool missing = st == RL_ENOTFOUND;
  if (st == RL_OK) st = rl_state_open(&spec, &s);
  if (st == RL_OK && name) st = rl_state_get_note(s, dbi, name, out, found);
  rl_state_close(s);
  rl_free(data);
  rl_free(path);
  return missing ? RL_OK : st;
}

/* nil, why, in use */
static int give_failure(lua_State *L, rl_status st)
{
  lua_pushnil(L);
  lua_pushstring(L, rl_error_message());
  lua_pushboolean(L, st == RL_ESTATE);
  return 3;
}

/* core.probeCheckpoint(dir, all) -> true, or nil, why, in use. `all`: the log, too. */
static int probe_checkpoint(lua_State *L)
{
  const char *dir = luaL_checkstring(L, 1);
  bool all = lua_toboolean(L, 2);
  rl_status st = read_note_of(dir, NULL, NULL, NULL, NULL);
  if (st == RL_OK && all) st = probe_log(dir);
  if (st != RL_OK) return give_failure(L, st);
  lua_pushboolean(L, true);
  return 1;
}

/* core.readNote(dir, dbi, name) -> bytes; nil: there is none; nil, why, in use: it cannot be read */
static int read_note(lua_State *L)
{
  const char *dir = luaL_checkstring(L, 1), *dbi = luaL_checkstring(L, 2), *name = luaL_checkstring(L, 3);
  rl_buf *bytes = rl_lua_push_buf(L);
  bool found = false;
  rl_status st = read_note_of(dir, dbi, name, bytes, &found);
  if (st != RL_OK) return give_failure(L, st);
  if (found) push_buf(L, bytes);
  else lua_pushnil(L);
  return 1;
}

/* Streaming:putNote(dbi, name, bytes or nil): nil removes it. After start. */
int rl_streaming_put_note(lua_State *L)
{
  rl_streaming *s = rl_check_streaming(L, 1);
  const char *dbi = luaL_checkstring(L, 2), *name = luaL_checkstring(L, 3);
  size_t n = 0;
  const char *p = luaL_optlstring(L, 4, NULL, &n);
  struct rl_state *store = rl_streaming_state_store(s);
  if (!store) return luaL_error(L, "there is no checkpoint that is open");
  rl_bind_check(L, rl_state_put_note(store, dbi, name, p, n));
  return 0;
}

int rl_streaming_put_code(lua_State *L)
{
  size_t n;
  const char *texts = luaL_checklstring(L, 2, &n);
  rl_streaming_set_code(rl_check_streaming(L, 1), rl_hash_bytes(texts, n, RL_HASH_SEED));
  return 0;
}

/* --- a durable context -------------------------------------------------------------------------------------------- */

typedef struct keeper {
  rl_context *context; /* lives longer: the streaming context has it */
  rl_callback *call;
  rl_buf last; /* what was saved or restored last: it stands when saving fails */
} keeper;

typedef struct saving {
  keeper *k;
  int64_t time;
} saving;

static int save_values(lua_State *L)
{
  const saving *s = lua_touserdata(L, 1);
  size_t n;
  rl_bind_deliver_updates(L, s->k->context);
  rl_callback_push(L, s->k->call);
  lua_pushinteger(L, s->time);
  lua_call(L, 1, 1);
  const char *p = luaL_checklstring(L, -1, &n);
  rl_buf_clear(&s->k->last);
  rl_buf_add(&s->k->last, p, n);
  return 0;
}

static void on_save(void *user, int64_t time, rl_buf *out)
{
  keeper *k = user;
  if (rl_gate(k->call->bind, save_values, &(saving){k, time}) != RL_OK && !k->call->bind->closing)
    rl_err("batch %lld ms: what the script keeps from batch to batch cannot be saved: %s", (long long)time,
           rl_error_message());
  if (k->last.n > 0) rl_buf_add(out, k->last.p, k->last.n);
}

static int restore_values(lua_State *L)
{
  const keeper *k = lua_touserdata(L, 1);
  rl_callback_push(L, k->call);
  lua_pushnil(L);
  push_buf(L, &k->last);
  lua_call(L, 2, 0);
  return 0;
}

static rl_status on_restore(void *user, const char *p, size_t n)
{
  keeper *k = user;
  if (n == 0) return RL_OK;
  rl_buf_clear(&k->last);
  rl_buf_add(&k->last, p, n);
  return rl_gate(k->call->bind, restore_values, k);
}

static void keeper_delete(void *user)
{
  keeper *k = user;
  rl_callback_delete(k->call);
  rl_buf_free(&k->last);
  rl_free(k);
}

/* Streaming:keep(f): f(time) -> bytes, whenever a batch completes; f(nil, bytes) in a start that goes on with what an
 * earlier process saved. Once. */
int rl_streaming_keep_values(lua_State *L)
{
  rl_streaming *s = rl_check_streaming(L, 1);
  rl_callback *call = rl_callback_new(L, 2);
  keeper *k = RL_NEW(keeper);
  *k = (keeper){.context = rl_streaming_context(s), .call = call};
  rl_streaming_keep(s, &(rl_keeper){on_save, on_restore, keeper_delete, k});
  return 0;
}

void rl_bind_add_durable(lua_State *L)
{
  static const luaL_Reg functions[] = {
    {"captureFunction", capture_function},
    {"encodeFunction", encode_function},
    {"isSecretName", is_secret_name},
    {"secretIn", secret_in},
    {"decodeFunction", decode_function},
    {"addClass", add_class},
    {"checkDurable", check_durable},
    {"loadText", load_text},
    {"knownText", known_text},
    {"encodeValue", encode_value},
    {"decodeValue", decode_value},
    {"isSameFile", is_same_file},
    {"checkpointExists", checkpoint_exists},
    {"readNote", read_note},
    {"probeCheckpoint", probe_checkpoint},
    {NULL, NULL},
  };
  rl_handle_type(L, RL_META_IMAGE, image_gc, NULL);
  luaL_setfuncs(L, functions, 0);
}
