#include "source/kafka_columns.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "data/chunk_impl.h"
#include "data/codec.h"

/* A message's key or payload: NULL stands for a null. */
typedef struct part {
  const char *p;
  size_t n;
} part;

typedef part get_part(const rd_kafka_message_t *m);

static part get_key(const rd_kafka_message_t *m) { return (part){m->key, m->key_len}; }
static part get_payload(const rd_kafka_message_t *m) { return (part){m->payload, m->len}; }

static rl_bytes *sum_up(get_part *get, rd_kafka_message_t *const *m, uint32_t n, bool *nulls)
{
  size_t bytes = 0;
  *nulls = false;
  for (uint32_t i = 0; i < n; i++) {
    part p = get(m[i]);
    bytes += p.n;
    *nulls |= !p.p;
  }
  return rl_bytes_new(bytes);
}

/* Nulls are nil. */
static rl_status fill_bytes(rl_column *c, get_part *get, rd_kafka_message_t *const *m, uint32_t n, rl_bytes *data,
                            bool nulls)
{
  c->type = RL_COL_BYTES;
  c->data = data;
  c->s = rl_calloc(n, sizeof *c->s);
  if (nulls) c->nulls = rl_calloc((n + 7) / 8, 1);
  for (uint32_t i = 0; i < n; i++) {
    part p = get(m[i]);
    c->s[i] = (rl_span){(uint32_t)data->n, (uint32_t)p.n};
    if (p.n > 0) memcpy(data->data + data->n, p.p, p.n);
    data->n += p.n;
    if (!p.p) c->nulls[i >> 3] |= (uint8_t)(1u << (i & 7));
  }
  return RL_OK;
}

/* Takes what buf holds as the column's encoded values. */
static rl_status set_mixed(rl_column *c, rl_span *spans, rl_buf *buf)
{
  c->type = RL_COL_MIXED;
  c->s = spans;
  c->data = rl_bytes_from(buf->p, buf->n);
  rl_buf_free(buf);
  return c->data ? RL_OK : rl_error_current()->code;
}

/* Nulls are rille.null, so the column is one of encoded values. */
static rl_status fill_mixed(rl_column *c, get_part *get, rd_kafka_message_t *const *m, uint32_t n)
{
  rl_buf buf = {0};
  rl_span *spans = rl_calloc(n, sizeof *spans);
  for (uint32_t i = 0; i < n; i++) {
    part p = get(m[i]);
    size_t at = buf.n;
    rl_put_value(&buf, p.p ? rl_str(p.p, p.n) : rl_null());
    spans[i] = (rl_span){(uint32_t)at, (uint32_t)(buf.n - at)};
  }
  return set_mixed(c, spans, &buf);
}

static rl_status fill_part(rl_column *c, get_part *get, bool null_is_value, rd_kafka_message_t *const *m, uint32_t n)
{
  bool nulls;
  rl_bytes *data = sum_up(get, m, n, &nulls);
  if (!data) return rl_error_current()->code;
  if (!nulls || !null_is_value) return fill_bytes(c, get, m, n, data, nulls);
  rl_bytes_unref(data);
  return fill_mixed(c, get, m, n);
}

/* The full form's other columns. ----------------------------------------------------------------------------------- */

static rl_status fill_topic(rl_column *c, const char *topic, uint32_t n)
{
  rl_span all = {0, (uint32_t)strlen(topic)};
  c->type = RL_COL_BYTES;
  c->s = rl_calloc(n, sizeof *c->s);
  for (uint32_t i = 0; i < n; i++) c->s[i] = all;
  c->data = rl_bytes_from(topic, all.n);
  return c->data ? RL_OK : rl_error_current()->code;
}

static void fill_numbers(rl_column *c, rd_kafka_message_t *const *m, uint32_t n, bool offsets)
{
  c->type = RL_COL_INT;
  c->i = rl_calloc(n, sizeof *c->i);
  for (uint32_t i = 0; i < n; i++) c->i[i] = offsets ? m[i]->offset : m[i]->partition;
}

static void fill_timestamps(rl_column *c, rd_kafka_message_t *const *m, uint32_t n)
{
  c->type = RL_COL_INT;
  c->i = rl_calloc(n, sizeof *c->i);
  for (uint32_t i = 0; i < n; i++) {
    rd_kafka_timestamp_type_t type;
    c->i[i] = rd_kafka_message_timestamp(m[i], &type);
    if (type != RD_KAFKA_TIMESTAMP_NOT_AVAILABLE) continue;
    if (!c->nulls) c->nulls = rl_calloc((n + 7) / 8, 1);
    c->nulls[i >> 3] |= (uint8_t)(1u << (i & 7));
  }
}

typedef struct header {
  const char *name;
  const void *value;
  size_t n;
} header;

