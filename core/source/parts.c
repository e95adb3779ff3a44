#include "source/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"
#include "data/codec.h"
#include "data/text.h"

#define SPLIT_BYTES (INT64_C(32) << 20)
#define PIECE_BYTES (INT64_C(1) << 20)
#define LINE_MAX_BYTES (INT64_C(1) << 30)
#define SEEK_BYTES 8192
#define OBJECT_HEADER "RLOBJ1\n"
#define OBJECT_HEADER_BYTES 7

typedef struct part {
  uint32_t file;
  int64_t from, to;
} part;

typedef struct parts_source {
  rl_source base;
  rl_part_format format;
  uint32_t record_length;
  rl_file_list files;
  part *parts;
  char *advice; /* when a file is gone; or NULL */
} parts_source;

/* Reading: an open file, of which `end` bytes are there to be read. */

typedef struct reader {
  parts_source *source; /* referenced */
  const rl_file *file;
  int fd;
  int64_t at, end;
} reader;

static rl_status shrank(const reader *r)
{
  struct stat now;
  if (fstat(r->fd, &now) != 0) return rl_fail_errno("cannot look at %s", r->file->path);
  rl_fail(RL_EIO,
          "%s shrank while it was read: %" PRId64 " bytes when it was listed, %" PRId64 " now; "
          "write files elsewhere and rename them in",
          r->file->path, r->file->size, (int64_t)now.st_size);
  rl_error_set_retriable(false);
  return RL_EIO;
}

/* Exactly n bytes. */
static rl_status read_at(const reader *r, int64_t at, char *p, size_t n)
{
  size_t got;
  rl_status st = rl_file_pread(r->fd, r->file->path, p, n, at, &got);
  return st == RL_OK && got < n ? shrank(r) : st;
}

static rl_status reader_open(reader *r, parts_source *source, const part *p)
{
  r->file = &source->files.v[p->file];
  rl_status st = rl_file_open(r->file->path, O_RDONLY, &r->fd);
  if (st == RL_ENOTFOUND && source->advice) {
    return rl_fail(st, "cannot open %s: %s; %s", r->file->path, strerror(ENOENT), source->advice);
  }
  if (st != RL_OK) return st;
  atomic_fetch_add_explicit(&source->base.refs, 1, memory_order_relaxed);
  r->source = source;
  r->at = p->from;
  r->end = p->to;
  return RL_OK;
}

static void source_unref(parts_source *source)
{
  if (atomic_fetch_sub_explicit(&source->base.refs, 1, memory_order_acq_rel) != 1) return;
  source->base.cls->destroy(&source->base);
}

static void reader_close(reader *r)
{
  rl_fs_get()->close(r->fd); /* only read from: nothing can be lost */
  source_unref(r->source);
}

/* Text. */

typedef struct text_pull {
  rl_pull base;
  reader r;
  rl_bytes *piece; /* whole lines in [cut, whole), behind them the beginning of one that goes on in the file */
  size_t cut, whole;
} text_pull;

static rl_status too_long(const reader *r, int64_t at)
{
  return rl_fail(RL_ELIMIT, "%s: the line at byte %" PRId64 " is longer than %" PRId64 " bytes", r->file->path, at,
                 LINE_MAX_BYTES);
}

static size_t first_end(const char *p, size_t n)
{
  size_t i = 0;
  while (i < n && p[i] != '\n' && p[i] != '\r') i++;
  return i;
}

/* The first line start at or behind `at`: looked for from the byte before, which may be a line end. A \r as the last
 * byte of a read is read again with what follows it. */
