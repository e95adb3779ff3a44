#include "base/secrets.h"

#include <pthread.h>
#include <string.h>

#include "base/mem.h"

typedef struct secret {
  struct secret *next;
  char *name, *value;
  size_t n;
} secret;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static secret *known; /* under lock; only ever put in front */

bool rl_secret_is_name(const char *name)
{
  static const char *const parts[] = {"password", "passwd",  "secret", "key.pem",   "jaas", "oauthbearer.config",
                                      "token",    "credential", NULL};
  for (const char *const *part = parts; *part; part++)
    if (strcasestr(name, *part)) return true;
  return false;
}

static bool is_known(const char *value)
{
  for (const secret *s = known; s; s = s->next)
    if (strcmp(s->value, value) == 0) return true;
  return false;
}

void rl_secret_note(const char *name, const char *value)
{
  if (!*value || !rl_secret_is_name(name)) return;
  pthread_mutex_lock(&lock);
  if (!is_known(value)) {
    secret *s = RL_NEW(secret);
    *s = (secret){.next = known, .name = rl_strdup(name), .value = rl_strdup(value), .n = strlen(value)};
    known = s;
  }
  pthread_mutex_unlock(&lock);
}

static bool is(const char *text, size_t n, const secret *s) { return n == s->n && memcmp(text, s->value, n) == 0; }

static bool has(const char *text, size_t n, const secret *s)
{
  return n >= s->n && s->n >= RL_SECRET_LONG && memmem(text, n, s->value, s->n);
}

static const char *find(const char *text, size_t n, bool (*fits)(const char *text, size_t n, const secret *s))
{
  pthread_mutex_lock(&lock);
  const secret *s = known;
  while (s && !fits(text, n, s)) s = s->next;
  pthread_mutex_unlock(&lock);
  return s ? s->name : NULL;
}

const char *rl_secret_in(const char *text, size_t n) { return find(text, n, has); }
const char *rl_secret_is(const char *text, size_t n) { return find(text, n, is); }
