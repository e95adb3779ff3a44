/* Sources over real sockets on the loopback. The test is the server; the source runs on the io thread. */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "engine.h"
#include "records.h"
#include "run/receiver.h"
#include "server.h"
#include "source/sources.h"
#include "streams.h"

#include <fcntl.h>

/* The context's side. */

static void begin(streams *f, int64_t batch_ms, const char *key, const char *value, const char *key2,
                  const char *value2)
{
  const char *settings[] = {"rille.streaming.receiverRestartDelay", "10ms", key, value, key2, value2, NULL};
  rl_log_set_level(RL_LOG_OFF);
  streams_begin(f, batch_ms, settings);
}

static void start_socket(streams *f, int port)
{
  rl_dstream *d = NULL;
  assert_int_equal(rl_source_socket(f->s, "127.0.0.1", port, NULL, &d), RL_OK);
  streams_output(f, d);
  assert_int_equal(rl_streaming_start(f->s), RL_OK);
}

static void end(streams *f, server *s)
{
  assert_int_equal(rl_streaming_stop(f->s, true, true), RL_OK);
  assert_int_equal(f->counted, f->seen);
  streams_end(f);
  if (s) close(s->fd);
  rl_log_set_level(RL_LOG_WARN);
}

/* Serves the driver until done(f), looking again every millisecond: for what is not told to the driver. */
static void watch(streams *f, bool (*done)(void *f))
{
  int64_t until = rl_mono_ns() + PATIENCE_MS * INT64_C(1000000);
  while (!rl_driver_serve(rl_context_driver(f->c), done, f, 1000000))
    if (rl_mono_ns() > until) fail_msg("nothing more happens; receiver: %s", rl_buf_cstr(&f->receiver));
}

static bool has_received(void *user) { return rl_tracker_has_unallocated(rl_streaming_tracker(((streams *)user)->s)); }

static bool has_error(void *user) { return strstr(rl_buf_cstr(&((streams *)user)->receiver), "error(") != NULL; }

static bool has_two_errors(void *user)
{
  const char *first = strstr(rl_buf_cstr(&((streams *)user)->receiver), "error(");
  return first && strstr(first + 1, "error(");
}

static void lines_come_as_they_were_sent(void **state)
{
  (void)state;
  streams f;
  server s = open_server();
  begin(&f, 20, NULL, NULL, NULL, NULL);
  start_socket(&f, s.port);
  int fd = accept_one(&s);
  send_text(fd, "one\ntwo\r\nthr");
  send_text(fd, "ee\r\n\ngr\xc3\xbc\xc3\x9f\xff\x01\nno line end");
  close(fd);
  streams_until_records(&f, 6);
  assert_string_equal(rl_buf_cstr(&f.records), "one\ntwo\nthree\n\ngr\xc3\xbc\xc3\x9f\xff\x01\nno line end\n");
  end(&f, &s);
}

static void a_connection_that_ends_is_made_anew(void **state)
{
  (void)state;
  streams f;
  server s = open_server();
  begin(&f, 20, NULL, NULL, NULL, NULL);
  start_socket(&f, s.port);
  int fd = accept_one(&s);
  send_text(fd, "first\nopen");
  close(fd);
  fd = accept_one(&s);
  send_text(fd, "second\n");
  streams_until_records(&f, 3);
  assert_string_equal(rl_buf_cstr(&f.records), "first\nopen\nsecond\n");
  char *expected = rl_format("started error(the peer 127.0.0.1:%d closed the connection; trying again in 0.01 s) "
                             "stopped started ",
                             s.port);
  assert_string_equal(rl_buf_cstr(&f.receiver), expected);
  rl_free(expected);
  close(fd);
  end(&f, &s);
}

static void a_connection_that_breaks_is_made_anew(void **state)
{
  (void)state;
  streams f;
  server s = open_server();
  begin(&f, 20, NULL, NULL, NULL, NULL);
  start_socket(&f, s.port);
  int fd = accept_one(&s);
  reset_connection(fd);
  streams_until(&f, has_error);
  assert_non_null(strstr(rl_buf_cstr(&f.receiver), "connection reset by peer; trying again"));
  fd = accept_one(&s);
  send_text(fd, "again\n");
  streams_until_records(&f, 1);
  close(fd);
  end(&f, &s);
}

