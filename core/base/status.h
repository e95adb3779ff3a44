/* Errors.
 *
 * Every function that can fail returns an rl_status. The message is built where the fault is, with the file, offset,
 * host or key at hand, and is kept as the calling thread's current error until the next failure on that thread. Whoever
 * carries an error to another thread moves it out with rl_error_take() and puts it back there with rl_error_raise().
 *
 * An error knows whether the same work may be worth another try (`retriable`) and may carry a traceback of the user's
 * script. */
#ifndef RL_BASE_STATUS_H
#define RL_BASE_STATUS_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* name, number, retriable by default, what it means */
#define RL_STATUS_MAP(X) \
  X(OK, 0, false, "success") \
  X(EINVAL, -1, false, "invalid argument") \
  X(ESTATE, -2, false, "not possible in this state") \
  X(ENOMEM, -3, true, "out of memory") \
  X(EIO, -4, true, "input or output failed") \
  X(EDATA, -5, false, "malformed data") \
  X(ELIMIT, -6, false, "over a limit") \
  X(EUSER, -7, true, "error in a user's function") \
  X(ECANCELLED, -8, false, "cancelled") \
  X(ETIMEOUT, -9, false, "took too long") \
  X(ENOTFOUND, -10, false, "not found") \
  X(EUNSUPPORTED, -11, false, "not supported") \
  X(ECLOSED, -12, false, "closed") \
  X(ELOST, -13, true, "dropped, and to be computed anew")

typedef enum rl_status {
#define RL_STATUS_ENUM(name, number, retriable, text) RL_##name = (number),
  RL_STATUS_MAP(RL_STATUS_ENUM)
#undef RL_STATUS_ENUM
} rl_status;

typedef struct rl_error {
  rl_status code;
  bool retriable;
  char *message; /* owned; one line without newline; NULL when code is RL_OK */
  char *trace;   /* owned; the user's traceback, several lines, or NULL */
} rl_error;

#define RL_ERROR_NONE ((rl_error){RL_OK, false, NULL, NULL})

#if defined(__GNUC__)
#define RL_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define RL_PRINTF(fmt, first)
#endif

/* Makes `code` with the formatted message this thread's current error (retriable as the table says, no trace). Returns
 * `code`. */
rl_status rl_fail(rl_status code, const char *fmt, ...) RL_PRINTF(2, 3);

/* As rl_fail(RL_EIO, ...), with ": " and the text of errno behind the message. ENOSPC, ENOENT and the like keep errno's
 * wording. */
rl_status rl_fail_errno(const char *fmt, ...) RL_PRINTF(1, 2);

/* Puts text in front of the current error's message: rl_error_prefix("stage %u: ", n). */
void rl_error_prefix(const char *fmt, ...) RL_PRINTF(1, 2);
void rl_error_set_retriable(bool retriable);
void rl_error_set_trace(const char *trace); /* copied; NULL removes */

/* Of this thread's current error; "" when there is none; valid until the next failure. */
const char *rl_error_message(void);
const rl_error *rl_error_current(void);

/* Moves the thread's current error into *out (the thread has none afterwards). If there is none, *out becomes RL_ESTATE
 * "unknown error". */
void rl_error_take(rl_error *out);
void rl_error_drop(void); /* it is of no interest */
/* Makes *e (moved, emptied) the thread's current error; returns its code. */
rl_status rl_error_raise(rl_error *e);
void rl_error_copy(rl_error *to, const rl_error *from);
void rl_error_clear(rl_error *e); /* frees the strings, leaves RL_ERROR_NONE */

const char *rl_status_name(rl_status code); /* "EIO" */
const char *rl_status_text(rl_status code); /* "input or output failed" */

#ifdef __cplusplus
}
#endif
#endif
