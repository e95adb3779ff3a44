#include "fingerprint.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "dump.h"
#include "proto.h"
#include "values.h"

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

/* Closures of one text differ by what they have around them. */
static uint64_t of_upvalues(lua_State *L, uint64_t h)
{
  for (int i = 1; lua_getupvalue(L, 1, i); i++) {
    int type = lua_type(L, -1);
    h = of_number((uint64_t)type, h);
    if (type == LUA_TSTRING || type == LUA_TNUMBER || type == LUA_TBOOLEAN) {
      size_t n;
      const char *text = luaL_tolstring(L, -1, &n);
      h = rl_hash_bytes(text, n, of_number(n, h));
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
  return h;
}

int rl_fingerprint(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  uint64_t h = 0;
  if (!lua_iscfunction(L, 1)) {
    rl_buf *dump = rl_lua_push_buf(L);
    rl_proto *p;
    rl_lua_dump(L, 1, dump);
    if (rl_proto_read(dump->p, dump->n, &p) != RL_OK) return luaL_error(L, "%s", rl_error_message());
    h = of_proto(p, RL_HASH_SEED);
    rl_proto_delete(p);
    h = of_upvalues(L, h);
  }
  char text[17];
  snprintf(text, sizeof text, "%016" PRIx64, h);
  lua_pushstring(L, text);
  return 1;
}
