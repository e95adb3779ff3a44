#include "sink/kafka_txn.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "sink/kafka_line.h"

#define SLICE_MS 500    /* how long one call to librdkafka may last, between looks at whether the task was cancelled */
#define BACKOFF_MS 250  /* before the first try that comes after another, four times as much before each one behind it */
#define BACKOFFS 3      /* so often */
#define START_MS 5000   /* how long a start waits for the brokers */
#define GOODBYE_MS 2000 /* for undoing what is open when the job ends */
#define MARK "rille 1 epoch=%" PRId64 " time=%" PRId64

struct rl_kafka_txn {
  _Atomic uint32_t refs;
  rl_kafka_conf *conf, *reads; /* of the producer; of the consumer that asks what is on record */
  rl_kafka_health *health;
  char *id, *marker;
  int64_t patience_ns; /* from the begin of a task that begins or ends; 0: no limit */

  /* Of the batch at hand: written between its jobs. */
  int64_t epoch;
  rl_kafka_txn_offset *offsets; /* owned */
  size_t noffsets;

  /* Taken for writing by beginning and ending, for reading by those that send. */
  pthread_rwlock_t lock;
  int64_t since_ns;     /* the begin of that task */
  rl_kafka_line *line;  /* NULL: none yet, or it was of no more use */
  uint64_t transaction; /* number of the one that is open, or was */
  bool open;
  bool asked;           /* what is on record, since the line is there */
  unsigned tries;       /* of the batch at hand that failed and were worth another */
  bool fenced;          /* another process has taken over: for ever */
  atomic_bool sent, again;
  _Atomic int64_t newest, newest_epoch; /* on record; RL_NO_TIME: none */
};

/* Errors ----------------------------------------------------------------------------------------------------------- */

static void forget_line(rl_kafka_txn *t)
{
  rl_kafka_line_unref(t->line);
  t->line = NULL;
  t->open = t->asked = false;
}

static bool is_fenced(rd_kafka_resp_err_t err)
{
  return err == RD_KAFKA_RESP_ERR__FENCED || err == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
         err == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
}

static rl_status fail_fenced(rl_kafka_txn *t)
{
  t->fenced = true;
  atomic_store(&t->again, false);
  rl_fail(RL_ESTATE,
          "another process writes to Kafka as '%s' and has taken over, or a batch took longer than "
          "transaction.timeout.ms; run the job once, or give it another appName",
          t->id);
  return RL_ESTATE;
}

/* Undoes what is open, and keeps the producer if that works. */
static void undo(rl_kafka_txn *t, int timeout_ms)
{
  if (!t->line || !t->open) return;
  rd_kafka_error_t *e = rd_kafka_abort_transaction(t->line->rk, timeout_ms);
  if (e) forget_line(t);
  rd_kafka_error_destroy(e);
  t->open = false;
}

/* What ends this try: an error that requires an abort leaves the producer usable; after any other nobody knows what has
 * become of the transaction, and the next producer finds out. Frees e. */
static rl_status give_up(rl_kafka_txn *t, rd_kafka_error_t *e, const char *what)
{
  rd_kafka_resp_err_t err = rd_kafka_error_code(e);
  if (rd_kafka_error_is_fatal(e) && t->line) {
    char text[256];
    rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(t->line->rk, text, sizeof text);
    if (fatal) err = fatal;
  }
  rl_status st = RL_EIO;
  if (is_fenced(err)) {
    st = fail_fenced(t);
    forget_line(t);
  } else {
    char *reason = rl_kafka_health_reason(t->health);
    rl_fail(st, "%s at %s, as '%s': %s%s", what, rl_kafka_conf_brokers(t->conf), t->id, rd_kafka_error_string(e),
            reason);
    rl_free(reason);
    atomic_store(&t->again, !rd_kafka_error_is_fatal(e));
    rl_error_set_retriable(false);
    if (!rd_kafka_error_txn_requires_abort(e)) forget_line(t); /* else the next begin undoes it */
  }
  rd_kafka_error_destroy(e);
  return st;
}

