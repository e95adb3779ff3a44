/* What a disk may hold of the log after a power cut, state by state: a job is ended before each sync of a segment, and
 * what it wrote since the last one is there in part only, in wrong order, or is something else. Each is recovered by
 * the whole job, which must come to the model's end.
 *
 * RILLE_STATE="sync:damage:seed" runs one again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/wal_impl.h"
#include "trial.h"

enum { BLOCK = 4096 };

/* The end of a segment: what is not synced, with blocks as the disk has them. */
typedef struct tail {
  char *path;
  size_t from, to;
  rl_buf bytes; /* of the whole file */
  uint64_t seed;
} tail;

static size_t some(tail *t, size_t n) { return n ? (size_t)(records_random(&t->seed) % n) : 0; }

static void write_file(const tail *t, size_t size)
{
  int fd = open(t->path, O_WRONLY | O_TRUNC | O_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, t->bytes.p, size), size);
  assert_int_equal(close(fd), 0);
}

static void lost(tail *t) { write_file(t, t->from); }
static void whole(tail *t) { write_file(t, t->to); }
static void one_byte(tail *t) { write_file(t, t->from + 1); }
static void all_but_one_byte(tail *t) { write_file(t, t->to - 1); }
static void cut_anywhere(tail *t) { write_file(t, t->from + some(t, t->to - t->from)); }
static void a_head_alone(tail *t) { write_file(t, t->to - t->from > 40 ? t->from + 40 : t->to); }

static void zeroed(tail *t)
{
  memset(t->bytes.p + t->from, 0, t->to - t->from);
  write_file(t, t->to);
}

static void zeroed_behind(tail *t)
{
  size_t at = t->from + some(t, t->to - t->from);
  memset(t->bytes.p + at, 0, t->to - at);
  write_file(t, t->to);
}

static void zeros_appended(tail *t)
{
  size_t more = BLOCK - t->to % BLOCK + some(t, 2) * BLOCK;
  rl_buf_reserve(&t->bytes, more);
  memset(t->bytes.p + t->to, 0, more);
  write_file(t, t->to + more);
}

/* Bytes of the file's life before the tail, or of any other time. */
static void put_stale(tail *t, size_t from, size_t to)
{
  bool own = t->from > 200 && some(t, 2);
  for (size_t i = from; i < to; i++)
    t->bytes.p[i] = own ? t->bytes.p[i % t->from] : (char)records_random(&t->seed);
}

static void stale(tail *t)
{
  put_stale(t, t->from, t->to);
  write_file(t, t->to);
}

static void stale_behind(tail *t)
{
  put_stale(t, t->from + some(t, t->to - t->from), t->to);
  write_file(t, t->to);
}

/* Some blocks are written and others not, whichever was first. The last one gives the size. */
static void take_blocks(tail *t, void (*put)(tail *t, size_t from, size_t to))
{
  for (size_t at = t->from; at < t->to;) {
    size_t end = (at / BLOCK + 1) * BLOCK;
    if (end > t->to) end = t->to;
    if (some(t, 2)) put(t, at, end);
    at = end;
  }
  write_file(t, t->to);
}

static void put_zeros(tail *t, size_t from, size_t to) { memset(t->bytes.p + from, 0, to - from); }
static void reordered(tail *t) { take_blocks(t, put_zeros); }
static void reordered_over_stale(tail *t) { take_blocks(t, put_stale); }

/* The first block is missing, all others are there. */
static void first_block_missing(tail *t)
{
  size_t end = (t->from / BLOCK + 1) * BLOCK;
  put_zeros(t, t->from, end < t->to ? end : t->to);
  write_file(t, t->to);
}

/* The mark that the group was written over: it came to the disk by itself, and of what followed some or nothing. */
static void put_mark(tail *t)
{
  rl_wal_header h;
  rl_wal_frame f, mark = {.type = RL_WAL_MARK, .payload_sum = rl_wal_payload_sum(NULL, 0)};
  memcpy(&h, t->bytes.p, sizeof h);
  memcpy(&f, t->bytes.p + t->from, sizeof f);
  mark.seq = f.seq;
  rl_wal_frame_sign(&mark, h.id, t->from);
  memcpy(t->bytes.p + t->from, &mark, sizeof mark);
}

static void a_mark_alone(tail *t)
{
  put_mark(t);
  write_file(t, t->from + sizeof(rl_wal_frame));
}

static void a_mark_for_the_first_head(tail *t)
{
  put_mark(t);
  write_file(t, t->to);
}

static void a_mark_and_some_blocks(tail *t)
{
  char mark[sizeof(rl_wal_frame)];
  put_mark(t);
  memcpy(mark, t->bytes.p + t->from, sizeof mark);
  take_blocks(t, put_zeros);
  memcpy(t->bytes.p + t->from, mark, sizeof mark);
  write_file(t, t->to);
}

/* Where the log begins is written in place, into the slot that is not the newest. */
static char *written_slot(tail *t)
{
  uint64_t generations[2];
  for (int i = 0; i < 2; i++) memcpy(&generations[i], t->bytes.p + t->bytes.n / 2 * (size_t)i, sizeof generations[i]);
  return t->bytes.p + (generations[0] > generations[1] ? 0 : t->bytes.n / 2);
}

static void a_torn_slot(tail *t)
{
  size_t at = some(t, t->bytes.n / 2);
  memset(written_slot(t) + at, (int)some(t, 256), t->bytes.n / 2 - at);
  write_file(t, t->bytes.n);
}

typedef struct damage_kind {
  const char *name;
  void (*make)(tail *t);
} damage_kind;

