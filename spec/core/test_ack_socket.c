/* The acknowledging line protocol over real sockets and a real log. The test is the sender; a gate in the file calls
 * says when the log is on disk. */
#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/file.h"
#include "engine.h"
#include "run/receiver.h"
#include "scratch.h"
#include "server.h"
#include "source/sources.h"
#include "streams.h"

#define NO_BATCH 3600000 /* none while the test lasts: blocks are cut, and nothing else asks the log */

/* The gate: a sync waits while it is closed. */

static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool closed;
  int waiting;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static int gated_fdatasync(int fd)
{
  (void)fd; /* no test here looks at what a power cut would leave */
  pthread_mutex_lock(&gate.lock);
  gate.waiting++;
  pthread_cond_broadcast(&gate.changed);
  while (gate.closed) pthread_cond_wait(&gate.changed, &gate.lock);
  gate.waiting--;
  pthread_mutex_unlock(&gate.lock);
  return 0;
}

static void set_gate(bool closed)
{
  pthread_mutex_lock(&gate.lock);
  gate.closed = closed;
  pthread_cond_broadcast(&gate.changed);
  pthread_mutex_unlock(&gate.lock);
}

static void until_a_group_waits(void)
{
  pthread_mutex_lock(&gate.lock);
  while (gate.waiting == 0) pthread_cond_wait(&gate.changed, &gate.lock);
  pthread_mutex_unlock(&gate.lock);
}

/* The context's side. */

static void begin(streams *f, const char *dir, int64_t batch_ms, const char *key, const char *value)
{
  const char *settings[] = {
    "rille.streaming.receiverRestartDelay", "10ms", "rille.streaming.blockInterval", "10ms", key, value, NULL};
  rl_log_set_level(RL_LOG_OFF);
  streams_begin(f, batch_ms, settings);
  if (dir) assert_int_equal(rl_streaming_checkpoint(f->s, dir), RL_OK);
}

static void add_source(streams *f, int port)
{
  rl_dstream *d = NULL;
  assert_int_equal(rl_source_ack_socket(f->s, "127.0.0.1", port, "job.lua:3", &d), RL_OK);
  rl_dstream_set_uid(d, "the lines");
  streams_output(f, d);
}

static void start(streams *f, int port)
{
  add_source(f, port);
  assert_int_equal(rl_streaming_start(f->s), RL_OK);
}

static void end(streams *f, int fd)
{
  assert_int_equal(rl_streaming_stop(f->s, true, false), RL_OK);
  streams_end(f);
  if (fd >= 0) close(fd);
  rl_log_set_level(RL_LOG_WARN);
}

/* The sender's side. */

static bool can_read(int fd, int ms)
{
  struct pollfd p = {.fd = fd, .events = POLLIN};
  return poll(&p, 1, ms) == 1;
}

/* One line without its end. */
static void read_line(int fd, char *line, size_t size)
{
  size_t n = 0;
  for (;;) {
    if (!can_read(fd, PATIENCE_MS)) fail_msg("no more comes behind '%.*s'", (int)n, line);
    assert_true(n < size);
    ssize_t k = read(fd, line + n, 1);
    if (k != 1) fail_msg("the connection ended behind '%.*s'", (int)n, line);
    if (line[n] == '\n') break;
    n++;
  }
  line[n] = '\0';
}

static void expect_line(int fd, const char *expected)
{
  char line[256];
  read_line(fd, line, sizeof line);
  assert_string_equal(line, expected);
}

/* A connection on which lines from this position on are asked for. */
static int accept_at(const server *s, uint64_t position)
{
  int fd = accept_one(s);
  char *announced = rl_format("RILLE-ACK 1 %" PRIu64 " the lines", position);
  expect_line(fd, announced);
  rl_free(announced);
  return fd;
}

/* A job that has just begun, and its first connection. */
static int begin_connected(streams *f, server *s, const char *dir, int64_t batch_ms, const char *key, const char *value)
{
  *s = open_server();
  begin(f, dir, batch_ms, key, value);
  start(f, s->port);
  return accept_at(s, 0);
}

static uint64_t read_ack(int fd)
{
  char line[256], *rest = NULL;
  read_line(fd, line, sizeof line);
  bool acks = strncmp(line, "ACK ", 4) == 0;
  uint64_t position = acks ? strtoull(line + 4, &rest, 10) : 0;
  if (!acks || *rest != '\0') fail_msg("not an acknowledgement: '%s'", line);
  return position;
}

