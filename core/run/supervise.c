#include "run/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/conf.h"

#define SECOND_NS INT64_C(1000000000)
#define RESTARTS_MAX 100000
#define SELF "/proc/self/exe"

enum { EXIT_CRASHED = 1, EXIT_SIGNAL = 128 };

/* Options ---------------------------------------------------------------------------------------------------------- */

static bool parse_ns(const char *text, int64_t *ns)
{
  int64_t us;
  if (!rl_conf_parse_us(text, 1000, &us) || us <= 0 || us > INT64_MAX / 1000) return false;
  *ns = us * 1000;
  return true;
}

rl_status rl_supervision_restarts(rl_supervision *p, const char *text)
{
  char *end;
  errno = 0;
  long n = strtol(text, &end, 10);
  int64_t window = p->window_ns;
  bool ok = errno == 0 && end != text && n >= 0 && n <= RESTARTS_MAX;
  if (ok && *end == '/') ok = parse_ns(end + 1, &window);
  else ok = ok && *end == '\0';
  if (!ok)
    return rl_fail(RL_EINVAL, "restarts are N or N/TIME, as in 10/10m, with N up to %d, not '%s'", RESTARTS_MAX, text);
  p->restarts = (uint32_t)n;
  p->window_ns = window;
  return RL_OK;
}

rl_status rl_supervision_backoff(rl_supervision *p, const char *text)
{
  size_t n = strcspn(text, ",");
  char *head = rl_strndup(text, n);
  int64_t first = 0, longest = p->longest_ns;
  bool ok = parse_ns(head, &first);
  rl_free(head);
  if (ok && text[n]) ok = parse_ns(text + n + 1, &longest) && longest >= first;
  if (!ok) return rl_fail(RL_EINVAL, "the backoff is FIRST or FIRST,LONGEST, as in 1s,60s, not '%s'", text);
  p->first_ns = first;
  p->longest_ns = longest < first ? first : longest;
  return RL_OK;
}

/* One child -------------------------------------------------------------------------------------------------------- */

typedef struct supervisor {
  char *const *argv;
  const rl_supervision *p;
  sigset_t waited, mask;     /* the signals that are waited for; the mask before */
  struct sigaction sigchld;  /* before */
  pid_t self, pid;           /* pid 0: no child */
  bool asked;                /* to stop */
  int start_error;           /* errno of a child that could not be started */
  int end;                   /* of the last child, as waitpid tells it */
  int64_t ran_ns;
  int64_t *restarted_ns;     /* when; the last p->restarts, as a ring */
  uint32_t restarts;         /* in all */
  int64_t pause_ns;          /* the last one; 0: none yet */
} supervisor;

static void name_for_watchdog(pid_t parent)
{
  const char *pid = getenv("WATCHDOG_PID");
  if (!pid || strtol(pid, NULL, 10) != (long)parent) return;
  char *own = rl_format("%ld", (long)getpid());
  setenv("WATCHDOG_PID", own, 1);
  rl_free(own);
}

/* By its name, so that it is shown as such; by the link when that is gone, after an upgrade for instance. */
static void exec_self(char *const *argv)
{
  char path[PATH_MAX];
  ssize_t n = readlink(SELF, path, sizeof path - 1);
  if (n > 0) {
    path[n] = '\0';
    execv(path, argv);
  }
  execv(SELF, argv);
}

/* In the child. `report` gets errno, and is closed by a successful exec. */
static _Noreturn void become_child(const supervisor *v, int report)
{
  if (prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL, 0UL, 0UL, 0UL) == 0) {
    if (getppid() != v->self) _exit(EXIT_CRASHED); /* we are too late: it died before the call */
    name_for_watchdog(v->self);
    sigaction(SIGCHLD, &v->sigchld, NULL);
    sigprocmask(SIG_SETMASK, &v->mask, NULL);
    exec_self(v->argv);
  }
  int err = errno;
  ssize_t n = write(report, &err, sizeof err);
  _exit(n == (ssize_t)sizeof err ? EXIT_CRASHED : EXIT_CRASHED + 1);
}

/* What the child says of its exec: 0 or an errno. */
static int read_report(int from)
{
  int err = 0;
  ssize_t n;
  while ((n = read(from, &err, sizeof err)) < 0 && errno == EINTR) continue;
  return n == (ssize_t)sizeof err ? err : 0;
}

static int start(supervisor *v)
{
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) return errno;
  pid_t pid = fork();
  if (pid == 0) become_child(v, report[1]);
  int err = pid < 0 ? errno : 0;
  close(report[1]);
  if (pid > 0) {
    v->pid = pid;
    err = read_report(report[0]);
  }
  close(report[0]);
  return err;
}

/* Waits for one of v->waited; 0 when the time is over. deadline_ns < 0: none. */
static int next_signal(const supervisor *v, int64_t deadline_ns, siginfo_t *info)
{
  for (;;) { /* EINTR: stopped, and continued */
    int64_t left = deadline_ns - rl_mono_ns();
    if (deadline_ns >= 0 && left <= 0) return 0;
    struct timespec ts = {.tv_sec = left / SECOND_NS, .tv_nsec = left % SECOND_NS};
    int sig = deadline_ns < 0 ? sigwaitinfo(&v->waited, info) : sigtimedwait(&v->waited, info, &ts);
    if (sig > 0) return sig;
  }
}

