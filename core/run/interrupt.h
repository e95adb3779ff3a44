/* Interrupting a thread from outside: a signal to that very thread, whose handler calls what the thread registered.
 * Used by the watchdog on workers, and on the threads of Lua receivers. The handler is installed while some context
 * lives and put back afterwards. */
#ifndef RL_RUN_INTERRUPT_H
#define RL_RUN_INTERRUPT_H

/* The signal; a thread that may be interrupted leaves it unblocked. */
int rl_interrupt_signal(void);
/* fn(arg) is called in the handler on this thread: async-signal-safe. NULL takes it back. */
void rl_interrupt_register(void (*fn)(void *), void *arg);

/* Blocks all signals but the interrupt on the calling thread (and so on threads it starts). Every engine thread calls
 * it first. */
void rl_thread_signals(void);

void rl_interrupt_install(void);   /* counted; under the caller's care that pairs match */
void rl_interrupt_uninstall(void);

#endif
