#include <errno.h>
#include <lauxlib.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "receiver_impl.h"

#define META "rille.Connection"
#define CONNECT_MS 30000
#define READ_BYTES ((size_t)64 << 10)

/* A connection is a userdata, so that it is closed whatever the converter does. */
typedef struct connection {
  rl_lua_receiver *receiver;
  int fd;
  rl_buf data;
  size_t at;       /* what of data was given out */
  size_t max_line;
  bool end;        /* nothing more comes */
  bool after_cr;   /* a line ended with \r; a \n that follows belongs to it */
} connection;

/* --- the socket: nothing here raises ------------------------------------------------------------------------------ */

/* Waits until the socket is ready; RL_ECANCELLED when the receiver is being stopped. */
static rl_status wait_ready(const connection *c, short events, int timeout_ms)
{
  struct pollfd fds[] = {{.fd = c->fd, .events = events}, {.fd = c->receiver->wake, .events = POLLIN}};
  int n;
  do n = poll(fds, 2, timeout_ms);
  while (n < 0 && errno == EINTR && !atomic_load(&c->receiver->stopping));
  const rl_lua_receiver *r = c->receiver;
  if (fds[1].revents || atomic_load(&r->stopping)) return rl_fail(RL_ECANCELLED, "the receiver is being stopped");
  if (n < 0) return rl_fail_errno("cannot wait for %s:%d", r->host, r->port);
  if (n == 0) return rl_fail(RL_ETIMEOUT, "%s:%d does not answer", r->host, r->port);
  return RL_OK;
}

static rl_status connect_to(connection *c, const struct addrinfo *to)
{
  const rl_lua_receiver *r = c->receiver;
  c->fd = socket(to->ai_family, to->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, to->ai_protocol);
  if (c->fd < 0) return rl_fail_errno("cannot make a socket for %s:%d", r->host, r->port);
  if (connect(c->fd, to->ai_addr, to->ai_addrlen) == 0) return RL_OK;
  if (errno != EINPROGRESS) return rl_fail_errno("cannot connect to %s:%d", r->host, r->port);
  rl_status st = wait_ready(c, POLLOUT, CONNECT_MS);
  if (st) return st;
  int error = 0;
  socklen_t n = sizeof error;
  if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0) errno = error;
  return errno == 0 ? RL_OK : rl_fail_errno("cannot connect to %s:%d", r->host, r->port);
}

static void disconnect(connection *c)
{
  if (c->fd >= 0) close(c->fd);
  c->fd = -1;
}

static rl_status connect_any(connection *c)
{
  char port[16];
  const rl_lua_receiver *r = c->receiver;
  snprintf(port, sizeof port, "%d", r->port);
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  struct addrinfo *list = NULL;
  int code = getaddrinfo(r->host, port, &hints, &list);
  if (code != 0) return rl_fail(RL_EIO, "cannot find the host %s: %s", r->host, gai_strerror(code));
  rl_status st = rl_fail(RL_EIO, "the host %s has no address", r->host);
  for (const struct addrinfo *a = list; a && st && st != RL_ECANCELLED; a = a->ai_next) {
    disconnect(c);
    st = connect_to(c, a);
  }
  freeaddrinfo(list);
  return st;
}

/* Reads what there is; a stop looks like the end of the connection. */
static rl_status fill(connection *c)
{
  const rl_lua_receiver *r = c->receiver;
  if (c->at > 0) {
    memmove(c->data.p, c->data.p + c->at, c->data.n - c->at);
    c->data.n -= c->at;
    c->at = 0;
  }
  rl_buf_reserve(&c->data, READ_BYTES);
  for (;;) {
    ssize_t n = recv(c->fd, c->data.p + c->data.n, READ_BYTES, 0);
    if (n >= 0) {
      c->data.n += (size_t)n;
      c->end = n == 0;
      return RL_OK;
    }
    if (errno != EAGAIN && errno != EINTR) return rl_fail_errno("cannot read from %s:%d", r->host, r->port);
    rl_status st = wait_ready(c, POLLIN, -1);
    c->end = st == RL_ECANCELLED;
    if (st) return c->end ? RL_OK : st;
  }
}

static void skip_lf(connection *c)
{
  if (!c->after_cr || c->at == c->data.n) return;
  if (c->data.p[c->at] == '\n') c->at++;
  c->after_cr = false;
}

