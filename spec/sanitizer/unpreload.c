/* Loaded into stock Lua behind a sanitizer's runtime (bin/lua5.4 of a sanitized tree): keeps the runtime out of the
 * programs that Lua starts. A shell, say, does not survive the thread sanitizer's. */
#include <stdlib.h>

__attribute__((constructor)) static void forget(void)
{
  unsetenv("LD_PRELOAD");
}
