/* Shared by the files of capture.h; private to them.
 *
 * The walk goes breadth first over a queue of entries: everything that has an identity and was reached. The number of
 * an entry is that of its record in the image. Writing a record reaches further entries, which join the queue; so
 * nothing here recurses, however deep a table is, and the first way found to a value is a shortest one.
 *
 *   capture.c          what callers see of it
 *   capture_walk.c     the walk, and the records it writes
 *   capture_globals.c  the globals a function names
 *   capture_source.c   modules, and the texts functions were compiled from
 *   capture_report.c   refusals and warnings: the way to a value in words
 *   capture_list.c     what a function would take along, as a list
 *   capture_names.c    what travels by a registered name
 *   capture_image.c    the image itself
 *   capture_restore.c  the way back, in a worker's state
 *   capture_durable.c  an image as bytes for a checkpoint; capture_decode.c the way back
 *   capture_home.c     the way back in a driver's state, and texts that are known without files
 *
 * An image is, in the byte order of this process: package.path, package.cpath and the roots as values, then the
 * records. A value is a tag, and what the tag needs; a record is its kind (one byte), and then
 *   STRING   u64 length, bytes                       (long strings only; short ones lie in the values)
 *   TABLE    u32 array size, u32 other fields, value metatable, u64 pairs, that many values key and value
 *   FUNCTION value source, u32 line, u32 text (a record, or RL_NO_RECORD), u32 levels, that many u32 path,
 *            u64 length, dump, u32 upvalues, that many u32 cells
 *   CELL     value                                   (a variable: upvalue of one or more functions)
 *   ENV      -                                       (stands for a table of globals)
 *   GLOBAL   u32 environment, value name, value
 *   NAMED    value name
 *   MODULE   u8 form, value name; for RL_MODULE_TEXT u32 text, u64 hash, value source; for RL_MODULE_LOADER value
 *   FIELD    u32 module, value key
 *   TEXT     u64 length, bytes
 *   SHARED   u32 which of the image's shared objects, value: what travels with it (shared.h) */
#ifndef RL_LUA_CAPTURE_INTERNAL_H
#define RL_LUA_CAPTURE_INTERNAL_H

#include <lauxlib.h>
#include <lua.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "capture.h"
#include "capture_durable.h"
#include "proto.h"
#include "shared.h"

/* Tables in the registry. */
#define RL_NAMED_TABLE "rille.named"     /* [object] = name, [name] = object */
#define RL_MODULES_TABLE "rille.modules" /* [name \0 hash of the text] = what the module returned */
#define RL_TEXTS_TABLE "rille.texts"     /* [chunk name] = text that is known without a file */
#define RL_RECORDED_TABLE "rille.recorded" /* [module] = chunk name of such a text */
#define RL_CLASSES_TABLE "rille.classes"   /* [metatable of the library's objects] = true */
#define RL_WARNED_TABLE "rille.warned"   /* [hash of a function's dump] = true */
#define RL_PACKAGE_TABLE "rille.package" /* the library `package`; a worker hides it behind a read-only table */

#define RL_NO_RECORD UINT32_MAX

typedef enum rl_tag { RL_V_NIL, RL_V_FALSE, RL_V_TRUE, RL_V_INT, RL_V_FLOAT, RL_V_STRING, RL_V_RECORD } rl_tag;

typedef enum rl_record {
  RL_R_STRING,
  RL_R_TABLE,
  RL_R_FUNCTION,
  RL_R_CELL,
  RL_R_ENV,
  RL_R_GLOBAL,
  RL_R_NAMED,
  RL_R_MODULE,
  RL_R_FIELD,
  RL_R_TEXT,
  RL_R_SHARED
} rl_record;

typedef enum rl_module_form {
  RL_MODULE_NAME,  /* the worker's own `require` finds it: standard, rille, or in C */
  RL_MODULE_TEXT,  /* its source travels */
  RL_MODULE_LOADER /* a Lua function from package.preload, captured */
} rl_module_form;

/* Pushes a string field of the library `package`: "path", "cpath". False, with nothing pushed, when it is none. */
bool rl_push_package_field(lua_State *L, const char *field);

