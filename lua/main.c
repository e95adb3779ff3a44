/* The program `rille`: runs jobs. A job is a Lua script in a standard Lua state that finds the library without files
 * beside it. The other commands are parts of that library: the module rille.cli.NAME is a function of the command's
 * words that gives the exit status. */
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "bind.h"
#include "capture_durable.h"
#include "cmd.h"
#include "rille.h"
#include "run/supervise.h"
#include "searcher.h"
#include "values.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

int luaopen_rille_core(lua_State *L);

static const char general_help[] =
  "usage: rille COMMAND ...\n"
  "\n"
  "  rille run JOB.lua [ARG]...   runs a job until it ends; Ctrl-C stops it gracefully\n"
  "  rille recover DIR [ARG]...   goes on with the job of a checkpoint, from the script recorded in it\n"
  "  rille check JOB.lua [ARG]... shows what a job is made of, and what is wrong with it\n"
  "  rille test [FILE | DIR]...   runs tests of jobs\n"
  "  rille inspect DIR            shows, verifies and repairs the checkpoint directory of a job\n"
  "  rille backup DIR TO          copies one, while the job runs\n"
  "  rille version                tells the version\n"
  "  rille help [COMMAND]         this text, or a command's\n"
  "  rille help settings          all settings, with defaults\n";

static const char run_help[] =
  "usage: rille run [OPTION]... JOB.lua [OPTION | ARG]... [-- ARG...]\n"
  "\n"
  "Runs the Lua script JOB.lua with its arguments in the table `arg` and in `...`.\n"
  "\n"
  "  --master local[N]      number of workers; local[*]: one a core\n"
  "  --conf KEY=VALUE       a setting, for instance --conf rille.default.parallelism=4\n"
  "  --properties FILE      settings from a file, one `KEY VALUE` or `KEY=VALUE` a line\n"
  "  --supervise            a small parent runs the job, and starts it again when it crashes\n"
  "  --restarts N[/TIME]    so often at most, within TIME; default " RL_SUPERVISION_RESTARTS "\n"
  "  --backoff FIRST[,LONGEST]\n"
  "                         pause before a restart, doubled each time; default " RL_SUPERVISION_BACKOFF "\n"
  "  --help                 this text\n"
  "\n"
  "--master and --conf win over what the script sets; the file's settings are used where neither sets them.\n"
  "Everything else behind JOB.lua belongs to the script, and so does all behind --.\n"
  "Exit status: 0 done, 1 the job failed, 2 wrong usage; with --supervise 128 + N when signal N ended the job.\n";

static const char recover_help[] =
  "usage: rille recover [OPTION]... DIR [OPTION | ARG]... [-- ARG...]\n"
  "\n"
  "Goes on with the job whose checkpoint is in DIR when its script and modules are not at hand: with their texts as they\n"
  "were when it was started last, and its arguments, unless others are given. A script that is there is better run\n"
  "with `rille run`: it goes on with the checkpoint, too.\n"
  "\n"
  "Options are those of `rille run`. Settings that the command line gave then are given again, but for secrets.\n"
  "Exit status: as `rille run`.\n";

/* --- the command line --------------------------------------------------------------------------------------------- */

typedef struct setting {
  const char *key; /* up to key_n */
  size_t key_n;
  const char *value;
} setting;

typedef struct command {
  char **argv;
  int script; /* index in argv; 0: none. Of `recover`: the directory */
  const char *what; /* wrong usage without it */
  const char *properties;
  setting *settings;
  int nsettings;
  const char **args; /* the script's */
  int nargs;
  bool supervised;
  const char *restarts, *backoff; /* as given, or NULL */
  char **child;                   /* argv without what is the supervisor's */
  int nchild;
} command;

static const char *command_name = "run"; /* for messages about its words */

static int wrong_usage(const char *message, const char *what)
{
  fprintf(stderr, "rille: %s%s\nTry 'rille %s --help'.\n", message, what, command_name);
  return EXIT_USAGE;
}

/* The value of option `name` at argv[*at], as "--name value" or "--name=value"; NULL when argv[*at] is another. *at
 * moves to its last word. Missing: "". */
static const char *option_value(char **argv, int *at, const char *name)
{
  size_t n = strlen(name);
  if (strncmp(argv[*at], name, n) != 0) return NULL;
  if (argv[*at][n] == '=') return argv[*at] + n + 1;
  if (argv[*at][n] != '\0') return NULL;
  return argv[*at + 1] ? argv[++*at] : "";
}

static void add_setting(command *c, const char *key, size_t key_n, const char *value)
{
  c->settings[c->nsettings++] = (setting){key, key_n, value};
}

