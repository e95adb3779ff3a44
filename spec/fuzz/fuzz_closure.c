/* Durable functions: whatever the bytes, decoding gives an image or an error. What is decoded encodes, the same again
 * after another round; and it can be restored, with an error at worst.
 *
 * Input: what lies behind the checksum, which a fuzzer cannot guess. The state it is restored in has no way out: no
 * files, no modules; a hook ends loops, and memory is limited. */
#include <lauxlib.h>
#include <lualib.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "capture_durable.h"
#include "producer.h"
#include "shared.h"

#define MEMORY_MAX ((size_t)256 << 20)
#define STEPS_MAX 100000

static size_t in_use;

static void *allocate(void *user, void *p, size_t old, size_t n)
{
  (void)user;
  if (!p) old = 0;
  if (n > old && in_use + (n - old) > MEMORY_MAX) return NULL;
  void *q = NULL;
  if (n == 0) free(p);
  else q = realloc(p, n);
  if (n == 0 || q) in_use = in_use - old + n;
  return q;
}

static void out_of_time(lua_State *L, lua_Debug *ar)
{
  (void)ar;
  luaL_error(L, "this takes too long");
}

static lua_State *new_state(void)
{
  static const char *const removed[] = {"dofile", "loadfile", "load", "print", "collectgarbage"};
  in_use = 0;
  lua_State *L = lua_newstate(allocate, NULL);
  if (!L) abort();
  luaL_requiref(L, "_G", luaopen_base, 1);
  luaL_requiref(L, "string", luaopen_string, 1);
  luaL_requiref(L, "table", luaopen_table, 1);
  for (size_t i = 0; i < sizeof removed / sizeof *removed; i++) {
    lua_pushnil(L);
    lua_setglobal(L, removed[i]);
  }
  lua_settop(L, 0);
  rl_capture_prepare(L);
  rl_broadcast_prepare(L);
  rl_shared_type(L, &rl_producer_class, (const luaL_Reg[]){{NULL, NULL}}); /* without methods it sends nothing */
  lua_pop(L, 1);
  lua_sethook(L, out_of_time, LUA_MASKCOUNT, STEPS_MAX);
  return L;
}

static int push_home(lua_State *L)
{
  rl_image_push_home(L, lua_touserdata(L, 1));
  return 1;
}

static void check(lua_State *L, const rl_image *img)
{
  rl_buf once = {0}, twice = {0};
  rl_image *again = NULL;
  if (rl_closure_encode(img, &once, NULL)) abort();
  if (rl_closure_decode(L, once.p, once.n, &again)) abort();
  if (rl_closure_encode(again, &twice, NULL)) abort();
  if (once.n != twice.n || memcmp(once.p, twice.p, once.n) != 0) abort();
  rl_buf_free(&once);
  rl_buf_free(&twice);
  lua_pushcfunction(L, push_home);
  lua_pushlightuserdata(L, again);
  (void)lua_pcall(L, 1, 1, 0);
  lua_settop(L, 0);
  rl_image_unref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
  rl_log_set_level(RL_LOG_OFF);
  lua_State *L = new_state();
  rl_buf b = {0};
  rl_image *img = NULL;
  uint64_t sum = rl_hash_bytes(input, size, RL_HASH_SEED);
  rl_buf_puts(&b, RL_CLOSURE_MAGIC);
  for (int i = 0; i < 8; i++) rl_buf_putc(&b, (char)(sum >> (8 * i) & 0xff));
  rl_buf_add(&b, input, size);
  if (rl_closure_decode(L, b.p, b.n, &img) == RL_OK) check(L, img);
  rl_image_unref(img);
  rl_buf_free(&b);
  lua_close(L);
  return 0;
}