static rl_value header_value(const header *h) { return h->value ? rl_str(h->value, h->n) : rl_null(); }

static int by_name(const header *a, const header *b)
{
  return rl_value_compare(rl_str(a->name, strlen(a->name)), rl_str(b->name, strlen(b->name)));
}

/* Stable, and there are few. */
static void sort_headers(header *v, size_t n)
{
  for (size_t i = 1; i < n; i++) {
    header h = v[i];
    size_t j = i;
    for (; j > 0 && by_name(&v[j - 1], &h) > 0; j--) v[j] = v[j - 1];
    v[j] = h;
  }
}

static size_t same_name(const header *v, size_t n)
{
  size_t k = 1;
  while (k < n && strcmp(v[k].name, v[0].name) == 0) k++;
  return k;
}

/* A table {name = value, ...}; {value, value} for a name that is there more than once. */
static void put_headers(rl_buf *buf, header *v, size_t n)
{
  sort_headers(v, n);
  uint64_t names = 0;
  for (size_t i = 0; i < n; i += same_name(v + i, n - i)) names++;
  rl_put_table(buf, 0);
  rl_put_varint(buf, names);
  for (size_t i = 0, k; i < n; i += k) {
    k = same_name(v + i, n - i);
    rl_put_bytes(buf, v[i].name, strlen(v[i].name));
    if (k > 1) rl_put_table(buf, k);
    for (size_t j = 0; j < k; j++) rl_put_value(buf, header_value(&v[i + j]));
    if (k > 1) rl_put_varint(buf, 0);
  }
}

static void put_message_headers(rl_buf *buf, const rd_kafka_message_t *m)
{
  rd_kafka_headers_t *list = NULL;
  if (rd_kafka_message_headers(m, &list) != RD_KAFKA_RESP_ERR_NO_ERROR) list = NULL;
  size_t n = list ? rd_kafka_header_cnt(list) : 0;
  header *v = rl_calloc(n + 1, sizeof *v);
  for (size_t i = 0; i < n; i++) rd_kafka_header_get_all(list, i, &v[i].name, &v[i].value, &v[i].n);
  put_headers(buf, v, n);
  rl_free(v);
}

static rl_status fill_headers(rl_column *c, rd_kafka_message_t *const *m, uint32_t n)
{
  rl_buf buf = {0};
  rl_span *spans = rl_calloc(n, sizeof *spans);
  for (uint32_t i = 0; i < n; i++) {
    size_t at = buf.n;
    put_message_headers(&buf, m[i]);
    spans[i] = (rl_span){(uint32_t)at, (uint32_t)(buf.n - at)};
  }
  return set_mixed(c, spans, &buf);
}

static rl_status fill_rest(rl_column *c, const char *topic, rd_kafka_message_t *const *m, uint32_t n)
{
  rl_status st = fill_topic(&c[0], topic, n);
  if (st != RL_OK) return st;
  fill_numbers(&c[1], m, n, false);
  fill_numbers(&c[2], m, n, true);
  fill_timestamps(&c[3], m, n);
  return fill_headers(&c[4], m, n);
}

static rl_status check_sizes(const char *topic, rd_kafka_message_t *const *m, uint32_t n)
{
  for (uint32_t i = 0; i < n; i++) {
    size_t most = m[i]->len > m[i]->key_len ? m[i]->len : m[i]->key_len;
    if (most <= RL_CODEC_MAX_BYTES) continue;
    return rl_fail(RL_ELIMIT, "the record at offset %" PRId64 " of %s/%" PRId32 " has %zu bytes, more than %" PRIu64,
                   m[i]->offset, topic, m[i]->partition, most, RL_CODEC_MAX_BYTES);
  }
  return RL_OK;
}

rl_status rl_kafka_columns(rl_kafka_records form, const char *topic, rd_kafka_message_t *const *m, uint32_t n,
                           rl_chunk **out)
{
  rl_status st = check_sizes(topic, m, n);
  if (st != RL_OK) return st;
  uint32_t columns = form == RL_KAFKA_VALUES ? 1 : form == RL_KAFKA_PAIRS ? 2 : 7;
  rl_chunk *c = rl_chunk_new(n, columns);
  if (form == RL_KAFKA_VALUES) {
    st = fill_part(&c->cols[0], get_payload, true, m, n);
  } else {
    st = fill_part(&c->cols[0], get_key, true, m, n);
    if (st == RL_OK) st = fill_part(&c->cols[1], get_payload, false, m, n);
  }
  if (st == RL_OK && form == RL_KAFKA_FULL) st = fill_rest(&c->cols[2], topic, m, n);
  if (st != RL_OK) {
    rl_chunk_drop(c);
    return st;
  }
  *out = rl_chunk_seal(c);
  return RL_OK;
}
