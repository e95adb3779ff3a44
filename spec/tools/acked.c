/* acked: a sender of the acknowledging line protocol (docs/ack-protocol.md) that has ever more to send, for spec/crash.
 *
 *   acked RATE KEYS UID [SEED]
 *
 * Prints its port. Line N is "N KEY N" with KEY = kX, X = N * 7919 modulo KEYS; RATE of them a second come into being,
 * connected or not. They are made again from their number when they are sent again, and sent in pieces that end
 * anywhere. A reader that says it has less than it has acknowledged, or more than was sent, ends the program with what
 * is wrong and status 1. At the end of standard input no more come; when all are acknowledged it prints how many there
 * were, and ends. */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WINDOW UINT64_C(20000) /* sent and not acknowledged */
#define PIECE 8192

typedef struct sender {
  uint64_t rate, keys, seed;
  const char *uid;
  int listener, fd; /* -1: nobody is connected */
  bool announced, over;
  uint64_t made, sent, acked, next; /* lines; `next` is the one to be sent next on this connection */
  int64_t began_ms;
  char out[PIECE * 2], in[4096];
  size_t nout, nin;
} sender;

static void wrong(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void wrong(const char *format, ...)
{
  va_list list;
  va_start(list, format);
  fputs("acked: ", stderr);
  vfprintf(stderr, format, list);
  fputc('\n', stderr);
  va_end(list);
  exit(1);
}

static int64_t now_ms(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint64_t below(sender *s, uint64_t n)
{
  s->seed = s->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (s->seed >> 33) % n;
}

static void begin_listening(sender *s)
{
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof at;
  s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(s->listener, 8) != 0 ||
      getsockname(s->listener, (struct sockaddr *)&at, &n) != 0)
    wrong("cannot listen: %s", strerror(errno));
  printf("%d\n", ntohs(at.sin_port));
  fflush(stdout);
}

static void hang_up(sender *s)
{
  if (s->fd >= 0) close(s->fd);
  s->fd = -1;
}

/* The newest connection counts. */
static void take_connection(sender *s)
{
  hang_up(s);
  s->fd = accept(s->listener, NULL, NULL);
  s->announced = false;
  s->nin = s->nout = 0;
}

static void hear_position(sender *s, uint64_t position, const char *what)
{
  if (position < s->acked)
    wrong("LOST: it %s %" PRIu64 " lines, after %" PRIu64 " had been acknowledged", what, position, s->acked);
  if (position > s->sent) wrong("it %s %" PRIu64 " lines, and %" PRIu64 " were sent", what, position, s->sent);
  s->acked = position;
}

static void hear(sender *s, const char *line)
{
  uint64_t position;
  char uid[200];
  if (!s->announced && sscanf(line, "RILLE-ACK 1 %" SCNu64 " %199[^\n]", &position, uid) == 2) {
    if (strcmp(uid, s->uid) != 0) wrong("it is '%s' that connects, not '%s'", uid, s->uid);
    hear_position(s, position, "has");
    s->announced = true;
    s->next = position + 1;
  } else if (s->announced && sscanf(line, "ACK %" SCNu64, &position) == 1) {
    hear_position(s, position, "acknowledges");
  } else {
    wrong("it says '%s'", line);
  }
}

static void receive(sender *s)
{
  ssize_t n = recv(s->fd, s->in + s->nin, sizeof s->in - s->nin - 1, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    hang_up(s);
    return;
  }
  s->nin += (size_t)n;
  char *end, *line = s->in;
  for (; (end = memchr(line, '\n', s->nin - (size_t)(line - s->in))); line = end + 1) {
    *end = '\0';
    hear(s, line);
  }
  s->nin -= (size_t)(line - s->in);
  memmove(s->in, line, s->nin);
}

static uint64_t sendable(const sender *s)
{
  uint64_t last = s->acked + WINDOW < s->made ? s->acked + WINDOW : s->made;
  return s->announced && last >= s->next ? last - s->next + 1 : 0;
}

static void fill(sender *s)
{
  while (s->nout < PIECE && sendable(s)) {
    int n = snprintf(s->out + s->nout, sizeof s->out - s->nout, "%" PRIu64 " k%" PRIu64 " %" PRIu64 "\n", s->next,
                     s->next * 7919 % s->keys, s->next);
    s->nout += (size_t)n;
    if (s->next > s->sent) s->sent = s->next;
    s->next++;
  }
}

static void give(sender *s)
{
  fill(s);
  size_t n = s->nout ? 1 + below(s, s->nout) : 0;
  ssize_t k = n ? send(s->fd, s->out, n, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
  if (k < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (k < 0) {
    hang_up(s);
    return;
  }
  s->nout -= (size_t)k;
  memmove(s->out, s->out + k, s->nout);
}

/* Lines come into being while standard input is open. */
static void make_lines(sender *s, bool ends)
{
  if (s->over) return;
  s->made = (uint64_t)(now_ms() - s->began_ms) * s->rate / 1000 + 1;
  s->over = ends;
}

int main(int argc, char **argv)
{
  static sender s = {.fd = -1};
  if (argc < 4) wrong("RATE KEYS UID [SEED]");
  s.rate = strtoull(argv[1], NULL, 10);
  s.keys = strtoull(argv[2], NULL, 10);
  s.uid = argv[3];
  s.seed = argc > 4 ? strtoull(argv[4], NULL, 10) : 1;
  s.began_ms = now_ms();
  begin_listening(&s);
  while (!s.over || s.acked < s.made) {
    bool gives = s.fd >= 0 && s.announced && (s.nout > 0 || sendable(&s));
    struct pollfd fds[3] = {{s.listener, POLLIN, 0},
                            {s.fd, (short)(POLLIN | (gives ? POLLOUT : 0)), 0},
                            {s.over ? -1 : STDIN_FILENO, POLLIN, 0}};
    if (poll(fds, 3, 10) < 0 && errno != EINTR) wrong("poll: %s", strerror(errno));
    char c;
    make_lines(&s, fds[2].revents && read(STDIN_FILENO, &c, 1) <= 0);
    if (fds[1].revents & (POLLIN | POLLHUP | POLLERR)) receive(&s);
    if (s.fd >= 0 && (fds[1].revents & POLLOUT)) give(&s);
    if (fds[0].revents & POLLIN) take_connection(&s);
  }
  printf("%" PRIu64 "\n", s.made);
  return 0;
}
