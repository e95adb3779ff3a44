#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

#define CHECK_MS 100 /* how often a wait looks whether it was cancelled */
#define COMMAND_SHOWN 200

extern char **environ;

struct rl_process {
  pid_t pid; /* 0 once it was waited for */
  int in, out; /* -1 once closed */
  const atomic_bool *cancelled;
  char *command; /* for messages */
};

/* Starting --------------------------------------------------------------------------------------------------------- */

static char *command_text(const char *const *argv)
{
  rl_buf text = {0};
  for (size_t i = 0; argv[i] && text.n < COMMAND_SHOWN; i++) rl_buf_printf(&text, "%s%s", i ? " " : "", argv[i]);
  char *s = rl_strndup(rl_buf_cstr(&text), text.n < COMMAND_SHOWN ? text.n : COMMAND_SHOWN);
  rl_buf_free(&text);
  return s;
}

static bool is_replaced(const char *entry, const char *const *env)
{
  size_t name = strcspn(entry, "=") + 1;
  for (; *env; env++)
    if (strncmp(entry, *env, name) == 0) return true;
  return false;
}

/* Ours, with `env` in place of what it names. The strings stay where they are. */
static char **environment(const char *const *env)
{
  size_t n = 0, more = 0;
  while (environ[n]) n++;
  while (env[more]) more++;
  char **all = rl_calloc(n + more + 1, sizeof *all), **at = all;
  for (size_t i = 0; i < n; i++)
    if (!is_replaced(environ[i], env)) *at++ = environ[i];
  for (size_t i = 0; i < more; i++) *at++ = (char *)env[i];
  return all;
}