/* The next line in data, which is filled as need be: false at the end. Its length without the line end, and with it. */
static rl_status next_line(connection *c, bool *found, size_t *n, size_t *whole)
{
  const rl_lua_receiver *r = c->receiver;
  size_t looked = 0;
  for (;;) {
    skip_lf(c);
    size_t have = c->data.n - c->at;
    while (looked < have && c->data.p[c->at + looked] != '\n' && c->data.p[c->at + looked] != '\r') looked++;
    *n = looked;
    *found = looked < have || (c->end && have > 0);
    if (*found) c->after_cr = looked < have && c->data.p[c->at + looked] == '\r';
    *whole = looked < have ? looked + 1 : looked;
    if (*found || c->end) return RL_OK;
    if (have > c->max_line)
      return rl_fail(RL_ELIMIT, "a line from %s:%d is longer than %zu bytes", r->host, r->port, c->max_line);
    rl_status st = fill(c);
    if (st) return st;
  }
}

/* --- what the converter sees -------------------------------------------------------------------------------------- */

static int raise(lua_State *L)
{
  lua_pushstring(L, rl_error_message());
  return lua_error(L);
}

static int read_line(lua_State *L, connection *c)
{
  bool found;
  size_t n, whole;
  if (next_line(c, &found, &n, &whole) != RL_OK) return raise(L);
  if (!found) return 0;
  lua_pushlstring(L, c->data.p + c->at, n);
  c->at += whole;
  return 1;
}

/* read(n) or read("l") */
static int read_some(lua_State *L)
{
  connection *c = lua_touserdata(L, lua_upvalueindex(1));
  if (lua_type(L, 1) == LUA_TSTRING && strcmp(lua_tostring(L, 1), "l") == 0) return read_line(L, c);
  lua_Integer most = luaL_checkinteger(L, 1);
  luaL_argcheck(L, most > 0, 1, "a number of bytes or \"l\" expected");
  skip_lf(c);
  while (c->data.n - c->at < (size_t)most && !c->end) {
    if (fill(c) != RL_OK) return raise(L);
    skip_lf(c);
  }
  size_t n = c->data.n - c->at;
  if (n == 0) return 0;
  if (n > (size_t)most) n = (size_t)most;
  lua_pushlstring(L, c->data.p + c->at, n);
  c->at += n;
  return 1;
}

static int connection_gc(lua_State *L)
{
  connection *c = luaL_checkudata(L, 1, META);
  disconnect(c);
  rl_buf_free(&c->data);
  c->at = 0;
  c->end = true;
  return 0;
}

static connection *new_connection(lua_State *L, rl_lua_receiver *r)
{
  connection *c = lua_newuserdatauv(L, sizeof *c, 0);
  const rl_conf *conf = rl_context_conf(rl_streaming_context(rl_receiver_streaming(r->receiver)));
  int64_t max_line = rl_conf_size(conf, "rille.streaming.receiver.maxRecordBytes");
  *c = (connection){.receiver = r, .fd = -1, .max_line = max_line > 0 ? (size_t)max_line : SIZE_MAX};
  if (luaL_newmetatable(L, META)) {
    lua_pushcfunction(L, connection_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, connection_gc);
    lua_setfield(L, -2, "__close");
  }
  lua_setmetatable(L, -2);
  return c;
}

/* Stores the records of the iterator at 3, 4, 5 (function, state, control). */
static void store_all(lua_State *L, rl_lua_receiver *r)
{
  while (!atomic_load(&r->stopping)) {
    lua_pushvalue(L, 3);
    lua_pushvalue(L, 4);
    lua_pushvalue(L, 5);
    lua_call(L, 2, LUA_MULTRET);
    int n = lua_gettop(L) - 5;
    if (n == 0 || lua_isnil(L, 6)) return;
    rl_lua_receiver_store(r, L, 6, n);
    lua_pushvalue(L, 6);
    lua_replace(L, 5);
    lua_settop(L, 5);
  }
}

int rl_lua_receiver_convert(lua_State *L)
{
  rl_lua_receiver *r = lua_touserdata(L, 1);
  connection *c = new_connection(L, r);
  lua_toclose(L, 2);
  if (connect_any(c) != RL_OK) return raise(L);
  rl_receiver_started(r->receiver);
  lua_rawgeti(L, LUA_REGISTRYINDEX, r->self);
  lua_pushvalue(L, 2);
  lua_pushcclosure(L, read_some, 1);
  lua_call(L, 1, 3);
  if (!lua_isfunction(L, 3))
    return luaL_error(L, "the converter must return an iterator; it returned a %s", luaL_typename(L, 3));
  store_all(L, r);
  return 0;
}