static rl_status line_start(const reader *r, int64_t at, int64_t *start)
{
  *start = at;
  if (at <= 0 || at >= r->file->size) return RL_OK;
  char buf[SEEK_BYTES];
  for (int64_t pos = at - 1; pos < r->file->size;) {
    int64_t left = r->file->size - pos;
    size_t n = left < SEEK_BYTES ? (size_t)left : SEEK_BYTES;
    rl_status st = read_at(r, pos, buf, n);
    if (st != RL_OK) return st;
    size_t i = first_end(buf, n);
    bool undecided = i + 1 == n && buf[i] == '\r' && (int64_t)n < left;
    if (i < n && !undecided) {
      *start = pos + (int64_t)i + 1 + (buf[i] == '\r' && i + 1 < n && buf[i + 1] == '\n');
      return RL_OK;
    }
    pos += (int64_t)(undecided ? i : n);
    if (pos - at > LINE_MAX_BYTES) return too_long(r, at);
  }
  *start = r->file->size;
  return RL_OK;
}

/* Takes the open line along and reads on behind it. */
static rl_status next_piece(text_pull *p)
{
  size_t rest = p->piece ? p->piece->n - p->whole : 0;
  int64_t left = p->r.end - p->r.at;
  int64_t more = (int64_t)rest > PIECE_BYTES ? (int64_t)rest : PIECE_BYTES;
  if (more > left) more = left;
  rl_bytes *next = rl_bytes_new(rest + (size_t)more);
  if (!next) return RL_ENOMEM;
  if (rest > 0) memcpy(next->data, p->piece->data + p->whole, rest);
  rl_status st = read_at(&p->r, p->r.at, next->data + rest, (size_t)more);
  if (st != RL_OK) {
    rl_bytes_unref(next);
    return st;
  }
  next->n = rest + (size_t)more;
  rl_bytes_unref(p->piece);
  p->piece = next;
  p->r.at += more;
  p->cut = 0;
  p->whole = rl_text_complete(next->data, next->n, p->r.at == p->r.end);
  return p->whole == 0 && next->n > LINE_MAX_BYTES ? too_long(&p->r, p->r.at - (int64_t)next->n) : RL_OK;
}

static rl_status text_next(rl_pull *self, rl_chunk **out)
{
  text_pull *p = (text_pull *)self;
  *out = NULL;
  while (!p->piece || p->cut == p->whole) {
    if (p->r.at == p->r.end) return RL_OK;
    rl_status st = next_piece(p);
    if (st != RL_OK) return st;
  }
  *out = rl_text_next(p->piece, &p->cut, p->whole);
  return RL_OK;
}

static void text_close(rl_pull *self)
{
  text_pull *p = (text_pull *)self;
  rl_bytes_unref(p->piece);
  reader_close(&p->r);
  rl_free(p);
}

static const rl_pull_class text_class = {text_next, text_close};

static rl_status text_open(rl_source *self, uint32_t partition, const rl_task *task, rl_pull **out)
{
  (void)task;
  parts_source *source = (parts_source *)self;
  text_pull *p = RL_NEW(text_pull);
  p->base.cls = &text_class;
  rl_status st = reader_open(&p->r, source, &source->parts[partition]);
  if (st != RL_OK) {
    rl_free(p);
    return st;
  }
  st = line_start(&p->r, p->r.at, &p->r.at);
  if (st == RL_OK) st = line_start(&p->r, p->r.end, &p->r.end);
  if (st == RL_OK) {
    *out = &p->base;
  } else {
    text_close(&p->base);
  }
  return st;
}

/* Binary: records of one length. */

typedef struct binary_pull {
  rl_pull base;
  reader r;
} binary_pull;

static uint32_t records_per_read(const binary_pull *p)
{
  uint32_t length = p->r.source->record_length;
  int64_t n = PIECE_BYTES / length, left = (p->r.end - p->r.at) / length;
  if (n < 1) n = 1;
  if (n > RL_CHUNK_RECORDS) n = RL_CHUNK_RECORDS;
  return (uint32_t)(n < left ? n : left);
}