/* Acknowledgements grow, and end with this one; returns how many they are. */
static int read_acks(int fd, uint64_t after, uint64_t last)
{
  int n = 0;
  for (uint64_t at = after; at < last; n++) {
    uint64_t ack = read_ack(fd);
    if (ack <= at || ack > last) fail_msg("ACK %" PRIu64 " behind %" PRIu64 ", of %" PRIu64, ack, at, last);
    at = ack;
  }
  return n;
}

static void expect_end(int fd)
{
  char c;
  assert_true(can_read(fd, PATIENCE_MS));
  ssize_t n = read(fd, &c, 1);
  if (n > 0) fail_msg("the engine sent '%c' and did not close the connection", c);
  close(fd);
}

static void what_is_on_disk_is_acknowledged_to_a_silent_sender(void **state)
{
  streams f;
  server s;
  int fd = begin_connected(&f, &s, *state, 20, NULL, NULL);
  send_text(fd, "one\ntwo\nthr");
  assert_int_equal(read_acks(fd, 0, 2), 1);
  send_text(fd, "ee\n");
  assert_int_equal(read_acks(fd, 2, 3), 1);
  streams_until_records(&f, 3);
  assert_string_equal(rl_buf_cstr(&f.records), "one\ntwo\nthree\n");
  close(fd);
  end(&f, s.fd);
}

static void nothing_is_acknowledged_before_it_is_on_disk(void **state)
{
  streams f;
  server s;
  int fd = begin_connected(&f, &s, *state, NO_BATCH, NULL, NULL);
  set_gate(true);
  send_text(fd, "one\ntwo\n");
  until_a_group_waits();
  assert_false(can_read(fd, 100));
  for (int i = 0; i < 5; i++) { /* blocks that will be one group, or two */
    send_text(fd, "more\n");
    assert_false(can_read(fd, 20));
  }
  set_gate(false);
  assert_true(read_acks(fd, 0, 7) <= 7);
  close(fd);
  end(&f, s.fd);
}

static void lines_are_counted_by_their_newlines(void **state)
{
  streams f;
  server s;
  int fd = begin_connected(&f, &s, *state, 20, NULL, NULL);
  send_text(fd, "\n\r\nwindows\r\n\ngr\xc3\xbc\xff\n");
  read_acks(fd, 0, 5);
  send_text(fd, "x\ny");
  send_text(fd, "\rz\r");
  send_text(fd, "\n\r\r\nlast\n");
  read_acks(fd, 5, 9);
  streams_until_records(&f, 9);
  assert_string_equal(rl_buf_cstr(&f.records), "\n\nwindows\n\ngr\xc3\xbc\xff\nx\ny\rz\n\r\nlast\n");
  close(fd);
  fd = accept_at(&s, 9);
  close(fd);
  end(&f, s.fd);
}

/* Serves the driver until something was received. */
static void until_received(streams *f)
{
  int64_t until = rl_mono_ns() + PATIENCE_MS * INT64_C(1000000);
  while (!rl_tracker_has_unallocated(rl_streaming_tracker(f->s))) {
    rl_streaming_sleep(f->s, 1, false);
    assert_true(rl_mono_ns() < until);
  }
}

/* In one block interval, where what is stored as text and what is stored singly could change places; there is more of
 * the latter than a block holds. */
static void lines_keep_their_order(void **state)
{
  streams f;
  server s;
  int fd = begin_connected(&f, &s, *state, 1000, "clock", "manual");
  rl_buf singly = {0}, all = {0};
  uint64_t lines = 4;
  for (; singly.n < 2 * RL_BLOCK_BYTES; lines++)
    rl_buf_printf(&singly, "%d%0500d\r%0500d\n", (int)lines, 0, 0);
  const char *const pieces[] = {"one\ntwo\n", rl_buf_cstr(&singly), "three\n", "four\n"};
  for (size_t i = 0; i < 4; i++) {
    send_text(fd, pieces[i]);
    until_received(&f);
    poll(NULL, 0, 50); /* so that pieces come one by one; the order is the same in any case */
    rl_buf_puts(&all, pieces[i]);
  }
  while (f.seen < lines) assert_int_equal(rl_streaming_advance(f.s, 1000), RL_OK);
  assert_true(f.records.n == all.n && memcmp(f.records.p, all.p, all.n) == 0);
  read_acks(fd, 0, lines);
  rl_buf_free(&singly);
  rl_buf_free(&all);
  close(fd);
  end(&f, s.fd);
}

static void a_new_connection_cuts_the_open_block(void **state)
{
  streams f;
  server s;
  int fd = begin_connected(&f, &s, *state, 1000, "clock", "manual");
  send_text(fd, "one\ntw");
  until_received(&f);
  close(fd);
  fd = accept_at(&s, 1);
  close(fd);
  end(&f, s.fd);
}