static const damage_kind of_floor[] = {{"a torn slot", a_torn_slot}, {"whole", whole}};

static const damage_kind of_segment[] = {
  {"lost", lost},
  {"whole", whole},
  {"one byte", one_byte},
  {"all but one byte", all_but_one_byte},
  {"a head alone", a_head_alone},
  {"cut anywhere", cut_anywhere},
  {"zeroed", zeroed},
  {"zeroed behind", zeroed_behind},
  {"zeros appended", zeros_appended},
  {"stale", stale},
  {"stale behind", stale_behind},
  {"reordered", reordered},
  {"reordered over stale", reordered_over_stale},
  {"first block missing", first_block_missing},
  {"a mark alone", a_mark_alone},
  {"a mark for the first head", a_mark_for_the_first_head},
  {"a mark and some blocks", a_mark_and_some_blocks},
};
enum { DAMAGES = sizeof of_segment / sizeof *of_segment, OF_FLOOR = sizeof of_floor / sizeof *of_floor };

static bool is_floor(const char *path)
{
  const char *name = strrchr(path, '/');
  return name && strcmp(name + 1, RL_WAL_FLOOR) == 0;
}

static int damages_of(const char *path) { return is_floor(path) ? OF_FLOOR : DAMAGES; }

static void copy_dir(const char *from, const char *to)
{
  char *command = rl_format("cp -a '%s' '%s'", from, to);
  assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
  rl_free(command);
}

static char *put_aside(const trial *t)
{
  char *aside = rl_format("%s-aside", t->dir);
  assert_int_equal(rename(t->dir, aside), 0);
  return aside;
}

static void take_back(const trial *t, char *aside)
{
  assert_int_equal(rename(aside, t->dir), 0);
  rl_free(aside);
}

/* Runs the job to its sync of that number; false: it has fewer, and has ended. */
static bool run_to_sync(trial *t, const char *parent, unsigned sync, uint64_t seed)
{
  *t = (trial){.n = 1, .faults = {{FAULT_KILL, sync, seed}}, .only = "fdatasync"};
  trial_open(t, parent);
  int rc = trial_process(t, &t->faults[0]);
  if (rc == JOB_STOPPED) trial_fail(t, "it does not run: %s", t->w->error);
  return rc == FAULTY_STATUS;
}

/* On a copy of what `killed` left, and has put aside: it has the same name, which the log knows files by. */
static void recover_one(const trial *killed, const char *aside, int damage, uint64_t seed)
{
  world w = *killed->w;
  trial t = {.dir = killed->dir, .w = &w, .n = 1, .faults = {killed->faults[0]}};
  tail end = {.from = w.synced, .to = w.written, .seed = seed};
  trial_share(&t);
  copy_dir(aside, t.dir);
  end.path = killed->w->path;
  if (rl_file_read_all(end.path, &end.bytes) != RL_OK) fail_msg("%s", rl_error_message());
  assert_int_equal(end.bytes.n, end.to);
  const damage_kind *damages = is_floor(end.path) ? of_floor : of_segment;
  damages[damage].make(&end);
  printf("RILLE_STATE=%u:%d:%" PRIu64 " (%s, %zu bytes)\n", killed->faults[0].step, damage, seed, damages[damage].name,
         end.to - end.from);
  trial_finish(&t);
  if (rl_dir_remove(t.dir) != RL_OK) fail_msg("%s", rl_error_message());
  munmap(t.w, sizeof *t.w);
  rl_buf_free(&end.bytes);
}

static void recover_each(const trial *killed, const char *aside, uint64_t *seed, unsigned sample)
{
  if (killed->w->synced == killed->w->written) return;
  int damages = damages_of(killed->w->path);
  for (int damage = 0; damage < damages; damage++) {
    unsigned times = trial_is_long() ? 3 : records_random(seed) % DAMAGES < sample;
    for (unsigned i = 0; i < times; i++) recover_one(killed, aside, damage, records_random(seed));
  }
}

static void each_state_between_two_syncs(void **state)
{
  uint64_t seed = records_seed("each state between two syncs");
  unsigned sample = trial_sample(DAMAGES / 6), syncs = 0;
  for (unsigned sync = 1;; sync++, syncs++) {
    trial killed;
    bool met = run_to_sync(&killed, *state, sync, records_random(&seed));
    char *aside = put_aside(&killed);
    if (met) recover_each(&killed, aside, &seed, sample);
    take_back(&killed, aside);
    trial_close(&killed);
    if (!met) break;
  }
  printf("%u syncs\n", syncs);
  assert_true(syncs > MODEL_BATCHES * 3);
}

static void one_again(void **state)
{
  unsigned sync;
  int damage;
  uint64_t seed;
  if (sscanf(getenv("RILLE_STATE"), "%u:%d:%" SCNu64, &sync, &damage, &seed) != 3 || damage < 0)
    fail_msg("RILLE_STATE is no state: sync:damage:seed");
  trial killed;
  assert_true(run_to_sync(&killed, *state, sync, seed));
  if (damage >= damages_of(killed.w->path)) fail_msg("RILLE_STATE: %s has no such damage", killed.w->path);
  char *aside = put_aside(&killed);
  recover_one(&killed, aside, damage, seed);
  take_back(&killed, aside);
  trial_close(&killed);
}

int main(void)
{
  const struct CMUnitTest again[] = {in_a_folder(one_again)}, tests[] = {in_a_folder(each_state_between_two_syncs)};
  return getenv("RILLE_STATE") ? cmocka_run_group_tests(again, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}
