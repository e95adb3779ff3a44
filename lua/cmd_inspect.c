/* rille inspect: what is in a checkpoint directory, whether it is sound, and repairing it. */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "base/mem.h"
#include "cmd.h"
#include "store/repair.h"

const char rl_cmd_inspect_help[] =
  "usage: rille inspect DIR [OPTION]...\n"
  "\n"
  "Shows what is in the checkpoint directory DIR of a job (what it gave to ssc:checkpoint or getOrCreate), which may be\n"
  "running: the job, its log, pending batches, positions of inputs with their files and offsets, state. Nothing is\n"
  "changed.\n"
  "\n"
  "  --json                 as one JSON object\n"
  "  --key UID KEY          only the value of KEY in the state of operator UID, which is its name as shown under\n"
  "                         `state`; KEY is a text, or a number as Lua writes it; in quotes ('\"42\"') it is a text in\n"
  "                         any case. Exit status 1 when there is none\n"
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

/* As Lua reads it. */
static bool read_number(const char *text, rl_value *out)
{
  lua_State *L = luaL_newstate();
  bool is = L && lua_stringtonumber(L, text) == strlen(text) + 1;
  if (is) *out = lua_isinteger(L, -1) ? rl_int(lua_tointeger(L, -1)) : rl_float(lua_tonumber(L, -1));
  if (L) lua_close(L);
  return is;
}

static rl_value read_key(const char *text)
{
  size_t n = strlen(text);
  rl_value number;
  if (n >= 2 && (text[0] == '"' || text[0] == '\'') && text[n - 1] == text[0]) return rl_str(text + 1, n - 2);
  return read_number(text, &number) ? number : rl_str(text, n);
}

static int show_key(const options *o)
{
  rl_inspect_value v;
  rl_value key = read_key(o->key);
  int status = RL_EXIT_DONE;
  rl_status st = rl_inspect_key(o->dir, o->uid, key, &v);
  if (st != RL_OK) {
    status = failed();
  } else if (o->json && !rl_cmd_show_value_json(o->uid, key, &v)) {
    status = RL_EXIT_FAILED;
  } else if (!v.found) {
    fprintf(stderr, "rille: operator '%s' has no value of that key\n", o->uid);
    status = RL_EXIT_FAILED;
  } else if (!o->json) {
    rl_cmd_show_value(&v);
  }
  rl_inspect_value_free(&v);
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