static rl_status binary_next(rl_pull *self, rl_chunk **out)
{
  binary_pull *p = (binary_pull *)self;
  *out = NULL;
  uint32_t n = records_per_read(p), length = p->r.source->record_length;
  if (n == 0) return RL_OK;
  rl_bytes *data = rl_bytes_new((size_t)n * length);
  if (!data) return RL_ENOMEM;
  rl_status st = read_at(&p->r, p->r.at, data->data, data->cap);
  if (st == RL_OK) {
    data->n = data->cap;
    p->r.at += (int64_t)data->n;
    rl_span *spans = rl_calloc(n, sizeof *spans);
    for (uint32_t i = 0; i < n; i++) spans[i] = (rl_span){i * length, length};
    *out = rl_chunk_from_spans(data, spans, n);
  }
  rl_bytes_unref(data);
  return st;
}

static void binary_close(rl_pull *self)
{
  binary_pull *p = (binary_pull *)self;
  reader_close(&p->r);
  rl_free(p);
}

static const rl_pull_class binary_class = {binary_next, binary_close};

static rl_status binary_open(rl_source *self, uint32_t partition, const rl_task *task, rl_pull **out)
{
  (void)task;
  parts_source *source = (parts_source *)self;
  const rl_file *file = &source->files.v[source->parts[partition].file];
  if (file->size % source->record_length != 0) {
    return rl_fail(RL_EDATA, "%s has %" PRId64 " bytes, which is no multiple of the record length %" PRIu32, file->path,
                   file->size, source->record_length);
  }
  binary_pull *p = RL_NEW(binary_pull);
  p->base.cls = &binary_class;
  rl_status st = reader_open(&p->r, source, &source->parts[partition]);
  if (st != RL_OK) {
    rl_free(p);
    return st;
  }
  *out = &p->base;
  return RL_OK;
}

/* Objects: what rl_sink_objects wrote. */

typedef struct object_pull {
  rl_pull base;
  reader r;
  rl_buf body;
} object_pull;

static rl_status malformed(const reader *r, const char *what)
{
  return rl_fail(RL_EDATA, "%s: %s at byte %" PRId64 "; is it an object file?", r->file->path, what, r->at);
}

static rl_status read_body(object_pull *p)
{
  uint8_t head[4];
  if (p->r.end - p->r.at < (int64_t)sizeof head) return malformed(&p->r, "cut short");
  rl_status st = read_at(&p->r, p->r.at, (char *)head, sizeof head);
  if (st != RL_OK) return st;
  size_t n = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
  if ((int64_t)n > p->r.end - p->r.at - (int64_t)sizeof head) return malformed(&p->r, "cut short");
  rl_buf_clear(&p->body);
  rl_buf_reserve(&p->body, n + 1);
  st = read_at(&p->r, p->r.at + (int64_t)sizeof head, p->body.p, n);
  if (st == RL_OK) p->body.n = n;
  return st;
}

static rl_status object_chunk(object_pull *p, rl_chunk **out)
{
  rl_status st = read_body(p);
  if (st != RL_OK) return st;
  rl_reader in = {p->body.p, p->body.p + p->body.n};
  st = rl_chunk_decode(&in, out);
  if (st != RL_OK) {
    rl_error_prefix("%s: chunk at byte %" PRId64 ": ", p->r.file->path, p->r.at);
    return st;
  }
  if (in.p != in.end) {
    rl_chunk_unref(*out);
    *out = NULL;
    return malformed(&p->r, "more than a chunk");
  }
  p->r.at += 4 + (int64_t)p->body.n;
  return RL_OK;
}

static rl_status object_next(rl_pull *self, rl_chunk **out)
{
  object_pull *p = (object_pull *)self;
  *out = NULL;
  while (p->r.at < p->r.end) {
    rl_status st = object_chunk(p, out);
    if (st != RL_OK || (*out)->n > 0) return st;
    rl_chunk_unref(*out);
    *out = NULL;
  }
  return RL_OK;
}

static void object_close(rl_pull *self)
{
  object_pull *p = (object_pull *)self;
  rl_buf_free(&p->body);
  reader_close(&p->r);
  rl_free(p);
}

