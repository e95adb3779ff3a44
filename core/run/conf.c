#include "run/conf.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/secrets.h"

const rl_conf_key rl_conf_keys[] = {
  {"rille.app.name", RL_CONF_TEXT, "rille", 0, "the job's name, in messages"},
  {"rille.master", RL_CONF_TEXT, "local[*]", 0, "local, local[N] or local[*]: number of workers"},
  {"rille.default.parallelism", RL_CONF_INT, "", 0,
   "partitions where an operation leaves them open; unset: the number of workers"},
  {"rille.log.level", RL_CONF_TEXT, "warn", 0, "debug, info, warn, error or off"},
  {"rille.task.maxFailures", RL_CONF_INT, "4", 0, "attempts of a task before its job fails"},
  {"rille.task.maxBadRecords", RL_CONF_INT, "0", 0,
   "records of a task whose function raises that are left out; 0: the first fails it"},
  {"rille.memory.limit", RL_CONF_SIZE, "", 0,
   "memory for records, state and all Lua states; unset: 60 % of the machine's or the control group's; 0: no limit"},
  {"rille.memory.fraction", RL_CONF_FLOAT, "0.6", 0,
   "share, of what Lua states leave, of kept and of processed records"},
  {"rille.memory.storageFraction", RL_CONF_FLOAT, "0.5", 0,
   "part of that share that kept records are not pushed out of"},
  {"rille.local.dir", RL_CONF_TEXT, "", 0, "where what does not fit into memory is written; unset: $TMPDIR or /tmp"},
  {"rille.rdd.compress", RL_CONF_BOOL, "false", 0, "serialised storage levels are kept compressed (LZ4)"},
  {"rille.task.maxMemory", RL_CONF_SIZE, "", 0,
   "what a worker's Lua state may hold; unset: 512m, or its share of half of rille.memory.limit; 0: no limit"},
  {"rille.task.maxSeconds", RL_CONF_DURATION, "60", 1000, "how long one attempt of a task may run; 0: no limit"},
  {"rille.streaming.clock", RL_CONF_TEXT, "system", 0, "system or manual"},
  {"rille.streaming.blockInterval", RL_CONF_DURATION, "", 1,
   "how often receivers cut a block; unset: min(200ms, batch / 2)"},
  {"rille.reliable", RL_CONF_BOOL, "true", 0,
   "a job with a checkpoint directory is durable; false: the directory is not used"},
  {"rille.checkpoint.allowDropped", RL_CONF_BOOL, "false", 0,
   "start although received records have no input any more, or the log lacks what led to the state"},
  {"rille.checkpoint.applyLag", RL_CONF_SIZE, "64m", 0,
   "state changes that may be in the log and not yet in the image"},
  {"rille.history.retain", RL_CONF_INT, "0", 0, "completed batches whose inputs and changes stay in the log"},
  {"rille.streaming.checkpoint.directory", RL_CONF_TEXT, "", 0,
   "where a job's log and state are kept; StreamingContext:checkpoint has the last word"},
  {"rille.streaming.catchUp", RL_CONF_TEXT, "all", 0,
   "batches missed while down: all of them, merge into one, or skip to the next"},
  {"rille.streaming.catchUpLimit", RL_CONF_INT, "10000", 0,
   "missed batches that are run one by one; earlier ones are merged into the first of them"},
  {"rille.streaming.manualClock.jump", RL_CONF_DURATION, "0", 1,
   "how far a manual clock of a recovered job is ahead of its last batch"},
  {"rille.streaming.receiver.writeAheadLog.enable", RL_CONF_BOOL, "", 0,
   "received blocks are logged before they are acknowledged; unset: when there is a checkpoint directory"},
  {"rille.streaming.receiver.writeAheadLog.rollingInterval", RL_CONF_DURATION, "60", 1000,
   "a segment of the log is followed by a new one at this age; 0: only where it is large"},
  {"rille.streaming.receiver.writeAheadLog.maxFailures", RL_CONF_INT, "3", 0, "how often a failing write is tried"},
  {"rille.streaming.receiver.writeAheadLog.closeFileAfterWrite", RL_CONF_BOOL, "false", 0,
   "the log's file is closed after each group of records"},
  {"rille.streaming.driver.writeAheadLog.rollingInterval", RL_CONF_DURATION, "60", 1000,
   "as for receivers: there is one log, the smaller one holds"},
  {"rille.streaming.driver.writeAheadLog.maxFailures", RL_CONF_INT, "3", 0,
   "as for receivers: there is one log, the larger one holds"},
  {"rille.streaming.driver.writeAheadLog.closeFileAfterWrite", RL_CONF_BOOL, "false", 0,
   "as for receivers: there is one log, either one closes it"},
  {"rille.streaming.concurrentJobs", RL_CONF_INT, "1", 0, "outputs that may run at the same time"},
  {"rille.streaming.onBatchFailure", RL_CONF_TEXT, "stop", 0,
   "when a batch of a job with state cannot be made: stop, or skip the batch"},
  {"rille.streaming.gracefulStopTimeout", RL_CONF_DURATION, "", 1,
   "limit of a graceful stop; unset: 10 batches, at least 10 s"},
  {"rille.streaming.stopGracefullyOnShutdown", RL_CONF_BOOL, "true", 0,
   "SIGINT, SIGTERM and SIGHUP work off what was received"},
  {"rille.streaming.stopContextByDefault", RL_CONF_BOOL, "true", 0,
   "StreamingContext:stop() stops its Context as well"},
  {"rille.streaming.receiverRestartDelay", RL_CONF_DURATION, "2", 1, "pause before a receiver starts again"},
  {"rille.streaming.receiver.maxBufferedBytes", RL_CONF_SIZE, "", 0,
   "received and not yet worked off, per receiver, before the source is held back; unset: 128m, or an eighth of "
   "rille.memory.limit"},
  {"rille.streaming.receiver.maxRate", RL_CONF_INT, "", 0,
   "records a second that a receiver may bring; unset, 0 or less: no limit"},
  {"rille.streaming.backpressure.enabled", RL_CONF_BOOL, "false", 0,
   "sources are slowed down to what the batches can work off"},
  {"rille.streaming.backpressure.initialRate", RL_CONF_INT, "", 0,
   "records a second of a source before the first estimate; unset: no other limit than its own"},
  {"rille.streaming.backpressure.rateEstimator", RL_CONF_TEXT, "pid", 0, "how the rate is found: pid"},
  {"rille.streaming.backpressure.pid.proportional", RL_CONF_FLOAT, "1.0", 0,
   "weight of how far the rate is from what the last batch could do"},
  {"rille.streaming.backpressure.pid.integral", RL_CONF_FLOAT, "0.2", 0, "weight of the records that wait"},
  {"rille.streaming.backpressure.pid.derived", RL_CONF_FLOAT, "0.0", 0, "weight of how fast the first grows"},
  {"rille.streaming.backpressure.pid.minRate", RL_CONF_FLOAT, "100", 0, "records a second that are always let in"},
  {"rille.streaming.receiver.maxRecordBytes", RL_CONF_SIZE, "16m", 0, "a longer line is cut"},
  {"rille.streaming.fileStream.minRememberDuration", RL_CONF_DURATION, "60", 1000,
   "how far back a file stream looks for files"},
  {"rille.streaming.kafka.maxRatePerPartition", RL_CONF_INT, "0", 0,
   "records a second that a batch takes of a Kafka partition at most; 0: no limit"},
  {"rille.streaming.kafka.minRatePerPartition", RL_CONF_INT, "1", 0,
   "records a batch takes of a Kafka partition at least, where there is a limit"},
  {"rille.streaming.kafka.consumer.poll", RL_CONF_DURATION, "30", 1,
   "how long a start waits for Kafka, and a task for its next record, before it fails"},
  {"rille.streaming.unpersist", RL_CONF_BOOL, "true", 0, "batches' RDDs are dropped when no longer needed"},
  {NULL, RL_CONF_TEXT, NULL, 0, NULL},
};

