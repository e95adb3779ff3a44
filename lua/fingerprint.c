#include "fingerprint.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "dump.h"
#include "proto.h"
#include "values.h"

#define MAX_DEPTH 3 /* of functions that a function has around it */

static uint64_t of_number(uint64_t x, uint64_t so_far) { return rl_hash_u64(x, so_far); }

static uint64_t of_constant(const rl_constant *k, uint64_t h)
{
  h = of_number(k->type, h);
  if (k->type == RL_K_INT) return of_number((uint64_t)k->i, h);
  if (k->type == RL_K_FLOAT) return rl_hash_bytes(&k->f, sizeof k->f, h);
  if (k->type == RL_K_STRING) return rl_hash_bytes(k->s, k->n, of_number(k->n, h));
  return h;
}

static uint64_t of_proto(const rl_proto *p, uint64_t h)
{
  h = of_number((uint64_t)p->num_params << 1 | p->is_vararg, h);
  h = rl_hash_bytes(p->code, p->ncode * sizeof *p->code, of_number(p->ncode, h));
  for (size_t i = 0; i < p->nk; i++) h = of_constant(&p->k[i], h);
  for (size_t i = 0; i < p->nprotos; i++) h = of_proto(p->protos[i], h);
  return h;
}

static uint64_t of_text(lua_State *L, int index, uint64_t h)
{
  size_t n;
  const char *text = luaL_tolstring(L, index, &n);
  h = rl_hash_bytes(text, n, of_number(n, h));
  lua_pop(L, 1);
  return h;
}

static bool is_plain(int type) { return type == LUA_TSTRING || type == LUA_TNUMBER || type == LUA_TBOOLEAN; }

/* Of a table without a metatable: its plain fields, in whatever order they come. */
static uint64_t of_table(lua_State *L, int index, uint64_t h)
{
  uint64_t sum = 0;
  if (lua_getmetatable(L, index)) {
    lua_pop(L, 1);
    return h;
  }
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    int key = lua_gettop(L) - 1;
    if (is_plain(lua_type(L, key)) && is_plain(lua_type(L, -1))) sum += of_text(L, key + 1, of_text(L, key, RL_HASH_SEED));
  }
  return of_number(sum, h);
}

static uint64_t of_function(lua_State *L, int depth, uint64_t h);

/* Closures of one text differ by what they have around them. */
static uint64_t of_upvalues(lua_State *L, int fn, int depth, uint64_t h)
{
  const char *name;
  for (int i = 1; (name = lua_getupvalue(L, fn, i)); i++) {
    int type = lua_type(L, -1);
    h = rl_hash_bytes(name, strlen(name), of_number((uint64_t)type, h));
    if (is_plain(type)) h = of_text(L, -1, h);
    else if (type == LUA_TTABLE && strcmp(name, "_ENV") != 0) h = of_table(L, lua_gettop(L), h);
    else if (type == LUA_TFUNCTION && depth < MAX_DEPTH) h = of_function(L, depth + 1, h);
    lua_pop(L, 1);
  }
  return h;
}

/* Of the function on top. */
static uint64_t of_function(lua_State *L, int depth, uint64_t h)
{
  int fn = lua_gettop(L);
  if (lua_iscfunction(L, fn)) return h;
  luaL_checkstack(L, 10, "fingerprint of a function");
  rl_buf *dump = rl_lua_push_buf(L);
  rl_proto *p;
  rl_lua_dump(L, fn, dump);
  if (rl_proto_read(dump->p, dump->n, &p) != RL_OK) return (uint64_t)luaL_error(L, "%s", rl_error_message());
  h = of_proto(p, h);
  rl_proto_delete(p);
  lua_pop(L, 1);
  return of_upvalues(L, fn, depth, h);
}

int rl_fingerprint(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  uint64_t h = lua_iscfunction(L, 1) ? 0 : of_function(L, 0, RL_HASH_SEED);
  char text[17];
  snprintf(text, sizeof text, "%016" PRIx64, h);
  lua_pushstring(L, text);
  return 1;
}
