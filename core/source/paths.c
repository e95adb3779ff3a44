#include "source/paths.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

#define GLOB_CHARACTERS "*?[{"

void rl_file_list_add(rl_file_list *l, rl_file file)
{
  l->v = rl_grow(l->v, &l->cap, l->n + 1, sizeof *l->v);
  l->v[l->n++] = file;
}

void rl_file_list_clear(rl_file_list *l)
{
  for (size_t i = 0; i < l->n; i++) rl_free(l->v[i].path);
  rl_free(l->v);
  *l = (rl_file_list){0};
}

const char *rl_path_base(const char *path)
{
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static int by_path(const void *a, const void *b)
{
  return strcmp(((const rl_file *)a)->path, ((const rl_file *)b)->path);
}

static void add_found(rl_file_list *out, char *path, const struct stat *st)
{
  int64_t ms = (int64_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000;
  rl_file_list_add(out, (rl_file){.path = path, .size = st->st_size, .mtime_ms = ms});
}

/* Takes over `path`. What cannot be looked at is no file any more, or a link to nowhere. */
static void add_entry(rl_file_list *out, char *path)
{
  struct stat st;
  if (rl_fs_get()->stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
    add_found(out, path, &st);
  } else {
    rl_free(path);
  }
}

static rl_status list_directory(const char *dir, rl_file_list *out)
{
  DIR *d = opendir(dir);
  if (!d) {
    if (errno == ENOENT) return rl_fail(RL_ENOTFOUND, "directory %s does not exist", dir);
    return rl_fail_errno("cannot read directory %s", dir);
  }
  rl_status st = RL_OK;
  for (;;) {
    errno = 0;
    const struct dirent *e = readdir(d);
    if (!e) break;
    if (e->d_type != DT_DIR) add_entry(out, rl_path_join(dir, e->d_name));
  }
  if (errno != 0) st = rl_fail_errno("cannot read directory %s", dir);
  closedir(d);
  return st;
}

static rl_status add_path(const char *path, rl_file_list *out)
{
  struct stat st;
  if (rl_fs_get()->stat(path, &st) != 0) {
    if (errno == ENOENT) return rl_fail(RL_ENOTFOUND, "%s does not exist", path);
    return rl_fail_errno("cannot look at %s", path);
  }
  if (S_ISDIR(st.st_mode)) return list_directory(path, out);
  if (!S_ISREG(st.st_mode)) return rl_fail(RL_EINVAL, "%s is neither a regular file nor a directory", path);
  add_found(out, rl_strdup(path), &st);
  return RL_OK;
}

/* What matched may be gone again, which is as if it had not been there. */
static rl_status add_match(const char *path, rl_file_list *out)
{
  if (!rl_path_is_dir(path)) {
    add_entry(out, rl_strdup(path));
    return RL_OK;
  }
  rl_status st = list_directory(path, out);
  return st == RL_ENOTFOUND ? RL_OK : st;
}

static rl_status check_front(const char *pattern)
{
  size_t n = strcspn(pattern, GLOB_CHARACTERS);
  while (n > 0 && pattern[n - 1] != '/') n--;
  char *front = n > 0 ? rl_strndup(pattern, n) : rl_strdup(".");
  rl_status st = rl_path_is_dir(front) ? RL_OK : rl_fail(RL_ENOTFOUND, "directory %s does not exist", front);
  rl_free(front);
  return st;
}

static rl_status add_matches(const char *pattern, rl_file_list *out)
{
  glob_t found = {0};
  int rc = glob(pattern, GLOB_NOSORT | GLOB_BRACE, NULL, &found);
  rl_status st = RL_OK;
  if (rc == GLOB_NOMATCH) {
    st = check_front(pattern);
  } else if (rc != 0) {
    const char *why = rc == GLOB_NOSPACE ? "out of memory" : "a directory cannot be read";
    st = rl_fail(RL_EIO, "cannot look for %s: %s", pattern, why);
  }
  for (size_t i = 0; rc == 0 && st == RL_OK && i < found.gl_pathc; i++) st = add_match(found.gl_pathv[i], out);
  globfree(&found);
  return st;
}

rl_status rl_files_find(const char *path, rl_file_list *out)
{
  size_t before = out->n;
  rl_status st = strpbrk(path, GLOB_CHARACTERS) ? add_matches(path, out) : add_path(path, out);
  if (out->n > before) qsort(out->v + before, out->n - before, sizeof *out->v, by_path);
  return st;
}
