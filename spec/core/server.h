/* A server on the loopback, for tests of sources. Include after cmocka.h. */
#ifndef SPEC_CORE_SERVER_H
#define SPEC_CORE_SERVER_H

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 60000

typedef struct server {
  int fd, port;
} server;

/* Bound but not listening: a connection is refused. */
static inline server bind_server(void)
{
  server s = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  assert_true(s.fd >= 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof a;
  assert_int_equal(bind(s.fd, (struct sockaddr *)&a, sizeof a), 0);
  assert_int_equal(getsockname(s.fd, (struct sockaddr *)&a, &n), 0);
  s.port = ntohs(a.sin_port);
  return s;
}

static inline server open_server(void)
{
  server s = bind_server();
  assert_int_equal(listen(s.fd, 8), 0);
  return s;
}

static inline int accept_one(const server *s)
{
  struct pollfd p = {.fd = s->fd, .events = POLLIN};
  assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
  int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
  assert_true(fd >= 0);
  return fd;
}

static inline void send_bytes(int fd, const char *p, size_t n)
{
  while (n > 0) {
    ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
    assert_true(k > 0);
    p += k;
    n -= (size_t)k;
  }
}

static inline void send_text(int fd, const char *text) { send_bytes(fd, text, strlen(text)); }

/* Ends a connection without a word: what the peer has not read is lost. */
static inline void reset_connection(int fd)
{
  const struct linger reset = {.l_onoff = 1, .l_linger = 0};
  assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
  close(fd);
}

#endif
