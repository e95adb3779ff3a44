/* The engine's own messages: one line each, to stderr unless a sink is set. Threads may log at once; a line is never
 * torn. Form: `2026-11-20 16:17:12.123 WARN  message`. */
#ifndef RL_BASE_LOG_H
#define RL_BASE_LOG_H

#include <stdbool.h>

#include "base/status.h"

typedef enum rl_log_level { RL_LOG_DEBUG, RL_LOG_INFO, RL_LOG_WARN, RL_LOG_ERROR, RL_LOG_OFF } rl_log_level;

typedef void rl_log_sink(void *user, rl_log_level level, const char *line);

void rl_log(rl_log_level level, const char *fmt, ...) RL_PRINTF(2, 3);
#define rl_debug(...) rl_log(RL_LOG_DEBUG, __VA_ARGS__)
#define rl_info(...) rl_log(RL_LOG_INFO, __VA_ARGS__)
#define rl_warn(...) rl_log(RL_LOG_WARN, __VA_ARGS__)
#define rl_err(...) rl_log(RL_LOG_ERROR, __VA_ARGS__)

void rl_log_set_level(rl_log_level level); /* default RL_LOG_WARN */
bool rl_log_parse_level(const char *name, rl_log_level *out);
void rl_log_set_sink(rl_log_sink *sink, void *user); /* NULL: stderr. Called under the log's lock; it must not log. */

#endif