static void each_refused_connection_is_reported(void **state)
{
  (void)state;
  streams f;
  server s = bind_server();
  begin(&f, 20, NULL, NULL, NULL, NULL);
  start_socket(&f, s.port);
  streams_until(&f, has_two_errors);
  char *expected = rl_format("started error(cannot connect to 127.0.0.1:%d: connection refused; "
                             "trying again in 0.01 s)",
                             s.port);
  char *twice = rl_format("%s stopped %s", expected, expected);
  if (strncmp(rl_buf_cstr(&f.receiver), twice, strlen(twice)) != 0) fail_msg("%s", rl_buf_cstr(&f.receiver));
  rl_free(twice);
  rl_free(expected);
  assert_int_equal(listen(s.fd, 8), 0);
  int fd = accept_one(&s);
  send_text(fd, "at last\n");
  streams_until_records(&f, 1);
  assert_string_equal(rl_buf_cstr(&f.records), "at last\n");
  close(fd);
  end(&f, &s);
}

static void a_name_that_cannot_be_is_reported(void **state)
{
  (void)state;
  streams f;
  begin(&f, 20, NULL, NULL, NULL, NULL);
  char name[400];
  memset(name, 'x', sizeof name - 1);
  name[sizeof name - 1] = '\0';
  rl_dstream *d = NULL;
  assert_int_equal(rl_source_socket(f.s, name, 9999, NULL, &d), RL_OK);
  streams_output(&f, d);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  streams_until(&f, has_two_errors);
  assert_non_null(strstr(rl_buf_cstr(&f.receiver), "error(cannot connect to xxx"));
  end(&f, NULL);
}

static void wrong_addresses_are_refused_at_once(void **state)
{
  (void)state;
  streams f;
  begin(&f, 1000, "clock", "manual", NULL, NULL);
  rl_dstream *d = NULL;
  assert_int_equal(rl_source_socket(f.s, "", 9999, NULL, &d), RL_EINVAL);
  assert_int_equal(rl_source_socket(f.s, "localhost", 0, NULL, &d), RL_EINVAL);
  assert_int_equal(rl_source_raw_socket(f.s, "localhost", 65536, NULL, &d), RL_EINVAL);
  assert_string_equal(rl_error_message(), "port 65536 is not between 1 and 65535");
  int destroyed = 0;
  assert_int_equal(rl_source_socket_bytes(f.s, "localhost", -1, NULL, &destroyed, NULL, NULL, &d), RL_EINVAL);
  streams_end(&f);
  rl_log_set_level(RL_LOG_WARN);
}

static void one_endless_line_is_cut(void **state)
{
  (void)state;
  streams f;
  server s = open_server();
  begin(&f, 20, "rille.streaming.receiver.maxRecordBytes", "1000", NULL, NULL);
  start_socket(&f, s.port);
  int fd = accept_one(&s);
  char line[2501];
  memset(line, 'x', sizeof line - 1);
  line[sizeof line - 1] = '\0';
  send_text(fd, line);
  close(fd);
  streams_until_records(&f, 3);
  char *expected = rl_format("%.1000s\n%.1000s\n%.500s\n", line, line, line);
  assert_string_equal(rl_buf_cstr(&f.records), expected);
  rl_free(expected);
  assert_non_null(strstr(rl_buf_cstr(&f.receiver), "started error(a line is longer than 1000 bytes"));
  end(&f, &s);
}

/* Sends numbered lines as fast as they are taken. */

#define MANY_LINES 200000

static void *send_many(void *arg)
{
  rl_buf text = {0};
  for (int i = 0; i < MANY_LINES; i++) rl_buf_printf(&text, "line number %d\n", i);
  send_bytes(*(int *)arg, text.p, text.n);
  rl_buf_free(&text);
  close(*(int *)arg);
  return NULL;
}

