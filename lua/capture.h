/* Capturing closures: from the driver's Lua state to an immutable image, and from the image into any worker's state.
 *
 * Capture is by value, with all a function can reach (DESIGN section 4): upvalues per cell (functions that share a
 * variable share it again), cycles, recursion, the user globals that the code names, tables with their metatables,
 * modules by name with their source. What cannot travel is refused with the way to it: job.lua:12: the function given
 * to map captures 'conn' (userdata, via upvalue 'pool.conn'); open it inside foreachPartition, or see rille.once
 *
 * An image is made in one go from several roots with one memo, so what they share stays shared. It is bytes: counted,
 * immutable, usable from any thread. Its form is private to this module and process (the durable form, source text,
 * comes with the checkpoint: the image already holds each function's source name and line, its chunk's text where it
 * can be had, and its path in the tree of prototypes).
 *
 * In a worker the image gets an _ENV of its own: the captured globals, over the worker's read-only standard globals. */
#ifndef RL_LUA_CAPTURE_H
#define RL_LUA_CAPTURE_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct rl_image rl_image;

rl_image *rl_image_ref(rl_image *img);
void rl_image_unref(rl_image *img);
uint64_t rl_image_id(const rl_image *img); /* unique in the process, never reused */
size_t rl_image_size(const rl_image *img);
/* The script version (DESIGN section 6) whose driver state it was captured from. A process runs one script so far, the
 * first. */
uint32_t rl_image_script(const rl_image *img);
#define RL_SCRIPT_FIRST 1

/* One root: a function (or any value that can travel) on the stack, and how to speak of it. */
typedef struct rl_capture_root {
  int index;        /* absolute stack index */
  const char *role; /* "the function given to map" */
  const char *site; /* "job.lua:12": where the operation was declared; may be NULL */
  bool in_place;    /* it runs in this state as it is: that it assigns variables from outside is as it should be */
} rl_capture_root;

/* Captures roots[0..n). Leaves the stack as it was; never raises a Lua error. RL_EINVAL with the message above when
 * something cannot travel. Warnings (assigned upvalues) are logged with rl_warn, once for each function prototype in a
 * Lua state: job.lua:12: the function given to map assigns 'n', a variable from outside: each worker has its own copy
 * and the driver's stays as it is; use an accumulator, or return the value
 */
rl_status rl_capture(lua_State *L, const rl_capture_root *roots, size_t n, rl_image **out);

/* A check at declaration time, before everything a function names need be defined: is it a function that can travel at
 * all (a Lua function, or a standard one that goes by name)? Also gives the assigned-upvalue warning. */
rl_status rl_capture_diagnose(lua_State *L, int index, const char *role, const char *site);

/* Restores an image: pushes an array of its n roots (restored values), in the order given to rl_capture. Must run in a
 * protected call: raises Lua errors (a module that cannot be found, out of memory). The worker's state must have been
 * prepared by rl_capture_prepare. Nothing is cached here. */
void rl_image_push(lua_State *L, const rl_image *img);

/* Prepares a fresh state (standard libraries open) for restored closures. Called once, before anything is loaded: notes
 * standard functions and modules by name in the registry, so that they are found again whatever a script does to its
 * globals. Also to be called in the driver's state when the module is loaded. */
void rl_capture_prepare(lua_State *L);

/* Lets the object at `index` (table, function, userdata or light userdata) travel by name: each state registers its own
 * under the same name, as a rule right behind rl_capture_prepare. May raise a Lua error (out of memory). */
void rl_capture_register(lua_State *L, int index, const char *name);

/* Likewise the library on top, and the functions in it: "rille.json", "rille.json.decode". */
void rl_capture_register_library(lua_State *L, const char *name);

/* Is the value on top what workers have anyway under this global name? */
bool rl_capture_is_standard(lua_State *L, const char *name);

/* core.captured(value, role[, site]) -> array of a Lua function's variables from outside, in their order, each { name
 * =, kind = "upvalue" or "global", type =, assigned =, bytes = (nil: it cannot travel) }; the bytes of the whole image,
 * or nil and why it cannot travel. Standard globals are left out. */
int rl_capture_list(lua_State *L);

/* What an image knows of one Lua function in it, for the durable form. All pointers are valid while the image is. */
typedef struct rl_image_fn {
  const char *source; /* Lua's chunk name: "@job.lua", or the text itself; "" when stripped */
  size_t source_n;
  int line;
  /* Of the whole chunk, as read or given; NULL when it could not be had or is not what the function was made from. */
  const char *text;
  size_t text_n;
  const uint32_t *path; /* which nested prototype of the chunk at each level; empty for the chunk itself */
  size_t npath;
} rl_image_fn;

void rl_image_functions(const rl_image *img, void (*visit)(void *user, const rl_image_fn *fn), void *user);

#endif