static void a_line_cut_off_comes_again(void **state)
{
  streams f;
  server s;
  int fd = begin_connected(&f, &s, *state, 20, NULL, NULL);
  send_text(fd, "one\ntw");
  read_acks(fd, 0, 1);
  close(fd);
  fd = accept_at(&s, 1);
  send_text(fd, "two\nthree\nfo");
  read_acks(fd, 1, 3);
  reset_connection(fd);
  fd = accept_at(&s, 3);
  send_text(fd, "four\n");
  read_acks(fd, 3, 4);
  streams_until_records(&f, 4);
  assert_string_equal(rl_buf_cstr(&f.records), "one\ntwo\nthree\nfour\n");
  close(fd);
  end(&f, s.fd);
}

static void a_new_connection_waits_for_what_is_on_its_way_to_disk(void **state)
{
  streams f;
  server s;
  int fd = begin_connected(&f, &s, *state, NO_BATCH, NULL, NULL);
  set_gate(true);
  send_text(fd, "one\ntwo\nthr");
  until_a_group_waits();
  reset_connection(fd);
  fd = accept_one(&s);
  assert_false(can_read(fd, 100));
  set_gate(false);
  expect_line(fd, "RILLE-ACK 1 2 the lines");
  close(fd);
  end(&f, s.fd);
}

static bool has_early_bytes(void *user)
{
  return strstr(rl_buf_cstr(&((streams *)user)->receiver),
                "error(the peer sent before it was told from which line on; it does not speak the acknowledging line "
                "protocol; the connection to 127.0.0.1:") != NULL;
}

static void who_sends_without_being_asked_is_sent_away(void **state)
{
  streams f;
  server s;
  int fd = begin_connected(&f, &s, *state, NO_BATCH, NULL, NULL);
  set_gate(true);
  send_text(fd, "one\n");
  until_a_group_waits();
  close(fd);
  fd = accept_one(&s);
  send_text(fd, "two\n");
  expect_end(fd);
  streams_until(&f, has_early_bytes);
  set_gate(false);
  fd = accept_at(&s, 1);
  send_text(fd, "two\n");
  read_acks(fd, 1, 2);
  close(fd);
  end(&f, s.fd);
}

static bool has_long_line(void *user)
{
  const char *first = strstr(rl_buf_cstr(&((streams *)user)->receiver), "error(line 4 is longer");
  return first && strstr(first + 1, "error(line 4 is longer");
}

/* Whether its end has come, or there is only too much of it. */
static void a_line_too_long_is_refused_by_its_number(void **state)
{
  streams f;
  server s;
  int fd = begin_connected(&f, &s, *state, 20, "rille.streaming.receiver.maxRecordBytes", "10");
  send_text(fd, "0123456789\n0123456789\r\nx\n0123456789x\nmore\n");
  int again = accept_one(&s); /* the first one was closed, with or without acknowledgements on it */
  close(fd);
  fd = again;
  expect_line(fd, "RILLE-ACK 1 3 the lines");
  send_text(fd, "0123456789xyz");
  expect_end(fd);
  fd = accept_at(&s, 3);
  send_text(fd, "short\nmore\n");
  read_acks(fd, 3, 5);
  streams_until_records(&f, 5);
  streams_until(&f, has_long_line);
  assert_string_equal(rl_buf_cstr(&f.records), "0123456789\n0123456789\nx\nshort\nmore\n");
  char *message = rl_format("error(line 4 is longer than 10 bytes (rille.streaming.receiver.maxRecordBytes); the "
                            "connection to 127.0.0.1:%d was closed; trying again",
                            s.port);
  assert_non_null(strstr(rl_buf_cstr(&f.receiver), message));
  rl_free(message);
  close(fd);
  end(&f, s.fd);
}

static void the_position_comes_back_with_the_job(void **state)
{
  server s = open_server();
  const char *const texts[] = {"a\nb\n\nunfinished", "c\r\nd\re\n", "f\n"};
  const uint64_t ends[] = {3, 5, 6};
  uint64_t at = 0;
  for (size_t i = 0; i < 3; i++) {
    streams f;
    begin(&f, *state, 20, NULL, NULL);
    start(&f, s.port);
    int fd = accept_at(&s, at);
    send_text(fd, texts[i]);
    read_acks(fd, at, ends[i]);
    at = ends[i];
    end(&f, -1);
    expect_end(fd);
  }
  close(s.fd);
}

