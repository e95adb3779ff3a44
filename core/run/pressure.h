/* Memory as a signal: when it is nearly full, and what was received and not yet worked off has a good part of it,
 * all receivers' sources are held back before anything of it is spilled. Said once in the log, and again when it comes
 * back after a minute without. When most of it is something else (what is persisted), holding sources back would not
 * help, and nothing is held.
 *
 * One for all receivers of a context. Counted; any thread. */
#ifndef RL_RUN_PRESSURE_H
#define RL_RUN_PRESSURE_H

#include <stdbool.h>
#include <stddef.h>

#include "store/memory.h"

typedef struct rl_pressure rl_pressure;

/* What holds received records; lies in its owner's struct. */
typedef struct rl_pressed {
  struct rl_pressed *next;
  size_t (*bytes)(struct rl_pressed *self);           /* received and not yet worked off */
  void (*press)(struct rl_pressed *self, bool on);    /* must neither wait nor look */
} rl_pressed;

rl_pressure *rl_pressure_new(rl_memory *m); /* referenced */
rl_pressure *rl_pressure_ref(rl_pressure *p);
void rl_pressure_unref(rl_pressure *p);
void rl_pressure_add(rl_pressure *p, rl_pressed *r);
void rl_pressure_remove(rl_pressure *p, rl_pressed *r);

void rl_pressure_look(rl_pressure *p); /* something came or went */

#endif