/* Other names for the same settings: the short ones of a conf table, and Spark's where they differ in more than the
 * prefix. */
static const struct {
  const char *alias, *name;
} aliases[] = {
  {"appName", "rille.app.name"},
  {"master", "rille.master"},
  {"clock", "rille.streaming.clock"},
  {"rille.streaming.minRememberDuration", "rille.streaming.fileStream.minRememberDuration"},
  {"rille.streaming.stopSparkContextByDefault", "rille.streaming.stopContextByDefault"},
  {"rille.streaming.kafka.consumer.poll.ms", "rille.streaming.kafka.consumer.poll"},
  {"rille.streaming.receiver.writeAheadLog.rollingIntervalSecs",
   "rille.streaming.receiver.writeAheadLog.rollingInterval"},
  {"rille.streaming.driver.writeAheadLog.rollingIntervalSecs", "rille.streaming.driver.writeAheadLog.rollingInterval"},
};

#define KEYS (sizeof rl_conf_keys / sizeof *rl_conf_keys - 1)

struct rl_conf {
  char *text[KEYS]; /* as given, NULL: not set */
  int64_t us[KEYS]; /* durations given, in microseconds */
};

rl_conf *rl_conf_new(void) { return RL_NEW(rl_conf); }

rl_conf *rl_conf_copy(const rl_conf *c)
{
  rl_conf *to = rl_conf_new();
  for (size_t i = 0; i < KEYS; i++) {
    to->text[i] = rl_strdup(c->text[i]);
    to->us[i] = c->us[i];
  }
  return to;
}