/* --- images ------------------------------------------------------------------------------------------------------- */

struct rl_image {
  _Atomic uint32_t refs;
  uint64_t id;
  rl_bytes *data;
  size_t *at; /* offset of each record */
  size_t nrecords;
  size_t nroots;
  uint32_t script; /* the script version it belongs to */
  rl_shared **shared; /* referenced */
  size_t nshared;
};

/* A value as it lies in an image. */
typedef struct rl_coded {
  rl_tag tag;
  lua_Integer i;
  lua_Number f;
  const char *s; /* not NUL-terminated */
  size_t n;
  uint32_t record;
} rl_coded;

/* Takes over `at`. NULL with RL_ENOMEM set when there is no memory. */
rl_image *rl_image_new(const rl_buf *data, size_t *at, size_t nrecords, size_t nroots, uint32_t script);

void rl_image_put_u8(rl_buf *out, uint8_t x);
void rl_image_put_u32(rl_buf *out, uint32_t x);
void rl_image_put_u64(rl_buf *out, uint64_t x);
void rl_image_put_bytes(rl_buf *out, const char *p, size_t n);

/* Reading moves *p behind what was read. */
const char *rl_image_at(const rl_image *img, uint32_t record, rl_record *kind); /* behind the kind */
uint8_t rl_get_u8(const char **p);
uint32_t rl_get_u32(const char **p);
uint64_t rl_get_u64(const char **p);
const char *rl_get_bytes(const char **p, size_t *n); /* u64 length, bytes */
rl_coded rl_get_coded(const char **p);

/* --- the walk ----------------------------------------------------------------------------------------------------- */

/* A chunk some captured function was compiled from. */
typedef struct rl_chunk rl_chunk;
struct rl_chunk {
  rl_chunk *next;
  char *source; /* Lua's chunk name */
  size_t source_n;
  rl_buf text;
  rl_proto *tree; /* NULL: the text cannot be had, or does not compile */
  uint32_t record;
};

typedef struct rl_module rl_module;
struct rl_module {
  rl_module *next;
  char *name;
  size_t name_n;
  rl_module_form form;
  rl_chunk *chunk;
  uint32_t record; /* RL_NO_RECORD: it cannot travel by name */
};

typedef struct rl_entry {
  rl_record kind;
  int64_t parent;    /* the entry it was first reached from; -1 - i for root i */
  uint32_t n;        /* CELL: number of the upvalue in the parent. GLOBAL: its environment. SHARED: which of w->shared */
  rl_chunk *chunk;   /* TEXT */
  rl_module *module; /* MODULE */
} rl_entry;

/* A name that a function looks up in its environment; lies in the walk's current prototype. */
typedef struct rl_name {
  const char *s;
  size_t n;
  bool assigned;
} rl_name;

/* Runs in a protected call. All memory that Lua does not see is in here, and freed when the call is over. */
typedef struct rl_walk {
  lua_State *L;
  const rl_capture_root *roots;
  size_t nroots;
  bool durable;     /* functions without a text are refused */
  bool at_home;     /* the driver's own objects may be in what is captured, which is only looked at */
  rl_status status; /* why the protected call was left, when not through an error of Lua's */

  /* Stack indices of tables. */
  int memo;    /* [object] = entry */
  int objects; /* [entry] = object, for GLOBAL the name */
  int cells;   /* [upvalue id] = entry */
  int bound;   /* [environment .. ":" .. name] = true */
  int named;   /* RL_NAMED_TABLE */
  int modules; /* [object] = name it is loaded by */
  int owner;   /* [object] = name of the module that has it as a field */
  int member;  /* [object] = name of that field */

  rl_buf out;
  size_t *at;
  size_t cap_at;
  rl_entry *entries;
  size_t n, cap;
  rl_chunk *chunks;
  rl_shared **shared; /* each holds a reference */
  size_t nshared, cap_shared;
  rl_module *loaded;
  rl_buf scratch;

  /* Of the function that is being written. */
  rl_buf dump;
  rl_proto *proto;
  rl_name *names;
  size_t nnames, cap_names;

  /* Of the report that is being made. */
  rl_buf way, last;
  int64_t *chain;
  size_t cap_chain;
} rl_walk;

