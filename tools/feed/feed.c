/* rille-feed: lines of text for any client that connects to a loopback TCP port.
 *
 *   rille-feed [PORT] [--rate N] [--lines N] [--seed N] [--file FILE] [--hold] [--clients N] [--with-parent PID]
 *
 * Prints the port it listens on as its first and only line of output, then serves clients, each from the first line on
 * and at its own pace, until it is killed. The lines are made up from the seed (the same seed gives the same lines), or
 * are those of FILE. One thread; a client that does not read holds up nobody, and what is due to it waits in a bounded
 * buffer. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_CLIENTS 64
#define BUFFER_SIZE ((size_t)256 * 1024)
#define LINE_MAX_BYTES 256
#define WORDS_PER_LINE 8
#define MIN_WAIT_MS 10 /* lines are sent in bursts this far apart at most rates */

static const char *const vocabulary[] = {
  "the", "moon", "a", "of", "and", "channel", "light", "dust", "sea", "crater", "rille", "night", "shadow",
  "stream", "rock", "orbit", "tide", "silver", "plain", "ridge", "valley", "dark", "bright", "north", "south",
  "rim", "basalt", "lava", "flow", "narrow", "wide", "long", "winding", "straight", "old", "young", "deep", "floor",
  "wall", "peak", "slope", "fault", "mare", "highland", "horizon", "earth", "sun", "star", "probe", "lander",
  "signal", "echo", "batch", "record", "window", "state", "count", "word", "line", "block", "tick", "worker", "log",
  "key",
};
#define VOCABULARY_SIZE (sizeof vocabulary / sizeof vocabulary[0])

typedef struct options {
  uint16_t port;
  double rate;    /* lines a second for each client; 0: as fast as it reads */
  uint64_t lines; /* for each client; 0: without end, or all of the file */
  uint64_t seed;
  const char *file;
  bool hold;        /* keep the connection open behind the last line */
  uint64_t clients; /* leave when so many have been served; 0: never */
  pid_t parent;     /* live as long as this process, and leave Ctrl-C to it; 0: on our own */
} options;

typedef struct text {
  const char *bytes; /* NULL: lines are made up */
  size_t size;
} text;

typedef struct client {
  int fd;
  double started; /* monotonic seconds */
  uint64_t sent_lines;
  uint64_t random;
  size_t offset; /* in the file */
  bool finished; /* everything due has been put into the buffer, or the peer is half gone */
  size_t begin, end;
  char buffer[BUFFER_SIZE];
} client;

typedef struct server {
  options opt;
  text text;
  int listener;
  client *clients[MAX_CLIENTS];
  size_t nclients;
  uint64_t served;
} server;