void rl_conf_delete(rl_conf *c)
{
  if (!c) return;
  for (size_t i = 0; i < KEYS; i++) rl_free(c->text[i]);
  rl_free(c);
}

static int find(const char *name)
{
  for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
    if (strcmp(name, aliases[i].alias) == 0) name = aliases[i].name;
  for (size_t i = 0; i < KEYS; i++)
    if (strcmp(name, rl_conf_keys[i].name) == 0) return (int)i;
  return -1;
}

/* Edit distance, for "did you mean"; names are short. */
static unsigned distance(const char *a, const char *b)
{
  unsigned row[128];
  size_t nb = strlen(b);
  if (nb >= 128) return 1000;
  for (size_t j = 0; j <= nb; j++) row[j] = (unsigned)j;
  for (size_t i = 1; a[i - 1]; i++) {
    unsigned diagonal = row[0];
    row[0] = (unsigned)i;
    for (size_t j = 1; j <= nb; j++) {
      unsigned best = diagonal + (a[i - 1] != b[j - 1]);
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      diagonal = row[j];
      row[j] = best;
    }
  }
  return row[nb];
}

static rl_status unknown(const char *key)
{
  size_t best = 0;
  unsigned least = 1000;
  for (size_t i = 0; i < KEYS; i++) {
    unsigned d = distance(key, rl_conf_keys[i].name);
    if (d < least) {
      least = d;
      best = i;
    }
  }
  if (least <= strlen(key) / 3)
    return rl_fail(RL_EINVAL, "unknown setting '%s'; did you mean '%s'?", key, rl_conf_keys[best].name);
  return rl_fail(RL_EINVAL, "unknown setting '%s'; settings start with rille. (see docs/settings.md)", key);
}

bool rl_conf_parse_us(const char *text, int plain_unit_ms, int64_t *out)
{
  static const struct {
    const char *unit;
    double us;
  } units[] = {{"us", 1}, {"ms", 1e3}, {"s", 1e6}, {"m", 6e7}, {"min", 6e7}, {"h", 3.6e9}, {"d", 8.64e10}};
  char *end;
  double x = strtod(text, &end);
  if (end == text || !isfinite(x) || x < 0) return false;
  while (isspace((unsigned char)*end)) end++;
  double scale = *end ? 0 : plain_unit_ms * 1e3;
  for (size_t i = 0; i < sizeof units / sizeof *units; i++)
    if (*end && strcmp(end, units[i].unit) == 0) scale = units[i].us;
  if (scale == 0 || x * scale > 9e17) return false;
  *out = llround(x * scale);
  return true;
}

static bool parse_size(const char *text, int64_t *out)
{
  char *end;
  double x = strtod(text, &end);
  if (end == text || !isfinite(x) || x < 0) return false;
  int shift = 0;
  switch (tolower((unsigned char)*end)) {
  case '\0': break;
  case 'b': break;
  case 'k': shift = 10; break;
  case 'm': shift = 20; break;
  case 'g': shift = 30; break;
  case 't': shift = 40; break;
  default: return false;
  }
  if (shift && (end[1] == 'b' || end[1] == 'B')) end++;
  if (*end && end[1]) return false;
  x = ldexp(x, shift);
  if (x > 9e18) return false;
  *out = (int64_t)x;
  return true;
}

static bool parse_int(const char *text, int64_t *out)
{
  char *end;
  errno = 0;
  *out = strtoll(text, &end, 10);
  if (end != text && strcmp(end, ".0") == 0) end += 2; /* a Lua number that is whole */
  return errno == 0 && end != text && *end == '\0';
}

