/* The folder of a process's spill files: made, removed, and cleaned away when its process is no more (store/spill.h
 * says how that is known). */
#ifndef RL_STORE_SPILL_FOLDER_H
#define RL_STORE_SPILL_FOLDER_H

#include "base/status.h"

typedef struct rl_spill_folder {
  char *path; /* NULL: none */
  int lock;   /* the descriptor that holds the lock */
} rl_spill_folder;

#define RL_SPILL_NO_FOLDER ((rl_spill_folder){NULL, -1})

rl_status rl_spill_folder_make(const char *dir, rl_spill_folder *out); /* `dir` is made when it is missing */
void rl_spill_folder_remove(rl_spill_folder *f);                       /* warns when it cannot */
void rl_spill_folder_clean(const char *dir); /* orphans in it; what cannot be removed is another's, and stays */

#endif
