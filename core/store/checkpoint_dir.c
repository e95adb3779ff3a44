#include "store/checkpoint_dir.h"

#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/inspect.h"

#define OTHERS 077 /* what group and others may do */

/* What is in the directory besides a checkpoint. */
static rl_status note_other(void *user, const char *name)
{
  static const char *const known[] = {"log",          "state",          "quarantine",       "lost+found",
                                      "log.repaired", "state.repaired", "log.repaired.old", "state.repaired.old"};
  char **other = user;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (strcmp(name, known[i]) == 0) return RL_OK;
  }
  if (!*other) *other = rl_strdup(name);
  return RL_OK;
}

static bool is_open(const char *path, struct stat *st)
{
  return rl_fs_get()->stat(path, st) == 0 && st->st_uid == geteuid() && (st->st_mode & OTHERS) != 0;
}

static rl_status close_file(void *user, const char *name)
{
  struct stat st;
  char *path = rl_path_join(user, name);
  bool open = is_open(path, &st) && S_ISREG(st.st_mode);
  rl_status closed = open ? rl_file_chmod(path, 0600) : RL_OK;
  rl_free(path);
  return closed;
}

/* `log` or `state`: made by us with these modes, unless by an older version, or copied by hand. Takes the path over. */
static rl_status close_part(char *path)
{
  struct stat st;
  rl_status closed = is_open(path, &st) ? rl_file_chmod(path, 0700) : RL_OK;
  if (closed == RL_OK) closed = rl_dir_each(path, close_file, path);
  rl_free(path);
  return closed;
}

static rl_status close_ours(const char *dir, unsigned mode)
{
  char *other = NULL;
  rl_status st = rl_dir_each(dir, note_other, &other);
  if (st == RL_OK && other) {
    rl_warn("%s: its mode stays %03o, as there are other things in it (%s); what is the checkpoint's is closed to "
            "others", dir, mode, other);
  } else if (st == RL_OK) {
    st = rl_file_chmod(dir, 0700);
    if (st == RL_OK) rl_warn("%s: its mode was %03o and is 700 now: a checkpoint is for its user alone", dir, mode);
  }
  rl_free(other);
  return st;
}

static rl_status look_at_foreign(const char *dir, const struct stat *info)
{
  unsigned mode = info->st_mode & 07777;
  char *owner = rl_user_name(info->st_uid), *we = rl_user_name(geteuid());
  rl_status st = RL_OK;
  if (mode & S_IWOTH) {
    st = rl_fail(RL_EINVAL, "%s belongs to user %s, and anybody may write to it (mode %03o): give the job a directory "
                 "of its own, such as %s/checkpoint", dir, owner, mode, dir);
  } else if (info->st_uid != 0) {
    rl_warn("%s belongs to user %s, and the job runs as %s: only %s can read what it writes there", dir, owner, we, we);
  }
  rl_free(owner);
  rl_free(we);
  return st;
}

rl_status rl_checkpoint_claim(const char *dir)
{
  struct stat info;
  if (rl_fs_get()->stat(dir, &info) != 0) return rl_fail_errno("cannot look at %s", dir);
  rl_status st = RL_OK;
  if (info.st_uid != geteuid()) st = look_at_foreign(dir, &info);
  else if (info.st_mode & OTHERS) st = close_ours(dir, info.st_mode & 07777);
  if (st == RL_OK) st = close_part(rl_checkpoint_log(dir));
  if (st == RL_OK) st = close_part(rl_checkpoint_state(dir));
  return st;
}