static bool is_master(const char *text)
{
  if (strcmp(text, "local") == 0 || strcmp(text, "local[*]") == 0) return true;
  if (strncmp(text, "local[", 6) != 0) return false;
  char *end;
  errno = 0;
  long n = strtol(text + 6, &end, 10);
  return errno == 0 && end != text + 6 && strcmp(end, "]") == 0 && n >= 1 && n <= 1024;
}

/* Settings that take one of a few words; `shown` says which, for people. */
static const struct {
  const char *name, *words[4], *shown;
} choices[] = {
  {"rille.streaming.onBatchFailure", {"stop", "skip"}, "stop or skip"},
  {"rille.streaming.clock", {"system", "manual"}, "system or manual"},
  {"rille.streaming.catchUp", {"all", "merge", "skip"}, "all, merge or skip"},
};

static rl_status check_choice(const char *name, const char *value)
{
  for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
    if (strcmp(name, choices[i].name) != 0) continue;
    for (const char *const *word = choices[i].words; *word; word++)
      if (strcmp(value, *word) == 0) return RL_OK;
    return rl_fail(RL_EINVAL, "%s is '%s'; it must be %s", name, value, choices[i].shown);
  }
  return RL_OK;
}

/* No number of records a second is too many, and none and less is no limit. */
static bool is_rate(const char *name)
{
  return strcmp(name, "rille.streaming.receiver.maxRate") == 0 ||
         strcmp(name, "rille.streaming.backpressure.initialRate") == 0;
}

static bool may_be_zero(const char *name)
{
  static const char *const names[] = {"rille.task.maxBadRecords", "rille.history.retain",
                                      "rille.streaming.kafka.maxRatePerPartition"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(name, names[i]) == 0) return true;
  return false;
}

/* Settings that take only certain words or a range, beyond their type. */
static rl_status check_more(const rl_conf_key *k, const char *value)
{
  rl_log_level level;
  int64_t i;
  if (strcmp(k->name, "rille.master") == 0 && !is_master(value))
    return rl_fail(RL_EINVAL, "rille.master is '%s'; it must be local, local[N] with N from 1 to 1024, or local[*]",
                   value);
  rl_status st = check_choice(k->name, value);
  if (st) return st;
  if (strcmp(k->name, "rille.log.level") == 0 && !rl_log_parse_level(value, &level))
    return rl_fail(RL_EINVAL, "rille.log.level is '%s'; it must be debug, info, warn, error or off", value);
  if (may_be_zero(k->name)) {
    if (parse_int(value, &i) && i >= 0) return RL_OK;
    return rl_fail(RL_EINVAL, "%s is '%s'; it must be a whole number from 0", k->name, value);
  }
  if (is_rate(k->name)) {
    if (parse_int(value, &i)) return RL_OK;
    return rl_fail(RL_EINVAL, "%s is '%s'; it must be a whole number", k->name, value);
  }
  if (k->type == RL_CONF_INT && (!parse_int(value, &i) || i < 1 || i > 100000))
    return rl_fail(RL_EINVAL, "%s is '%s'; it must be a whole number from 1 to 100000", k->name, value);
  return RL_OK;
}

static bool is_above_zero(const char *name)
{
  return strcmp(name, "rille.memory.fraction") == 0 || /* nothing of nothing is no use */
         strcmp(name, "rille.streaming.backpressure.pid.minRate") == 0;
}

/* Those of memory are shares of a whole. */
static rl_status check_float(const rl_conf_key *k, const char *value)
{
  char *end;
  double x = strtod(value, &end);
  bool above = is_above_zero(k->name), share = strncmp(k->name, "rille.memory.", 13) == 0;
  if (end != value && *end == '\0' && x >= 0 && x <= (share ? 1 : 1e15) && (x > 0 || !above)) return RL_OK;
  return rl_fail(RL_EINVAL, "%s is '%s'; it must be a number %s 0%s", k->name, value, above ? "above" : "from",
                 share ? " and at most 1" : "");
}

static rl_status check(const rl_conf_key *k, const char *value, bool spark, int64_t *us)
{
  int64_t i;
  switch (k->type) {
  case RL_CONF_BOOL:
    if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
      return rl_fail(RL_EINVAL, "%s is '%s'; it must be true or false", k->name, value);
    break;
  case RL_CONF_FLOAT: return check_float(k, value);
  case RL_CONF_DURATION:
    if (!rl_conf_parse_us(value, spark ? k->spark_unit_ms : 1000, us))
      return rl_fail(RL_EINVAL, "%s is '%s'; it must be seconds, or a number with us, ms, s, m, h or d", k->name,
                     value);
    if (*us == 0 && (strcmp(k->name, "rille.streaming.blockInterval") == 0))
      return rl_fail(RL_EINVAL, "%s is '%s'; it must be greater than 0", k->name, value);
    break;
  case RL_CONF_SIZE:
    if (!parse_size(value, &i))
      return rl_fail(RL_EINVAL, "%s is '%s'; it must be bytes, or a number with k, m or g", k->name, value);
    break;
  case RL_CONF_INT:
  case RL_CONF_TEXT: break;
  }
  return check_more(k, value);
}