static bool is_late(const rl_kafka_txn *t)
{
  return t->patience_ns > 0 && rl_mono_ns() - t->since_ns > t->patience_ns;
}

/* A call that may be repeated with the same arguments while its error is retriable. */
typedef rd_kafka_error_t *step(rl_kafka_txn *t, void *with);

static rl_status repeat(rl_kafka_txn *t, const rl_task *task, step *f, void *with, const char *what)
{
  for (;;) {
    rd_kafka_error_t *e = f(t, with);
    if (!e) return RL_OK;
    rl_status st = rl_task_check(task);
    if (st != RL_OK) {
      rd_kafka_error_destroy(e);
      forget_line(t);
      return st;
    }
    if (!rd_kafka_error_is_retriable(e) || is_late(t)) return give_up(t, e, what);
    /* some fail at once */
    if (rd_kafka_error_code(e) != RD_KAFKA_RESP_ERR__TIMED_OUT) rd_kafka_poll(t->line->rk, SLICE_MS / 5);
    rd_kafka_error_destroy(e);
  }
}

/* What is on record ------------------------------------------------------------------------------------------------ */

static void read_mark(rl_kafka_txn *t, const rd_kafka_topic_partition_t *p)
{
  int64_t epoch, time;
  char *text = rl_strndup(p->metadata ? p->metadata : "", p->metadata ? p->metadata_size : 0);
  if (sscanf(text, "rille 1 epoch=%" SCNd64 " time=%" SCNd64, &epoch, &time) == 2) {
    atomic_store(&t->newest_epoch, epoch);
    atomic_store(&t->newest, time);
  } else if (p->offset >= 0) {
    rl_warn("group '%s' in Kafka has an offset of topic %s that is not of a job: '%s'", t->id, t->marker, text);
  }
  rl_free(text);
}

static rd_kafka_error_t *ask_mark(rl_kafka_txn *t, void *with)
{
  rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_add(list, t->marker, 0);
  rd_kafka_resp_err_t err = rd_kafka_committed(with, list, SLICE_MS);
  if (!err) err = p->err;
  if (!err) read_mark(t, p);
  rd_kafka_topic_partition_list_destroy(list);
  /* Whether it is worth another try is only told of calls of producers. Asking again does no harm. */
  return err ? rd_kafka_error_new(RD_KAFKA_RESP_ERR__TIMED_OUT, "%s", rd_kafka_err2str(err)) : NULL;
}

static rl_status find_newest(rl_kafka_txn *t, const rl_task *task)
{
  rd_kafka_t *rk = NULL;
  rl_status st = rl_kafka_client_new(t->reads, RL_KAFKA_ASK, t->health, NULL, &rk);
  rd_kafka_error_t *e = NULL;
  while (st == RL_OK && (e = ask_mark(t, rk))) {
    st = rl_task_check(task);
    if (st == RL_OK && is_late(t)) {
      st = rl_fail(RL_EIO, "what '%s' has written to Kafka cannot be asked at %s: %s", t->id,
                   rl_kafka_conf_brokers(t->conf), rd_kafka_error_string(e));
    }
    rd_kafka_error_destroy(e);
  }
  if (rk) rd_kafka_destroy(rk);
  return st;
}

/* Beginning -------------------------------------------------------------------------------------------------------- */

static rd_kafka_error_t *init(rl_kafka_txn *t, void *with)
{
  (void)with;
  return rd_kafka_init_transactions(t->line->rk, SLICE_MS);
}

/* First the id is taken over, which waits for what another process has under way; what is on record is settled then. */
static rl_status open_line(rl_kafka_txn *t, const rl_task *task)
{
  bool taken_over = t->line; /* at the start */
  rl_status st = taken_over ? RL_OK : rl_kafka_line_new(t->conf, RL_KAFKA_TRANSACT, t->health, &t->line);
  if (st == RL_OK && !taken_over) st = repeat(t, task, init, NULL, "transactions cannot be had of Kafka");
  if (st == RL_OK) st = find_newest(t, task);
  if (st != RL_OK) forget_line(t);
  t->asked = st == RL_OK;
  return st;
}