/* Takes the option at argv[*at] if it is one of rille's; *status becomes that of wrong usage. */
static bool take_option(command *c, int *at, int *status)
{
  const char *name = c->argv[*at], *value;
  if ((value = option_value(c->argv, at, "--master"))) {
    add_setting(c, "master", strlen("master"), value);
  } else if ((value = option_value(c->argv, at, "--conf"))) {
    const char *equals = strchr(value, '=');
    if (!equals || equals == value) *status = wrong_usage("--conf needs KEY=VALUE, not ", *value ? value : "nothing");
    else add_setting(c, value, (size_t)(equals - value), equals + 1);
  } else if ((value = option_value(c->argv, at, "--properties"))) {
    c->properties = value;
  } else {
    return false;
  }
  if (*value == '\0' && *status == EXIT_DONE) *status = wrong_usage("a value is missing behind ", name);
  return true;
}

/* Likewise, of those that are the supervisor's. */
static bool take_supervision(command *c, int *at, int *status)
{
  const char *name = c->argv[*at], *value;
  if (strcmp(name, "--supervise") == 0) {
    c->supervised = true;
    return true;
  }
  if ((value = option_value(c->argv, at, "--restarts"))) c->restarts = value;
  else if ((value = option_value(c->argv, at, "--backoff"))) c->backoff = value;
  else return false;
  if (*value == '\0') *status = wrong_usage("a value is missing behind ", name);
  return true;
}

static int parse_run(command *c, int argc)
{
  int status = EXIT_DONE;
  bool ours = true;
  for (c->nchild = 0; c->nchild < 2; c->nchild++) c->child[c->nchild] = c->argv[c->nchild];
  for (int i = 2; i < argc && status == EXIT_DONE; i++) {
    const char *word = c->argv[i];
    int from = i;
    if (ours && take_supervision(c, &i, &status)) continue;
    bool option = ours && strcmp(word, "--") != 0 && take_option(c, &i, &status);
    if (ours && strcmp(word, "--") == 0) ours = false;
    else if (!option && c->script) c->args[c->nargs++] = word;
    else if (!option && ours && word[0] == '-') return wrong_usage("unknown option ", word);
    else if (!option) c->script = i;
    while (from <= i) c->child[c->nchild++] = c->argv[from++];
  }
  if (status == EXIT_DONE && !c->script) return wrong_usage(c->what, "");
  if (status == EXIT_DONE && !c->supervised && (c->restarts || c->backoff))
    return wrong_usage("without --supervise there is nothing for ", c->restarts ? "--restarts" : "--backoff");
  return status;
}

/* Settings of the command line are checked before the script runs; the script's context gets them later, and then says
 * what it has to. */
static int check_settings(const command *c)
{
  rl_conf *conf = rl_conf_new();
  rl_log_set_level(RL_LOG_OFF);
  rl_status st = c->properties ? rl_conf_load(conf, c->properties) : RL_OK;
  for (int i = 0; i < c->nsettings && !st; i++) {
    char *key = rl_strndup(c->settings[i].key, c->settings[i].key_n);
    st = rl_conf_set(conf, key, c->settings[i].value);
    rl_free(key);
  }
  rl_log_set_level(RL_LOG_WARN);
  rl_conf_delete(conf);
  return st ? wrong_usage(rl_error_message(), "") : EXIT_DONE;
}

/* --- the state ---------------------------------------------------------------------------------------------------- */

static void open_library(lua_State *L, const command *c)
{
  luaL_openlibs(L);
  rl_searcher_install(L);
  luaL_requiref(L, "rille.core", luaopen_rille_core, 0);
  lua_getfield(L, -1, "overrides");
  for (int i = 0; i < c->nsettings; i++) {
    lua_pushlstring(L, c->settings[i].key, c->settings[i].key_n);
    lua_pushstring(L, c->settings[i].value);
    lua_rawset(L, -3);
  }
  lua_pop(L, 1);
  lua_pushstring(L, c->properties);
  lua_setfield(L, -2, "properties");
  lua_pop(L, 1);
}

/* A job's neighbours are found as modules. */
static void add_folder(lua_State *L, const char *script)
{
  const char *slash = strrchr(script, '/');
  lua_getglobal(L, "package");
  if (slash)
    lua_pushlstring(L, script, (size_t)(slash - script));
  else
    lua_pushliteral(L, ".");
  const char *folder = *lua_tostring(L, -1) ? lua_tostring(L, -1) : "/";
  lua_getfield(L, -2, "path");
  lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s", folder, folder, lua_tostring(L, -1));
  lua_setfield(L, -4, "path");
  lua_pop(L, 3);
}

