/* The layout of a segment (docs/formats.md says it at length):
 *
 *   log-<first sequence, 16 hex digits>:  header | header | frame | frame | ...          numbers are little-endian
 *   header (48 bytes):  magic, version, 0, segment id, first sequence, when it was made (ms), checksum
 *   frame (40 + length bytes):  length, type, index in the group, 0, sequence, checksum of the payload,
 *                               checksum of the head; payload
 *
 * A frame is whole when the checksum of its head, seeded with the segment's id and the frame's offset, is right, and
 * that of its payload. So neither zeros nor bytes of another segment, nor bytes of this one at another place, make a
 * frame. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "store/wal_impl.h"

#define MAGIC UINT64_C(0x314c4157454c4c52) /* "RLLEWAL1" */
enum { ONE_HEADER = 1, VERSION = 2 }; /* the first version had the header once */

static uint64_t header_sum(const rl_wal_header *h)
{
  return rl_hash_bytes(h, offsetof(rl_wal_header, sum), RL_HASH_SEED);
}

rl_wal_header rl_wal_header_make(uint64_t id, uint64_t first, int64_t made_ms)
{
  rl_wal_header h = {.magic = MAGIC, .version = VERSION, .id = id, .first = first, .made_ms = made_ms};
  h.sum = header_sum(&h);
  return h;
}

const char *rl_wal_header_check(const rl_wal_header *h, uint64_t first)
{
  if (h->magic != MAGIC) return "no segment of a log begins there";
  if (h->sum != header_sum(h)) return "wrong checksum of the header";
  return h->first == first ? NULL : "the header is that of a segment with another name";
}

bool rl_wal_header_is_foreign(const rl_wal_header *h)
{
  return h->magic == MAGIC && h->sum == header_sum(h) && h->version != VERSION && h->version != ONE_HEADER;
}

uint64_t rl_wal_header_end(const rl_wal_header *h)
{
  return h->version == ONE_HEADER ? sizeof *h : RL_WAL_COPIES * sizeof *h;
}

uint64_t rl_wal_payload_sum(const struct iovec *v, size_t n)
{
  return n > 0 ? rl_hash_parts(v, n, RL_HASH_SEED) : rl_hash_bytes("", 0, RL_HASH_SEED);
}

static uint64_t frame_sum(const rl_wal_frame *f, uint64_t id, uint64_t offset)
{
  return rl_hash_bytes(f, offsetof(rl_wal_frame, sum), rl_hash_u64(offset, id));
}

void rl_wal_frame_sign(rl_wal_frame *f, uint64_t id, uint64_t offset)
{
  f->sum = frame_sum(f, id, offset);
}

bool rl_wal_frame_is_signed(const rl_wal_frame *f, uint64_t id, uint64_t offset)
{
  return f->type != 0 && f->length <= RL_WAL_RECORD_MOST && f->sum == frame_sum(f, id, offset);
}

#define NAME "log-"
enum { DIGITS = 16 };

char *rl_wal_path(const char *dir, uint64_t first)
{
  char *name = rl_format(NAME "%016" PRIx64, first);
  char *path = rl_path_join(dir, name);
  rl_free(name);
  return path;
}

bool rl_wal_parse_name(const char *name, uint64_t *first)
{
  size_t n = strlen(NAME);
  if (strncmp(name, NAME, n) != 0 || strlen(name) != n + DIGITS) return false;
  if (strspn(name + n, "0123456789abcdef") != DIGITS) return false;
  return sscanf(name + n, "%" SCNx64, first) == 1;
}

rl_status rl_wal_damaged(const char *path, uint64_t offset, const char *fmt, ...)
{
  va_list args;
  va_start(args, fmt);
  char *what = rl_vformat(fmt, args);
  va_end(args);
  rl_status st = rl_fail(RL_EDATA, "damaged log: %s at offset %" PRIu64 ": %s; see rille inspect --verify and "
                         "--repair, or put back a copy", path, offset, what);
  rl_free(what);
  return st;
}