/* Frees e. */
static rl_status refused(rl_kafka_txn *t, rd_kafka_error_t *e)
{
  char text[256] = "";
  rd_kafka_resp_err_t err = rd_kafka_fatal_error(t->line->rk, text, sizeof text);
  const char *why = text[0] ? text : rd_kafka_error_string(e);
  if (err == RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT) {
    rl_fail(RL_EINVAL, "Kafka at %s takes no transaction.timeout.ms of %" PRId64 ", as it is above the brokers' "
            "transaction.max.timeout.ms: set a lower one for this output, or raise theirs",
            rl_kafka_conf_brokers(t->conf), rl_kafka_conf_number(t->conf, "transaction.timeout.ms"));
  } else {
    rl_fail(RL_EINVAL, "Kafka at %s gives no transactions to '%s': %s", rl_kafka_conf_brokers(t->conf), t->id, why);
  }
  rd_kafka_error_destroy(e);
  forget_line(t);
  return RL_EINVAL;
}

/* NULL: the id is ours. */
static rd_kafka_error_t *take_over(rl_kafka_txn *t)
{
  int64_t until = rl_mono_ns() + (int64_t)START_MS * 1000000;
  rd_kafka_error_t *e;
  while ((e = init(t, NULL)) && !rd_kafka_error_is_fatal(e) && rl_mono_ns() < until) {
    if (rd_kafka_error_code(e) != RD_KAFKA_RESP_ERR__TIMED_OUT) rd_kafka_poll(t->line->rk, SLICE_MS / 5);
    rd_kafka_error_destroy(e);
  }
  return e;
}

rl_status rl_kafka_txn_start(rl_kafka_txn *t)
{
  pthread_rwlock_wrlock(&t->lock);
  rl_status st = t->line ? RL_OK : rl_kafka_line_new(t->conf, RL_KAFKA_TRANSACT, t->health, &t->line);
  rd_kafka_error_t *e = st == RL_OK ? take_over(t) : NULL;
  if (e && rd_kafka_error_is_fatal(e)) {
    st = refused(t, e);
  } else if (e) {
    char *reason = rl_kafka_health_reason(t->health);
    rl_warn("Kafka at %s gives no transactions to '%s' yet; the first batch waits for that%s",
            rl_kafka_conf_brokers(t->conf), t->id, reason);
    rl_free(reason);
    rd_kafka_error_destroy(e);
    forget_line(t);
  }
  pthread_rwlock_unlock(&t->lock);
  return st;
}

/* A coordinator that moves between brokers refuses at once, for seconds. */
static rl_status back_off(rl_kafka_txn *t, const rl_task *task)
{
  static const struct timespec slice = {.tv_nsec = 50 * 1000 * 1000};
  if (!atomic_load(&t->again)) t->tries = 0;
  else if (t->tries < BACKOFFS) t->tries++;
  if (t->tries == 0) return RL_OK;
  int64_t until = rl_mono_ns() + ((int64_t)BACKOFF_MS << (2 * (t->tries - 1))) * 1000000;
  rl_status st = RL_OK;
  while (st == RL_OK && rl_mono_ns() < until) {
    nanosleep(&slice, NULL);
    st = rl_task_check(task);
  }
  return st;
}

static rl_status begin(rl_kafka_txn *t, const rl_task *task)
{
  if (t->fenced || (t->line && is_fenced(rd_kafka_fatal_error(t->line->rk, NULL, 0)))) return fail_fenced(t);
  t->transaction++;
  undo(t, GOODBYE_MS);
  rl_status st = back_off(t, task);
  if (st != RL_OK) return st;
  atomic_store(&t->again, false);
  atomic_store(&t->sent, false);
  if (!t->line || !t->asked) st = open_line(t, task);
  if (st != RL_OK || rl_kafka_txn_has(t, task->batch_time)) return st;
  rd_kafka_error_t *e = rd_kafka_begin_transaction(t->line->rk);
  if (e) return give_up(t, e, "a transaction cannot begin in Kafka");
  t->open = true;
  return RL_OK;
}

