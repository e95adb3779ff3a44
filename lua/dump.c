#include "dump.h"

static int add(lua_State *L, const void *p, size_t n, void *user)
{
  (void)L;
  rl_buf_add(user, p, n);
  return 0;
}

void rl_lua_dump(lua_State *L, int index, rl_buf *to)
{
  rl_buf_clear(to);
  lua_pushvalue(L, index);
  lua_dump(L, add, to, 0);
  lua_pop(L, 1);
}