/* The child has no signal blocked and none of ours handled: what the engine does with them is not its business. */
static int set_attributes(posix_spawnattr_t *attr)
{
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  int err = posix_spawnattr_setsigmask(attr, &none);
  if (!err) err = posix_spawnattr_setsigdefault(attr, &all);
  if (!err) err = posix_spawnattr_setpgroup(attr, 0);
  if (err) return err;
  return posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

static int spawn(rl_process *p, const char *const *argv, char **env, int child_in, int child_out)
{
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attr;
  int err = posix_spawn_file_actions_init(&files);
  if (err) return err;
  err = posix_spawnattr_init(&attr);
  if (!err) {
    err = posix_spawn_file_actions_adddup2(&files, child_in, STDIN_FILENO);
    if (!err) err = posix_spawn_file_actions_adddup2(&files, child_out, STDOUT_FILENO);
    if (!err) err = set_attributes(&attr);
    if (!err) err = posix_spawnp(&p->pid, argv[0], &files, &attr, (char *const *)argv, env);
    if (err) p->pid = 0;
    posix_spawnattr_destroy(&attr);
  }
  posix_spawn_file_actions_destroy(&files);
  return err;
}

static void close_end(int *fd)
{
  if (*fd >= 0) close(*fd); /* a pipe: nothing can be lost */
  *fd = -1;
}

/* A pipe whose ends are no standard descriptors, which would get lost when the child's are put in place. `ours`: the
 * end that does not block. */
static rl_status make_pipe(int ends[2], int ours)
{
  ends[0] = ends[1] = -1;
  int made[2];
  if (pipe2(made, O_CLOEXEC) != 0) return rl_fail_errno("cannot make a pipe");
  bool ok = true;
  for (int i = 0; i < 2; i++) {
    ends[i] = made[i] > STDERR_FILENO ? made[i] : fcntl(made[i], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    ok = ok && ends[i] >= 0;
    if (made[i] <= STDERR_FILENO) close(made[i]);
  }
  if (ok && fcntl(ends[ours], F_SETFL, O_NONBLOCK) == 0) return RL_OK;
  rl_fail_errno("cannot make a pipe");
  close_end(&ends[0]);
  close_end(&ends[1]);
  return RL_EIO;
}

rl_status rl_process_start(const char *const *argv, const char *const *env, const atomic_bool *cancelled,
                           rl_process **out)
{
  int in[2] = {-1, -1}, from[2] = {-1, -1};
  rl_status st = make_pipe(in, 1);
  if (!st) st = make_pipe(from, 0);
  if (st) {
    close_end(&in[0]);
    close_end(&in[1]);
    return st;
  }
  rl_process *p = RL_NEW(rl_process);
  *p = (rl_process){.in = in[1], .out = from[0], .cancelled = cancelled, .command = command_text(argv)};
  char **all = env ? environment(env) : environ;
  int err = spawn(p, argv, all, in[0], from[1]);
  if (env) rl_free(all);
  close_end(&in[0]);
  close_end(&from[1]);
  if (!err) {
    *out = p;
    return RL_OK;
  }
  errno = err;
  st = rl_fail_errno("cannot run '%s'", p->command);
  rl_process_delete(p);
  return st;
}

/* Moving bytes ----------------------------------------------------------------------------------------------------- */

static rl_status check_cancelled(const rl_process *p)
{
  if (!p->cancelled || !atomic_load_explicit(p->cancelled, memory_order_relaxed)) return RL_OK;
  return rl_fail(RL_ECANCELLED, "cancelled while '%s' was running", p->command);
}

static bool is_transient(int err) { return err == EINTR || err == EAGAIN || err == EWOULDBLOCK; }

static rl_status write_some(rl_process *p, rl_process_io *io)
{
  ssize_t n = write(p->in, io->in, io->in_n);
  if (n < 0 && is_transient(errno)) return RL_OK;
  if (n < 0 && errno != EPIPE) return rl_fail_errno("cannot write to '%s'", p->command);
  if (n < 0) {
    close_end(&p->in); /* it has read what it wanted, as head does; its status says whether that was well */
    n = (ssize_t)io->in_n;
  }
  io->in += n;
  io->in_n -= (size_t)n;
  return RL_OK;
}

static rl_status read_some(rl_process *p, rl_process_io *io)
{
  ssize_t n = read(p->out, io->out, io->room);
  if (n < 0 && is_transient(errno)) return RL_OK;
  if (n < 0) return rl_fail_errno("cannot read from '%s'", p->command);
  io->ended = n == 0;
  io->out += n;
  io->room -= (size_t)n;
  return RL_OK;
}

/* Sets what is ready; RL_OK also when a signal came first. */
static rl_status wait_ready(const rl_process *p, const rl_process_io *io, bool *writable, bool *readable)
{
  struct pollfd fds[2] = {
    {.fd = io->in_n > 0 ? p->in : -1, .events = POLLOUT},
    {.fd = io->room > 0 ? p->out : -1, .events = POLLIN},
  };
  int n = poll(fds, 2, CHECK_MS);
  if (n < 0 && errno != EINTR) return rl_fail_errno("cannot wait for '%s'", p->command);
  *writable = n > 0 && fds[0].revents;
  *readable = n > 0 && fds[1].revents;
  return RL_OK;
}

rl_status rl_process_move(rl_process *p, rl_process_io *io)
{
  io->ended = false;
  bool writable = false, readable = false;
  if (p->in < 0) { /* the process reads no more */
    io->in += io->in_n;
    io->in_n = 0;
  }
  while (!writable && !readable) {
    rl_status st = check_cancelled(p);
    if (!st) st = wait_ready(p, io, &writable, &readable);
    if (st) return st;
  }
  rl_status st = readable ? read_some(p, io) : RL_OK;
  return !st && writable ? write_some(p, io) : st;
}

void rl_process_end_input(rl_process *p) { close_end(&p->in); }

/* Ending ----------------------------------------------------------------------------------------------------------- */

static rl_status judge(const rl_process *p, int status)
{
  int by = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  if (by) return rl_fail(RL_EUSER, "'%s' was ended by signal %d (%s)", p->command, by, strsignal(by));
  int code = WEXITSTATUS(status);
  return code == 0 ? RL_OK : rl_fail(RL_EUSER, "'%s' ended with status %d", p->command, code);
}

rl_status rl_process_wait(rl_process *p)
{
  close_end(&p->in);
  close_end(&p->out);
  struct timespec pause = {.tv_nsec = 50000};
  for (;;) {
    int status;
    pid_t pid = waitpid(p->pid, &status, WNOHANG);
    if (pid < 0 && errno != EINTR) return rl_fail_errno("cannot tell how '%s' ended", p->command);
    if (pid > 0) {
      p->pid = 0;
      return judge(p, status);
    }
    rl_status st = check_cancelled(p);
    if (st) return st;
    nanosleep(&pause, NULL); /* cut short by a signal: the loop looks again */
    if (pause.tv_nsec < 20000000) pause.tv_nsec *= 2;
  }
}

void rl_process_delete(rl_process *p)
{
  if (!p) return;
  close_end(&p->in);
  close_end(&p->out);
  if (p->pid > 0) {
    kill(-p->pid, SIGKILL);
    while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR) continue;
  }
  rl_free(p->command);
  rl_free(p);
}
