/* Steps: Lua functions as rl_fn (core/data/fn.h), and how a run of them is fused into one Lua function of the
 * worker's state.
 *
 * A step has a kind ("map", "combine", ...), 0 to 3 functions, and the name, site and uid of the operation it
 * belongs to (for messages). It is made in the driver; its functions become callable in workers once it is bound to
 * an image (rl_capture). */
#ifndef RL_LUA_LUAFN_H
#define RL_LUA_LUAFN_H

#include "capture.h"
#include "data/fn.h"

#define RL_STEP_FUNCTIONS 3

typedef struct rl_step {
  const char *kind;
  uint32_t functions; /* how many the image holds for it */
  const char *name;   /* "reduceByKey" */
  const char *site;   /* "job.lua:12", or NULL */
  const char *uid;    /* or NULL */
  int64_t param;      /* meaning by kind */

  /* Bad records (rille.guard). */
  bool guarded; /* what its functions raise is no fault of the task's */
  bool handled; /* the last of `functions` is the handler */
  bool tagged; /* its records come behind `true`; bad ones, as (false, message, record), too: see the kinds passed and
                  diverted */
} rl_step;

rl_fn *rl_luafn_new(const rl_step *step); /* RL_EINVAL and NULL for an unknown kind */
bool rl_fn_is_lua(const rl_fn *f);
bool rl_luafn_is_bound(const rl_fn *f);
/* The functions are roots first_root .. of `img` (referenced). Before the first task that runs it; once. */
void rl_luafn_bind(rl_fn *f, rl_image *img, uint32_t first_root);
const rl_step *rl_luafn_step(const rl_fn *f);

#endif
