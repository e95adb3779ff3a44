/* File calls. All of the engine's access to files it owns or reads goes through one table, so that tests can fail or
 * crash any step. Functions return RL_OK or RL_EIO / RL_ENOTFOUND with a message that names the path (where permission
 * is denied, the user, too), and leave errno as the failed call set it. EINTR and short transfers are dealt with
 * here. */
#ifndef RL_BASE_FILE_H
#define RL_BASE_FILE_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/status.h"

/* The table: same meaning and results as the system calls of these names (-1 and errno on failure). */
typedef struct rl_fs {
  int (*open)(const char *path, int flags, mode_t mode);
  ssize_t (*read)(int fd, void *p, size_t n);
  ssize_t (*pread)(int fd, void *p, size_t n, off_t at);
  ssize_t (*write)(int fd, const void *p, size_t n);
  ssize_t (*pwrite)(int fd, const void *p, size_t n, off_t at);
  ssize_t (*pwritev)(int fd, const struct iovec *v, int n, off_t at);
  int (*ftruncate)(int fd, off_t size);
  int (*fallocate)(int fd, int mode, off_t at, off_t n);
  int (*flock)(int fd, int operation);
  int (*fsync)(int fd);
  int (*fdatasync)(int fd);
  int (*close)(int fd);
  int (*rename)(const char *from, const char *to);
  int (*unlink)(const char *path);
  int (*mkdir)(const char *path, mode_t mode);
  int (*chmod)(const char *path, mode_t mode);
  int (*rmdir)(const char *path);
  int (*stat)(const char *path, struct stat *st);
  int (*fstat)(int fd, struct stat *st);
  DIR *(*opendir)(const char *path);
  struct dirent *(*readdir)(DIR *d);
  int (*closedir)(DIR *d);
} rl_fs;

extern const rl_fs rl_fs_system;
const rl_fs *rl_fs_get(void);
void rl_fs_set(const rl_fs *fs); /* tests only, before threads start; NULL: rl_fs_system */

rl_status rl_file_open(const char *path, int flags, int *fd); /* O_CLOEXEC added, mode 0666 */
rl_status rl_file_open_private(const char *path, int flags, int *fd); /* likewise, mode 0600 */
/* Reads until n or end of file. */
rl_status rl_file_pread(int fd, const char *path, void *p, size_t n, int64_t at, size_t *got);
rl_status rl_file_write(int fd, const char *path, const void *p, size_t n);
rl_status rl_file_pwrite(int fd, const char *path, const void *p, size_t n, int64_t at);
/* Writes the n stretches of v one behind the other; v is used up. */
rl_status rl_file_pwritev(int fd, const char *path, struct iovec *v, size_t n, int64_t at);
rl_status rl_file_truncate(int fd, const char *path, int64_t size);
/* After a failure what was written may be lost although a second try succeeds: never sync that file again. */
rl_status rl_file_sync(int fd, const char *path);
rl_status rl_file_sync_data(int fd, const char *path); /* contents and size, not the times */
rl_status rl_file_size(const char *path, uint64_t *size);
/* Has the open file still a name? What is written to one without is gone when it is closed. */
rl_status rl_file_has_name(int fd, const char *path, bool *has);
/* Gives the disk space of a stretch back where the file system can; it reads as zeros then. */
void rl_file_punch(int fd, int64_t at, int64_t n);
/* Locks the open file for as long as it is open, without waiting: *got = false when another has it. */
rl_status rl_file_lock(int fd, const char *path, bool *got);
/* The same, but waits a second for another process to let go: one that was killed has its locks until the system has
 * taken down its memory. */
rl_status rl_file_lock_soon(int fd, const char *path, bool *got);
/* The process that has the file locked, as far as this machine's list of locks tells; 0: none. Takes no lock. */
int64_t rl_file_locker(const char *path);
/* Who that is, for messages: "another process (3313)", or "this process"; owned by the caller. */
char *rl_file_locker_name(const char *path);
rl_status rl_file_close(int fd, const char *path);
rl_status rl_file_unlink(const char *path); /* a missing one is fine */
rl_status rl_file_rename(const char *from, const char *to);
rl_status rl_file_read_all(const char *path, rl_buf *out);
rl_status rl_file_chmod(const char *path, mode_t mode);
/* Writes `path` so that a reader sees the old file or all of the new one: temporary name beside it, fsync when
 * `durable`, rename. */
rl_status rl_file_replace(const char *path, const void *p, size_t n, bool durable);
char *rl_user_name(uid_t user); /* or its number; owned by the caller */
rl_status rl_dir_make(const char *path); /* with parents; an existing directory is fine */
rl_status rl_dir_make_private(const char *path); /* mode 0700, without parents; it must not exist yet */
/* With parents, mode 0700, each synced into its parent; an existing directory is fine. */
rl_status rl_dir_make_durable(const char *path);
rl_status rl_dir_make_shared(const char *path); /* likewise, mode 0777, with rl_dir_try_sync: for what others read */
rl_status rl_dir_sync(const char *path); /* makes files created, renamed and unlinked in it durable */
/* For directories of the user's: a file system that cannot sync directories, and one that may be written to but not
 * read, is no failure. */
rl_status rl_dir_try_sync(const char *path);
/* Calls f for the entries of a directory but . and .., in no order, until one fails. A missing directory has none. */
rl_status rl_dir_each(const char *path, rl_status (*f)(void *user, const char *name), void *user);
/* With contents; a missing one is fine; symbolic links are unlinked, not followed. */
rl_status rl_dir_remove(const char *path);
bool rl_path_is_dir(const char *path);
char *rl_path_join(const char *dir, const char *name); /* owned by the caller */

#endif