static void set_arg(lua_State *L, const command *c)
{
  lua_createtable(L, c->nargs, c->script + 1);
  for (int i = 0; i <= c->script; i++) {
    lua_pushstring(L, c->argv[i]);
    lua_rawseti(L, -2, i - c->script);
  }
  for (int i = 0; i < c->nargs; i++) {
    lua_pushstring(L, c->args[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setglobal(L, "arg");
}

/* Pushes the script as a function; its text is kept, for it may change while the job runs. */
static void load_script(lua_State *L, const char *script)
{
  rl_buf *text = rl_lua_push_buf(L);
  const char *chunk = lua_pushfstring(L, "@%s", script);
  if (rl_file_read_all(script, text) != RL_OK) luaL_error(L, "cannot open %s", script);
  size_t start = rl_text_start(rl_buf_cstr(text), text->n); /* an empty one has a p, too */
  if (luaL_loadbufferx(L, text->p + start, text->n - start, chunk, "t") != LUA_OK) lua_error(L);
  rl_capture_know_text(L, chunk, text->p, text->n, NULL);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, "rille.core");
  lua_pushstring(L, chunk);
  lua_setfield(L, -2, "main");
  lua_pop(L, 2);
}

static int run_script(lua_State *L)
{
  const command *c = lua_touserdata(L, 1);
  const char *script = c->argv[c->script];
  open_library(L, c);
  add_folder(L, script);
  set_arg(L, c);
  load_script(L, script);
  luaL_checkstack(L, c->nargs + LUA_MINSTACK, "too many arguments");
  for (int i = 0; i < c->nargs; i++) lua_pushstring(L, c->args[i]);
  lua_call(L, c->nargs, 0);
  lua_pushinteger(L, EXIT_DONE);
  return 1;
}

/* The script out of a checkpoint: rille.durable.recover(dir, arguments) gives it, and its arguments. */
static int run_recovered(lua_State *L)
{
  const command *c = lua_touserdata(L, 1);
  open_library(L, c);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "rille.durable");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "recover");
  lua_replace(L, -2);
  int recover = lua_gettop(L);
  lua_pushstring(L, c->argv[c->script]);
  lua_createtable(L, c->nargs, 0);
  for (int i = 0; i < c->nargs; i++) {
    lua_pushstring(L, c->args[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_call(L, 2, LUA_MULTRET);
  lua_call(L, lua_gettop(L) - recover, 0);
  lua_pushinteger(L, EXIT_DONE);
  return 1;
}

/* A command in Lua: its name is argv[script], its words are args. */
static int run_module(lua_State *L)
{
  const command *c = lua_touserdata(L, 1);
  open_library(L, c);
  lua_getglobal(L, "require");
  lua_pushfstring(L, "rille.cli.%s", c->argv[c->script]);
  lua_call(L, 1, 1);
  luaL_checkstack(L, c->nargs + LUA_MINSTACK, "too many arguments");
  for (int i = 0; i < c->nargs; i++) lua_pushstring(L, c->args[i]);
  lua_call(L, c->nargs, 1);
  return 1;
}

/* --- running ------------------------------------------------------------------------------------------------------ */

static void on_sigpipe(int sig) { (void)sig; }

/* A write to a closed pipe fails with an error instead of ending the program; programs started by the job have it as
 * usual. */
static void keep_pipes_quiet(void)
{
  struct sigaction act = {.sa_handler = on_sigpipe, .sa_flags = SA_RESTART};
  sigemptyset(&act.sa_mask);
  if (sigaction(SIGPIPE, &act, NULL) != 0) rl_warn("cannot catch SIGPIPE: %s", strerror(errno));
}

static int end_output(int status)
{
  bool failed = ferror(stdout) != 0;
  if (fflush(stdout) != 0) {
    fprintf(stderr, "rille: cannot write to the standard output: %s\n", strerror(errno));
  } else if (failed) { /* earlier: nobody knows the reason any more */
    fputs("rille: the standard output did not take all that was written\n", stderr);
  } else {
    return status;
  }
  return EXIT_FAILED;
}

/* Calls body(c), which gives an exit status, in a new state. */
static int run_in_state(lua_CFunction body, const command *c)
{
  lua_State *L = luaL_newstate();
  if (!L) {
    fputs("rille: no memory for a Lua state\n", stderr);
    return EXIT_FAILED;
  }
  keep_pipes_quiet();
  lua_pushcfunction(L, rl_gate_handler);
  lua_pushcfunction(L, body);
  lua_pushlightuserdata(L, (void *)c);
  int status = EXIT_DONE;
  if (lua_pcall(L, 1, 1, 1) == LUA_OK) {
    status = (int)lua_tointeger(L, -1);
  } else {
    const char *message = lua_tostring(L, -1);
    fflush(stdout);
    fprintf(stderr, "rille: %s\n", message ? message : "error in error handling");
    status = EXIT_FAILED;
  }
  if (rl_streaming_signals() > 1) status = EXIT_FAILED; /* asked to stop at once: what was received is not worked off */
  lua_close(L);
  return end_output(status);
}

/* The job in a child that runs this program with the other options. */
static int supervise(const command *c)
{
  rl_supervision p = {0};
  rl_status st = rl_supervision_restarts(&p, RL_SUPERVISION_RESTARTS);
  if (!st) st = rl_supervision_backoff(&p, RL_SUPERVISION_BACKOFF);
  if (!st && c->restarts) st = rl_supervision_restarts(&p, c->restarts);
  if (!st && c->backoff) st = rl_supervision_backoff(&p, c->backoff);
  return st ? wrong_usage(rl_error_message(), "") : rl_supervise(c->child, &p);
}

/* Runs a job: body(c) in a new state, or in a child. */
static int run(int argc, char **argv, lua_CFunction body, const char *what)
{
  command_name = argv[1];
  command c = {
    .argv = argv,
    .what = what,
    .settings = rl_calloc((size_t)argc, sizeof(setting)),
    .args = rl_calloc((size_t)argc, sizeof(char *)),
    .child = rl_calloc((size_t)argc + 1, sizeof(char *)),
  };
  int status = parse_run(&c, argc);
  if (status == EXIT_DONE) status = check_settings(&c);
  if (status == EXIT_DONE) status = c.supervised ? supervise(&c) : run_in_state(body, &c);
  rl_free(c.settings);
  rl_free(c.args);
  rl_free(c.child);
  return status;
}

static bool is_module(const char *name) { return strcmp(name, "check") == 0 || strcmp(name, "test") == 0; }

static int run_command(char **argv, int name, const char **args, int nargs)
{
  return run_in_state(run_module, &(command){.argv = argv, .script = name, .args = args, .nargs = nargs});
}

/* Commands in C, by name. */
static const struct {
  const char *name, *help;
  int (*run)(int argc, char **argv);
} commands[] = {{"inspect", rl_cmd_inspect_help, rl_cmd_inspect}, {"backup", rl_cmd_backup_help, rl_cmd_backup}};

enum { COMMANDS = sizeof commands / sizeof *commands };

static int find_command(const char *name)
{
  int i = 0;
  while (i < COMMANDS && strcmp(name, commands[i].name) != 0) i++;
  return i;
}

static void show_settings(void)
{
  int width = 0;
  for (const rl_conf_key *k = rl_conf_keys; k->name; k++)
    if ((int)strlen(k->name) > width) width = (int)strlen(k->name);
  for (const rl_conf_key *k = rl_conf_keys; k->name; k++)
    printf("%-*s  %-10s  %s\n", width, k->name, *k->value ? k->value : "(unset)", k->help);
}

static bool is_help(const char *word) { return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0; }

int main(int argc, char **argv)
{
  const char *name = argc > 1 ? argv[1] : "";
  const char *second = argc > 2 ? argv[2] : "";
  bool helps = strcmp(name, "help") == 0 || is_help(name);
  if (is_module(name)) return run_command(argv, 1, (const char **)argv + 2, argc - 2);
  if (helps && is_module(second)) return run_command(argv, 2, (const char *[]){"--help"}, 1);
  int command = find_command(helps ? second : name);
  if (command < COMMANDS && !helps && !is_help(second)) return end_output(commands[command].run(argc - 2, argv + 2));
  if (command < COMMANDS) {
    fputs(commands[command].help, stdout);
  } else if (strcmp(name, "run") == 0 || (helps && strcmp(second, "run") == 0)) {
    if (!helps && !is_help(second)) return run(argc, argv, run_script, "which job? Give a Lua script");
    fputs(run_help, stdout);
  } else if (strcmp(name, "recover") == 0 || (helps && strcmp(second, "recover") == 0)) {
    if (!helps && !is_help(second)) return run(argc, argv, run_recovered, "which job? Give its checkpoint directory");
    fputs(recover_help, stdout);
  } else if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0) {
    puts("rille " RILLE_VERSION);
  } else if (helps && strcmp(second, "settings") == 0) {
    show_settings();
  } else if (helps && !*second) {
    fputs(general_help, stdout);
  } else {
    if (*name) fprintf(stderr, "rille: unknown command %s\n", helps ? second : name);
    fputs(general_help, stderr);
    return EXIT_USAGE;
  }
  return end_output(EXIT_DONE);
}