static const rl_pull_class object_class = {object_next, object_close};

static rl_status read_object_header(reader *r)
{
  char header[OBJECT_HEADER_BYTES];
  if (r->end < OBJECT_HEADER_BYTES) return malformed(r, "cut short");
  rl_status st = read_at(r, 0, header, sizeof header);
  if (st != RL_OK) return st;
  if (memcmp(header, OBJECT_HEADER, sizeof header) != 0) return malformed(r, "no header");
  r->at = OBJECT_HEADER_BYTES;
  return RL_OK;
}

static rl_status object_open(rl_source *self, uint32_t partition, const rl_task *task, rl_pull **out)
{
  (void)task;
  parts_source *source = (parts_source *)self;
  object_pull *p = RL_NEW(object_pull);
  p->base.cls = &object_class;
  rl_status st = reader_open(&p->r, source, &source->parts[partition]);
  if (st != RL_OK) {
    rl_free(p);
    return st;
  }
  st = read_object_header(&p->r);
  if (st == RL_OK) {
    *out = &p->base;
  } else {
    object_close(&p->base);
  }
  return st;
}

/* The source. */

static void parts_destroy(rl_source *self)
{
  parts_source *source = (parts_source *)self;
  rl_file_list_clear(&source->files);
  rl_free(source->parts);
  rl_free(source->advice);
  rl_free(source);
}

static const rl_source_class classes[] = {
  [RL_PARTS_TEXT] = {"textFile", text_open, parts_destroy},
  [RL_PARTS_BINARY] = {"binaryRecords", binary_open, parts_destroy},
  [RL_PARTS_OBJECTS] = {"objectFile", object_open, parts_destroy},
};

static int64_t total_size(const rl_file_list *files)
{
  int64_t total = 0;
  for (size_t i = 0; i < files->n; i++) total += files->v[i].size;
  return total;
}

/* How many partitions a file becomes, for stretches of about `goal` bytes. A tenth more is not worth one of its own. */
static uint32_t split_count(int64_t size, int64_t goal)
{
  int64_t n = (size - goal / 10 + goal - 1) / goal;
  return n < 1 ? 1 : (uint32_t)n;
}

/* Where stretch i of n begins. */
static int64_t split_at(int64_t size, uint32_t n, uint32_t i)
{
  int64_t more = size % n;
  return size / n * i + (i < more ? i : more);
}

static void make_parts(parts_source *source, uint32_t least)
{
  int64_t goal = INT64_MAX / 2;
  if (source->format == RL_PARTS_TEXT) {
    goal = total_size(&source->files) / (least > 0 ? least : 1);
    if (goal > SPLIT_BYTES) goal = SPLIT_BYTES;
    if (goal < 1) goal = 1;
  }
  size_t n = 0, cap = 0;
  for (size_t f = 0; f < source->files.n; f++) {
    int64_t size = source->files.v[f].size;
    uint32_t count = split_count(size, goal);
    source->parts = rl_grow(source->parts, &cap, n + count, sizeof *source->parts);
    for (uint32_t i = 0; i < count; i++) {
      source->parts[n++] = (part){(uint32_t)f, split_at(size, count, i), split_at(size, count, i + 1)};
    }
  }
  source->base.partitions = (uint32_t)n;
}

rl_rdd *rl_rdd_from_files(rl_file_list *files, rl_part_format format, uint32_t record_length, uint32_t least,
                          const char *advice)
{
  if (files->n == 0) {
    rl_file_list_clear(files);
    return rl_rdd_empty(0);
  }
  parts_source *source = RL_NEW(parts_source);
  atomic_init(&source->base.refs, 1);
  source->base.cls = &classes[format];
  source->format = format;
  source->record_length = record_length;
  source->advice = rl_strdup(advice);
  source->files = *files;
  *files = (rl_file_list){0};
  make_parts(source, least);
  return rl_rdd_from_source(&source->base);
}