rl_status rl_conf_set(rl_conf *c, const char *key, const char *value)
{
  bool spark = strncmp(key, "spark.", 6) == 0;
  rl_secret_note(key, value);
  char *name = spark ? rl_format("rille.%s", key + 6) : rl_strdup(key);
  int i = find(name);
  rl_free(name);
  if (i < 0 && spark) {
    rl_warn("setting '%s' has no counterpart here and is ignored", key);
    return RL_OK;
  }
  if (i < 0) return unknown(key);
  int64_t us = 0;
  rl_status st = check(&rl_conf_keys[i], value, spark, &us);
  if (st) return st;
  rl_free(c->text[i]);
  c->text[i] = rl_strdup(value);
  c->us[i] = us;
  return RL_OK;
}

static char *trim(char *s)
{
  while (isspace((unsigned char)*s)) s++;
  char *end = s + strlen(s);
  while (end > s && isspace((unsigned char)end[-1])) *--end = '\0';
  return s;
}

static rl_status load_line(rl_conf *c, char *line, const char *path, int number)
{
  char *key = trim(line);
  if (*key == '\0' || *key == '#') return RL_OK;
  char *sep = key + strcspn(key, "= \t");
  if (*sep == '\0') return rl_fail(RL_EINVAL, "%s:%d: '%s' has no value; write key=value", path, number, key);
  char *value = trim(sep);
  if (*value == '=') value++;
  value = trim(value);
  *sep = '\0';
  rl_status st = rl_conf_set(c, key, value);
  if (st) rl_error_prefix("%s:%d: ", path, number);
  return st;
}

rl_status rl_conf_load(rl_conf *c, const char *path)
{
  rl_buf text = {0};
  rl_status st = rl_file_read_all(path, &text);
  char *p = st ? NULL : rl_buf_cstr(&text);
  for (int number = 1; !st && p; number++) {
    char *end = strchr(p, '\n');
    if (end) *end++ = '\0';
    st = load_line(c, p, path, number);
    p = end;
  }
  rl_buf_free(&text);
  return st;
}

static size_t known(const char *key)
{
  int i = find(key);
  assert(i >= 0);
  return (size_t)i;
}

bool rl_conf_is_set(const rl_conf *c, const char *key) { return c->text[known(key)] != NULL; }

const char *rl_conf_text(const rl_conf *c, const char *key)
{
  size_t i = known(key);
  return c->text[i] ? c->text[i] : rl_conf_keys[i].value;
}

bool rl_conf_bool(const rl_conf *c, const char *key) { return strcmp(rl_conf_text(c, key), "true") == 0; }

int64_t rl_conf_int(const rl_conf *c, const char *key)
{
  int64_t i = 0;
  parse_int(rl_conf_text(c, key), &i);
  return i;
}

double rl_conf_float(const rl_conf *c, const char *key) { return strtod(rl_conf_text(c, key), NULL); }

int64_t rl_conf_us(const rl_conf *c, const char *key)
{
  size_t i = known(key);
  int64_t us = c->us[i];
  if (!c->text[i]) rl_conf_parse_us(rl_conf_keys[i].value, 1000, &us);
  return us;
}

int64_t rl_conf_size(const rl_conf *c, const char *key)
{
  int64_t n = 0;
  parse_size(rl_conf_text(c, key), &n);
  return n;
}

rl_status rl_conf_workers(const rl_conf *c, uint32_t *n)
{
  const char *master = rl_conf_text(c, "rille.master");
  if (!is_master(master)) return rl_fail(RL_EINVAL, "rille.master is '%s'", master);
  if (strcmp(master, "local") == 0) {
    *n = 1;
  } else if (strcmp(master, "local[*]") == 0) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    *n = cores < 1 ? 1 : (uint32_t)cores;
  } else {
    *n = (uint32_t)strtol(master + 6, NULL, 10);
  }
  return RL_OK;
}
