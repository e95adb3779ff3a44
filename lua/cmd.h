/* Commands of the program `rille` that need no Lua job: functions of the words behind the command's name that give the
 * exit status. In a process of one thread. */
#ifndef RL_LUA_CMD_H
#define RL_LUA_CMD_H

#include <stdbool.h>
#include <stdio.h>

#include "source/files_saved.h"
#include "source/kafka_ranges.h"
#include "store/inspect.h"

enum { RL_EXIT_DONE = 0, RL_EXIT_FAILED = 1, RL_EXIT_USAGE = 2 };

int rl_cmd_inspect(int argc, char **argv);
int rl_cmd_backup(int argc, char **argv);
extern const char rl_cmd_inspect_help[], rl_cmd_backup_help[];

/* What rl_cmd_inspect shows. */
typedef struct rl_cmd_found {
  const char *dir;
  int64_t user; /* process; 0: none */
  rl_inspect_log log;
  rl_inspect_image image;
} rl_cmd_found;

/* What an input saved with a batch, as far as its form is known here. */
typedef struct rl_cmd_saved {
  bool has_files, has_ranges;
  rl_files_saved files;
  rl_kafka_ranges ranges;
} rl_cmd_saved;

void rl_cmd_saved_read(const rl_inspect_input *in, rl_cmd_saved *out);
void rl_cmd_saved_clear(rl_cmd_saved *s);

void rl_cmd_show(const rl_cmd_found *f);
bool rl_cmd_show_json(const rl_cmd_found *f);

void rl_cmd_show_value(const rl_inspect_value *v);
bool rl_cmd_show_value_json(const char *uid, rl_value key, const rl_inspect_value *v);

/* Texts for people; the caller's. */
char *rl_cmd_time(int64_t ms);       /* "2026-11-26 14:40:01.123", or "none" */
char *rl_cmd_bytes(uint64_t n);      /* "17 bytes", "4.1 KB" */

/* Damages as an array, while they are found. */
struct json_t;
struct json_t *rl_cmd_damages_new(void);
void rl_cmd_damages_add(struct json_t *all, const rl_inspect_damage *d);
bool rl_cmd_damages_show(struct json_t *all, const char *dir, const rl_inspect_verified *v); /* takes it over */

#endif