static void a_fast_sender_is_held_back_and_loses_nothing(void **state)
{
  (void)state;
  streams f;
  server s = open_server();
  begin(&f, 20, "rille.streaming.receiver.maxBufferedBytes", "256k", NULL, NULL);
  start_socket(&f, s.port);
  int fd = accept_one(&s);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, send_many, &fd), 0);
  streams_until_records(&f, MANY_LINES);
  pthread_join(thread, NULL);
  rl_buf expected = {0};
  for (int i = 0; i < MANY_LINES; i++) rl_buf_printf(&expected, "line number %d\n", i);
  assert_int_equal(f.records.n, expected.n);
  assert_memory_equal(f.records.p, expected.p, expected.n);
  rl_buf_free(&expected);
  end(&f, &s);
}

/* Is there room to send within this time? */
static bool can_send(int fd, int ms)
{
  struct pollfd p = {.fd = fd, .events = POLLOUT};
  return poll(&p, 1, ms) == 1;
}

static void without_batches_the_sender_must_wait(void **state)
{
  (void)state;
  streams f;
  server s = open_server();
  begin(&f, 1000, "clock", "manual", "rille.streaming.receiver.maxBufferedBytes", "1m");
  start_socket(&f, s.port);
  int fd = accept_one(&s);
  assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
  char lines[4096];
  memset(lines, 'x', sizeof lines);
  for (size_t i = 63; i < sizeof lines; i += 64) lines[i] = '\n';
  int64_t sent = 0;
  while (can_send(fd, 200) || !has_received(&f)) {
    ssize_t n = send(fd, lines, sizeof lines, MSG_NOSIGNAL);
    assert_true(n > 0 || errno == EAGAIN);
    if (n > 0) sent += n;
    assert_true(sent < INT64_C(100) << 20);
  }
  assert_int_equal(rl_streaming_advance(f.s, 1000), RL_OK);
  assert_true(f.seen > 0);
  for (int i = 0; i < 1000 && !can_send(fd, 20); i++) assert_int_equal(rl_streaming_advance(f.s, 1000), RL_OK);
  assert_true(can_send(fd, 0)); /* let go again */
  close(fd);
  end(&f, &s);
}

static void a_graceful_stop_keeps_what_was_received(void **state)
{
  (void)state;
  streams f;
  server s = open_server();
  begin(&f, 1000, "clock", "manual", NULL, NULL);
  start_socket(&f, s.port);
  int fd = accept_one(&s);
  send_text(fd, "a line and the beginning of ano");
  watch(&f, has_received);
  assert_int_equal(rl_streaming_stop(f.s, true, true), RL_OK);
  assert_string_equal(rl_buf_cstr(&f.records), "a line and the beginning of ano\n");
  char c;
  assert_int_equal(read(fd, &c, 1), 0); /* closed */
  close(fd);
  streams_end(&f);
  close(s.fd);
  rl_log_set_level(RL_LOG_WARN);
}

/* How many there are, and how many of them a program started from here would inherit. */
typedef struct descriptors {
  int open, inherited;
} descriptors;

static descriptors count_descriptors(void)
{
  DIR *d = opendir("/proc/self/fd");
  assert_non_null(d);
  descriptors n = {0, 0};
  for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
    if (e->d_name[0] == '.') continue;
    int flags = fcntl((int)strtol(e->d_name, NULL, 10), F_GETFD);
    if (flags < 0) continue; /* closed meanwhile */
    n.open++;
    n.inherited += !(flags & FD_CLOEXEC);
  }
  closedir(d);
  return n;
}

/* Started and stopped at once, in whatever state the connection is then; also several sources on one io thread. */
static void stopping_at_any_moment_leaves_nothing(void **state)
{
  (void)state;
  server refused = bind_server(), good = open_server();
  descriptors before = count_descriptors();
  for (int round = 0; round < 20; round++) {
    streams f;
    begin(&f, 50, NULL, NULL, NULL, NULL);
    const int ports[] = {refused.port, good.port, good.port};
    for (size_t i = 0; i < 3; i++) {
      rl_dstream *d = NULL;
      assert_int_equal(rl_source_socket(f.s, "127.0.0.1", ports[i], NULL, &d), RL_OK);
      streams_output(&f, d);
    }
    assert_int_equal(rl_streaming_start(f.s), RL_OK);
    if (round % 2) {
      int a = accept_one(&good), b = accept_one(&good);
      assert_int_equal(count_descriptors().inherited, before.inherited);
      close(a);
      close(b);
    }
    assert_int_equal(rl_streaming_stop(f.s, true, false), RL_OK);
    streams_end(&f);
    struct pollfd p = {.fd = good.fd, .events = POLLIN};
    while (poll(&p, 1, 0) == 1) close(accept(good.fd, NULL, NULL)); /* connections that came too late */
  }
  assert_int_equal(count_descriptors().open, before.open);
  close(refused.fd);
  close(good.fd);
  rl_log_set_level(RL_LOG_WARN);
}

