/* Cutting text into lines, in place. Line ends are \n, \r and \r\n; a last line without one counts when `final` is set.
 * Bytes are not looked at otherwise: UTF-8 and binary pass untouched. */
#ifndef RL_DATA_TEXT_H
#define RL_DATA_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "data/chunk.h"

/* Length of the longest prefix of p[0..n) that ends with a whole line end; 0 when there is none. A \r as the last byte
 * is not a whole end yet (the \n may be still to come) unless `final`. With `final` it is n. */
size_t rl_text_complete(const char *p, size_t n, bool final);
/* Number of lines in p[0..n) (a last one without end counts). */
uint64_t rl_text_count(const char *p, size_t n);

/* Cuts lines out of data->data[at .. end): a chunk of up to RL_CHUNK_RECORDS lines (NULL at the end), *at moved behind
 * them. Spans point into `data`. */
rl_chunk *rl_text_next(rl_bytes *data, size_t *at, size_t end);

#endif
