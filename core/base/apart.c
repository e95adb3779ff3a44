#include "base/apart.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"

#define IDLE_MS 50
#define READ_BYTES ((size_t)64 << 10)

/* What goes through the pipe: a head, then n bytes. */
typedef struct head {
  uint32_t n;
  int32_t end;       /* 0: a message; 1: the end, with the text of the error */
  int32_t status;    /* of the end */
  int32_t retriable;
} head;

struct rl_apart {
  int fd;
};

/* The child ---------------------------------------------------------------------------------------------------------*/

static void put(int fd, const void *p, size_t n)
{
  const char *from = p;
  while (n > 0) {
    ssize_t done = write(fd, from, n);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) _exit(1); /* nobody listens */
    from += done;
    n -= (size_t)done;
  }
}

void rl_apart_tell(rl_apart *a, const void *p, size_t n)
{
  head h = {.n = (uint32_t)n};
  put(a->fd, &h, sizeof h);
  put(a->fd, p, n);
}

/* Handlers of a sanitizer or of the program are not for a crash that is expected. */
static void be_quiet(void)
{
  static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
  const struct rlimit none = {0, 0};
  for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) signal(crashes[i], SIG_DFL);
  signal(SIGPIPE, SIG_IGN);
  setrlimit(RLIMIT_CORE, &none);
  int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (null < 0) close(STDERR_FILENO);
  else dup2(null, STDERR_FILENO);
}

static _Noreturn void be_child(const rl_apart_spec *spec, int fd, pid_t parent)
{
  rl_apart a = {fd};
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(1);
  be_quiet();
  rl_status st = spec->work(spec->user, &a);
  const char *message = st == RL_OK ? "" : rl_error_message();
  head h = {.n = (uint32_t)strlen(message), .end = 1, .status = st};
  h.retriable = st != RL_OK && rl_error_current()->retriable;
  put(fd, &h, sizeof h);
  put(fd, message, h.n);
  _exit(0);
}

/* The parent ------------------------------------------------------------------------------------------------------- */

typedef struct listener {
  const rl_apart_spec *spec;
  int fd;
  rl_buf in;
  bool ended;
  rl_status st; /* of the work; its error is in `error` */
  rl_error error;
} listener;

static void take_end(listener *l, const head *h, char *text)
{
  text[h->n] = '\0'; /* there is room: see hear */
  l->ended = true;
  l->st = (rl_status)h->status;
  if (l->st == RL_OK) return;
  rl_fail(l->st, "%s", text);
  rl_error_set_retriable(h->retriable != 0);
  rl_error_take(&l->error);
}

/* Takes all whole messages out of what was read. */
static void take_messages(listener *l)
{
  size_t at = 0;
  head h;
  while (l->in.n - at >= sizeof h) {
    memcpy(&h, l->in.p + at, sizeof h);
    if (l->in.n - at - sizeof h < h.n) break;
    char *p = l->in.p + at + sizeof h;
    if (h.end) take_end(l, &h, p);
    else if (l->spec->told) l->spec->told(l->spec->user, p, h.n);
    at += sizeof h + h.n;
  }
  l->in.n -= at;
  if (l->in.n > 0 && at > 0) memmove(l->in.p, l->in.p + at, l->in.n);
}

/* *more = false: the child has closed its end. */
static rl_status hear(listener *l, bool *more)
{
  struct pollfd p = {.fd = l->fd, .events = POLLIN};
  int ready = poll(&p, 1, l->spec->idle ? IDLE_MS : -1);
  if (ready < 0 && errno != EINTR) return rl_fail_errno("cannot wait for a child process");
  if (ready <= 0) return RL_OK;
  rl_buf_reserve(&l->in, READ_BYTES + 1);
  ssize_t n = read(l->fd, l->in.p + l->in.n, READ_BYTES);
  if (n < 0 && errno == EINTR) return RL_OK;
  if (n < 0) return rl_fail_errno("cannot read from a child process");
  *more = n > 0;
  l->in.n += (size_t)n;
  take_messages(l);
  return RL_OK;
}

static rl_status listen_to(listener *l)
{
  rl_status st = RL_OK;
  for (bool more = true; more && st == RL_OK;) {
    st = hear(l, &more);
    if (st == RL_OK && more && l->spec->idle) st = l->spec->idle(l->spec->user);
  }
  return st;
}

static rl_status wait_for(pid_t pid, int *end)
{
  while (waitpid(pid, end, 0) < 0) {
    if (errno != EINTR) return rl_fail_errno("cannot wait for a child process");
  }
  return RL_OK;
}

/* How the child ended, when it did not say so itself. */
static rl_status crash(int end)
{
  if (WIFSIGNALED(end)) return rl_fail(RL_EDATA, "it crashed (%s)", strsignal(WTERMSIG(end)));
  return rl_fail(RL_EDATA, "it ended in the middle, with status %d", WEXITSTATUS(end));
}

rl_status rl_apart_run(const rl_apart_spec *spec, bool *crashed)
{
  int fds[2], end = 0;
  pid_t parent = getpid();
  *crashed = false;
  if (pipe2(fds, O_CLOEXEC) != 0) return rl_fail_errno("cannot make a pipe");
  pid_t pid = fork();
  if (pid == 0) be_child(spec, fds[1], parent);
  rl_status st = pid < 0 ? rl_fail_errno("cannot start a child process") : RL_OK;
  close(fds[1]);
  listener l = {.spec = spec, .fd = fds[0], .error = RL_ERROR_NONE};
  if (st == RL_OK) {
    rl_error failure = RL_ERROR_NONE;
    st = listen_to(&l);
    if (st != RL_OK) {
      rl_error_take(&failure);
      kill(pid, SIGKILL);
    }
    rl_status waited = wait_for(pid, &end);
    if (st != RL_OK) st = rl_error_raise(&failure);
    else st = waited;
  }
  close(fds[0]);
  rl_buf_free(&l.in);
  if (st == RL_OK && !l.ended) {
    *crashed = true;
    st = crash(end);
  } else if (st == RL_OK && l.st != RL_OK) {
    st = rl_error_raise(&l.error);
  }
  rl_error_clear(&l.error);
  return st;
}