/* Frames. */

static void send_frame(int fd, const char *text)
{
  rl_value v = rl_str(text, strlen(text));
  rl_chunk *c = records_one(&v, 1);
  rl_buf b = {0};
  rl_buf_add(&b, "\0\0\0\0", 4);
  rl_chunk_encode(c, &b);
  b.p[2] = (char)((b.n - 4) >> 8);
  b.p[3] = (char)((b.n - 4) & 0xff);
  send_bytes(fd, b.p, b.n);
  rl_buf_free(&b);
  rl_chunk_unref(c);
}

static void frames_become_blocks(void **state)
{
  (void)state;
  streams f;
  server s = open_server();
  begin(&f, 20, NULL, NULL, NULL, NULL);
  rl_dstream *d = NULL;
  assert_int_equal(rl_source_raw_socket(f.s, "127.0.0.1", s.port, NULL, &d), RL_OK);
  streams_output(&f, d);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  int fd = accept_one(&s);
  send_frame(fd, "one");
  send_frame(fd, "two");
  send_text(fd, "GET / HTTP/1.1\r\n\r\n");
  close(accept_one(&s)); /* the source gave the first connection up */
  int again = accept_one(&s);
  send_frame(again, "three");
  streams_until_records(&f, 3);
  assert_string_equal(rl_buf_cstr(&f.records), "one\ntwo\nthree\n");
  assert_non_null(strstr(rl_buf_cstr(&f.receiver), "error(frame 3 is 1195725856 bytes long, more than the 134217728 "
                                                   "allowed; the connection to 127.0.0.1:"));
  close(fd);
  close(again);
  end(&f, &s);
}

static void a_frame_cut_short_is_reported(void **state)
{
  (void)state;
  streams f;
  server s = open_server();
  begin(&f, 20, NULL, NULL, NULL, NULL);
  rl_dstream *d = NULL;
  assert_int_equal(rl_source_raw_socket(f.s, "127.0.0.1", s.port, NULL, &d), RL_OK);
  streams_output(&f, d);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  int fd = accept_one(&s);
  send_bytes(fd, "\0\0\0\7ab", 6);
  close(fd);
  streams_until(&f, has_error);
  assert_non_null(strstr(rl_buf_cstr(&f.receiver), "started error(the connection ended in the middle of a frame"));
  end(&f, &s);
}

/* A converter: what comes up to each ';' is a record; what is left at a connection's end goes with "end:" before it. A
 * '!' makes it fail. */

typedef struct converter {
  rl_buf open;
  int destroyed;
} converter;

static rl_status store_text(rl_receiver *r, const char *p, size_t n)
{
  rl_value v = rl_str(p, n);
  return rl_receiver_store(r, &v, 1);
}

static rl_status convert(void *user, rl_receiver *r, const char *p, size_t n)
{
  converter *c = user;
  rl_status st = RL_OK;
  if (n == 0) {
    char *last = rl_format("end:%s", rl_buf_cstr(&c->open));
    st = store_text(r, last, strlen(last));
    rl_free(last);
    rl_buf_clear(&c->open);
  }
  for (size_t i = 0; i < n && st == RL_OK; i++) {
    if (p[i] == '!') return rl_fail(RL_EUSER, "told to fail");
    if (p[i] != ';') {
      rl_buf_putc(&c->open, p[i]);
      continue;
    }
    st = store_text(r, c->open.p, c->open.n);
    rl_buf_clear(&c->open);
  }
  return st;
}

static void destroy_converter(void *user)
{
  converter *c = user;
  rl_buf_free(&c->open);
  c->destroyed++;
}

static void start_converter(streams *f, int port, converter *c)
{
  rl_dstream *d = NULL;
  assert_int_equal(rl_source_socket_bytes(f->s, "127.0.0.1", port, convert, c, destroy_converter, NULL, &d), RL_OK);
  streams_output(f, d);
  assert_int_equal(rl_streaming_start(f->s), RL_OK);
}

