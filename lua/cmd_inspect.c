/* rille inspect: what is in a checkpoint directory, whether it is sound, and repairing it. */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "base/mem.h"
#include "cmd.h"
#include "store/repair.h"
#include "values.h"

const char rl_cmd_inspect_help[] =
  "usage: rille inspect DIR [OPTION]...\n"
  "\n"
  "Shows what is in the checkpoint directory DIR of a job (what it gave to ssc:checkpoint or getOrCreate), which may be\n"
  "running: the job, its log, pending batches, positions of inputs with their files and offsets, state. Nothing is\n"
  "changed.\n"
  "\n"
  "  --json                 as one JSON object\n"
  "  --key UID KEY          only the value of KEY in the state of operator UID, which is its name as shown under\n"
  "                         `state`; KEY is a text, or as Lua writes it a number, true, false, null, {1, 'a'} or\n"
  "                         tuple('a', 1); in quotes ('\"42\"') it is a text in any case. Exit status 1 when there is\n"
  "                         none\n"
  "  --verify               checks every checksum, and that all records can be read; tells each damage on a line\n"
  "  --repair               puts damage aside, into DIR/quarantine, and makes DIR usable again of what is whole;\n"
  "                         tells what is lost, and deletes nothing. The job must not be running\n"
  "  --from BACKUP          with --repair: a copy made by `rille backup`, for what cannot be made otherwise\n"
  "  --help                 this text\n"
  "\n"
  "Exit status: 0 done, nothing is damaged; 1 damage, or it could not be done; 2 wrong usage.\n";

typedef struct options {
  const char *dir, *uid, *key, *from;
  bool json, verify, repair;
} options;

static int wrong_usage(const char *message, const char *what)
{
  fprintf(stderr, "rille: %s%s\nTry 'rille inspect --help'.\n", message, what);
  return RL_EXIT_USAGE;
}

static int failed(void)
{
  fflush(stdout);
  fprintf(stderr, "rille: %s\n", rl_error_message());
  return RL_EXIT_FAILED;
}

/* Options ---------------------------------------------------------------------------------------------------------- */

static int check(const options *o)
{
  if (!o->dir) return wrong_usage("which directory? Give the job's checkpoint directory", "");
  if (o->verify + o->repair + (o->uid != NULL) > 1) return wrong_usage("only one of --key, --verify and --repair", "");
  if (o->from && !o->repair) return wrong_usage("--from is for --repair", "");
  if (o->json && o->repair) return wrong_usage("--repair does not know --json", "");
  return RL_EXIT_DONE;
}

/* "--name VALUE" or "--name=VALUE". */
static const char *value_of(int argc, char **argv, int *at, const char *name)
{
  size_t n = strlen(name);
  if (strncmp(argv[*at], name, n) != 0) return NULL;
  if (argv[*at][n] == '=') return argv[*at] + n + 1;
  if (argv[*at][n] != '\0') return NULL;
  return *at + 1 < argc ? argv[++*at] : "";
}

static int parse(int argc, char **argv, options *o)
{
  for (int i = 0; i < argc; i++) {
    const char *word = argv[i], *value;
    if (strcmp(word, "--json") == 0) {
      o->json = true;
    } else if (strcmp(word, "--verify") == 0) {
      o->verify = true;
    } else if (strcmp(word, "--repair") == 0) {
      o->repair = true;
    } else if ((value = value_of(argc, argv, &i, "--from"))) {
      if (!*value) return wrong_usage("--from needs the directory of a backup", "");
      o->from = value;
    } else if (strcmp(word, "--key") == 0) {
      if (i + 2 >= argc) return wrong_usage("--key needs an operator's uid and a key", "");
      o->uid = argv[++i];
      o->key = argv[++i];
    } else if (word[0] == '-') {
      return wrong_usage("unknown option ", word);
    } else if (o->dir) {
      return wrong_usage("only one directory, not also ", word);
    } else {
      o->dir = word;
    }
  }
  return check(o);
}

/* Showing ---------------------------------------------------------------------------------------------------------- */

static int show(const options *o)
{
  rl_cmd_found f = {.dir = o->dir, .user = rl_checkpoint_user(o->dir)};
  rl_status st = rl_inspect_log_read(o->dir, &f.log);
  if (st == RL_OK) st = rl_inspect_image_read(o->dir, true, &f.image);
  bool shown = true;
  if (st == RL_OK && f.log.damages == 0) f.log.damage = rl_inspect_misfit(o->dir, &f.image);
  if (f.log.damage && f.log.damages == 0) f.log.damages = 1;
  if (st == RL_OK && o->json) shown = rl_cmd_show_json(&f);
  else if (st == RL_OK) rl_cmd_show(&f);
  bool damaged = f.log.damages > 0 || f.image.damage;
  rl_inspect_log_free(&f.log);
  rl_inspect_image_free(&f.image);
  if (st != RL_OK) return failed();
  return damaged || !shown ? RL_EXIT_FAILED : RL_EXIT_DONE;
}

/* A key, and what it is a view of. */
typedef struct key {
  lua_State *L;
  rl_buf scratch;
  rl_value v;
} key;

static bool begins(const char *text, const char *with)
{
  return strncmp(text, with, strlen(with)) == 0;
}

/* Of the texts that Lua could read, those that are hardly meant as texts. */
static bool is_literal(const char *text)
{
  return strcmp(text, "true") == 0 || strcmp(text, "false") == 0 || strcmp(text, "null") == 0 ||
         strcmp(text, "rille.null") == 0 || begins(text, "rille.tuple(") || begins(text, "tuple(") || *text == '{';
}

