/* Maximal runs of bytes of one class: what string.gmatch gives for a pattern of one character class and `+`, like
 * "%S+" or "[^,]+". A class is a table of 256 bytes, not 0 where the byte belongs to it (made by the code generator,
 * with string.match itself). */
#ifndef RL_LUA_TOKENS_H
#define RL_LUA_TOKENS_H

#include <lua.h>
#include <stddef.h>

typedef struct rl_tokens {
  const char *class; /* NULL: no class, no tokens */
  const char *p, *end;
} rl_tokens;

static inline void rl_tokens_start(rl_tokens *t, const char *class, const char *text, size_t n)
{
  *t = (rl_tokens){class, text, text + n};
}

/* The next run, NULL at the end. */
static inline const char *rl_tokens_next(rl_tokens *t, size_t *n)
{
  const char *class = t->class, *p = t->p, *end = t->end;
  while (p < end && !class[(unsigned char)*p]) p++;
  const char *token = p;
  while (p < end && class[(unsigned char)*p]) p++;
  t->p = p;
  *n = (size_t)(p - token);
  return *n > 0 ? token : NULL;
}

/* lua_CFunction tokens(text, class): an iterator over the runs in text. */
int rl_lua_tokens(lua_State *L);

#endif
