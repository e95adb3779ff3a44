/* Where functions and modules come from: the texts of chunks, and what `require` would find for a name. */
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "capture_internal.h"
#include "searcher.h"

size_t rl_text_start(const char *text, size_t n)
{
  static const char mark[] = "\xEF\xBB\xBF";
  size_t at = n >= 3 && memcmp(text, mark, 3) == 0 ? 3 : 0;
  if (at < n && text[at] == '#') {
    const char *line = memchr(text + at, '\n', n - at);
    at = line ? (size_t)(line - text) : n; /* the newline stays: lines keep their numbers */
  }
  return at;
}

/* --- chunks ------------------------------------------------------------------------------------------------------- */

static bool read_known(rl_walk *w, rl_chunk *c)
{
  bool ours = w->durable && rl_searcher_push_text(w->L, c->source, c->source_n);
  if (!ours && !rl_push_known_text(w->L, c->source, c->source_n)) {
    return false;
  }
  size_t n;
  const char *text = lua_tolstring(w->L, -1, &n);
  rl_buf_add(&c->text, text, n);
  lua_pop(w->L, 1);
  return true;
}

static bool read_text(rl_walk *w, rl_chunk *c)
{
  if (read_known(w, c)) {
    return true;
  }
  if (c->source[0] == '@') {
    return rl_file_read_all(c->source + 1, &c->text) == RL_OK;
  }
  if (c->source[0] == '=') {
    return false;
  }
  rl_buf_add(&c->text, c->source, c->source_n);
  return true;
}

/* Compiles the text (in text mode: bytecode is refused) to learn its prototypes. */
static void read_tree(rl_walk *w, rl_chunk *c)
{
  const char *text = rl_buf_cstr(&c->text);
  size_t start = c->source[0] == '@' ? rl_text_start(text, c->text.n) : 0;
  luaL_checkstack(w->L, 10, NULL);
  if (luaL_loadbufferx(w->L, text + start, c->text.n - start, c->source, "t") == LUA_OK) {
    rl_walk_dump(w, lua_gettop(w->L), &w->scratch, &c->tree);
  }
  lua_pop(w->L, 1);
}

rl_chunk *rl_walk_chunk(rl_walk *w, const char *source, size_t n)
{
  for (rl_chunk *c = w->chunks; c; c = c->next) {
    if (c->source_n == n && memcmp(c->source, source, n) == 0) {
      return c;
    }
  }
  rl_chunk *c = RL_NEW(rl_chunk);
  c->source = rl_alloc(n + 1);
  memcpy(c->source, source, n);
  c->source_n = n;
  c->record = RL_NO_RECORD;
  c->next = w->chunks;
  w->chunks = c;
  if (n > 0 && strlen(c->source) == n && read_text(w, c)) {
    read_tree(w, c);
  }
  return c;
}

uint32_t rl_walk_text(rl_walk *w, rl_chunk *c, int64_t parent)
{
  if (c->record == RL_NO_RECORD) {
    lua_pushboolean(w->L, true);
    c->record = rl_walk_add(w, RL_R_TEXT, parent);
    w->entries[c->record].chunk = c;
  }
  return c->record;
}

/* Two dumps of one prototype are equal but for the source name in front, which a nested one leaves out. */
static bool same(const rl_proto *p, const rl_proto *q, bool nested)
{
  const size_t no_source = 1;
  if (p->line_defined != q->line_defined || p->last_line != q->last_line || p->ncode != q->ncode) {
    return false;
  }
  if (!nested) {
    return p->body_n == q->body_n && memcmp(p->body, q->body, p->body_n) == 0;
  }
  size_t n = q->body_n - no_source;
  return p->body_n > n && memcmp(p->body + p->body_n - n, q->body + no_source, n) == 0;
}

/* Recursion ends where the tree does: functions nest at most as deep as the parser allows. */
static bool find(const rl_proto *in, const rl_proto *p, uint32_t *path, size_t *npath, size_t depth)
{
  if (same(p, in, depth > 0)) {
    *npath = depth;
    return true;
  }
  for (size_t i = 0; depth < RL_PATH_MAX && i < in->nprotos; i++) {
    path[depth] = (uint32_t)i;
    if (find(in->protos[i], p, path, npath, depth + 1)) {
      return true;
    }
  }
  return false;
}

bool rl_chunk_find(const rl_chunk *c, const rl_proto *p, uint32_t *path, size_t *npath)
{
  *npath = 0;
  return c->tree && find(c->tree, p, path, npath, 0);
}

/* --- modules ------------------------------------------------------------------------------------------------------ */

/* Pushes the file that `require` would find for the module, or nothing. */
static bool push_file(rl_walk *w, const char *name, size_t n, const char *where)
{
  lua_State *L = w->L;
  int top = lua_gettop(L);
  lua_pushliteral(L, "package.searchpath");
  lua_rawget(L, w->named);
  lua_pushlstring(L, name, n);
  if (!lua_iscfunction(L, -2) || !rl_push_package_field(L, where)) {
    lua_settop(L, top);
    return false;
  }
  lua_call(L, 2, 1);
  if (lua_type(L, -1) != LUA_TSTRING) {
    lua_settop(L, top);
    return false;
  }
  return true;
}