/* Ending ----------------------------------------------------------------------------------------------------------- */

typedef struct group_offsets {
  const char *group;
  rd_kafka_topic_partition_list_t *list;
} group_offsets;

static const char *group_of(const rl_kafka_txn *t, const rl_kafka_txn_offset *o) { return o->group ? o->group : t->id; }

static void collect(const rl_kafka_txn *t, group_offsets *g)
{
  for (size_t i = 0; i < t->noffsets; i++) {
    const rl_kafka_txn_offset *o = &t->offsets[i];
    if (strcmp(group_of(t, o), g->group) != 0) continue;
    rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_find(g->list, o->topic, o->partition);
    if (!p) p = rd_kafka_topic_partition_list_add(g->list, o->topic, o->partition);
    p->offset = o->offset;
  }
}

/* The mark: on an offset of its own, or of a source that is the marker, too. */
static void add_mark(const rl_kafka_txn *t, rd_kafka_topic_partition_list_t *list, int64_t time)
{
  rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_find(list, t->marker, 0);
  if (!p) {
    p = rd_kafka_topic_partition_list_add(list, t->marker, 0);
    p->offset = 0;
  }
  char *text = rl_format(MARK, t->epoch, time);
  p->metadata_size = strlen(text);
  p->metadata = malloc(p->metadata_size + 1); /* librdkafka's to free */
  if (p->metadata) memcpy(p->metadata, text, p->metadata_size + 1);
  else p->metadata_size = 0;
  rl_free(text);
}

static rd_kafka_error_t *send_offsets(rl_kafka_txn *t, void *with)
{
  const group_offsets *g = with;
  rd_kafka_consumer_group_metadata_t *about = rd_kafka_consumer_group_metadata_new(g->group);
  rd_kafka_error_t *e = rd_kafka_send_offsets_to_transaction(t->line->rk, g->list, about, SLICE_MS);
  rd_kafka_consumer_group_metadata_destroy(about);
  return e;
}

static rl_status send_group(rl_kafka_txn *t, const rl_task *task, const char *group)
{
  group_offsets g = {group, rd_kafka_topic_partition_list_new(4)};
  collect(t, &g);
  if (group == t->id) add_mark(t, g.list, task->batch_time);
  rl_status st = repeat(t, task, send_offsets, &g, "offsets cannot be put into a transaction of Kafka");
  rd_kafka_topic_partition_list_destroy(g.list);
  return st;
}

static bool is_first_of_group(const rl_kafka_txn *t, size_t i)
{
  const char *group = group_of(t, &t->offsets[i]);
  if (strcmp(group, t->id) == 0) return false; /* comes with the mark */
  for (size_t k = 0; k < i; k++)
    if (strcmp(group_of(t, &t->offsets[k]), group) == 0) return false;
  return true;
}

static rd_kafka_error_t *do_commit(rl_kafka_txn *t, void *with)
{
  (void)with;
  return rd_kafka_commit_transaction(t->line->rk, SLICE_MS);
}

/* A batch that gave nothing and read nothing leaves nothing behind: it gives nothing again. */
static rl_status commit(rl_kafka_txn *t, const rl_task *task)
{
  if (!t->line || !t->open) return rl_fail(RL_ESTATE, "no transaction is open");
  bool marks = atomic_load(&t->sent) || t->noffsets > 0;
  rl_status st = RL_OK;
  for (size_t i = 0; i < t->noffsets && st == RL_OK; i++)
    if (is_first_of_group(t, i)) st = send_group(t, task, t->offsets[i].group);
  if (st == RL_OK && marks) st = send_group(t, task, t->id);
  if (st == RL_OK) st = repeat(t, task, do_commit, NULL, "a transaction was not committed by Kafka");
  if (st != RL_OK) return st;
  t->open = false;
  if (!marks) return RL_OK;
  atomic_store(&t->newest_epoch, t->epoch);
  atomic_store(&t->newest, task->batch_time);
  return RL_OK;
}

