#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

static const char *const level_names[] = {"DEBUG", "INFO", "WARN", "ERROR", "OFF"};

static _Atomic rl_log_level threshold = RL_LOG_WARN;

/* Guards the sink and the order of lines. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static rl_log_sink *log_sink;
static void *log_user;

static void format_stamp(char *out, size_t size)
{
  int64_t ms = rl_wall_ms();
  time_t seconds = (time_t)(ms / 1000);
  struct tm tm;
  char day[32] = "";
  if (localtime_r(&seconds, &tm)) strftime(day, sizeof day, "%Y-%m-%d %H:%M:%S", &tm);
  snprintf(out, size, "%s.%03d", day, (int)(ms % 1000));
}

static char *format_line(rl_log_level level, const char *fmt, va_list args)
{
  char stamp[48];
  format_stamp(stamp, sizeof stamp);
  char *message = rl_vformat(fmt, args);
  char *line = rl_format("%s %-5s %s", stamp, level_names[level], message);
  rl_free(message);
  for (char *p = line; *p; p++) {
    if (*p == '\n' || *p == '\r') *p = ' ';
  }
  return line;
}

/* One write a line: other processes that share stderr do not tear it either. */
static void write_stderr(char *line)
{
  size_t n = strlen(line);
  line[n] = '\n';
  fwrite(line, 1, n + 1, stderr);
  fflush(stderr);
}

void rl_log(rl_log_level level, const char *fmt, ...)
{
  if (level < atomic_load_explicit(&threshold, memory_order_relaxed) || level >= RL_LOG_OFF) return;
  va_list args;
  va_start(args, fmt);
  char *line = format_line(level, fmt, args);
  va_end(args);
  pthread_mutex_lock(&lock);
  if (log_sink) log_sink(log_user, level, line);
  else write_stderr(line);
  pthread_mutex_unlock(&lock);
  rl_free(line);
}

void rl_log_set_level(rl_log_level level)
{
  atomic_store_explicit(&threshold, level, memory_order_relaxed);
}

bool rl_log_parse_level(const char *name, rl_log_level *out)
{
  for (int i = RL_LOG_DEBUG; i <= RL_LOG_OFF; i++) {
    if (strcasecmp(name, level_names[i]) == 0) {
      *out = (rl_log_level)i;
      return true;
    }
  }
  return false;
}

void rl_log_set_sink(rl_log_sink *sink, void *user)
{
  pthread_mutex_lock(&lock);
  log_sink = sink;
  log_user = user;
  pthread_mutex_unlock(&lock);
}