static void a_converter_gets_each_connection_and_its_end(void **state)
{
  (void)state;
  streams f;
  server s = open_server();
  converter c = {0};
  begin(&f, 20, NULL, NULL, NULL, NULL);
  start_converter(&f, s.port, &c);
  int fd = accept_one(&s);
  send_text(fd, "one;two");
  close(fd);
  fd = accept_one(&s);
  send_text(fd, "three;four!never;");
  int next = accept_one(&s);
  send_text(next, "five;");
  streams_until_records(&f, 5);
  assert_string_equal(rl_buf_cstr(&f.records), "one\nend:two\nthree\nend:four\nfive\n");
  assert_non_null(strstr(rl_buf_cstr(&f.receiver), "error(told to fail; the connection to 127.0.0.1:"));
  close(fd);
  close(next);
  end(&f, &s);
  assert_int_equal(c.destroyed, 1);
}

static void *send_many_records(void *arg)
{
  rl_buf text = {0};
  for (int i = 0; i < MANY_LINES; i++) rl_buf_printf(&text, "record number %d;", i);
  send_bytes(*(int *)arg, text.p, text.n);
  rl_buf_free(&text);
  return NULL;
}

static void a_slow_converter_holds_the_sender_back(void **state)
{
  (void)state;
  streams f;
  server s = open_server();
  converter c = {0};
  begin(&f, 20, "rille.streaming.receiver.maxBufferedBytes", "1m", NULL, NULL);
  start_converter(&f, s.port, &c);
  int fd = accept_one(&s);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, send_many_records, &fd), 0);
  streams_until_records(&f, MANY_LINES);
  pthread_join(thread, NULL);
  rl_buf expected = {0};
  for (int i = 0; i < MANY_LINES; i++) rl_buf_printf(&expected, "record number %d\n", i);
  assert_int_equal(f.records.n, expected.n);
  assert_memory_equal(f.records.p, expected.p, expected.n);
  rl_buf_free(&expected);
  close(fd);
  end(&f, &s);
}

static bool converter_waits(void *user) { return ((streams *)user)->limit-- == 0 && has_received(user); }

static void a_converter_that_waits_is_let_go_by_the_stop(void **state)
{
  (void)state;
  streams f;
  server s = open_server();
  converter c = {0};
  begin(&f, 1000, "clock", "manual", "rille.streaming.receiver.maxBufferedBytes", "100");
  start_converter(&f, s.port, &c);
  int fd = accept_one(&s);
  for (int i = 0; i < 100; i++) send_text(fd, "a record;");
  f.limit = 10; /* a few looks later it surely waits; if not, the stop finds it at work, which must do as well */
  watch(&f, converter_waits);
  assert_int_equal(rl_streaming_stop(f.s, true, false), RL_OK);
  streams_end(&f);
  assert_int_equal(c.destroyed, 1);
  close(fd);
  close(s.fd);
  rl_log_set_level(RL_LOG_WARN);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(lines_come_as_they_were_sent),
    cmocka_unit_test(a_connection_that_ends_is_made_anew),
    cmocka_unit_test(a_connection_that_breaks_is_made_anew),
    cmocka_unit_test(each_refused_connection_is_reported),
    cmocka_unit_test(a_name_that_cannot_be_is_reported),
    cmocka_unit_test(wrong_addresses_are_refused_at_once),
    cmocka_unit_test(one_endless_line_is_cut),
    cmocka_unit_test(a_fast_sender_is_held_back_and_loses_nothing),
    cmocka_unit_test(without_batches_the_sender_must_wait),
    cmocka_unit_test(a_graceful_stop_keeps_what_was_received),
    cmocka_unit_test(stopping_at_any_moment_leaves_nothing),
    cmocka_unit_test(frames_become_blocks),
    cmocka_unit_test(a_frame_cut_short_is_reported),
    cmocka_unit_test(a_converter_gets_each_connection_and_its_end),
    cmocka_unit_test(a_slow_converter_holds_the_sender_back),
    cmocka_unit_test(a_converter_that_waits_is_let_go_by_the_stop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