static void die(const char *what)
{
  fprintf(stderr, "rille-feed: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
  uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

/* Early words are the frequent ones: the smaller of two draws. */
static const char *next_word(uint64_t *random)
{
  uint64_t bits = next_random(random);
  size_t a = (size_t)(bits % VOCABULARY_SIZE), b = (size_t)((bits >> 32) % VOCABULARY_SIZE);
  return vocabulary[a < b ? a : b];
}

static size_t make_line(client *c, char *out)
{
  char *end = out;
  for (int i = 0; i < WORDS_PER_LINE; i++) {
    end = stpcpy(end, next_word(&c->random));
    *end++ = i + 1 < WORDS_PER_LINE ? ' ' : '\n';
  }
  return (size_t)(end - out);
}

/* The next line of the file into `out`, as much of it as fits; 0 at the end of the file. */
static size_t copy_line(client *c, const text *t, char *out, size_t room, bool *whole)
{
  const char *from = t->bytes + c->offset;
  size_t left = t->size - c->offset;
  const char *newline = left > 0 ? memchr(from, '\n', left) : NULL;
  size_t size = newline ? (size_t)(newline - from) + 1 : left;
  *whole = size <= room;
  if (size > room) {
    size = room;
  }
  memcpy(out, from, size);
  c->offset += size;
  return size;
}

/* How many lines the client should have had by now. */
static uint64_t due_lines(const server *s, const client *c)
{
  uint64_t due = s->opt.rate > 0 ? (uint64_t)((now() - c->started) * s->opt.rate) + 1 : UINT64_MAX;
  return s->opt.lines > 0 && due > s->opt.lines ? s->opt.lines : due;
}

static void fill(const server *s, client *c)
{
  if (c->begin > 0) {
    memmove(c->buffer, c->buffer + c->begin, c->end - c->begin);
    c->end -= c->begin;
    c->begin = 0;
  }
  uint64_t due = due_lines(s, c);
  while (c->sent_lines < due && BUFFER_SIZE - c->end >= LINE_MAX_BYTES) {
    bool whole = true;
    size_t size = s->text.bytes ? copy_line(c, &s->text, c->buffer + c->end, BUFFER_SIZE - c->end, &whole)
                                : make_line(c, c->buffer + c->end);
    c->end += size;
    c->sent_lines += whole ? 1 : 0;
    if (s->text.bytes && c->offset == s->text.size) {
      c->finished = true;
      return;
    }
  }
  if (s->opt.lines > 0 && c->sent_lines == s->opt.lines) {
    c->finished = true;
  }
}

/* False when the client is to be dropped. */
static bool flush(client *c)
{
  while (c->begin < c->end) {
    ssize_t n = send(c->fd, c->buffer + c->begin, c->end - c->begin, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
      return errno == EAGAIN || errno == EINTR;
    }
    c->begin += (size_t)n;
  }
  return true;
}

/* What clients send is read and forgotten; false when the client has gone. */
static bool drain(client *c)
{
  char sink[4096];
  for (;;) {
    ssize_t n = recv(c->fd, sink, sizeof sink, MSG_DONTWAIT);
    if (n <= 0) {
      return n < 0 && (errno == EAGAIN || errno == EINTR);
    }
  }
}

static void drop(server *s, size_t i)
{
  close(s->clients[i]->fd);
  free(s->clients[i]);
  s->clients[i] = s->clients[--s->nclients];
  s->served++;
}

static void take_client(server *s)
{
  int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) {
    return; /* gone again before we looked */
  }
  client *c = calloc(1, sizeof *c);
  if (!c) {
    die("cannot serve another client");
  }
  c->fd = fd;
  c->started = now();
  c->random = s->opt.seed;
  s->clients[s->nclients++] = c;
}

/* Sends what is due to client `i`, or lets it go. */
static void serve(server *s, size_t i, short events)
{
  client *c = s->clients[i];
  if (!c->finished && c->end - c->begin < BUFFER_SIZE / 2) {
    fill(s, c);
  }
  bool alive = flush(c) && (!(events & (POLLIN | POLLHUP | POLLERR)) || drain(c));
  if (!alive || (c->finished && c->begin == c->end && !s->opt.hold)) {
    drop(s, i);
  }
}

/* Milliseconds until the next line is due to somebody; -1: until something happens. */
static int wait_ms(const server *s)
{
  bool pacing = false;
  for (size_t i = 0; i < s->nclients; i++) {
    pacing |= !s->clients[i]->finished;
  }
  if (!pacing || s->opt.rate <= 0) {
    return -1;
  }
  double gap = 1000 / s->opt.rate;
  return gap < MIN_WAIT_MS ? MIN_WAIT_MS : gap > 1000 ? 1000 : (int)gap;
}

static void run(server *s)
{
  while (s->opt.clients == 0 || s->served < s->opt.clients) {
    struct pollfd fds[MAX_CLIENTS + 1];
    size_t n = s->nclients;
    for (size_t i = 0; i < n; i++) {
      const client *c = s->clients[i];
      bool more = c->begin < c->end || (!c->finished && s->opt.rate <= 0);
      fds[i] = (struct pollfd){.fd = c->fd, .events = (short)(POLLIN | (more ? POLLOUT : 0))};
    }
    fds[n] = (struct pollfd){.fd = n < MAX_CLIENTS ? s->listener : -1, .events = POLLIN};
    if (poll(fds, (nfds_t)(n + 1), wait_ms(s)) < 0 && errno != EINTR) {
      die("cannot wait for clients");
    }
    for (size_t i = n; i-- > 0;) {
      serve(s, i, fds[i].revents);
    }
    if (fds[n].revents & POLLIN) {
      take_client(s);
    }
  }
}

static int listen_on(uint16_t port)
{
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  int on = 1;
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 16) != 0 ||
      getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
    fprintf(stderr, "rille-feed: cannot listen on 127.0.0.1:%u: %s; 0 takes a free port\n", port, strerror(errno));
    exit(1);
  }
  printf("%u\n", ntohs(address.sin_port));
  if (fflush(stdout) != 0) {
    die("cannot print the port");
  }
  return fd;
}