/* Adds an entry; the object on top of the stack is popped and becomes its object. */
uint32_t rl_walk_add(rl_walk *w, rl_record kind, int64_t parent);
uint32_t rl_walk_add_object(rl_walk *w, int index, rl_record kind, int64_t parent); /* and remembers it as this entry */
void rl_walk_push(rl_walk *w, uint32_t entry);         /* pushes its object */
uint32_t rl_walk_known(rl_walk *w, int index);         /* the entry of an object, or RL_NO_RECORD */
int rl_walk_look_up(rl_walk *w, int table, int index); /* pushes table[object], for one of the walk's tables */
/* The entry of the value at `index` (of a type that has an identity); refuses what cannot travel. */
uint32_t rl_walk_reach(rl_walk *w, int index, int64_t parent);

/* Writes the value at `index`, reached from `parent`; what has an identity becomes an entry. */
void rl_walk_put(rl_walk *w, int index, int64_t parent);
void rl_walk_put_string(rl_walk *w, const char *s, size_t n);
void rl_walk_write(rl_walk *w, uint32_t id); /* the record of an entry */

/* Dumps the Lua function at `index` into `to`; false with the error set when reading it fails. */
bool rl_walk_dump(rl_walk *w, int index, rl_buf *to, rl_proto **proto);
/* Pushes the entry's function, dumps it into w->dump and w->proto, adopts its environments. Returns its stack index. */
int rl_walk_open_function(rl_walk *w, uint32_t id);

/* Makes an environment of upvalue number `upvalue` when it is an _ENV that only stands for the globals. */
void rl_walk_adopt(rl_walk *w, int fn, int upvalue, uint32_t id);
/* Makes entries of the globals that the function looks up in its upvalue number `upvalue`. */
void rl_walk_bind(rl_walk *w, int fn, int upvalue, uint32_t id);
void rl_walk_push_global(rl_walk *w, uint32_t env, int name); /* what the name at stack index `name` is there */
void rl_walk_note_name(void *user, const char *name, size_t n, bool assigned); /* a visitor: fills w->names */

/* The module loaded (or found) by `name` as an entry, or RL_NO_RECORD when it cannot travel by name. */
uint32_t rl_walk_module(rl_walk *w, const char *name, size_t n, int64_t parent);
/* Makes entries of the modules that `p` requires by constant names. */
void rl_walk_requires(rl_walk *w, const rl_proto *p, int64_t parent);
/* The chunk a function with this source name was compiled from; its tree is NULL when the text cannot be had. */
rl_chunk *rl_walk_chunk(rl_walk *w, const char *source, size_t n);
/* Finds w->proto in the chunk's tree: true with the path to it. */
bool rl_chunk_find(const rl_chunk *c, const rl_proto *p, uint32_t *path, size_t *npath);
uint32_t rl_walk_text(rl_walk *w, rl_chunk *c, int64_t parent);
void rl_walk_free_sources(rl_walk *w);
/* Pushes the chunk name of a module whose text is known, or nothing. */
bool rl_push_known_module(lua_State *L, const char *name, size_t n);

#define RL_PATH_MAX 256 /* levels of nested functions; the parser allows 200 */

/* Leaves the protected call: the value at `index`, reached from `parent`, cannot travel. */
_Noreturn void rl_walk_refuse(rl_walk *w, int index, int64_t parent);
/* Likewise: the text of w->proto, of `entry`, is not to be had. */
_Noreturn void rl_walk_refuse_textless(rl_walk *w, uint32_t entry);
_Noreturn void rl_walk_too_large(rl_walk *w, uint32_t entry, size_t limit);
/* What keeps the value at `index` from travelling, in words, and what to do about it. */
const char *rl_obstacle(lua_State *L, int index, const char **hint);
bool rl_capture_is_own(lua_State *L, int index); /* is the userdata there one of the library's? */
/* Logs, once for a prototype, that w->proto (of `entry`) assigns variables from outside. */
void rl_walk_warn(rl_walk *w, uint32_t entry);

#endif