/* Tasks that write ------------------------------------------------------------------------------------------------- */

rl_status rl_kafka_txn_join(rl_kafka_txn *t, uint64_t *transaction, rl_kafka_line **line)
{
  pthread_rwlock_rdlock(&t->lock);
  rl_status st = RL_OK;
  if (t->open && !atomic_load(&t->again)) {
    atomic_store(&t->sent, true);
    *transaction = t->transaction;
    *line = rl_kafka_line_ref(t->line);
  } else {
    st = rl_fail(RL_ECANCELLED, "the batch's transaction is over");
  }
  pthread_rwlock_unlock(&t->lock);
  return st;
}

rl_status rl_kafka_txn_lock(rl_kafka_txn *t, uint64_t transaction)
{
  pthread_rwlock_rdlock(&t->lock);
  if (t->open && t->transaction == transaction) return RL_OK;
  pthread_rwlock_unlock(&t->lock);
  return rl_fail(RL_ECANCELLED, "the batch's transaction is over");
}

void rl_kafka_txn_unlock(rl_kafka_txn *t) { pthread_rwlock_unlock(&t->lock); }

void rl_kafka_txn_spoil(rl_kafka_txn *t, uint64_t transaction)
{
  bool retriable = rl_error_current()->retriable;
  pthread_rwlock_rdlock(&t->lock);
  if (retriable && t->open && t->transaction == transaction) atomic_store(&t->again, true);
  pthread_rwlock_unlock(&t->lock);
  rl_error_set_retriable(false);
}

/* The functions ---------------------------------------------------------------------------------------------------- */

typedef struct txn_fn {
  rl_fn base;
  rl_kafka_txn *txn;
  rl_status (*run)(rl_kafka_txn *t, const rl_task *task);
} txn_fn;

typedef struct txn_pull {
  rl_pull base;
  const txn_fn *fn; /* its task holds it */
  const rl_task *task;
  rl_pull *input;
  bool done;
} txn_pull;

static rl_status txn_next(rl_pull *self, rl_chunk **out)
{
  txn_pull *p = (txn_pull *)self;
  *out = NULL;
  if (p->done) return RL_OK;
  p->done = true;
  pthread_rwlock_wrlock(&p->fn->txn->lock);
  p->fn->txn->since_ns = rl_mono_ns();
  rl_status st = p->fn->run(p->fn->txn, p->task);
  pthread_rwlock_unlock(&p->fn->txn->lock);
  return st;
}

static void txn_close(rl_pull *self)
{
  txn_pull *p = (txn_pull *)self;
  rl_pull_close(p->input);
  rl_free(p);
}

static rl_status txn_open(rl_fn *const *fns, size_t n, const rl_task *task, rl_pull **inputs, size_t ninputs,
                          rl_pull **out)
{
  static const rl_pull_class cls = {.next = txn_next, .close = txn_close};
  rl_pull *input = ninputs == 1 ? inputs[0] : rl_pull_concat(inputs, ninputs);
  for (size_t i = 0; i < n; i++) {
    txn_pull *p = RL_NEW(txn_pull);
    *p = (txn_pull){.base.cls = &cls, .fn = (txn_fn *)fns[i], .task = task, .input = input};
    input = &p->base;
  }
  *out = input;
  return RL_OK;
}

static void txn_fn_destroy(rl_fn *self)
{
  txn_fn *fn = (txn_fn *)self;
  rl_kafka_txn_unref(fn->txn);
  rl_free(fn);
}

static rl_fn *make_fn(rl_kafka_txn *t, rl_status (*run)(rl_kafka_txn *, const rl_task *))
{
  static const rl_fn_class cls = {.name = "Kafka transaction", .open = txn_open, .destroy = txn_fn_destroy};
  txn_fn *fn = RL_NEW(txn_fn);
  *fn = (txn_fn){.base = {.refs = 1, .cls = &cls}, .txn = rl_kafka_txn_ref(t), .run = run};
  return &fn->base;
}