/* The engine's side of a connection to the port; this process has both. */
static int engine_side(int port)
{
  int found = -1;
  DIR *d = opendir("/proc/self/fd");
  assert_non_null(d);
  for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
    struct sockaddr_in peer = {0};
    socklen_t n = sizeof peer;
    int fd = (int)strtol(e->d_name, NULL, 10);
    if (getpeername(fd, (struct sockaddr *)&peer, &n) == 0 && ntohs(peer.sin_port) == port) found = fd;
  }
  closedir(d);
  assert_true(found >= 0);
  return found;
}

static void set_small(int fd, int option)
{
  const int bytes = 1;
  assert_int_equal(setsockopt(fd, SOL_SOCKET, option, &bytes, sizeof bytes), 0);
}

#define SILENT_LINES 3000

/* A sender that reads nothing but the announcement, with the smallest buffers there are, so that they fill up. */
static int send_silently(streams *f, const server *s)
{
  int fd = accept_one(s);
  set_small(engine_side(s->port), SO_SNDBUF);
  expect_line(fd, "RILLE-ACK 1 0 the lines");
  for (uint64_t i = 1; i <= SILENT_LINES; i++) {
    send_text(fd, "line\n");
    while (f->seen < i) assert_int_equal(rl_streaming_advance(f->s, 1000), RL_OK);
  }
  return fd;
}

static server open_small_server(void)
{
  server s = bind_server();
  set_small(s.fd, SO_RCVBUF);
  assert_int_equal(listen(s.fd, 8), 0);
  return s;
}

static void a_sender_that_never_reads_is_only_told_the_newest(void **state)
{
  streams f;
  server s = open_small_server();
  begin(&f, *state, 1000, "clock", "manual");
  start(&f, s.port);
  int fd = send_silently(&f, &s);
  int acks = read_acks(fd, 0, SILENT_LINES);
  if (acks >= SILENT_LINES) fail_msg("%d acknowledgements", acks);
  close(fd);
  end(&f, s.fd);
}

static void a_stop_does_not_wait_for_a_sender_that_never_reads(void **state)
{
  streams f;
  server s = open_small_server();
  begin(&f, *state, 1000, "clock", "manual");
  start(&f, s.port);
  int fd = send_silently(&f, &s);
  end(&f, s.fd);
  close(fd);
}

static void refused(streams *f, const char *way)
{
  server s = bind_server();
  add_source(f, s.port);
  assert_int_equal(rl_streaming_start(f->s), RL_ESTATE);
  char *message = rl_format("socket stream [0] at job.lua:3: ack: lines are acknowledged when they are in a log on "
                            "disk, and this job has none; %s",
                            way);
  assert_string_equal(rl_error_message(), message);
  rl_free(message);
  streams_end(f);
  close(s.fd);
  rl_log_set_level(RL_LOG_WARN);
}

static void without_a_log_it_does_not_start(void **state)
{
  streams f;
  begin(&f, NULL, 20, NULL, NULL);
  refused(&f, "give it a checkpoint directory");
  begin(&f, *state, 20, "rille.streaming.receiver.writeAheadLog.enable", "false");
  refused(&f, "leave rille.reliable and rille.streaming.receiver.writeAheadLog.enable on");
}

static void wrong_addresses_are_refused_at_once(void **state)
{
  streams f;
  begin(&f, *state, 20, NULL, NULL);
  rl_dstream *d = NULL;
  assert_int_equal(rl_source_ack_socket(f.s, "", 9999, NULL, &d), RL_EINVAL);
  assert_int_equal(rl_source_ack_socket(f.s, "localhost", 65536, NULL, &d), RL_EINVAL);
  streams_end(&f);
  rl_log_set_level(RL_LOG_WARN);
}

int main(void)
{
  rl_fs fs = rl_fs_system;
  fs.fdatasync = gated_fdatasync;
  rl_fs_set(&fs);
  const struct CMUnitTest tests[] = {
    in_a_folder(what_is_on_disk_is_acknowledged_to_a_silent_sender),
    in_a_folder(nothing_is_acknowledged_before_it_is_on_disk),
    in_a_folder(lines_are_counted_by_their_newlines),
    in_a_folder(lines_keep_their_order),
    in_a_folder(a_line_cut_off_comes_again),
    in_a_folder(a_new_connection_waits_for_what_is_on_its_way_to_disk),
    in_a_folder(a_new_connection_cuts_the_open_block),
    in_a_folder(who_sends_without_being_asked_is_sent_away),
    in_a_folder(a_line_too_long_is_refused_by_its_number),
    in_a_folder(the_position_comes_back_with_the_job),
    in_a_folder(a_sender_that_never_reads_is_only_told_the_newest),
    in_a_folder(a_stop_does_not_wait_for_a_sender_that_never_reads),
    in_a_folder(without_a_log_it_does_not_start),
    in_a_folder(wrong_addresses_are_refused_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