/* What a key may be written with. */
static int set_names(lua_State *L)
{
  rl_values_prepare(L);
  lua_newtable(L);
  rl_lua_push_null(L);
  lua_setfield(L, -2, "null");
  lua_pushcfunction(L, rl_lua_tuple);
  lua_setfield(L, -2, "tuple");
  lua_getfield(L, -1, "null");
  lua_setglobal(L, "null");
  lua_getfield(L, -1, "tuple");
  lua_setglobal(L, "tuple");
  lua_setglobal(L, "rille");
  return 0;
}

/* `text` is a Lua literal: leaves its value on top. False: it is none after all. */
static bool evaluate(lua_State *L, const char *text)
{
  lua_pushcfunction(L, set_names);
  if (lua_pcall(L, 0, 0, 0) != LUA_OK) return false;
  lua_pushfstring(L, "return %s", text);
  const char *code = lua_tostring(L, -1);
  return luaL_loadbufferx(L, code, strlen(code), "=KEY", "t") == LUA_OK && lua_pcall(L, 0, 1, 0) == LUA_OK &&
         !lua_isnil(L, -1);
}

static bool read_number(lua_State *L, const char *text)
{
  return lua_stringtonumber(L, text) == strlen(text) + 1;
}

/* Numbers and literals as Lua reads them; all else is text. */
static rl_status read_key(const char *text, key *out)
{
  size_t n = strlen(text);
  *out = (key){.v = rl_str(text, n)};
  if (n >= 2 && (text[0] == '"' || text[0] == '\'') && text[n - 1] == text[0]) {
    out->v = rl_str(text + 1, n - 2);
    return RL_OK;
  }
  out->L = luaL_newstate();
  if (!out->L) return rl_fail(RL_ENOMEM, "no memory for reading the key");
  if (!read_number(out->L, text) && !(is_literal(text) && evaluate(out->L, text))) return RL_OK;
  rl_status st = rl_lua_to_value(out->L, -1, &out->v, &out->scratch);
  if (st != RL_OK) rl_error_prefix("the key: ");
  return st;
}

static void free_key(key *k)
{
  if (k->L) lua_close(k->L);
  rl_buf_free(&k->scratch);
}

static int show_key(const options *o)
{
  rl_inspect_value v = {0};
  key k;
  int status = RL_EXIT_DONE;
  rl_status st = read_key(o->key, &k);
  if (st == RL_OK) st = rl_inspect_key(o->dir, o->uid, k.v, &v);
  if (st != RL_OK) {
    status = failed();
  } else if (o->json && !rl_cmd_show_value_json(o->uid, k.v, &v)) {
    status = RL_EXIT_FAILED;
  } else if (!v.found) {
    fprintf(stderr, "rille: operator '%s' has no value of that key\n", o->uid);
    status = RL_EXIT_FAILED;
  } else if (!o->json) {
    rl_cmd_show_value(&v);
  }
  rl_inspect_value_free(&v);
  free_key(&k);
  return status;
}

/* Verifying -------------------------------------------------------------------------------------------------------- */

static void print_damage(void *user, const rl_inspect_damage *d)
{
  (void)user;
  puts(d->message);
}

static void add_damage(void *user, const rl_inspect_damage *d)
{
  rl_cmd_damages_add(user, d);
}

static void print_totals(const rl_inspect_verified *v)
{
  char *bytes = rl_cmd_bytes(v->bytes);
  printf("log: %llu segments, %llu records, %s; state: %llu operators, %llu entries, %llu lists of times, %llu notes; ",
         (unsigned long long)v->segments, (unsigned long long)v->records, bytes, (unsigned long long)v->operators,
         (unsigned long long)v->entries, (unsigned long long)v->due_lists, (unsigned long long)v->notes);
  if (v->damages > 0) printf("damages: %llu\n", (unsigned long long)v->damages);
  else puts(v->torn > 0 ? "no damage (the tail is unfinished, as after a crash)" : "no damage");
  rl_free(bytes);
}

static int verify(const options *o)
{
  rl_inspect_verified v;
  struct json_t *all = o->json ? rl_cmd_damages_new() : NULL;
  rl_status st = rl_inspect_verify(o->dir, o->json ? add_damage : print_damage, all, &v);
  bool told = st == RL_OK || (st == RL_EDATA && v.damages > 0);
  bool shown = true;
  if (o->json) shown = rl_cmd_damages_show(all, told ? o->dir : NULL, &v);
  else if (told) print_totals(&v);
  if (!told) return failed();
  return st == RL_OK && shown ? RL_EXIT_DONE : RL_EXIT_FAILED;
}

/* Repairing -------------------------------------------------------------------------------------------------------- */

static void print_line(void *user, const char *line)
{
  (void)user;
  puts(line);
}

static int repair(const options *o)
{
  rl_status st = rl_repair_run(&(rl_repair){.dir = o->dir, .from = o->from, .say = print_line});
  return st == RL_OK ? RL_EXIT_DONE : failed();
}

int rl_cmd_inspect(int argc, char **argv)
{
  for (int i = 0; i < argc; i++) {
    if (strcmp(argv[i], "--help") != 0) continue;
    fputs(rl_cmd_inspect_help, stdout);
    return RL_EXIT_DONE;
  }
  options o = {0};
  int status = parse(argc, argv, &o);
  if (status != RL_EXIT_DONE) return status;
  if (rl_checkpoint_check(o.dir) != RL_OK) return failed();
  if (o.verify) return verify(&o);
  if (o.repair) return repair(&o);
  return o.uid ? show_key(&o) : show(&o);
}