/* All that have ended, ours or inherited. */
static void reap(supervisor *v)
{
  int end;
  pid_t pid;
  while ((pid = waitpid(-1, &end, WNOHANG)) > 0 || (pid < 0 && errno == EINTR)) {
    if (pid < 0 || pid != v->pid) continue;
    v->pid = 0;
    v->end = end;
  }
}

/* Has the child got the signal itself? Of a key on the terminal every process in front of it is told, of its end only
 * the leader of the session. */
static bool is_for_group(int sig, const siginfo_t *info)
{
  return info->si_code == SI_KERNEL && (sig != SIGHUP || getsid(0) != getpid());
}

static void take_signal(supervisor *v, int sig, const siginfo_t *info)
{
  if (sig == SIGCHLD) {
    reap(v);
    return;
  }
  v->asked = true;
  if (v->pid > 0 && !is_for_group(sig, info)) kill(v->pid, sig); /* not reaped: nobody else has its id */
}

static void run_child(supervisor *v)
{
  int64_t began = rl_mono_ns();
  v->start_error = start(v);
  while (v->pid > 0) {
    siginfo_t info;
    int sig = next_signal(v, -1, &info);
    take_signal(v, sig, &info);
  }
  v->ran_ns = rl_mono_ns() - began;
}

/* What comes after it ---------------------------------------------------------------------------------------------- */

static int exit_status(const supervisor *v)
{
  if (v->start_error) return EXIT_CRASHED;
  return WIFSIGNALED(v->end) ? EXIT_SIGNAL + WTERMSIG(v->end) : WEXITSTATUS(v->end);
}

static char *reason(const supervisor *v)
{
  double ran = (double)v->ran_ns / 1e9;
  if (v->start_error) return rl_format("the job could not be started (%s)", strerror(v->start_error));
  if (!WIFSIGNALED(v->end)) return rl_format("the job ended with status %d after %.1f s", WEXITSTATUS(v->end), ran);
  int sig = WTERMSIG(v->end);
  const char *name = sigabbrev_np(sig), *core = WCOREDUMP(v->end) ? ", core dumped" : "";
  if (!name) return rl_format("the job was ended by signal %d%s after %.1f s", sig, core, ran);
  return rl_format("the job was ended by signal %d (SIG%s, %s)%s after %.1f s", sig, name, strsignal(sig), core, ran);
}

static bool may_restart(const supervisor *v)
{
  if (v->p->restarts == 0) return false;
  if (v->restarts < v->p->restarts) return true;
  return rl_mono_ns() - v->restarted_ns[v->restarts % v->p->restarts] >= v->p->window_ns;
}

static int64_t next_pause(const supervisor *v)
{
  if (v->pause_ns == 0 || v->ran_ns >= v->p->longest_ns) return v->p->first_ns;
  return v->pause_ns < v->p->longest_ns / 2 ? v->pause_ns * 2 : v->p->longest_ns;
}

/* false when a stop was asked for meanwhile. */
static bool pause_for(supervisor *v, int64_t ns)
{
  int64_t until = rl_mono_ns() + ns;
  siginfo_t info;
  int sig;
  while (!v->asked && (sig = next_signal(v, until, &info)) > 0) take_signal(v, sig, &info);
  return !v->asked;
}

/* After a crash: says why, and waits until it is time for the next start. */
static bool prepare_restart(supervisor *v)
{
  char *why = reason(v);
  bool again = may_restart(v);
  if (!again) {
    rl_err("%s; it is not started again after %u restarts (limit: %u within %.0f s)", why, v->restarts, v->p->restarts,
           (double)v->p->window_ns / 1e9);
  } else {
    v->pause_ns = next_pause(v);
    rl_err("%s; restart %u in %.3f s", why, v->restarts + 1, (double)v->pause_ns / 1e9);
  }
  rl_free(why);
  if (!again || !pause_for(v, v->pause_ns)) return false;
  v->restarted_ns[v->restarts++ % v->p->restarts] = rl_mono_ns();
  return true;
}

static bool is_ignored(int sig)
{
  struct sigaction act;
  return sigaction(sig, NULL, &act) == 0 && act.sa_handler == SIG_IGN;
}

/* Everything of interest is blocked and waited for, so there is no handler and no race. SIGPIPE is only blocked: a log
 * that nobody reads must not end the job. */
static void block_signals(supervisor *v)
{
  sigemptyset(&v->waited);
  sigaddset(&v->waited, SIGCHLD);
  sigaddset(&v->waited, SIGINT);
  sigaddset(&v->waited, SIGTERM);
  if (!is_ignored(SIGHUP)) sigaddset(&v->waited, SIGHUP);
  sigset_t blocked = v->waited;
  sigaddset(&blocked, SIGPIPE);
  sigprocmask(SIG_BLOCK, &blocked, &v->mask);
  struct sigaction usual = {.sa_handler = SIG_DFL};
  sigemptyset(&usual.sa_mask);
  sigaction(SIGCHLD, &usual, &v->sigchld); /* ignored, children would leave no status */
}

int rl_supervise(char *const *argv, const rl_supervision *p)
{
  supervisor v = {.argv = argv, .p = p, .self = getpid()};
  v.restarted_ns = rl_calloc((size_t)p->restarts + 1, sizeof *v.restarted_ns);
  block_signals(&v);
  bool crashed;
  do {
    run_child(&v);
    crashed = v.start_error || WIFSIGNALED(v.end) || WEXITSTATUS(v.end) == EXIT_CRASHED;
  } while (crashed && !v.asked && prepare_restart(&v));
  reap(&v);
  rl_free(v.restarted_ns);
  return exit_status(&v);
}