/* Standard modules and our own are in every worker. */
static bool is_everywhere(rl_walk *w, const char *name, size_t n)
{
  lua_pushlstring(w->L, name, n);
  bool registered = lua_rawget(w->L, w->named) == LUA_TTABLE;
  lua_pop(w->L, 1);
  return registered || (n >= 5 && memcmp(name, "rille", 5) == 0 && (n == 5 || name[5] == '.'));
}

static bool is_in_c(rl_walk *w, const char *name, size_t n)
{
  const char *dot = memchr(name, '.', n);
  bool found = push_file(w, name, n, "cpath") || (dot && push_file(w, name, (size_t)(dot - name), "cpath"));
  if (found) {
    lua_pop(w->L, 1);
  }
  return found;
}

/* The module's text, when it lies in a file in Lua. */
static rl_chunk *module_chunk(rl_walk *w, const char *name, size_t n)
{
  lua_State *L = w->L;
  if (rl_push_known_module(L, name, n)) {
    rl_chunk *known = rl_walk_chunk(w, lua_tostring(L, -1), lua_rawlen(L, -1));
    lua_pop(L, 1);
    if (known->tree) return known;
  }
  if (!push_file(w, name, n, "path")) {
    return NULL;
  }
  const char *source = lua_pushfstring(L, "@%s", lua_tostring(L, -1));
  rl_chunk *c = rl_walk_chunk(w, source, strlen(source));
  lua_pop(L, 2);
  return c->tree ? c : NULL;
}

/* How the module can travel; pushes its loader, or true when it has none. False, with nothing pushed: it cannot. */
static bool classify(rl_walk *w, rl_module *m)
{
  lua_State *L = w->L;
  if (is_everywhere(w, m->name, m->name_n)) {
    lua_pushboolean(L, true);
    return true;
  }
  if (rl_push_known_module(L, m->name, m->name_n)) { /* in package.preload stands what restores its text */
    lua_pop(L, 1);
    m->chunk = module_chunk(w, m->name, m->name_n);
  }
  if (m->chunk) {
    m->form = RL_MODULE_TEXT;
    lua_pushboolean(L, true);
    return true;
  }
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushlstring(L, m->name, m->name_n);
  lua_rawget(L, -2);
  lua_replace(L, -2);
  if (lua_isfunction(L, -1)) {
    m->form = lua_iscfunction(L, -1) ? RL_MODULE_NAME : RL_MODULE_LOADER;
    return true;
  }
  lua_pop(L, 1);
  m->chunk = module_chunk(w, m->name, m->name_n);
  if (m->chunk) {
    m->form = RL_MODULE_TEXT;
  } else if (!is_in_c(w, m->name, m->name_n)) {
    return false;
  }
  lua_pushboolean(L, true);
  return true;
}

static rl_module *new_module(rl_walk *w, const char *name, size_t n)
{
  rl_module *m = RL_NEW(rl_module);
  m->name = rl_alloc(n + 1);
  memcpy(m->name, name, n);
  m->name_n = n;
  m->form = RL_MODULE_NAME;
  m->record = RL_NO_RECORD;
  m->next = w->loaded;
  w->loaded = m;
  return m;
}

uint32_t rl_walk_module(rl_walk *w, const char *name, size_t n, int64_t parent)
{
  for (rl_module *m = w->loaded; m; m = m->next) {
    if (m->name_n == n && memcmp(m->name, name, n) == 0) {
      return m->record;
    }
  }
  luaL_checkstack(w->L, 10, NULL);
  rl_module *m = new_module(w, name, n);
  if (classify(w, m)) {
    m->record = rl_walk_add(w, RL_R_MODULE, parent);
    w->entries[m->record].module = m;
    if (m->chunk) {
      rl_walk_text(w, m->chunk, m->record);
    }
  }
  return m->record;
}

typedef struct required {
  rl_walk *w;
  int64_t parent;
} required;

static void add_required(void *user, const char *name, size_t n)
{
  const required *r = user;
  if (!is_everywhere(r->w, name, n)) {
    rl_walk_module(r->w, name, n, r->parent);
  }
}

/* The visitor may leave with a Lua error: rl_proto_requires holds nothing meanwhile. */
void rl_walk_requires(rl_walk *w, const rl_proto *p, int64_t parent)
{
  required r = {.w = w, .parent = parent};
  rl_proto_requires(p, add_required, &r);
}

void rl_walk_free_sources(rl_walk *w)
{
  while (w->chunks) {
    rl_chunk *c = w->chunks;
    w->chunks = c->next;
    rl_free(c->source);
    rl_buf_free(&c->text);
    rl_proto_delete(c->tree);
    rl_free(c);
  }
  while (w->loaded) {
    rl_module *m = w->loaded;
    w->loaded = m->next;
    rl_free(m->name);
    rl_free(m);
  }
  rl_buf_free(&w->scratch);
}
