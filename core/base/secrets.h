/* Values that the process knows to be secret: each that was given under a setting's name that says so. What is written
 * where it would outlive the process, functions in a checkpoint above all, is compared with them and leaves them out.
 * Any thread; a value stays known until the process ends. */
#ifndef RL_BASE_SECRETS_H
#define RL_BASE_SECRETS_H

#include <stdbool.h>
#include <stddef.h>

/* Is the value of a setting with this name, of Rille, Spark or librdkafka, to be shown to nobody, and kept nowhere? */
bool rl_secret_is_name(const char *name);

/* Makes the value known when the name says so; an empty one is none. */
void rl_secret_note(const char *name, const char *value);

enum { RL_SECRET_LONG = 6 }; /* bytes; shorter values are in many texts, and are many texts, by chance */

/* The name of a setting whose value the text is, or has in it; NULL: of none that is long. */
const char *rl_secret_in(const char *text, size_t n);
/* The name of a setting whose value the text is, short ones too: for what goes by a secret's name. */
const char *rl_secret_is(const char *text, size_t n);

#endif