rl_fn *rl_kafka_txn_begin_fn(rl_kafka_txn *t) { return make_fn(t, begin); }
rl_fn *rl_kafka_txn_commit_fn(rl_kafka_txn *t) { return make_fn(t, commit); }

/* The object ------------------------------------------------------------------------------------------------------- */

static void free_offsets(rl_kafka_txn *t)
{
  for (size_t i = 0; i < t->noffsets; i++) {
    rl_free((char *)t->offsets[i].group);
    rl_free((char *)t->offsets[i].topic);
  }
  rl_free(t->offsets);
  t->offsets = NULL;
  t->noffsets = 0;
}

void rl_kafka_txn_batch(rl_kafka_txn *t, int64_t epoch, const rl_kafka_txn_offset *offsets, size_t n)
{
  pthread_rwlock_wrlock(&t->lock);
  free_offsets(t);
  t->epoch = epoch;
  t->offsets = rl_calloc(n + 1, sizeof *t->offsets);
  t->noffsets = n;
  for (size_t i = 0; i < n; i++) {
    t->offsets[i] = offsets[i];
    t->offsets[i].group = rl_strdup(offsets[i].group);
    t->offsets[i].topic = rl_strdup(offsets[i].topic);
  }
  pthread_rwlock_unlock(&t->lock);
}

bool rl_kafka_txn_has(rl_kafka_txn *t, int64_t time)
{
  int64_t newest = atomic_load(&t->newest);
  return newest != RL_NO_TIME && atomic_load(&t->newest_epoch) == t->epoch && time <= newest;
}

bool rl_kafka_txn_again(rl_kafka_txn *t) { return atomic_load(&t->again); }

/* The settings, and one or two more in front, which those override. */
static rl_status make_conf(const rl_kafka_txn_spec *spec, const rl_kafka_setting *more, size_t n, rl_kafka_use use,
                           rl_kafka_conf **out)
{
  rl_kafka_setting *v = rl_calloc(spec->nsettings + n, sizeof *v);
  size_t filled = 0;
  for (size_t i = 0; i < spec->nsettings; i++)
    if (strcmp(spec->settings[i].name, "transactional.id") != 0) v[filled++] = spec->settings[i];
  for (size_t i = 0; i < n; i++) v[filled++] = more[i];
  rl_status st = rl_kafka_conf_new(v, filled, use, out);
  rl_free(v);
  return st;
}

rl_status rl_kafka_txn_new(const rl_kafka_txn_spec *spec, const rl_conf *conf, rl_kafka_txn **out)
{
  const rl_kafka_setting id[] = {{"transactional.id", spec->id}};
  const rl_kafka_setting group[] = {{"group.id", spec->id}, {"isolation.level", "read_committed"}};
  rl_kafka_txn *t = RL_NEW(rl_kafka_txn);
  t->refs = 1;
  rl_status st = make_conf(spec, id, 1, RL_KAFKA_TRANSACT, &t->conf);
  if (st == RL_OK) st = make_conf(spec, group, 2, RL_KAFKA_ASK, &t->reads);
  t->health = rl_kafka_health_new("Kafka sink");
  t->id = rl_strdup(spec->id);
  t->marker = rl_strdup(spec->marker);
  t->patience_ns = rl_conf_us(conf, "rille.task.maxSeconds") * 900;
  t->newest = RL_NO_TIME;
  pthread_rwlock_init(&t->lock, NULL);
  if (st == RL_OK) *out = t;
  else rl_kafka_txn_unref(t);
  return st;
}

rl_kafka_txn *rl_kafka_txn_ref(rl_kafka_txn *t)
{
  atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
  return t;
}

void rl_kafka_txn_unref(rl_kafka_txn *t)
{
  if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) > 1) return;
  undo(t, GOODBYE_MS);
  rl_kafka_line_unref(t->line);
  free_offsets(t);
  pthread_rwlock_destroy(&t->lock);
  rl_kafka_health_unref(t->health);
  rl_kafka_conf_unref(t->reads);
  rl_kafka_conf_unref(t->conf);
  rl_free(t->id);
  rl_free(t->marker);
  rl_free(t);
}
