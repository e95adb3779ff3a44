/* Streaming's inputs. */
#include "base/mem.h"
#include "bind.h"
#include "receiver.h"
#include "run/streaming.h"
#include "source/sources.h"

#define PORT_MAX 65535

static int check_port(lua_State *L, int index)
{
  lua_Integer port = luaL_checkinteger(L, index);
  luaL_argcheck(L, port >= 1 && port <= PORT_MAX, index, "a port is a number from 1 to 65535");
  return (int)port;
}

/* Streaming:socket(host, port, site, ack) */
int rl_streaming_socket(lua_State *L)
{
  rl_streaming *s = rl_check_streaming(L, 1);
  const char *host = luaL_checkstring(L, 2), *site = luaL_optstring(L, 4, NULL);
  int port = check_port(L, 3);
  rl_dstream *d = NULL;
  rl_bind_check(L, lua_toboolean(L, 5) ? rl_source_ack_socket(s, host, port, site, &d)
                                       : rl_source_socket(s, host, port, site, &d));
  rl_push_dstream(L, 1, d);
  return 1;
}

/* Streaming:rawSocket(host, port, site) */
int rl_streaming_raw_socket(lua_State *L)
{
  rl_streaming *s = rl_check_streaming(L, 1);
  const char *host = luaL_checkstring(L, 2);
  rl_dstream *d = NULL;
  rl_bind_check(L, rl_source_raw_socket(s, host, check_port(L, 3), luaL_optstring(L, 4, NULL), &d));
  rl_push_dstream(L, 1, d);
  return 1;
}

/* --- files -------------------------------------------------------------------------------------------------------- */

typedef struct choice {
  const rl_callback *filter;
  const char *path;
  bool take;
} choice;

static int call_filter(lua_State *L)
{
  choice *c = lua_touserdata(L, 1);
  rl_callback_push(L, c->filter);
  lua_pushstring(L, c->path);
  lua_call(L, 1, 1);
  c->take = lua_toboolean(L, -1);
  return 0;
}

static rl_status on_filter(void *user, const char *path, bool *take)
{
  const rl_callback *filter = user;
  choice c = {.filter = filter, .path = path};
  rl_status st = rl_gate(filter->bind, call_filter, &c);
  *take = c.take;
  return st;
}

/* Streaming:files(spec) */
int rl_streaming_files(lua_State *L)
{
  static const char *const formats[] = {"text", "binary", NULL};
  rl_streaming *s = rl_check_streaming(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  rl_file_stream spec = {.path = rl_bind_text(L, 2, "path"), .new_files_only = rl_bind_flag(L, 2, "newFilesOnly")};
  luaL_argcheck(L, spec.path, 2, "field 'path' is needed");
  lua_Integer length = rl_bind_int(L, 2, "recordLength", 0);
  luaL_argcheck(L, length >= 0 && length <= INT32_MAX, 2, "field 'recordLength' is out of range");
  spec.record_length = (uint32_t)length;
  const char *site = rl_bind_text(L, 2, "site");
  lua_getfield(L, 2, "format");
  spec.format = luaL_checkoption(L, 3, "text", formats) == 0 ? RL_FILES_TEXT : RL_FILES_BINARY;
  if (lua_getfield(L, 2, "filter") != LUA_TNIL) {
    spec.filter = on_filter;
    spec.destroy = rl_callback_delete;
    spec.user = rl_callback_new(L, 4);
  }
  rl_dstream *d = NULL;
  rl_bind_check(L, rl_source_files(s, &spec, site, &d));
  rl_push_dstream(L, 1, d);
  return 1;
}

/* --- inputs computed by the driver -------------------------------------------------------------------------------- */

typedef struct driver_input {
  rl_input base;
  rl_input_class cls; /* its own, for the name */
  char *name;
  rl_callback *compute;
} driver_input;

typedef struct computation {
  const rl_callback *compute;
  int64_t time;
  rl_rdd *result; /* out: one reference, or NULL */
} computation;

static int call_compute(lua_State *L)
{
  computation *c = lua_touserdata(L, 1);
  rl_callback_push(L, c->compute);
  lua_pushinteger(L, c->time);
  lua_call(L, 1, 1);
  if (lua_isnil(L, -1)) return 0;
  if (!luaL_testudata(L, -1, RL_META_RDD))
    return luaL_error(L, "an input must give an RDD or nil; it gave a %s", luaL_typename(L, -1));
  c->result = rl_rdd_ref(rl_check_rdd(L, -1));
  return 0;
}

static rl_status input_compute(rl_input *self, int64_t time, rl_rdd **out, rl_input_info *info)
{
  (void)info;
  const rl_callback *compute = ((driver_input *)self)->compute;
  computation c = {.compute = compute, .time = time};
  rl_status st = rl_gate(compute->bind, call_compute, &c);
  *out = c.result;
  return st;
}

static void input_destroy(rl_input *self)
{
  driver_input *in = (driver_input *)self;
  rl_callback_delete(in->compute);
  rl_free(in->name);
  rl_free(in);
}

/* Streaming:input(name, compute, site[, repeats]): `repeats`: compute gives the same for a time whenever it is asked */
int rl_streaming_driver_input(lua_State *L)
{
  rl_streaming *s = rl_check_streaming(L, 1);
  const char *name = luaL_checkstring(L, 2);
  const char *site = luaL_optstring(L, 4, NULL);
  rl_callback *compute = rl_callback_new(L, 3);
  driver_input *in = RL_NEW(driver_input);
  in->compute = compute;
  in->name = rl_strdup(name);
  in->cls = (rl_input_class){
    .name = in->name, .compute = input_compute, .destroy = input_destroy, .repeats = lua_toboolean(L, 5)};
  in->base.cls = &in->cls;
  rl_dstream *d = NULL;
  rl_bind_check(L, rl_streaming_add_input(s, &in->base, site, &d));
  rl_push_dstream(L, 1, d);
  return 1;
}

/* --- receivers in Lua --------------------------------------------------------------------------------------------- */

static int add_receiver(lua_State *L, int definition, const rl_lua_receiver_spec *spec)
{
  rl_streaming *s = rl_check_streaming(L, 1);
  const rl_worker_config *config = rl_bind_config(L, rl_context_conf(rl_streaming_context(s)));
  int at = rl_streaming_keep_definition(L, 1, definition);
  rl_lua_receiver *r = rl_lua_receiver_new(config, spec);
  rl_dstream *d = NULL;
  rl_bind_check(L, rl_lua_receiver_add(r, s, &d));
  rl_streaming_keep_receiver(L, 1, at, r);
  rl_push_dstream(L, 1, d);
  return 1;
}

/* Streaming:receiver(definition, name, site) */
int rl_streaming_receiver(lua_State *L)
{
  rl_check_streaming(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  const rl_lua_receiver_spec spec = {.name = luaL_checkstring(L, 3), .site = luaL_optstring(L, 4, NULL)};
  return add_receiver(L, 2, &spec);
}

/* Streaming:socketConverter(host, port, converter, site) */
int rl_streaming_converter(lua_State *L)
{
  rl_check_streaming(L, 1);
  luaL_checktype(L, 4, LUA_TFUNCTION);
  const rl_lua_receiver_spec spec = {
    .name = "SocketReceiver",
    .site = luaL_optstring(L, 5, NULL),
    .host = luaL_checkstring(L, 2),
    .port = check_port(L, 3),
  };
  return add_receiver(L, 4, &spec);
}
