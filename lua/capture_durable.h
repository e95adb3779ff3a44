/* The durable form of captured functions: an image as bytes that another process, another machine or another release of
 * Lua 5.4 can read (docs/formats.md). Functions are source text and variables, never bytecode: a function is found in
 * its chunk's text by its path in the tree of prototypes.
 *
 * Decoding trusts nothing: lengths, numbers and kinds are checked, texts are compiled in text mode, and what comes out
 * is an image like any other. Nothing of it runs before it is pushed.
 *
 * Broadcasts travel with their value. Accumulators go by name, else by their number in their context: decoding finds
 * those that the state has. Kafka producers go by their settings; values of secrets are left out. So are strings that
 * the process knows to be secret (base/secrets.h), wherever they are but in texts: variables are nil then. */
#ifndef RL_LUA_CAPTURE_DURABLE_H
#define RL_LUA_CAPTURE_DURABLE_H

#include <lua.h>

#include "base/buf.h"
#include "capture.h"

#define RL_CLOSURE_MAGIC "RLLECLO1" /* with the version of the format; then the checksum of all that follows */

/* As rl_capture, of functions that have a durable form: one whose text is not to be had is refused, with the way to it:
 * job.lua:12: the function given to foreachRDD captures 'f' (a function without source text, via upvalue 'f'): ... */
rl_status rl_capture_durable(lua_State *L, const rl_capture_root *roots, size_t n, rl_image **out);

/* Likewise, of functions that stay in the driver's state: contexts, streams and RDDs may be in them, for a script makes
 * them anew. What comes out is for rl_image_modules only. */
rl_status rl_capture_look(lua_State *L, const rl_capture_root *roots, size_t n, rl_image **out);

/* Appends the image. RL_EINVAL when a function in it has no text (not of images by rl_capture_durable). `left`, unless
 * NULL, gets a line for each secret that is left out: "the variable 'pw' (the value of sasl.password)". */
rl_status rl_closure_encode(const rl_image *img, rl_buf *out, rl_buf *left);

/* L compiles the texts; the stack is left as it was, and nothing is raised. RL_EDATA for damaged bytes, RL_EUNSUPPORTED
 * for those of another version; RL_ESTATE when the state lacks an accumulator. */
rl_status rl_closure_decode(lua_State *L, const char *p, size_t n, rl_image **out);

/* Pushes the array of roots of a decoded image in a driver's state, as rl_image_push does in a worker's: its broadcasts
 * are the driver's own, and its texts are known when functions of it are captured again. */
void rl_image_push_home(lua_State *L, const rl_image *img);

/* Objects whose metatable is the table at `index` are the library's. May raise (out of memory). */
void rl_capture_add_class(lua_State *L, int index);

/* Texts that the state knows without a file: the chunk `source` has this text; `module` (NULL: none) is its name for
 * `require`. Raises only out of memory. */
void rl_capture_know_text(lua_State *L, const char *source, const char *text, size_t n, const char *module);

bool rl_push_known_text(lua_State *L, const char *source, size_t n); /* or nothing */
/* Where the Lua of a file starts: behind a byte order mark and a first line with '#'. */
size_t rl_text_start(const char *text, size_t n);

/* Calls `visit` for each module whose text is in the image. */
void rl_image_modules(const rl_image *img,
                      void (*visit)(void *user, const char *name, size_t name_n, const char *source, size_t source_n,
                                    const char *text, size_t text_n),
                      void *user);

#endif
