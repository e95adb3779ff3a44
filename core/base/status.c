#include "base/status.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* The strings are the thread's; the key's destructor frees them when it ends (the main thread's stay). */
static _Thread_local rl_error current;
static _Thread_local bool registered;
static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void free_current(void *unused)
{
  (void)unused;
  rl_error_clear(&current);
  registered = false;
}

static void make_key(void)
{
  if (pthread_key_create(&key, free_current) != 0) abort();
}

/* Must run before `current` first owns a string on this thread. */
static void register_thread(void)
{
  if (registered) return;
  pthread_once(&key_once, make_key);
  if (pthread_setspecific(key, &current) != 0) abort();
  registered = true;
}

static char *one_line(char *s)
{
  for (char *p = s; *p; p++) {
    if (*p == '\n' || *p == '\r') *p = ' ';
  }
  return s;
}

typedef struct status_info {
  rl_status code;
  bool retriable;
  const char *name, *text;
} status_info;

static const status_info *info_of(rl_status code)
{
  static const status_info known[] = {
#define RL_STATUS_INFO(name, number, retriable, text) {RL_##name, (retriable), #name, (text)},
      RL_STATUS_MAP(RL_STATUS_INFO)
#undef RL_STATUS_INFO
  };
  static const status_info unknown = {RL_ESTATE, false, "E?", "unknown status"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (known[i].code == code) return &known[i];
  }
  return &unknown;
}

/* Takes over `message`, which may have been made from the current error's own text. */
static rl_status set_current(rl_status code, char *message)
{
  register_thread();
  rl_error_clear(&current);
  current = (rl_error){code, info_of(code)->retriable, one_line(message), NULL};
  return code;
}

rl_status rl_fail(rl_status code, const char *fmt, ...)
{
  va_list args;
  va_start(args, fmt);
  char *message = rl_vformat(fmt, args);
  va_end(args);
  return set_current(code, message);
}

rl_status rl_fail_errno(const char *fmt, ...)
{
  const char *reason = strerror(errno); /* safe on threads in glibc (2.32 and later) and musl */
  va_list args;
  va_start(args, fmt);
  char *what = rl_vformat(fmt, args);
  va_end(args);
  char *message = rl_format("%s: %s", what, reason);
  rl_free(what);
  return set_current(RL_EIO, message);
}

void rl_error_prefix(const char *fmt, ...)
{
  if (current.code == RL_OK) return;
  va_list args;
  va_start(args, fmt);
  char *prefix = rl_vformat(fmt, args);
  va_end(args);
  char *message = rl_format("%s%s", prefix, current.message);
  rl_free(prefix);
  rl_free(current.message);
  current.message = one_line(message);
}

void rl_error_set_retriable(bool retriable)
{
  if (current.code != RL_OK) current.retriable = retriable;
}

void rl_error_set_trace(const char *trace)
{
  if (current.code == RL_OK) return;
  char *copy = rl_strdup(trace);
  rl_free(current.trace);
  current.trace = copy;
}

const char *rl_error_message(void)
{
  return current.message ? current.message : "";
}

const rl_error *rl_error_current(void)
{
  return &current;
}

void rl_error_take(rl_error *out)
{
  if (current.code == RL_OK) rl_fail(RL_ESTATE, "unknown error");
  *out = current;
  current = RL_ERROR_NONE;
}

rl_status rl_error_raise(rl_error *e)
{
  register_thread();
  rl_error moved = *e;
  *e = RL_ERROR_NONE;
  rl_error_clear(&current);
  current = moved;
  return moved.code;
}

void rl_error_copy(rl_error *to, const rl_error *from)
{
  *to = (rl_error){from->code, from->retriable, rl_strdup(from->message), rl_strdup(from->trace)};
}

void rl_error_clear(rl_error *e)
{
  rl_free(e->message);
  rl_free(e->trace);
  *e = RL_ERROR_NONE;
}

const char *rl_status_name(rl_status code)
{
  return info_of(code)->name;
}

const char *rl_status_text(rl_status code)
{
  return info_of(code)->text;
}

void rl_error_drop(void)
{
  rl_error e;
  rl_error_take(&e);
  rl_error_clear(&e);
}
