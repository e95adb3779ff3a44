/* serve: gives prepared bytes, piece by piece, to the clients of a loopback TCP port.
 *
 *   serve [PIECE | --times N PIECE | --gate | --next]... [--hold]
 *   serve --refuse
 *
 * Prints the port, then "client N" for each client it takes. Each PIECE is one send, and goes out when the one before it was
 * acknowledged. In a piece \n \r \0 \\ and \xHH stand for bytes. --gate waits for a byte on standard input.
 * --next: what follows is for the next client; the one before is closed. --hold keeps the last client open. --refuse: the port is
 * taken, and nobody listens on it. Ends after the last client, or as soon as nobody reads its standard output: with the test that
 * started it. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define GAP_MS 2 /* lets the other side read before the next piece comes */

static void die(const char *what)
{
  fprintf(stderr, "serve: %s: %s\n", what, strerror(errno));
  exit(1);
}

/* Waits for fd; leaves the program when nobody reads standard output any more. fd < 0: only for the time. */
static short wait_for(int fd, short events, int timeout_ms)
{
  struct pollfd fds[2] = {{.fd = fd, .events = events}, {.fd = STDOUT_FILENO, .events = 0}};
  int n = poll(fds, 2, timeout_ms);
  if (n < 0 && errno != EINTR) {
    die("poll");
  }
  if (n > 0 && (fds[1].revents & (POLLERR | POLLHUP))) {
    exit(0);
  }
  return n > 0 ? fds[0].revents : 0;
}

static int hex(char c)
{
  static const char digits[] = "0123456789abcdef";
  const char *at = c ? strchr(digits, c | 0x20) : NULL;
  return at ? (int)(at - digits) : -1;
}

/* Undoes the escapes in place; returns the length. */
static size_t unescape(char *text)
{
  char *to = text;
  for (const char *from = text; *from; from++) {
    if (*from != '\\' || !from[1]) {
      *to++ = *from;
      continue;
    }
    from++;
    if (*from == 'x' && hex(from[1]) >= 0 && hex(from[2]) >= 0) {
      *to++ = (char)(hex(from[1]) << 4 | hex(from[2]));
      from += 2;
    } else {
      *to++ = *from == 'n' ? '\n' : *from == 'r' ? '\r' : *from == '0' ? '\0' : *from;
    }
  }
  return (size_t)(to - text);
}

/* False when the client has gone. */
static bool send_all(int client, const char *bytes, size_t n)
{
  while (n > 0) {
    wait_for(client, POLLOUT, -1);
    ssize_t sent = send(client, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
      return false;
    }
    if (sent > 0) {
      bytes += sent;
      n -= (size_t)sent;
    }
  }
  return true;
}

static void wait_until_acknowledged(int client)
{
  int unacknowledged = 0;
  do {
    short events = wait_for(client, POLLRDHUP, GAP_MS);
    if ((events & (POLLERR | POLLHUP | POLLRDHUP)) || ioctl(client, TIOCOUTQ, &unacknowledged) != 0) {
      return;
    }
  } while (unacknowledged > 0);
}

static bool send_piece(int client, char *piece, unsigned long times)
{
  size_t n = unescape(piece);
  bool alive = true;
  for (unsigned long i = 0; i < times && alive; i++) {
    alive = send_all(client, piece, n);
  }
  if (alive) {
    wait_until_acknowledged(client);
  }
  return alive;
}

static void pass_gate(void)
{
  char byte;
  while (!(wait_for(STDIN_FILENO, POLLIN, -1) & (POLLIN | POLLHUP))) {
  }
  if (read(STDIN_FILENO, &byte, 1) != 1) {
    exit(0);
  }
}

static int take_port(bool listens)
{
  struct sockaddr_in address = {.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
      (listens && listen(fd, 16) != 0) || getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
    die("cannot take a port of 127.0.0.1");
  }
  printf("%u\n", ntohs(address.sin_port));
  fflush(stdout);
  return fd;
}

static int take_client(int listener)
{
  static int taken;
  while (!(wait_for(listener, POLLIN, -1) & POLLIN)) {
  }
  int on = 1, fd = accept(listener, NULL, NULL);
  if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
    die("cannot take a client");
  }
  printf("client %d\n", ++taken);
  fflush(stdout);
  return fd;
}

/* Gives one client the pieces up to --next; returns where the next one's begin. */
static char **serve(int listener, char **piece)
{
  int client = take_client(listener);
  bool alive = true;
  for (; *piece && strcmp(*piece, "--next") != 0; piece++) {
    if (strcmp(*piece, "--hold") == 0) {
      while (!(wait_for(client, POLLRDHUP, -1) & (POLLRDHUP | POLLHUP | POLLERR))) {
      }
    } else if (strcmp(*piece, "--gate") == 0) {
      pass_gate();
    } else if (strcmp(*piece, "--times") == 0 && piece[1] && piece[2]) {
      alive = alive && send_piece(client, piece[2], strtoul(piece[1], NULL, 10));
      piece += 2;
    } else {
      alive = alive && send_piece(client, *piece, 1);
    }
  }
  close(client);
  return *piece ? piece + 1 : NULL;
}

int main(int argc, char **argv)
{
  signal(SIGPIPE, SIG_IGN);
  bool refuses = argc == 2 && strcmp(argv[1], "--refuse") == 0;
  int listener = take_port(!refuses);
  while (refuses) {
    wait_for(-1, 0, -1);
  }
  for (char **piece = argv + 1; piece;) {
    piece = serve(listener, piece);
  }
  return 0;
}
