#include "run/interrupt.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

#include "base/log.h"

static _Thread_local struct {
  void (*volatile fn)(void *);
  void *volatile arg;
} registered;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int installed;              /* under lock */
static struct sigaction previous;  /* under lock */

/* SIGRTMIN + 6: real-time signals are free for programs, and the first few are taken by other run-times now and then.
 */
int rl_interrupt_signal(void) { return SIGRTMIN + 6; }

static void handler(int sig)
{
  (void)sig;
  int saved = errno;
  void (*fn)(void *) = registered.fn;
  if (fn) fn(registered.arg);
  errno = saved;
}

void rl_interrupt_register(void (*fn)(void *), void *arg)
{
  registered.fn = NULL; /* so that the handler never sees a function with another's argument */
  atomic_signal_fence(memory_order_seq_cst);
  registered.arg = arg;
  atomic_signal_fence(memory_order_seq_cst);
  registered.fn = fn;
}

void rl_thread_signals(void)
{
  sigset_t set;
  sigfillset(&set);
  sigdelset(&set, rl_interrupt_signal());
  pthread_sigmask(SIG_SETMASK, &set, NULL);
}

void rl_interrupt_install(void)
{
  pthread_mutex_lock(&lock);
  if (installed++ == 0) {
    struct sigaction act = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigemptyset(&act.sa_mask);
    if (sigaction(rl_interrupt_signal(), &act, &previous) != 0) rl_err("cannot install the watchdog's signal handler");
  }
  pthread_mutex_unlock(&lock);
}

void rl_interrupt_uninstall(void)
{
  pthread_mutex_lock(&lock);
  if (--installed == 0) sigaction(rl_interrupt_signal(), &previous, NULL);
  pthread_mutex_unlock(&lock);
}
