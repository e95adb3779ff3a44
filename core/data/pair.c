#include "data/pair.h"

#include "data/codec.h"

/* Fields `from` and up of a record as one tuple. */
static rl_status pack_fields(const rl_chunk *c, uint32_t row, uint32_t from, rl_buf *buf, rl_value *out)
{
  uint32_t arity = rl_chunk_arity(c, row);
  bool nested = false;
  rl_buf_clear(buf);
  rl_put_tuple(buf, arity - from);
  for (uint32_t col = from; col < arity; col++) {
    rl_value v = rl_chunk_get(c, col, row);
    nested = nested || v.type == RL_T_TUPLE || v.type == RL_T_TABLE;
    rl_put_value(buf, v);
  }
  *out = (rl_value){.type = RL_T_TUPLE, .s = {buf->p, buf->n}};
  if (!nested) return RL_OK;
  rl_reader r = {buf->p, buf->p + buf->n};
  if (rl_get_value(&r, out) == RL_OK) return RL_OK;
  return rl_fail(RL_ELIMIT, "%s make a tuple nested deeper than %d, or too large",
                 from > 0 ? "the fields behind the key" : "the fields of a record", RL_CODEC_MAX_DEPTH);
}

rl_status rl_record_pack(const rl_chunk *c, uint32_t row, rl_buf *scratch, rl_value *out)
{
  if (rl_chunk_arity(c, row) > 1) return pack_fields(c, row, 0, scratch, out);
  *out = rl_chunk_get(c, 0, row);
  return RL_OK;
}

rl_status rl_pair_read(const rl_chunk *c, uint32_t row, rl_pair_scratch *scratch, rl_value pair[2])
{
  uint32_t arity = rl_chunk_arity(c, row);
  if (arity < 2) return rl_fail(RL_EINVAL, "a record of one value where (key, value) is needed; return key, value before it");
  pair[0] = rl_chunk_get(c, 0, row);
  rl_status st = rl_key_read(&pair[0], &scratch->key);
  if (st != RL_OK) return st;
  if (arity > 2) return pack_fields(c, row, 1, &scratch->rest, &pair[1]);
  pair[1] = rl_chunk_get(c, 1, row);
  return RL_OK;
}

void rl_pair_scratch_free(rl_pair_scratch *scratch)
{
  rl_buf_free(&scratch->key);
  rl_buf_free(&scratch->rest);
}
