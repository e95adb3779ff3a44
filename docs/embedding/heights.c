/* Rille inside a C program: a source, a function and an output in C, and a small streaming job made of them.
 *
 * Every second of the job's time a gauge sends readings "place:height"; the job adds up the heights of each place. The
 * clock is moved by hand, so the job ends at once and prints the same each time it is run. */
#include <rille.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A source: an rl_input is asked for the RDD of every batch ------------------------------------------------------------ */

static const char *const readings[][3] = {
  {"rhine:3", "elbe:2", "rhine:4"},
  {"elbe:5", "gauge out of order", "elbe:1"},
};
enum { BATCHES = sizeof readings / sizeof *readings, READINGS = 3, BATCH_MS = 1000 };

typedef struct gauge {
  rl_input base; /* first: the engine knows no more of it */
  int64_t sent;
} gauge;

static rl_status gauge_compute(rl_input *self, int64_t time, rl_rdd **out, rl_input_info *info)
{
  gauge *g = (gauge *)self;
  int64_t batch = time / BATCH_MS - 1;
  rl_builder *b = rl_builder_new();
  rl_status st = RL_OK;
  for (int i = 0; i < READINGS && st == RL_OK; i++) {
    const char *text = readings[batch][i];
    rl_value field = rl_str(text, strlen(text));
    st = rl_builder_add(b, &field, 1);
  }
  if (st == RL_OK) {
    rl_chunks records = {0}; /* one partition of one chunk */
    rl_chunks_add(&records, rl_builder_finish(b));
    *out = rl_rdd_from_chunks(&records, 1);
    g->sent += info->records = READINGS;
  }
  rl_builder_delete(b);
  return st;
}

static void gauge_destroy(rl_input *self)
{
  printf("the gauge sent %" PRId64 " readings\n", ((gauge *)self)->sent);
  rl_free(self);
}

static const rl_input_class gauge_class = {.name = "Gauge", .compute = gauge_compute, .destroy = gauge_destroy};

/* A function: any number of records for each, so it maps and filters at once. Runs on the workers. --------------------- */

static rl_status parse_reading(void *user, const rl_value *fields, uint32_t n, rl_emit *out)
{
  (void)user;
  char text[64] = "", place[sizeof text];
  int64_t height;
  if (n != 1 || fields[0].type != RL_T_BYTES) return rl_fail(RL_EDATA, "a reading is one string");
  if (fields[0].s.n < sizeof text) memcpy(text, fields[0].s.p, fields[0].s.n);
  if (sscanf(text, "%63[^:]:%" SCNd64, place, &height) != 2) return RL_OK; /* no reading: no record */
  rl_value pair[] = {rl_str(place, strlen(place)), rl_int(height)};
  return rl_emit_record(out, pair, 2);
}

/* An output: runs a job over the batch's RDD and prints what comes back. On the driver, the thread of main. ------------ */

static void print_records(const rl_job *job)
{
  rl_buf line = {0};
  for (uint32_t p = 0; p < rl_job_partitions(job); p++) {
    const rl_chunks *chunks = rl_job_chunks(job, p);
    for (size_t k = 0; k < chunks->n; k++) {
      for (uint32_t row = 0; row < chunks->v[k]->n; row++) {
        rl_buf_clear(&line);
        rl_chunk_format(chunks->v[k], row, &line);
        puts(rl_buf_cstr(&line));
      }
    }
  }
  rl_buf_free(&line);
}

static void print_batch(void *user, rl_rdd *rdd, int64_t time, rl_output_run *run)
{
  rl_context *context = user;
  rl_job_spec spec = {.rdd = rdd, .kind = RL_JOB_COLLECT, .batch_time = time, .what = "print_batch"};
  rl_job *job = NULL;
  rl_status st = rl_job_submit(context, &spec, NULL, &job);
  if (st == RL_OK) st = rl_job_wait(job);
  if (st == RL_OK) {
    printf("after %" PRId64 " ms\n", time);
    print_records(job);
  }
  if (job) rl_job_unref(job);
  rl_output_done(run, st);
}

/* The job -------------------------------------------------------------------------------------------------------------- */

/* `stream`, through the operation; what it was made of is let go, as the stream keeps what it needs. */
static rl_status then(rl_dstream **stream, rl_op operation)
{
  rl_op *op = rl_op_new(&operation);
  rl_status st = rl_dstream_apply(op, stream, 1, stream);
  rl_op_unref(op);
  rl_fn_unref(operation.fn);
  rl_fn_unref(operation.map_fn);
  return st;
}

static rl_status declare(rl_context *context, rl_streaming *streaming)
{
  gauge *g = RL_NEW(gauge);
  g->base.cls = &gauge_class;
  rl_dstream *stream = NULL;
  rl_status st = rl_streaming_add_input(streaming, &g->base, "heights.c", &stream);
  if (st) return st;

  st = then(&stream, (rl_op){.kind = RL_OP_NARROW, .name = "parse", .fn = rl_fn_map(parse_reading, NULL, NULL)});
  if (st) return st;
  st = then(&stream, (rl_op){
    .kind = RL_OP_SHUFFLE, .name = "sum", .part = RL_PART_HASH, .partitions = 1, /* one: the order of the lines is fixed */
    .map_fn = rl_fn_fold_by_key(rl_native_sum, NULL, NULL), .fn = rl_fn_fold_by_key(rl_native_sum, NULL, NULL),
  });
  if (st) return st;
  return rl_dstream_output(stream, "print", "heights.c", NULL, print_batch, context, NULL);
}

static rl_status run(rl_context *context)
{
  rl_streaming *streaming = NULL;
  rl_status st = rl_streaming_new(context, BATCH_MS, &streaming);
  if (st) return st;
  bool stopped;
  st = declare(context, streaming);
  if (st == RL_OK) st = rl_streaming_start(streaming);
  if (st == RL_OK) st = rl_streaming_advance(streaming, (int64_t)BATCHES * BATCH_MS);
  if (st == RL_OK) st = rl_streaming_await(streaming, 0, false, &stopped); /* what failed meanwhile */
  rl_streaming_unref(streaming);
  return st;
}

int main(void)
{
  rl_conf *conf = rl_conf_new();
  rl_context *context = NULL;
  rl_status st = rl_conf_set(conf, "master", "local[2]");
  if (st == RL_OK) st = rl_conf_set(conf, "clock", "manual");
  if (st == RL_OK) st = rl_context_new(conf, NULL, &context);
  rl_conf_delete(conf);

  printf("rille %s\n", RILLE_VERSION);
  if (st == RL_OK) st = run(context);
  if (context) rl_context_unref(context);
  if (st) fprintf(stderr, "heights: %s\n", rl_error_message());
  return st ? 1 : 0;
}