static text map_file(const char *path)
{
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0) {
    die(path);
  }
  size_t size = (size_t)st.st_size;
  const char *bytes = size > 0 ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : "";
  if (bytes == MAP_FAILED) {
    die(path);
  }
  close(fd);
  return (text){bytes, size};
}

/* Ends with the process `parent`, however that ends. Ctrl-C reaches both; it is for the parent to stop, and it may want
 * lines until it has. */
static void follow(pid_t parent)
{
  signal(SIGINT, SIG_IGN);
  if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0) {
    die("cannot follow the parent process");
  }
  if (getppid() != parent) {
    exit(0);
  }
}

static void usage(FILE *out)
{
  fputs("usage: rille-feed [PORT] [options]\n"
        "Sends lines of words to every client of 127.0.0.1:PORT (0 or none: any free port). Prints the port.\n"
        "  --rate N          lines a second for each client (default 10; 0: as fast as it reads)\n"
        "  --lines N         lines for each client, then the connection is closed (default: without end)\n"
        "  --seed N          another seed, other words (default 1)\n"
        "  --file FILE       the lines of FILE, once, instead of made-up ones\n"
        "  --hold            keep the connection open behind the last line\n"
        "  --clients N       leave when N clients have been served\n"
        "  --with-parent PID end when the parent process PID does, ignore SIGINT\n",
        out);
}

static void usage_error(const char *what, const char *text)
{
  fprintf(stderr, "rille-feed: %s '%s'\n", what, text);
  usage(stderr);
  exit(2);
}

static uint64_t number(const char *text, uint64_t max)
{
  char *end;
  errno = 0;
  uintmax_t value = strtoumax(text, &end, 10);
  if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || value > max) {
    usage_error("not a usable number:", text);
  }
  return value;
}

static double rate_number(const char *text)
{
  char *end;
  double value = strtod(text, &end);
  if (end == text || *end != '\0' || !isfinite(value) || value < 0 || value > 1e9) {
    usage_error("not a usable rate:", text);
  }
  return value;
}

static options parse(int argc, char **argv)
{
  static const struct option known[] = {
    {"rate", required_argument, NULL, 'r'},    {"lines", required_argument, NULL, 'l'},
    {"seed", required_argument, NULL, 's'},    {"file", required_argument, NULL, 'f'},
    {"hold", no_argument, NULL, 'H'},          {"clients", required_argument, NULL, 'c'},
    {"with-parent", required_argument, NULL, 'p'}, {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
  };
  options opt = {.rate = 10, .seed = 1};
  int key;
  while ((key = getopt_long(argc, argv, "h", known, NULL)) != -1) {
    switch (key) {
    case 'r': opt.rate = rate_number(optarg); break;
    case 'l': opt.lines = number(optarg, UINT64_MAX); break;
    case 's': opt.seed = number(optarg, UINT64_MAX); break;
    case 'f': opt.file = optarg; break;
    case 'H': opt.hold = true; break;
    case 'c': opt.clients = number(optarg, UINT64_MAX); break;
    case 'p': opt.parent = (pid_t)number(optarg, INT32_MAX); break;
    case 'h': usage(stdout); exit(0);
    default: usage(stderr); exit(2);
    }
  }
  if (optind < argc) {
    opt.port = (uint16_t)number(argv[optind++], UINT16_MAX);
  }
  if (optind < argc) {
    usage_error("unexpected argument", argv[optind]);
  }
  return opt;
}

int main(int argc, char **argv)
{
  static server s;
  s.opt = parse(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  if (s.opt.parent > 0) {
    follow(s.opt.parent);
  }
  if (s.opt.file) {
    s.text = map_file(s.opt.file);
  }
  s.listener = listen_on(s.opt.port);
  run(&s);
  return 0;
}
