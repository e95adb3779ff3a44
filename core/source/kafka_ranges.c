#include "source/kafka_ranges.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "data/codec.h"

#define VERSION 1

void rl_kafka_ranges_add(rl_kafka_ranges *l, const char *topic, int32_t partition, int64_t from, int64_t until)
{
  l->v = rl_grow(l->v, &l->cap, l->n + 1, sizeof *l->v);
  l->v[l->n++] =
    (rl_kafka_range){.topic = rl_strdup(topic), .partition = partition, .from = from, .until = until};
}

void rl_kafka_ranges_clear(rl_kafka_ranges *l)
{
  for (size_t i = 0; i < l->n; i++) rl_free(l->v[i].topic);
  rl_free(l->v);
  *l = (rl_kafka_ranges){0};
}

int64_t rl_kafka_ranges_sum(const rl_kafka_ranges *l)
{
  int64_t sum = 0;
  for (size_t i = 0; i < l->n; i++) sum += l->v[i].until - l->v[i].from;
  return sum;
}

char *rl_kafka_ranges_describe(const rl_kafka_ranges *l)
{
  rl_buf text = {0};
  for (size_t i = 0; i < l->n; i++) {
    const rl_kafka_range *r = &l->v[i];
    if (r->from == r->until) continue;
    rl_buf_printf(&text, "%stopic: %s\tpartition: %" PRId32 "\toffsets: %" PRId64 " to %" PRId64,
                  text.n > 0 ? "\n" : "", r->topic, r->partition, r->from, r->until);
  }
  char *out = text.n > 0 ? rl_strndup(text.p, text.n) : NULL;
  rl_buf_free(&text);
  return out;
}

void rl_kafka_ranges_encode(const rl_kafka_ranges *l, rl_buf *out)
{
  rl_buf_putc(out, VERSION);
  rl_put_varint(out, l->n);
  for (size_t i = 0; i < l->n; i++) {
    const rl_kafka_range *r = &l->v[i];
    size_t n = strlen(r->topic);
    rl_put_varint(out, n);
    rl_buf_add(out, r->topic, n);
    rl_put_varint(out, (uint64_t)r->partition);
    rl_put_varint(out, (uint64_t)r->from);
    rl_put_varint(out, (uint64_t)r->until);
  }
}

static rl_status malformed(void) { return rl_fail(RL_EDATA, "malformed offset ranges"); }

static rl_status get_number(rl_reader *r, uint64_t most, uint64_t *x)
{
  rl_status st = rl_get_varint(r, x);
  return st == RL_OK && *x > most ? malformed() : st;
}

static rl_status decode_one(rl_reader *r, rl_kafka_ranges *out)
{
  uint64_t n = 0, partition = 0, from = 0, until = 0;
  rl_status st = get_number(r, (uint64_t)(r->end - r->p), &n);
  if (st != RL_OK) return st;
  const char *topic = r->p;
  if (n > (uint64_t)(r->end - r->p) || memchr(topic, '\0', n)) return malformed();
  r->p += n;
  st = get_number(r, INT32_MAX, &partition);
  if (st == RL_OK) st = get_number(r, INT64_MAX, &from);
  if (st == RL_OK) st = get_number(r, INT64_MAX, &until);
  if (st == RL_OK && until < from) st = malformed();
  if (st != RL_OK) return st;
  char *copy = rl_strndup(topic, n);
  rl_kafka_ranges_add(out, copy, (int32_t)partition, (int64_t)from, (int64_t)until);
  rl_free(copy);
  return RL_OK;
}

rl_status rl_kafka_ranges_decode(const char *p, size_t n, rl_kafka_ranges *out)
{
  if (n == 0 || *p != VERSION) return rl_fail(RL_EDATA, "offset ranges of an unknown version");
  rl_reader r = {p + 1, p + n};
  uint64_t count = 0;
  rl_status st = get_number(&r, n, &count);
  for (uint64_t i = 0; i < count && st == RL_OK; i++) st = decode_one(&r, out);
  if (st == RL_OK && r.p != r.end) st = malformed();
  if (st != RL_OK) rl_kafka_ranges_clear(out);
  return st;
}
