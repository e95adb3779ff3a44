/* What the library in Lua needs beyond what jobs do: directories, whether files changed, what is logged, durations. */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "bind.h"
#include "capture.h"
#include "duration.h"
#include "values.h"

/* --- files -------------------------------------------------------------------------------------------------------- */

/* Each entry as 'd' or 'f' and its name with a NUL. Raises nothing. */
static bool read_entries(const char *path, rl_buf *names)
{
  DIR *dir = opendir(path);
  if (!dir) return false;
  const struct dirent *entry;
  while ((errno = 0, entry = readdir(dir))) {
    struct stat st;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (fstatat(dirfd(dir), entry->d_name, &st, 0) != 0) continue; /* gone meanwhile, or a link to nothing */
    rl_buf_putc(names, S_ISDIR(st.st_mode) ? 'd' : 'f');
    rl_buf_puts(names, entry->d_name);
    rl_buf_putc(names, '\0');
  }
  int why = errno;
  closedir(dir);
  errno = why;
  return why == 0;
}

/* core.entries(dir) -> names of its files, names of its directories; nil and why */
static int entries(lua_State *L)
{
  const char *path = luaL_checkstring(L, 1);
  rl_buf *names = rl_lua_push_buf(L);
  if (!read_entries(path, names)) {
    lua_pushnil(L);
    lua_pushfstring(L, "cannot read the directory %s: %s", path, strerror(errno));
    return 2;
  }
  lua_newtable(L);
  lua_newtable(L);
  const char *end = names->p + names->n;
  for (const char *entry = names->p; entry < end; entry += strlen(entry) + 1) {
    int list = lua_gettop(L) - (*entry == 'd' ? 0 : 1);
    lua_pushstring(L, entry + 1);
    lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
  }
  return 2;
}

/* core.stamp(path) -> "file" or "directory", and a text that is another when the file has changed; nil: not there */
static int stamp(lua_State *L)
{
  struct stat st;
  if (stat(luaL_checkstring(L, 1), &st) != 0) return 0;
  lua_pushstring(L, S_ISDIR(st.st_mode) ? "directory" : "file");
  lua_pushfstring(L, "%I.%I %I %I", (LUAI_UACINT)st.st_mtim.tv_sec, (LUAI_UACINT)st.st_mtim.tv_nsec,
                  (LUAI_UACINT)st.st_size, (LUAI_UACINT)st.st_ino);
  return 2;
}

/* --- the log ------------------------------------------------------------------------------------------------------ */

static rl_buf kept_lines; /* guarded by the log's lock while keep is its sink */

static void keep(void *user, rl_log_level level, const char *line)
{
  (void)level;
  rl_buf_puts(user, line);
  rl_buf_putc(user, '\n');
}

/* core.keepLog(true): lines are kept from now on. core.keepLog(false) -> those kept; the log is as usual again */
static int keep_log(lua_State *L)
{
  if (lua_toboolean(L, 1)) {
    rl_log_set_sink(keep, &kept_lines);
    return 0;
  }
  rl_log_set_sink(NULL, NULL);
  lua_pushlstring(L, kept_lines.n ? kept_lines.p : "", kept_lines.n);
  rl_buf_free(&kept_lines);
  kept_lines = (rl_buf){0};
  return 1;
}

/* --- arguments ---------------------------------------------------------------------------------------------------- */

/* core.seconds(number or text) -> a number, nil when it is no duration */
static int seconds_of(lua_State *L)
{
  double seconds = 0;
  if (!rl_lua_to_seconds(L, 1, &seconds)) return 0;
  lua_pushnumber(L, seconds);
  return 1;
}

void rl_bind_add_tools(lua_State *L)
{
  static const luaL_Reg functions[] = {
    {"captured", rl_capture_list}, {"entries", entries}, {"stamp", stamp}, {"keepLog", keep_log},
    {"seconds", seconds_of}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
