#include "store/files_place.h"

#include "data/codec.h"

static rl_status get(rl_reader *r, rl_type type)
{
  rl_value v;
  rl_status st = rl_get_value(r, &v);
  return st == RL_OK && v.type != type ? rl_fail(RL_EDATA, "a value is of another type") : st;
}

static rl_status read_place(const char *p, size_t n, rl_files_place *out)
{
  rl_reader r = {p, p + n};
  rl_status st = get(&r, RL_T_INT); /* since when files are new */
  if (st == RL_OK) st = get(&r, RL_T_INT); /* the last look */
  out->head = (size_t)(r.p - p);
  if (st == RL_OK) st = rl_get_varint(&r, &out->count);
  out->files = r.p;
  for (uint64_t i = 0; i < out->count && st == RL_OK; i++) {
    st = get(&r, RL_T_BYTES);
    if (st == RL_OK) st = get(&r, RL_T_INT); /* size */
    if (st == RL_OK) st = get(&r, RL_T_INT); /* time of change */
  }
  out->n = (size_t)(r.p - out->files);
  return st == RL_OK && r.p != r.end ? rl_fail(RL_EDATA, "there is more than files") : st;
}

bool rl_files_place_read(const char *p, size_t n, rl_files_place *out)
{
  *out = (rl_files_place){0};
  if (n == 0) return false;
  bool read = read_place(p, n, out) == RL_OK;
  if (!read) rl_error_drop();
  return read;
}

void rl_files_place_join(const char *newest, const rl_files_place *of, size_t n, rl_buf *out)
{
  uint64_t count = 0;
  for (size_t i = 0; i < n; i++) count += of[i].count;
  rl_buf_add(out, newest, of[0].head);
  rl_put_varint(out, count);
  for (size_t i = 0; i < n; i++) rl_buf_add(out, of[i].files, of[i].n);
}

void rl_files_place_none(const char *bytes, const rl_files_place *of, rl_buf *out)
{
  rl_buf_add(out, bytes, of->head);
  rl_put_varint(out, 0);
}
