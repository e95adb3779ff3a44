#include "source/io.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/side_thread.h"

#define END_NS INT64_C(10000000000)

struct rl_io {
  uv_loop_t loop;
  uv_async_t wake;
  rl_side_thread *thread;
  atomic_bool parted;   /* the second of thread and releaser to set it frees a loop that was left behind */
  pthread_mutex_t lock; /* guards all below */
  rl_io_call *first, **last;
  bool ends;
};

/* The one there is, with its users. */
static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;
static rl_io *shared;
static unsigned users;

static void run_calls(uv_async_t *wake)
{
  rl_io *io = wake->data;
  pthread_mutex_lock(&io->lock);
  while (io->first) {
    rl_io_call *call = io->first;
    io->first = call->next;
    if (!io->first) io->last = &io->first;
    call->queued = false;
    pthread_mutex_unlock(&io->lock);
    call->run(call);
    pthread_mutex_lock(&io->lock);
  }
  bool ends = io->ends;
  pthread_mutex_unlock(&io->lock);
  if (ends && !uv_is_closing((uv_handle_t *)wake)) uv_close((uv_handle_t *)wake, NULL);
}

static void io_free(rl_io *io)
{
  pthread_mutex_destroy(&io->lock);
  rl_free(io);
}

static void io_main(void *arg)
{
  rl_io *io = arg;
  uv_run(&io->loop, UV_RUN_DEFAULT);
  if (uv_loop_close(&io->loop) != 0) rl_err("the io loop ended with open handles");
  if (atomic_exchange(&io->parted, true)) io_free(io);
}

static rl_status fail_uv(const char *what, int err)
{
  return rl_fail(RL_EIO, "cannot start the io thread: %s: %s", what, uv_strerror(err));
}

static rl_status init_loop(rl_io *io)
{
  int err = uv_loop_init(&io->loop);
  if (err != 0) return fail_uv("no loop", err);
  err = uv_async_init(&io->loop, &io->wake, run_calls);
  if (err == 0) return RL_OK;
  uv_loop_close(&io->loop);
  return fail_uv("no handle", err);
}

static void close_loop(rl_io *io)
{
  uv_close((uv_handle_t *)&io->wake, NULL);
  uv_run(&io->loop, UV_RUN_DEFAULT);
  uv_loop_close(&io->loop);
}

static rl_status io_new(rl_io **out)
{
  rl_io *io = RL_NEW(rl_io);
  if (pthread_mutex_init(&io->lock, NULL) != 0) abort();
  io->last = &io->first;
  rl_status st = init_loop(io);
  if (st == RL_OK) {
    io->wake.data = io;
    st = rl_side_thread_start(io_main, io, "the io thread", &io->thread);
    if (st != RL_OK) close_loop(io);
  }
  if (st == RL_OK) {
    *out = io;
  } else {
    io_free(io);
  }
  return st;
}

rl_status rl_io_acquire(rl_io **out)
{
  pthread_mutex_lock(&shared_lock);
  rl_status st = shared ? RL_OK : io_new(&shared);
  if (st == RL_OK) users++;
  *out = shared;
  pthread_mutex_unlock(&shared_lock);
  return st;
}

static void end(rl_io *io)
{
  pthread_mutex_lock(&io->lock);
  io->ends = true;
  uv_async_send(&io->wake); /* with the lock, here and below: the loop then cannot end in between */
  pthread_mutex_unlock(&io->lock);
  if (rl_side_thread_end(io->thread, END_NS)) {
    io_free(io);
    return;
  }
  rl_warn("the io thread does not end (a name look-up hangs?); it is left behind");
  if (atomic_exchange(&io->parted, true)) io_free(io);
}

void rl_io_release(rl_io *io)
{
  pthread_mutex_lock(&shared_lock);
  bool last = --users == 0;
  if (last) shared = NULL;
  pthread_mutex_unlock(&shared_lock);
  if (last) end(io);
}

uv_loop_t *rl_io_loop(rl_io *io) { return &io->loop; }

void rl_io_post(rl_io *io, rl_io_call *call)
{
  pthread_mutex_lock(&io->lock);
  if (!call->queued) {
    call->queued = true;
    call->next = NULL;
    *io->last = call;
    io->last = &call->next;
    uv_async_send(&io->wake);
  }
  pthread_mutex_unlock(&io->lock);
}
