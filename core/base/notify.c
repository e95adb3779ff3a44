#include "base/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static const char *address(void)
{
  const char *name = getenv("NOTIFY_SOCKET");
  return name && *name ? name : NULL;
}

bool rl_notify_wanted(void) { return address() != NULL; }

/* The length of the address, 0 when `name` is none. */
static socklen_t fill(struct sockaddr_un *to, const char *name)
{
  size_t n = strlen(name);
  if ((name[0] != '/' && name[0] != '@') || n < 2 || n >= sizeof to->sun_path) return 0;
  *to = (struct sockaddr_un){.sun_family = AF_UNIX};
  memcpy(to->sun_path, name, n);
  if (name[0] == '@') to->sun_path[0] = '\0';
  else n++; /* with its zero */
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
}

static rl_status send_message(const char *message, int flags)
{
  const char *name = address();
  if (!name) return RL_OK;
  struct sockaddr_un to;
  socklen_t n = fill(&to, name);
  if (n == 0) return rl_fail(RL_EINVAL, "NOTIFY_SOCKET is '%s'; it must be an absolute path or @name", name);
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return rl_fail_errno("cannot make a socket for the service manager");
  struct timeval limit = {.tv_sec = 1};
  ssize_t sent = -1;
  if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0) {
    do sent = sendto(fd, message, strlen(message), flags | MSG_NOSIGNAL, (const struct sockaddr *)&to, n);
    while (sent < 0 && errno == EINTR);
  }
  rl_status st = sent < 0 ? rl_fail_errno("cannot tell the service manager at %s '%s'", name, message) : RL_OK;
  close(fd);
  return st;
}

rl_status rl_notify(const char *message) { return send_message(message, 0); }
rl_status rl_notify_at_once(const char *message) { return send_message(message, MSG_DONTWAIT); }

static bool parse(const char *text, int64_t *out)
{
  char *end;
  errno = 0;
  *out = strtoll(text, &end, 10);
  return errno == 0 && end != text && *end == '\0' && *out > 0;
}

int64_t rl_notify_watchdog_us(void)
{
  const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
  int64_t us, id;
  if (!rl_notify_wanted() || !usec || !parse(usec, &us)) return 0;
  if (pid && (!parse(pid, &id) || id != (int64_t)getpid())) return 0;
  return us;
}
